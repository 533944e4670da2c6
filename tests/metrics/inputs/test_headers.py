"""The line that names the columns, under titles or not; text in any encoding; rows that were meant as columns."""

from __future__ import annotations

import codecs
import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_judge.errors import UserError
from t2i_judge.inputs.headers import header_place
from t2i_judge.inputs.readers import count_rows, iter_rows
from t2i_judge.inputs.tables import read_table

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
TITLES = st.lists(st.lists(TEXT, max_size=2), max_size=4)


def written(rows, separator=","):
    out = io.StringIO()
    csv.writer(out, delimiter=separator).writerows(rows)
    return out.getvalue()


@given(TITLES, st.sampled_from(",;\t"), st.booleans())
def test_titles_above_the_header_change_no_figure(tmp_path_factory, titles, separator, padded):
    rows = [["item", "h1", "judge"], ["a", "1", "2.5"], ["b", "", "3"]]
    above = [[*title, *[""] * (3 - len(title))] for title in titles] if padded else titles
    path = tmp_path_factory.mktemp("titles") / "t.csv"
    path.write_text(written([*above, *rows], separator), encoding="utf-8", newline="")
    table = read_table(path, ["judge", "h1"])
    assert table.numbers("judge").tolist() == [2.5, 3] and table.column("h1") == ["1", None]
    if any("".join(title).strip() for title in titles if not "".join(title).lower().startswith("sep=")):
        assert "left out above the names of its columns" in table.remarks.above


@given(st.lists(st.lists(TEXT, min_size=3, max_size=3), min_size=1, max_size=5), st.sampled_from(["le", "be"]))
def test_utf_16_with_its_mark_is_read_as_what_it_says(tmp_path_factory, rows, order):
    path = tmp_path_factory.mktemp("wide") / "t.csv"
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([["a", "b", "c"], *rows])
    mark = codecs.BOM_UTF16_LE if order == "le" else codecs.BOM_UTF16_BE
    path.write_bytes(mark + out.getvalue().encode(f"utf-16-{order}"))
    assert [list(row.values()) for row in iter_rows(path)] == rows
    assert read_table(path).rows == len(rows) == count_rows(str(path))


def test_utf_16_of_every_kind_and_what_is_torn(tmp_path):
    for name, text in (
        ("t.jsonl", '{"a": 1}\n{"a": 2}\n'),
        ("t.json", '[{"a": 1}, {"a": 2}]'),
        ("t.tsv", "a\tb\n1\t2\n2\t3"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-16")
        assert read_table(tmp_path / name, ["a"]).numbers("a").tolist() == [1, 2]
    for name, data in (("torn.csv", "a,b\n1,2\n".encode("utf-16")[:-1]), ("u.csv", "a,b\n1,2\n".encode("utf-32"))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match="UTF-8") as error:
            read_table(tmp_path / name, ["a"])
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("lines", "wanted", "place"),
    [
        ([["t"], ["a", "b"]], ["b"], 1),
        ([["t"], ["a", "b"]], ["c"], 0),
        ([["t"], ["a", "b"]], [], 0),
        ([["a", "b"], ["good", "bad"]], ["good"], 0),  # a line of data has as many cells as the header
        ([["t"], ["a", "3"]], ["a"], 0),  # and numbers, too
        ([["t"], ["a", "a"]], ["a"], 0),
        ([["t", ""], ["r1_SC", "r2_SC"]], ["r*_SC"], 1),
        ([["t"]] * 30 + [["a", "b"]], ["a"], 0),
        ([], ["a"], 0),
    ],
)
def test_only_a_line_that_can_be_nothing_else_is_a_later_header(lines, wanted, place):
    assert header_place(lines, wanted) == place


def test_a_table_on_its_side_and_a_title_that_hides_the_header_say_what_to_do(tmp_path):
    (tmp_path / "t.csv").write_text("rater,i1,i2\nh1,1,2\nh2,2,3\njudge,3,4\n")
    with pytest.raises(UserError, match=r"'judge', 'h1' are rows of .*Transpose it"):
        read_table(tmp_path / "t.csv", ["judge", "h1"])
    with pytest.raises(UserError, match=r"has no column 'judge'"):
        read_table(tmp_path / "t.csv", ["judge", "h3"])
    (tmp_path / "u.csv").write_text("Ratings of May\nitem,h1\na,1\n")
    with pytest.raises(UserError, match="Remove the lines above the header"):
        read_table(tmp_path / "u.csv")


@pytest.mark.parametrize(("last", "remark"), [("Average", True), ("mean:", True), ("i9", False), ("", False)])
def test_a_last_row_that_looks_like_a_total_is_said(tmp_path, last, remark):
    (tmp_path / "t.csv").write_text(f"item,h\na,1\nb,2\n{last},1.5\n")
    assert bool(read_table(tmp_path / "t.csv", ["h"]).remarks.lines) == remark
