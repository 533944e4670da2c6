"""The Annotate tab in a real browser: two people to an agreement figure, missing answers, coming back, the export."""

from __future__ import annotations

import base64
import json

import pytest

from tests.space.accessibility import faults, serious

pytestmark = pytest.mark.browser


@pytest.fixture
def enter(visit):
    def open_tab(name: str, code: str = "", scale: str = "", **options):
        page = visit(**options)
        page.get_by_role("tab", name="Annotate", exact=True).click()
        page.wait_for_selector("#guidelines :text('Be strict: judge what is there')")
        page.fill("#annotator input, #annotator textarea", name)
        page.fill("#code input, #code textarea", code)
        if scale:
            page.get_by_label(scale).check()
        page.click("#enter")
        page.wait_for_selector("#told .tj-notice")
        return page

    return open_tab


def item_of(page) -> str:
    return page.get_attribute("[data-item]", "data-item")


def rate(page, scores: dict[str, int], why: str = "the star is too small") -> None:
    """Fill the open form and save it."""
    for aspect, score in scores.items():
        page.locator(f"#score-{aspect}").get_by_label(str(score), exact=True).check()
    page.fill(f"#why-{next(iter(scores))} input, #why-{next(iter(scores))} textarea", why)
    page.click("#save")


def aspects_of(page) -> list[str]:
    return [element.get_attribute("id")[len("score-") :] for element in page.locator("[id^=score-]").all()]


def test_two_people_reach_an_agreement_figure(enter, shoot):
    seen: dict[str, list[str]] = {}
    for name, shift in (("ann", 0), ("ben", 1)):
        page = enter(name)
        seen[name] = []
        for score in (2, 8):
            page.wait_for_selector("#save")
            item = item_of(page)
            seen[name].append(item)
            rate(page, dict.fromkeys(aspects_of(page), score + shift))
            page.wait_for_selector("#told .tj-good:has-text('Stored')")
            gone_on(page, item)
    assert seen["ann"] == seen["ben"], "what one began, the other is given first"
    assert len(set(seen["ann"])) == 2, "nobody is given a picture twice"
    alpha = float(page.inner_text("#agreement [data-alpha=overall]"))
    assert 0.8 < alpha < 1
    page.evaluate("scrollTo(0, 0)")
    shoot(page, "annotate", 1200)
    page.click("#export")
    page.wait_for_selector("#export-link a")
    data = page.get_attribute("#export-link a", "href").split(",", 1)[1]
    rows = {row["id"]: row["human_scores"] for row in map(json.loads, base64.b64decode(data).splitlines())}
    assert {score["annotator"] for score in rows[seen["ann"][0]]} == {"ann", "ben"}
    assert set(rows[seen["ann"][0]][0]) == {"annotator", "aspect", "question_id", "score", "explanation"}


def test_an_annotator_comes_back_to_the_open_picture_with_the_code(enter):
    page = enter("cleo")
    code = page.inner_text("#told code")
    page.wait_for_selector("[data-item]")
    open_item = item_of(page)
    stranger = enter("cleo", "000000000000")
    assert "The code is wrong" in stranger.inner_text("#told")
    assert stranger.locator("#save").count() == 0
    again = enter("cleo", code)
    again.wait_for_selector("[data-item]")
    assert item_of(again) == open_item


def gone_on(page, item: str) -> None:
    """Wait until another picture lies open."""
    page.wait_for_function(
        "old => ![undefined, old].includes(document.querySelector('[data-item]')?.dataset.item)", arg=item
    )


def test_a_picture_that_was_saved_in_another_tab_makes_room_for_the_next_one(enter):
    """It said to continue with the next one, and stayed."""
    page = enter("hana")
    tab = enter("hana", page.inner_text("#told code"))
    item, scores = item_of(page), dict.fromkeys(aspects_of(page), 5)
    assert item_of(tab) == item
    for each, told in ((page, "Stored: 1"), (tab, "This picture is already saved")):
        rate(each, scores)
        each.wait_for_selector(f"#told :text('{told}')")
        gone_on(each, item)
    assert item_of(page) == item_of(tab)


def test_what_is_open_already_is_shown_anew(benchmark, tmp_path):
    """A form is drawn where a state changes. Of an answer that was lost, the session has it and the page does not."""
    from annotate_tab import Desk, _open
    from annotation_store import AnnotationStore, FolderShelf
    from assignments import Assignments

    assignments = Assignments(benchmark.items, AnnotationStore(FolderShelf(tmp_path)))
    first, again = (_open(assignments, Desk("ida", "", "general", None)) for _ in range(2))
    assert first.item == again.item and first != again


