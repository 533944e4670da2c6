"""The Judge tab in a real browser: one picture, several, a scene to break, bad uploads, keyboard, phone, dark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from composer import EXAMPLES, draw, faithful
from tests.embedded import needs_embedded_judge
from tests.space.accessibility import faults
from tests.space.bad_uploads import BAD
from tests.space.conftest import served_scene

pytestmark = pytest.mark.browser
PROMPT = EXAMPLES[0].text


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "scene.png"
    draw(faithful(EXAMPLES[0], 4)).save(path)
    return path


def tab(page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def upload(page, place: str, *paths: Path) -> None:
    page.set_input_files(f"{place} input[type=file]", [str(path) for path in paths])


@needs_embedded_judge
def test_a_visitor_judges_a_picture_and_takes_the_judgement_home(visit, picture, shoot):
    page = visit()
    assert "declines photographs instead of guessing" in page.inner_text("#banner")
    upload(page, "#picture", picture)
    page.wait_for_selector("#picture img")
    page.fill("#prompt textarea, #prompt input", PROMPT)
    page.get_by_label("Explain every answer").check()
    page.click("#run")
    page.wait_for_selector("#result .tj-overall")
    page.wait_for_selector("#result .tj-why")  # the score comes first, the words after
    questions = page.locator("#result .tj-questions > li")
    assert questions.count() > 5
    assert "expected yes" in questions.first.inner_text()
    assert questions.locator(".tj-confidence").count() == questions.count()
    assert questions.locator(".tj-why").count() > 0, "answers are explained"
    shoot(page, "judge")
    with page.expect_download() as caught:
        page.get_by_role("link", name="JSON").click()
    saved = json.loads(Path(caught.value.path()).read_text())
    assert saved["prompt"] == PROMPT
    assert saved["status"] == "ok"


@needs_embedded_judge
def test_examples_work_at_once_and_a_decline_is_shown_as_one(visit):
    page = visit()
    page.get_by_text("as asked", exact=True).click()
    page.wait_for_selector("#picture img")
    page.click("#run")
    page.wait_for_selector("#result .tj-overall")
    page.get_by_text("not a scene", exact=False).first.click()
    page.wait_for_function("document.querySelector('#prompt textarea, #prompt input').value.includes('squares')")
    page.click("#run")
    page.wait_for_selector("#result .tj-notice.tj-bad")
    assert "No score: skipped" in page.inner_text("#result")
    assert page.locator("#result .tj-overall").count() == 0


@pytest.mark.parametrize("name", [name for name in BAD if name != "big.png"])
def test_each_bad_upload_gets_its_line(visit, tmp_path, name):
    page = visit()
    (tmp_path / name).write_bytes(BAD[name][0])
    upload(page, "#picture", tmp_path / name)
    page.wait_for_selector("#refused .tj-notice")
    told = page.inner_text("#refused")
    assert BAD[name][1] in told
    assert name in told
    assert "\n" not in told.strip()
    assert page.locator("#picture img").count() == 0


@pytest.fixture
def slow(visit, tmp_path):
    """A page on which the served judge, two seconds a judgement, is about to be asked."""
    draw(served_scene()).save(tmp_path / "served.png")
    page = visit()
    page.click("#judge input")
    page.get_by_role("option", name="scene-teacher").click()
    page.wait_for_function("document.querySelector('#banner').innerText.includes('sent to the served model')")
    upload(page, "#picture", tmp_path / "served.png")
    page.wait_for_selector("#picture img")
    page.fill("#prompt textarea, #prompt input", PROMPT)
    return page


def test_a_served_judge_answers_over_its_protocol(slow):
    slow.click("#run")
    slow.wait_for_selector("#result .tj-overall")
    circles = slow.locator("#result .tj-questions > li:has-text('How many circles')").inner_text()
    assert "sees three" in circles
    assert "expected two" in circles
    assert "The number of circles is three, not two." in circles


def test_a_judgement_can_be_cancelled(slow):
    slow.click("#run")
    slow.wait_for_timeout(700)
    slow.click("#cancel")
    slow.wait_for_selector("#result :text('Cancelled.')")
    slow.wait_for_timeout(3000)
    assert slow.inner_text("#result").strip() == "Cancelled."


@needs_embedded_judge
def test_html_in_a_prompt_stays_text(visit, picture):
    page = visit()
    upload(page, "#picture", picture)
    page.wait_for_selector("#picture img")
    page.fill("#prompt textarea, #prompt input", "<img src=x onerror=\"document.title='broken'\">")
    page.click("#run")
    page.wait_for_selector("#result article")
    assert page.locator("#result img").count() == 0
    assert page.title() != "broken"


def test_html_in_file_names_stays_text(visit, tmp_path, picture):
    page = visit()
    hostile = "<img src=x onerror=document.title='broken'>"
    bad, good = tmp_path / f"{hostile}.png", tmp_path / f"{hostile}-2.png"
    bad.write_bytes(BAD["text.png"][0])
    good.write_bytes(picture.read_bytes())
    upload(page, "#picture", bad)
    page.wait_for_selector("#refused .tj-notice")
    tab(page, "Compare")
    upload(page, "#pictures", good, bad)
    page.wait_for_selector("#refused-pictures .tj-notice")
    page.wait_for_selector("#pictures img")
    assert page.locator("#refused img, #refused-pictures img").count() == 0
    assert page.locator("#pictures img").count() == 1
    assert page.title() != "broken"


@needs_embedded_judge
def test_pictures_are_ranked_and_compared(visit, shoot):
    page = visit()
    tab(page, "Compare")
    page.get_by_text("four generators, one prompt").click()
    page.wait_for_selector("#pictures img")
    page.click("#compare-run")
    page.wait_for_selector("#ranking .tj-podium")
    scores = [float(text) for text in page.locator("#ranking .tj-podium .tj-number").all_inner_texts()]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert page.locator("#ranking tbody tr").count() > 5
    shoot(page, "compare", 1500)


@needs_embedded_judge
def test_uploads_of_a_comparison_are_checked_one_by_one(visit, tmp_path, picture):
    page = visit()
    tab(page, "Compare")
    (tmp_path / "text.png").write_bytes(BAD["text.png"][0])
    Image.effect_noise((64, 64), 60).convert("RGB").save(tmp_path / "other.png")
    upload(page, "#pictures", picture, tmp_path / "text.png", tmp_path / "other.png")
    page.wait_for_selector("#refused-pictures .tj-notice")
    assert "text.png" in page.inner_text("#refused-pictures")
    page.fill("#compare-prompt textarea, #compare-prompt input", PROMPT)
    page.click("#compare-run")
    page.wait_for_selector("#ranking .tj-podium")
    assert page.locator("#ranking .tj-podium > li").count() == 2


@needs_embedded_judge
def test_breaking_a_scene_moves_score_and_truth(visit, shoot):
    page = visit()
    tab(page, "Compose")
    page.wait_for_selector("#composed .tj-truth")

    def overall(column: int) -> float:
        """The judge's score (1) or the truth (3)."""
        return float(page.locator("#composed .tj-truth tr:has-text('Overall') td").nth(column).inner_text())

    def after(act) -> None:
        """Do something, and wait for the scores to follow."""
        before = page.inner_text("#composed .tj-truth")
        act()
        page.wait_for_function("old => document.querySelector('#composed .tj-truth').innerText !== old", arg=before)

    assert overall(3) == 10
    score = overall(1)
    asked = page.locator("#composed-questions li b:not(.tj-digits)").all_inner_texts()
    assert len(asked) > 5
    after(lambda: page.locator("#thing-0 input[type=range]").nth(1).fill("0.9"))
    assert overall(3) < 10
    assert overall(1) != score
    assert page.locator("#composed-questions li b:not(.tj-digits)").all_inner_texts() == asked
    assert page.locator("#composed-questions :text('truth')").count() > 0
    shoot(page, "compose")
    after(lambda: page.click("#restore"))
    assert (overall(1), overall(3)) == (score, 10)


