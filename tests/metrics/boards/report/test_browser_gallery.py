"""The gallery of a selftest in a real Chromium: both themes, a phone of 360 px, texts of strangers, no script."""

from __future__ import annotations

import pytest

from t2i_judge.boards.report.gallery import Gallery
from t2i_judge.runs.selftest.attacks import QUICK
from t2i_judge.runs.selftest.battery import Sample, attacked, examine, readable
from tests.metrics.runs.planted import PlantedJudge, samples

from .test_browser_report import HOSTILE, serious

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    made = readable(samples(0, 12))
    items = [Sample(made[0].image, f"{made[0].prompt} {HOSTILE}"), *made[1:]]
    shown, judge = Gallery(), PlantedJudge("suffix")
    result = examine(judge, items, attacked(items, QUICK), watch=shown.watch)
    path = tmp_path_factory.mktemp("gallery") / "gallery.html"
    path.write_text(shown.page(result, judge.score_range), encoding="utf-8")
    return path


@pytest.mark.parametrize(("width", "dark"), [(360, True), (1280, False)])
def test_everybody_can_read_it(chromium, gallery, width, dark):
    said, asked = [], []
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(gallery.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".verdict.fail").first.is_visible() and "cannot be trusted" in page.inner_text("h1")
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    assert serious(page) == [] and page.title() == "Can this judge be trusted?"
    context.close()
    assert said == [] and [url for url in asked if not url.startswith(("file:", "data:"))] == []
