"""Cells as numbers: gaps, a person's own words and comma, and never a number that nobody wrote."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from t2i_judge.errors import UserError
from t2i_judge.inputs.numerals import GAPS, Numerals, is_gap, parse_number
from t2i_judge.inputs.tables import read_table

WORDS = ["bad", "Fair ", "good", "none", "★★★", "very good"]
NUMBERS = st.one_of(st.floats(allow_nan=False).map(repr), st.integers().map(str))
ODD = st.sampled_from(
    [*WORDS, *GAPS, "", " 1 ", "true", "4/5", "80 %", "1 234", "1.234,5", "1_000", "+3", "−1", "½", "5e"]
)
CELLS = st.one_of(NUMBERS, NUMBERS.map(lambda text: text.replace(".", ",")), ODD)
STATED = st.sampled_from([Numerals(), Numerals.stated("bad=1,fair=2,Good=3,none=0,★★★=3", "comma"), Numerals({}, True)])


@given(st.lists(CELLS, min_size=1), STATED)
@example(["4,5", "3"], Numerals({}, True))
def test_a_column_at_once_is_its_cells_one_by_one(tmp_path_factory, cells, numerals):
    path = tmp_path_factory.mktemp("numbers") / "t.csv"
    path.write_text("a;b\n" + "".join(f"{cell};\n" for cell in cells), encoding="utf-8")
    table = read_table(path, numerals=numerals)
    try:
        wanted = [numerals.parse(cell) for cell in cells]
    except ValueError:
        with pytest.raises(UserError, match=r"row \d+, column 'a'"):
            table.numbers("a")
    else:
        assert str(table.numbers("a").tolist()) == str(wanted)


@given(st.text(max_size=12), STATED)
def test_a_cell_is_a_word_that_was_said_a_gap_or_what_its_digits_say(cell, numerals):
    """Whatever a cell holds, its value is Python's own reading of it, with a comma where commas were said."""
    try:
        value = numerals.parse(cell)
    except ValueError:
        return
    text = cell.strip().lower()
    if text in numerals.levels:
        assert value == numerals.levels[text]
    elif is_gap(cell):
        assert math.isnan(value)
    elif text not in ("true", "false"):
        if numerals.decimal_comma:
            assert "." not in text
            text = text.replace(",", ".")
        assert "," not in text and value == float(text)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-1000, max_value=1000))
def test_a_decimal_comma_is_a_point_where_it_was_said_and_an_error_elsewhere(number):
    written = str(number).replace(".", ",")
    assert Numerals({}, True).parse(written) == float(number)
    with pytest.raises(ValueError, match="is not a number"):
        parse_number(written)
    with pytest.raises(ValueError, match="has a point"):
        Numerals({}, True).parse(str(number))


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("4,5", "must be a point, not a comma.* say --decimal comma"),
        ("85%", "leave out the percent sign"),
        ("4/5", "leave out the slash and what follows"),
        ("1.234,5", "leave out what separates thousands"),
        ("1 234", "leave out what separates thousands"),
        ("good", "what words are worth is said by --levels"),
        ("★★★★", "what words are worth is said by --levels"),
    ],
)
def test_what_spreadsheets_write_says_what_to_do(tmp_path, cell, words):
    (tmp_path / "x.csv").write_text(f"item;h1\na;3\nb;{cell}\nc;-\nd;n.d.\n", encoding="utf-8-sig")
    with pytest.raises(UserError, match=rf"row 2, column 'h1': .*{words}"):
        read_table(tmp_path / "x.csv").numbers("h1")


def test_levels_are_words_of_any_case_and_everything_else_stays_a_number(tmp_path):
    (tmp_path / "x.csv").write_text("h\nGood\n bad\n2\n\nNone\n-\n", encoding="utf-8")
    table = read_table(tmp_path / "x.csv", numerals=Numerals.stated("good=3, bad = 1,none=0", None))
    assert str(table.numbers("h").tolist()) == "[3.0, 1.0, 2.0, 0.0, nan]"  # the blank line is no row
    wrong = {"good": "not a level", "=3": "not a level", "good=x": "not a level", "4=5": "is not a word"}
    wrong |= {"good=1,GOOD=2": "appears twice", "good=nan": "not a level", "": "not a level"}
    for levels, words in wrong.items():
        with pytest.raises(UserError, match=words):
            Numerals.stated(levels, None)