@needs_embedded_judge
def test_a_prompt_is_picked_or_drawn_by_chance(visit):
    page = visit()
    tab(page, "Compose")
    page.wait_for_selector("#composed .tj-truth")
    page.click("#prompts input")
    page.get_by_role("option", name=EXAMPLES[1].text).click()
    page.wait_for_selector(f"#stage .tj-prompt:has-text('{EXAMPLES[1].text}')")
    page.wait_for_selector("#thing-1", state="hidden")
    page.wait_for_selector("#swap", state="hidden")  # one thing alone cannot be swapped
    assert page.locator("#thing-0").first.is_visible()
    page.click("#another")
    page.wait_for_selector(f"#stage .tj-prompt:not(:has-text('{EXAMPLES[1].text}'))")


@needs_embedded_judge
def test_the_keyboard_alone_is_enough(visit):
    page = visit()
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.closest('[id]')?.id + ' ' + document.activeElement.innerText")
        )
        if "as asked" in reached[-1]:
            break
    assert "as asked" in reached[-1], reached
    page.keyboard.press("Enter")
    page.wait_for_selector("#picture img")
    page.focus("#prompt textarea, #prompt input")
    page.keyboard.press("Enter")
    page.wait_for_selector("#result .tj-overall")
    page.get_by_role("tab", name="Judge", exact=True).focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#scatter svg", state="visible")


