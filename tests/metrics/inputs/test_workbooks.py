"""A newcomer's spreadsheet: the sheet of a workbook is a table, and what is not says what to do."""

from __future__ import annotations

import sys

import pytest

from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.files import sha256
from t2i_judge.inputs.readers import iter_rows
from t2i_judge.inputs.rows import identity
from t2i_judge.inputs.tables import read_table
from tests.metrics.inputs.workbook_files import write_workbook

pytest.importorskip("python_calamine", reason="the extra [excel]")

ROWS = [
    ["item", " h1 ", "h2", None, "judge", "good"],
    ["a", 1, 2, "note", 1.5, True],
    None,
    ["007", 5, "#N/A", None, 4.25, False],
]


@pytest.fixture
def book(tmp_path):
    rows = [row or [] for row in ROWS]
    return write_workbook(tmp_path / "ratings.xlsx", {"Sheet1": rows, "Sheet2": []})


def test_the_sheet_of_a_workbook_is_a_table(book):
    rows = list(iter_rows(book))
    assert rows == [
        {"item": "a", "h1": 1, "h2": 2, "judge": 1.5, "good": True},
        {"item": "007", "h1": 5, "h2": None, "judge": 4.25, "good": False},
    ]
    assert all(type(row["h1"]) is int for row in rows)
    assert list(read_table(book).numbers("judge")) == [1.5, 4.25]


def test_meta_eval_reads_it(tmp_path, capsys):
    rows = [["item", "h1", "h2", "judge"], *([f"i{n}", n % 5, (n + 1) % 5, n % 7] for n in range(40))]
    book = write_workbook(tmp_path / "ratings.xlsx", {"mine": rows})
    assert main(["meta-eval", str(book), "--ratings", "h1,h2", "--prediction", "judge", "--bootstrap", "50"]) == 0
    assert "Spearman" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sheets", "words"),
    [
        (
            {"ratings": [["a"], [1]], "notes": [["hello"]]},
            "2 sheets with cells. Their names are ratings, notes. Name one",
        ),
        ({"ratings": [["a", "a"], [1, 2]]}, "has the column 'a' twice"),
        ({"ratings": []}, "has no rows"),
    ],
)
def test_what_is_no_table_says_what_to_do(tmp_path, sheets, words):
    with pytest.raises(UserError, match=words):
        read_table(write_workbook(tmp_path / "x.xlsx", sheets))


def test_one_of_several_sheets_with_a_title_above_and_a_total_below(tmp_path, capsys):
    rows = [
        ["Ratings of May"],
        [],
        ["item", "h1", "judge"],
        *([f"i{n}", n % 5, n % 7] for n in range(9)),
        ["Mean", 2, 3],
    ]
    book = write_workbook(tmp_path / "x.xlsx", {"notes": [["hello"]], "May 2026": rows})
    table = read_table(f"{book}:May 2026", ["judge", "h1"])
    assert table.rows == 10 and table.sha256 == sha256(book) and list(table.numbers("h1"))[:2] == [0, 1]
    assert identity(f"{book}:May 2026") == {"sha256": sha256(book), "sheet": "May 2026"}  # of a run on that sheet
    assert table.remarks.above.endswith("left out above the names of its columns: 'Ratings of May'")
    asked = [
        "meta-eval",
        str(book),
        "--sheet",
        "May 2026",
        "--ratings",
        "h1",
        "--prediction",
        "judge",
        "--bootstrap",
        "0",
    ]
    assert main(asked) == 0
    assert "its last row is called 'Mean' and counts as an item" in " ".join(capsys.readouterr().out.split())
    assert main([*asked, "--where", "item!=Mean"]) == 0
    shown = capsys.readouterr().out
    assert "Ratings of May" in shown and "last row" not in shown and " 9 " in shown
    with pytest.raises(UserError, match=r"no sheet 'May'. The nearest is 'May 2026'"):
        read_table(f"{book}:May")
    assert main(["meta-eval", str(tmp_path / "x.csv"), "--sheet", "May", "--ratings", "h1"]) == 2
    assert "is not a workbook" in capsys.readouterr().err


def test_what_is_no_workbook_is_told_in_one_line(tmp_path, capsys):
    (tmp_path / "x.xlsx").write_text("item,h1\n")
    assert main(["meta-eval", str(tmp_path / "x.xlsx"), "--ratings", "h1"]) == 2
    told = capsys.readouterr().err
    assert "x.xlsx" in told and len(told.splitlines()) == 1 and "Traceback" not in told


def test_without_its_reader_the_fix_is_told(book, monkeypatch):
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(UserError, match=r"pip install 't2i-judge\[excel\]', or save the sheet as CSV"):
        read_table(book)
