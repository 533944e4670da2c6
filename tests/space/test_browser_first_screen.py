"""What a visitor meets first, in a real browser: a scene or their own picture, links that lead somewhere, keys."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from composer import EXAMPLES, draw, faithful
from tests.embedded import needs_embedded_judge

pytestmark = pytest.mark.browser
PROMPT = EXAMPLES[0].text
TABS = ("Judge", "Explore", "Leaderboard", "Annotate")


@pytest.fixture(scope="module")
def scenes_only(space, store_of_module) -> Iterator[str]:
    """URL of a Space that has the embedded judge alone, which is there, and no benchmark; `space` runs already."""
    from app import build, launch_options
    from judging import JudgeDesk
    from t2i_judge.judges.loading import load_judge

    desk = JudgeDesk(["tiny"], load_judge)
    desk.start("tiny", 120)
    demo = build(desk, None, store_of_module)
    _, url, _ = demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, **launch_options())
    yield url.rstrip("/")
    demo.close()


@pytest.fixture(scope="module")
def store_of_module(tmp_path_factory):
    from annotation_store import AnnotationStore, FolderShelf

    return AnnotationStore(FolderShelf(tmp_path_factory.mktemp("annotations")))


@pytest.fixture
def opened(chromium, space):
    """Open an address of the Space: `opened("?tab=explore")`. Each in a page of its own, which is not left midway."""
    pages = []

    def open_page(address: str):
        pages.append(chromium.new_page(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce"))
        pages[-1].set_default_timeout(60_000)
        pages[-1].goto(f"{space}/{address}")
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()


def named(page) -> dict[str, str]:
    """What the address says of the page."""
    values = parse_qs(urlsplit(page.evaluate("location.href")).query)
    return {key: value for key, [value] in values.items() if not key.startswith("__")}


def becomes(page, **address: str) -> None:
    for key, value in address.items():
        wanted = "([key, value]) => new URL(location.href).searchParams.get(key) === value"
        page.wait_for_function(wanted, arg=[key, value])


@needs_embedded_judge
def test_with_the_embedded_judge_alone_a_scene_comes_first_and_a_line_says_why(chromium, scenes_only):
    page = chromium.new_page(viewport={"width": 360, "height": 740})
    page.set_default_timeout(60_000)
    page.goto(scenes_only)
    page.wait_for_selector("#composed .tj-truth")
    assert "not photographs" in page.inner_text("#opening")
    assert page.get_by_role("tab").all_inner_texts()[4:] == ["Compose", "One", "Compare"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tops = [page.get_by_role("tab", name=name, exact=True).bounding_box()["y"] for name in TABS]
    assert len(set(tops)) == 1, "all four fit a narrow phone"
    assert page.evaluate("document.querySelector('#prompts').getBoundingClientRect().top < 400")
    page.close()


def test_where_a_judge_sees_pictures_the_visitors_own_comes_first(visit):
    page = visit(width=360, height=740)
    assert page.locator("#opening").count() == 0
    for place in ("#picture", "#prompt", "#run"):
        box = page.locator(place).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 740, f"{place} is on the first screen of a phone"


def test_addresses_lead_to_a_tab_and_an_item_and_follow_the_visitor(opened, benchmark):
    wanted = benchmark.items[7]
    page = opened(f"?tab=explore&item={wanted.key}")
    page.wait_for_function("prompt => document.querySelector('#detail')?.innerText.includes(prompt)", arg=wanted.prompt)
    assert wanted.id in page.inner_text("#detail .tj-prompt")
    page.focus("#scatter [role=group]")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("id => !document.querySelector('#detail .tj-prompt').innerText.includes(id)", arg=wanted.id)
    reached = page.locator("#scatter .tj-picked").get_attribute("data-pick")
    becomes(page, tab="explore", item=reached)
    page.get_by_role("tab", name="Annotate", exact=True).click()
    becomes(page, tab="annotate")
    assert "item" not in named(page)
    opened("?tab=compare").wait_for_selector("#compare-run")
    page = opened("?tab=leaderboard&board=the%20benchmark%20by%20direct")
    page.frame_locator("#board-page iframe").locator("header, h1").first.wait_for()
    assert page.input_value("#board input") == "the benchmark by direct"
    opened("?tab=nowhere&item=%22%3Enothing").wait_for_selector("#run")


@needs_embedded_judge
def test_what_a_phone_writes_is_taken_shown_and_judged(visit, tmp_path):
    from pillow_heif import from_pillow

    scene = draw(faithful(EXAMPLES[0], 4)).resize((448, 448), Image.Resampling.NEAREST)
    from_pillow(scene).save(tmp_path / "scene.heic", quality=95)
    scene.save(tmp_path / "scene.avif", quality=95)
    page = visit()
    page.wait_for_selector("#picture input[type=file][accept*='.heic']", state="attached")
    shown = "name => document.querySelector('#picture img')?.src.includes(name)"
    for name in ("scene.heic", "scene.avif"):
        page.set_input_files("#picture input[type=file]", tmp_path / name)
        page.wait_for_function(shown, arg="scene.png")
        page.wait_for_function("document.querySelector('#picture img').naturalWidth === 448")
        page.get_by_label("Remove Image").first.click()
        page.wait_for_selector("#picture img", state="detached")
    dropped = """data => {
      const bytes = Uint8Array.from(data), files = new DataTransfer();
      files.items.add(new File([bytes], 'dropped.heic', {type: ''}));
      return files;
    }"""
    files = page.evaluate_handle(dropped, list((tmp_path / "scene.heic").read_bytes()))
    page.dispatch_event("#picture button[aria-label*='Drop']", "drop", {"dataTransfer": files})
    page.wait_for_function(shown, arg="dropped.png")
    page.fill("#prompt textarea, #prompt input", PROMPT)
    page.click("#run")
    page.wait_for_selector("#result article")
    assert page.locator("#refused .tj-notice").count() == 0


@needs_embedded_judge
def test_the_score_comes_before_the_words(visit, tmp_path):
    draw(faithful(EXAMPLES[0], 4)).save(tmp_path / "scene.png")
    page = visit()
    page.set_input_files("#picture input[type=file]", tmp_path / "scene.png")
    page.wait_for_selector("#picture img")
    page.fill("#prompt textarea, #prompt input", PROMPT)
    page.get_by_label("Explain every answer").check()
    page.evaluate(
        """() => { window.seen = []; new MutationObserver(() => {
          const score = document.querySelector('#result .tj-number')?.innerText;
          const words = document.querySelectorAll('#result .tj-why').length;
          if (score) window.seen.push([score, words, !!document.querySelector('#result .tj-writing')]);
        }).observe(document.querySelector('#result'), {childList: true, subtree: true}); }"""
    )
    page.click("#run")
    page.wait_for_selector("#result .tj-why")
    first, last = page.evaluate("[window.seen[0], window.seen.at(-1)]")
    assert first[1:] == [0, True], "a score without words, and a line that they are coming"
    assert last[0] == first[0]
    assert last[1] > 0 and not last[2]


_REACHABLE = """() => [...document.querySelectorAll('button, input, textarea, select, a[href], [tabindex="0"]')]
  .filter((e) => e.checkVisibility() && !e.disabled && e.tabIndex >= 0 && e.type !== 'file').length"""
_LOOKED_AT = """() => {
  const e = document.activeElement;
  if (e === document.body) return;
  const looks = () => [e, e.closest('label'), e.closest('.wrap'), e.closest('.block')].filter(Boolean).map((part) => {
    const s = getComputedStyle(part);
    return [s.outline, s.boxShadow, s.borderColor, s.backgroundColor, s.color].join();
  }).join();
  const focused = looks();
  e.blur();
  if (looks() === focused) window.unseen.add(e.outerHTML.slice(0, 150));
  e.focus();
  window.reached.add(e);
}"""


@pytest.mark.parametrize(("tab", "there"), [("one", "#run"), ("explore", "#scatter svg")])
def test_everything_is_reached_by_the_tab_key_and_seen_to_be(opened, tab, there):
    page = opened(f"?tab={tab}")
    page.wait_for_selector(there)
    wanted = page.evaluate(_REACHABLE)
    page.evaluate("() => { window.reached = new Set(); window.unseen = new Set(); }")
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        page.evaluate(_LOOKED_AT)
    assert page.evaluate("window.reached.size") >= wanted
    assert page.evaluate("[...window.unseen]") == []