def test_a_key_leaves_the_page_when_it_is_accepted(visit):
    page = visit()
    sent = []
    page.on("request", lambda request: sent.append(request.post_data or ""))
    page.click("#judge input")
    page.get_by_role("option", name="your own key").click()
    page.wait_for_selector("#own-key input")
    assert page.get_attribute("#own-key input", "type") == "password"
    page.get_by_label("Model").fill("gpt-4o")
    page.fill("#own-key input", "sk-visitor-key-123")
    page.click("#use-key")
    page.wait_for_selector("#key-told .tj-good")
    assert page.input_value("#own-key input") == ""
    assert sum("sk-visitor-key-123" in body for body in sent) == 1
    kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie]) + document.body.innerHTML")
    assert "sk-visitor-key-123" not in kept


@needs_embedded_judge
@pytest.mark.parametrize("dark", [False, True])
def test_a_narrow_screen_needs_no_sideways_scrolling(visit, shoot, dark):
    page = visit(dark=dark, width=390, height=844)
    page.get_by_text("as asked", exact=True).click()
    page.wait_for_selector("#picture img")
    page.click("#run")
    page.wait_for_selector("#result .tj-overall")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab(page, "Compare")
    page.get_by_text("four generators, one prompt").click()
    page.wait_for_selector("#pictures img")
    page.click("#compare-run")
    page.wait_for_selector("#ranking .tj-podium")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab(page, "Compose")
    page.wait_for_selector("#composed .tj-truth")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("(e => e.scrollWidth <= e.clientWidth)(document.querySelector('#composed .tj-truth'))")
    below = page.evaluate("document.querySelector('#thing-0').getBoundingClientRect().top + scrollY")
    scores = page.evaluate("document.querySelector('#composed').getBoundingClientRect().bottom + scrollY")
    assert scores <= below, "who moves a control sees the scores above it"
    if dark:
        shoot(page, "phone-dark", 844)


@needs_embedded_judge
@pytest.mark.parametrize("dark", [False, True])
def test_judgements_can_be_read_and_reached(visit, dark):
    page = visit(dark=dark)
    page.get_by_text("as asked", exact=True).click()
    page.wait_for_selector("#picture img")
    page.click("#run")
    page.wait_for_selector("#result .tj-overall")
    assert faults(page) == []
    tab(page, "Compare")
    page.get_by_text("four generators, one prompt").click()
    page.wait_for_selector("#pictures img")
    page.click("#compare-run")
    page.wait_for_selector("#ranking .tj-podium")
    assert faults(page) == []
    tab(page, "Compose")
    page.wait_for_selector("#composed .tj-truth")
    assert faults(page) == []


@pytest.mark.parametrize("dark", [False, True])
def test_every_tab_can_be_read_and_reached(visit, dark):
    page = visit(dark=dark)
    for name, there in (("Judge", "#run"), ("Explore", "#scatter svg"), ("Annotate", "#enter")):
        tab(page, name)
        page.wait_for_selector(there)
        assert faults(page) == [], name


def test_unreadable_text_and_nameless_controls_are_found(chromium):
    page = chromium.new_page()
    page.set_content("<body style='background: white'><p style='color: #aaa'>pale</p><button></button><p>fine</p>")
    assert [line.split(" of")[0] for line in faults(page)] == ["contrast 2.3", "no name: <button></button>"]
    page.close()
