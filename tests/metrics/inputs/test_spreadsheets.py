"""What a spreadsheet would run is guarded in every CSV that is written here, and comes back as it was."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_judge.cli import main
from t2i_judge.inputs.readers import iter_rows
from t2i_judge.inputs.spreadsheets import SCORES_COLUMNS, guarded, is_ours, unguarded
from t2i_judge.inputs.tables import read_table
from tests.metrics.serving.conftest import png

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", " =1", "\t=1", "\r=1", "'=1", "''-a", "\uff1d1"]
PLAIN = ["a cat", "", "-5", "+1.5e3", "'tis", "a = b", "-.5"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_gets_an_apostrophe_and_loses_it_again(text):
    assert guarded(text) == f"'{text}" and unguarded(guarded(text)) == text


@pytest.mark.parametrize("cell", [*PLAIN, -5, 2.5, None, True])
def test_numbers_and_words_stay(cell):
    assert guarded(cell) is cell and unguarded(cell) is cell


@given(st.text(alphabet="'=+-@ \t1a.", max_size=6))
def test_nothing_is_lost(text):
    assert unguarded(guarded(text)) == text


def test_scores_csv_runs_nothing_and_our_readers_give_back_what_was_judged(tmp_path):
    (tmp_path / "x.png").write_bytes(png())
    prompts = [*FORMULAS[:4], "'=1", "-5", "a cat"]
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerows([["prompt", "image", "=note"], *([prompt, "x.png", prompt] for prompt in prompts)])
    arguments = ["score", str(tmp_path / "t.csv"), "--judge", "fake", "--keep", "=note", "--out", str(tmp_path / "o")]
    assert main(arguments) == 0
    scores = tmp_path / "o" / "scores.csv"
    with scores.open(newline="", encoding="utf-8") as text:
        cells = [cell for row in csv.reader(text) for cell in row]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "@") or (cell[:1] == "-" and cell != "-5")]
    assert is_ours(SCORES_COLUMNS) and not is_ours(["prompt", "image"])
    table = read_table(scores)
    columns = {name: list(table.column(name)) for name in ("prompt", "=note")}
    assert columns["prompt"] == columns["=note"] == prompts == [row["=note"] for row in iter_rows(scores)]


def test_an_apostrophe_of_other_people_is_one(tmp_path):
    (tmp_path / "t.csv").write_text("prompt,image\n'=1,x.png\n'@home' sign,x.png\n", encoding="utf-8")
    assert [row["prompt"] for row in iter_rows(tmp_path / "t.csv")] == ["'=1", "'@home' sign"]
