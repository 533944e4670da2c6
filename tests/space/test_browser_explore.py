"""The Explore tab in a real browser: filters, points to click, items to step through, both themes, a phone."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser


@pytest.fixture
def explore(visit):
    def open_tab(**options):
        page = visit(**options)
        page.wait_for_function("window.tjOpened")  # what a press does is wired by then
        page.get_by_role("tab", name="Explore", exact=True).click()
        page.wait_for_selector("#scatter svg")
        return page

    return open_tab


def choose(page, box: str, option: str) -> None:
    page.click(f"{box} input")
    page.get_by_role("option", name=option, exact=True).click()


def test_a_click_on_a_point_shows_its_item(explore, shoot):
    page = explore()
    shoot(page, "explore", 1100)
    assert page.locator("#scatter circle").count() == 42
    dot = page.locator("#scatter circle:not(.tj-picked)").nth(5)
    generator, prompt = dot.locator("title").text_content().split(": ", 1)
    dot.dispatch_event("click")
    page.wait_for_function("prompt => document.querySelector('#detail').innerText.includes(prompt)", arg=prompt)
    assert generator in page.inner_text("#detail")
    assert page.locator("#scatter circle.tj-picked title").text_content() == f"{generator}: {prompt}"
    assert "careful" in page.inner_text("#detail"), "every annotator"


def test_filters_narrow_the_plot_and_the_tables_follow(explore):
    page = explore()
    assert page.locator("#judges tbody tr").count() == 2
    assert "[" in page.inner_text("#judges tbody"), "intervals"
    choose(page, "#explore-judge", "direct")
    page.wait_for_function("document.querySelectorAll('#scatter circle').length === 38")
    page.locator("#disagreement input[type=range]").fill("20")
    page.wait_for_function("document.querySelectorAll('#scatter circle').length < 38")
    choose(page, "#explore-aspect", "Appearance")
    page.wait_for_function("document.querySelector('#judges caption').innerText.includes('appearance')")


def test_items_are_stepped_through_from_the_keyboard(explore):
    page = explore()
    first = page.inner_text("#detail .tj-prompt")
    page.focus("#next-item")
    page.keyboard.press("Enter")
    page.wait_for_function("old => document.querySelector('#detail .tj-prompt').innerText !== old", arg=first)


def test_the_leaderboard_has_every_generator_with_an_interval(explore):
    page = explore()
    rows = page.locator("#leaderboard figure").first.locator("li")
    assert rows.count() == 7
    assert page.locator("#leaderboard .tj-whisker").count() == 14


@pytest.mark.parametrize("dark", [False, True])
def test_plots_take_the_pages_colours_and_fit_a_phone(explore, shoot, dark):
    page = explore(dark=dark, width=390, height=844)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ink = page.evaluate("getComputedStyle(document.querySelector('#scatter .tj-axis')).fill")
    channels = [int(part) for part in ink[4:-1].split(",")]
    assert (min(channels) > 200) if dark else (max(channels) < 80)
    assert page.evaluate("(e => e.scrollWidth <= e.clientWidth)(document.querySelector('#judges .tj-table'))")
    width = page.evaluate("document.querySelector('#scatter svg').getBoundingClientRect().width")
    assert 250 < width <= 390
    if dark:
        shoot(page, "explore-phone-dark", 1000)
