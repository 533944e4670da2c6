"""The Leaderboard tab in a real browser: the report in its frame, of a run and of the benchmark."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser


def test_the_report_stands_in_its_frame(visit, shoot):
    page = visit()
    page.get_by_role("tab", name="Leaderboard", exact=True).click()
    board = page.frame_locator("#board-page iframe")
    board.locator("#plot-where svg.main-svg").first.wait_for()
    assert "ours is better than theirs" in board.locator("h1").inner_text()
    shoot(page, "leaderboard", 1000)
    board.locator("nav a", has_text="Pictures").click()
    board.locator("#feed .card h3").first.click()
    page.keyboard.press("j")
    assert board.locator(".card.current").count() == 1
    assert board.locator("h1").count() == 1, "links lead to places of the report"
    board.locator(".picture button").first.click()
    assert board.locator("dialog[open] img").is_visible() and board.locator("dialog a").count() == 0
    page.keyboard.press("Escape")
    page.click("#board input")
    page.get_by_role("option", name="the benchmark by teacher", exact=True).click()
    board.locator("h1", has_text="No winner among 7 generators").wait_for()
    assert board.locator("#feed img").count() > 5
    assert board.locator(".matrix td.open").count() == 42


def test_it_fits_a_phone_in_the_dark(visit, shoot):
    page = visit(dark=True, width=390, height=844)
    page.get_by_role("tab", name="Leaderboard", exact=True).click()
    board = page.frame_locator("#board-page iframe")
    board.locator("#feed .card").first.wait_for()
    shoot(page, "leaderboard-phone-dark", 844)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