def test_what_is_missing_is_named_and_nothing_is_lost(enter):
    page = enter("dora")
    page.wait_for_selector("#save")
    item = item_of(page)
    page.locator("#score-overall").get_by_label("7", exact=True).check()
    page.click("#save")
    page.wait_for_selector("#told .tj-bad")
    assert "has no score yet" in page.inner_text("#told")
    assert item_of(page) == item
    assert page.locator("#score-overall").get_by_label("7", exact=True).is_checked()


def test_a_picture_is_rated_by_keyboard_alone(enter):
    page = enter("kim")
    page.wait_for_selector("#save")
    item, aspects = item_of(page), aspects_of(page)
    page.evaluate("document.activeElement.blur()")
    for aspect, key in zip(aspects, "7x35"):
        page.keyboard.press(key)
        page.wait_for_selector(f"#score-{aspect} input:checked")
    assert page.locator(f"#score-{aspects[1]}").get_by_label("10", exact=True).is_checked()
    page.wait_for_function("document.activeElement.closest('[id^=why-]') !== null")
    page.keyboard.type("7 is too many")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#told .tj-good:has-text('Stored')")
    gone_on(page, item)


def test_dreambench_plus_plus_has_its_two_scales_and_the_reference(enter):
    page = enter("emil", scale="DreamBench++")
    page.wait_for_selector("#save")
    assert aspects_of(page) == ["concept_preservation", "prompt_following"]
    assert page.locator("[data-item] img").count() == 2
    assert page.locator("#score-prompt_following input").count() == 5
    assert serious(page) == [], "of single ratings; pairs are looked at below"
    rate(page, {"concept_preservation": 4, "prompt_following": 0}, "the same thing in another place")
    page.wait_for_selector("#told .tj-good:has-text('Stored')")


def test_annotating_fits_a_phone(enter):
    page = enter("fay", width=390, height=844, dark=True)
    page.wait_for_selector("#save")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.fixture
def on_a_phone(chromium, paired, tmp_path):
    """The tab alone, open at 360 pixels, with many pairs."""
    import gradio as gr

    from annotate_tab import build_annotate_tab
    from annotation_store import AnnotationStore, FolderShelf
    from app import launch_options

    with gr.Blocks() as demo:
        build_annotate_tab(paired, AnnotationStore(FolderShelf(tmp_path)))
    options = {**launch_options(), "app_kwargs": {}, "server_name": "127.0.0.1"}
    _, url, _ = demo.launch(prevent_thread_lock=True, **options)
    context = chromium.new_context(viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.goto(f"{url}?__theme=light")
    yield page
    context.close()
    demo.close()


def pair_of(page) -> str:
    return page.get_attribute("[data-pair]", "data-pair")


def press(page, key: str) -> str:
    """One key, and what lies open then."""
    before = pair_of(page)
    page.keyboard.press(key)
    page.wait_for_function(
        "old => ![null, undefined, old].includes(document.querySelector('[data-pair]')?.dataset.pair)", arg=before
    )
    return before


def test_twenty_comparisons_by_keyboard_on_a_phone(on_a_phone, shoot):
    page = on_a_phone
    page.fill("#annotator input, #annotator textarea", "gus")
    page.get_by_label("Which of two is better?").check()
    page.click("#enter")
    page.wait_for_selector("[data-pair]")
    seen = [press(page, "1234"[number % 4]) for number in range(20)]
    assert len(set(seen)) == 20, "one key a comparison, no pair twice"
    page.wait_for_selector("#told :text('Stored: 20 of 126')")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert faults(page) == [] and serious(page) == []
    shoot(page, "annotate-pairs", 740)
    press(page, "u")
    assert pair_of(page) == seen[-1], "the last one lies open again"
    page.wait_for_selector("#told :text('Vote removed. Stored: 19 of 126')")
    page.wait_for_selector("#agreement :text('19 votes')")
    page.fill("#annotator input, #annotator textarea", "1234u")
    assert pair_of(page) == seen[-1], "what is typed in a field is no vote"


def test_a_pair_that_was_voted_on_in_another_tab_makes_room_for_the_next_one(on_a_phone):
    tabs = [on_a_phone, on_a_phone.context.new_page()]
    tabs[1].goto(on_a_phone.url)
    code = ""
    for page in tabs:
        page.fill("#annotator input, #annotator textarea", "iris")
        page.fill("#code input, #code textarea", code)
        page.get_by_label("Which of two is better?").check()
        page.click("#enter")
        page.wait_for_selector("[data-pair]")
        code = code or page.inner_text("#told code")
    assert press(tabs[0], "1") == press(tabs[1], "2")
    tabs[1].wait_for_selector("#told :text('This pair is already voted on')")
    assert pair_of(tabs[0]) == pair_of(tabs[1])
