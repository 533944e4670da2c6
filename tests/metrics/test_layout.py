"""Tables for a terminal: aligned, no wider than it, nothing lost."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from t2i_judge.layout import _narrowed, fitted, from_markdown, plain_table

CELLS = st.text(st.characters(codec="ascii", categories=["Lu", "Ll", "Nd", "Zs"]), max_size=60)


def test_a_table_without_a_limit_is_as_wide_as_its_cells():
    assert plain_table([["a", "note"], ["1", "x" * 90]]).splitlines()[2] == "1  " + "x" * 90


def test_the_widest_column_gives_way_and_figures_stay_whole():
    text = plain_table([["judge", "Spearman", "note"], ["tiny", "0.571 [0.503, 0.632]", "a long note " * 12]], 80)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "tiny   0.571 [0.503, 0.632]  a long note" in text and text.split().count("note") == 13


@settings(max_examples=200)
@given(st.integers(1, 9).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=5)))
def test_every_table_fits_and_no_word_is_lost_or_cut(cells):
    text = plain_table(cells, 60)
    words = {word for row in cells for cell in row for word in cell.split()}
    assert words <= set(text.split())
    if max(map(len, words), default=0) < 20:
        assert all(len(line) <= 60 for line in text.splitlines())


def letter_by_letter(widths: list[int], least: list[int], room: int) -> list[int]:
    """The widest column that may give way gives way by a letter, the last of several, until all fit."""
    narrowed = list(widths)
    while sum(narrowed) > room and (open_ := [n for n, have in enumerate(narrowed) if have > least[n]]):
        narrowed[max(open_, key=lambda n: (narrowed[n], n))] -= 1
    return narrowed


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=6), st.integers(1, 100))
def test_columns_are_narrowed_at_once_as_they_would_be_letter_by_letter(columns, width):
    widths, least = [max(pair) for pair in columns], [min(pair) for pair in columns]
    room = width - 2 * (len(widths) - 1)
    assert _narrowed(widths, least, width) == letter_by_letter(widths, least, room)


def test_a_name_of_six_megabytes_is_narrowed_at_once():
    """Letter by letter it took 21 s."""
    start = time.process_time()
    assert _narrowed([4, 6_000_000], [4, 2], 80) == [4, 74]
    assert time.process_time() - start < 1


def test_columns_without_room_stand_below_beside_what_names_the_rows():
    rows = [["a" * 20, "h1", "1", "2"], ["a" * 20, "h2", "3", "4"]]
    cells = [["judge", "against", "tie-calibrated accuracy", "cross-entropy"], *rows]
    first, second = plain_table(cells, 45).split("\n\n")
    assert [line.split() for line in first.splitlines()][-1] == ["a" * 20, "h2", "3"]
    assert [line.split() for line in second.splitlines()][-2:] == [["a" * 20, "h1", "2"], ["a" * 20, "h2", "4"]]


def test_our_markdown_on_a_terminal():
    text = "# Which\\_one\n\n| a | b\\|c |\n| --- | --- |\n| x\\_y | 2 |\n\n## Warnings\n\n- " + "word " * 30
    shown = fitted(from_markdown(text, 80), 80)
    assert shown.startswith("Which_one\n\na    b|c\n---  ---\nx_y  2\n\nWarnings\n\n- word")
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert fitted(f"  written: {'/x' * 60}", 80).split() == ["written:", "/x" * 60]
