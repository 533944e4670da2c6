"""Tables: every format, blanks as gaps, exact numbers, and errors that name row, column, value and fix."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from t2i_judge.errors import UserError
from t2i_judge.inputs import parquets, readers
from t2i_judge.inputs.numerals import parse_number
from t2i_judge.inputs.readers import count_rows, iter_rows
from t2i_judge.inputs.rows import Columns
from t2i_judge.inputs.shapes import Long, listed_numbers, wide_from_long
from t2i_judge.inputs.tables import read_table


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_csv_with_bom_quoted_newlines_blank_cells_and_nan(tmp_path):
    text = '\ufeffid,prompt,score\r\na,"two\r\nlines, ""quoted""",1\r\nb,é,\r\n\r\nc,x, \r\nd,y,nan\r\n'
    table = read_table(write(tmp_path / "t.csv", text))
    assert table.rows == 4 and list(table.columns) == ["id", "prompt", "score"]
    assert table.column("prompt")[0] == 'two\r\nlines, "quoted"'
    scores = table.numbers("score")
    assert scores.dtype == float and scores[0] == 1 and all(math.isnan(s) for s in scores[1:])
    assert len(table.sha256) == 64


def test_blank_lines_before_the_header_are_passed_over(tmp_path):
    assert read_table(write(tmp_path / "t.csv", "\n,\n\na,b\n1,2\n")).column("b") == ["2"]


def test_the_same_table_in_every_format(tmp_path):
    rows = [{"g": "a", "x": 1, "y": 0.1, "z": True}, {"g": None, "x": None, "y": 0.30000000000000004, "z": False}]
    write(tmp_path / "t.csv", "g,x,y,z\na,1,0.1,True\n,,0.30000000000000004,false\n")
    write(tmp_path / "t.tsv", "g\tx\ty\tz\na\t1\t0.1\tTrue\n\t\t0.30000000000000004\tfalse\n")
    write(tmp_path / "t.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    write(tmp_path / "t.json", json.dumps(rows))
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    for ending in ("csv", "tsv", "jsonl", "json", "parquet"):
        table = read_table(tmp_path / f"t.{ending}", ["g", "x", "y", "z"])
        assert table.labels("g") == ["a", None]
        assert table.numbers("x")[0] == 1 and math.isnan(table.numbers("x")[1])
        assert table.numbers("y").tolist() == [0.1, 0.30000000000000004]
        assert table.numbers("z").tolist() == [1, 0]


def test_a_key_that_some_json_rows_lack_is_a_gap(tmp_path):
    table = read_table(write(tmp_path / "t.jsonl", '{"a": 1}\n{"b": 2}\n{"a": NaN, "b": null}\n'))
    assert table.column("a") == [1, None, None] and table.column("b") == [None, 2, None]


def test_a_dataset_folder(tmp_path):
    parquet.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), tmp_path / "test.parquet")
    table = read_table(tmp_path, ["a"])
    assert table.numbers("a").tolist() == [1, 2] and list(table.columns) == ["a"]
    with pytest.raises(UserError, match="no split 'train'"):
        list(iter_rows(f"{tmp_path}::train"))


@pytest.mark.parametrize(
    ("cell", "value"), [("1", 1), (" 2.5 ", 2.5), ("-1e-3", -0.001), (True, 1), ("false", 0), (2**53, 2.0**53)]
)
def test_numbers(cell, value):
    assert parse_number(cell) == value


@pytest.mark.parametrize(
    ("cell", "reason"),
    [("N/A", "not a number"), ("3,5", "not a number"), ("1_000", "not a number"), ([1], "not a number"),
     ("inf", "finite"), ("9" * 500, "finite"), (10**400, "finite"), (2**53 + 1, "digits"),
     ("9007199254740993", "digits")],
)  # fmt: skip
def test_what_is_not_an_exact_finite_number(cell, reason):
    with pytest.raises(ValueError, match=reason):
        parse_number(cell)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive_text(value):
    assert parse_number(repr(value)) == value


def test_errors_are_one_line_and_name_row_column_value_and_fix(tmp_path):
    table = read_table(write(tmp_path / "t.csv", "score,g\n1,a\nbad\tone,b\n"))
    with pytest.raises(
        UserError, match=r"row 2, column 'score': 'bad\\tone' is not a number.*leave the cell blank"
    ) as error:
        table.numbers("score")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="nearest is 'score'"):
        table.numbers("scor")
    with pytest.raises(UserError, match="Known names are g, score"):
        read_table(tmp_path / "t.csv", ["zzz"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "has no rows"),
        ("t.csv", "a,b\n", "has no rows"),
        ("t.csv", "a,b\n1,2\n1,2,3\n", r"row 2 has 3 cells"),
        ("t.csv", "a,a\n1,2\n", "column 'a' twice"),
        ("t.jsonl", '{"a": 1}\n{"a": ', "line 2 is not JSON"),
        ("t.jsonl", "[1]\n", "not an object"),
        ("t.json", "{}", "array of objects"),
        ("t.json", "{", "not JSON"),
        ("t.parquet", "no", "not valid PARQUET"),
        ("t.txt", "no", "Use one of"),
    ],
)
def test_broken_files(tmp_path, name, content, message):
    with pytest.raises(UserError, match=message) as error:
        read_table(write(tmp_path / name, content))
    assert "\n" not in str(error.value)


def test_files_that_are_not_there_or_not_utf8(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_table(tmp_path / "gone.csv")
    with pytest.raises(UserError, match="UTF-8"):
        read_table(write(tmp_path / "t.csv", "é\né\n", "latin-1"))
    with pytest.raises(UserError, match="Cannot load the dataset"):
        read_table(tmp_path)


def test_rows_stream_without_reading_the_rest(tmp_path):
    rows = iter_rows(write(tmp_path / "t.jsonl", '{"a": 1}\n{"a": 2}\nbroken\n'))
    assert next(rows) == {"a": 1} and next(rows) == {"a": 2}
    with pytest.raises(UserError, match="line 3"):
        next(rows)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_what_separates_cells_is_found_and_cells_stay_text(tmp_path, separator, ending):
    """A semicolon or a comma inside a cell separates nothing; 007 is no number until one is asked for."""
    rows = [["id", "prompt", "score"], ["007", '"a cat; a dog,\nand more"', "1.50"], ["008", "x", ""]]
    path = write(tmp_path / f"t.{ending}", "\n".join(separator.join(row) for row in rows))
    table = read_table(path)
    assert table.column("id") == ["007", "008"] and table.column("score") == ["1.50", None]
    assert table.column("prompt")[0] == "a cat; a dog,\nand more"
    assert next(iter_rows(path)) == {"id": "007", "prompt": "a cat; a dog,\nand more", "score": "1.50"}


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_lines_end_as_they_like(tmp_path, end):
    path = write(tmp_path / "t.csv", end.join(["prompt,image", "red cube,a.png", "blue cube,b.png", ""]))
    assert [row["image"] for row in iter_rows(path)] == ["a.png", "b.png"] == read_table(path).column("image")
    assert count_rows(str(path)) == 2


def test_one_column_needs_no_separator(tmp_path):
    table = read_table(write(tmp_path / "t.csv", "prompt\na cat; a dog\nb\n"))
    assert table.column("prompt") == ["a cat; a dog", "b"]


@pytest.mark.parametrize("reader", [lambda path: list(iter_rows(path)), read_table])
def test_rows_are_numbered_across_blocks_and_a_row_may_be_long(tmp_path, monkeypatch, reader):
    monkeypatch.setattr("t2i_judge.inputs.separated._BLOCK", 1 << 12)
    monkeypatch.setattr("t2i_judge.inputs.separated.LONGEST", 1 << 14)
    lines = [f'{number},"{"x" * 50}\n"' for number in range(1, 401)]
    assert len(list(iter_rows(write(tmp_path / "t.csv", "a,b\n" + "\n".join(lines))))) == 400
    lines[200] = f"201,{'y' * (1 << 13)}"  # longer than a block: read on in larger ones, no row twice
    rows = list(iter_rows(write(tmp_path / "t.csv", "a,b\n" + "\n".join(lines))))
    assert [row["a"] for row in rows] == [str(number) for number in range(1, 401)]
    lines[300] += ",3"
    with pytest.raises(UserError, match="row 301 has 3 cells"):
        reader(write(tmp_path / "t.csv", "a,b\n" + "\n".join(lines)))
    with pytest.raises(UserError, match="A row has more than"):
        reader(write(tmp_path / "t.csv", f"a,b\n1,2\n1,{'x' * (1 << 15)}\n"))


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(st.lists(st.lists(TEXT, min_size=3, max_size=3), min_size=1, max_size=8))
def test_whatever_csv_writes_comes_back(tmp_path_factory, rows):
    import csv

    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["a", "b", "c"], *rows])
    assert [list(row.values()) for row in iter_rows(path)] == rows


@pytest.mark.parametrize("name", ["me/set", "me/set.v2", "me/set.v2:config", "me/set:config:split"])
def test_a_name_that_is_no_file_is_a_dataset_and_streamed(monkeypatch, name):
    from datasets import Dataset, IterableDatasetDict

    asked = []

    def load(path, config, streaming, revision):
        asked.append((path, config, streaming, revision))
        return IterableDatasetDict(split=Dataset.from_dict({"a": [1, 2], "b": ["x", "y"]}).to_iterable_dataset())

    monkeypatch.setattr("datasets.load_dataset", load)
    monkeypatch.setattr(readers, "check_hub_card", lambda path: f"a commit of {path}")
    path, config = (*name.split(":"), None)[:2]
    assert list(iter_rows(name, ["a"], start=1)) == [{"a": 2}] and read_table(name, ["b"]).column("b") == ["x", "y"]
    assert asked == [(path, config, True, f"a commit of {path}")] * 2
    for missing in ("data/table.csv", "me/set.parquet"):
        with pytest.raises(UserError, match="no such file"):
            list(iter_rows(missing))


def test_more_cells_than_are_held_at_once_are_refused(tmp_path, monkeypatch):
    """Two megabytes of parquet say 600 million."""
    parquet.write_table(pa.table({"a": [1.0] * 6, "b": [2.0] * 6}), tmp_path / "t.parquet")
    monkeypatch.setattr(readers, "_CELLS", 11)
    assert read_table(tmp_path / "t.parquet", ["a"]).column("a") == [1.0] * 6
    with pytest.raises(UserError, match=r"In [\d,]+ bytes it says 6 rows: more than are held"):
        read_table(tmp_path / "t.parquet")


def own_columns(rows):
    return "".join(f'{{"c{row}": 1}}\n' for row in range(rows))


def test_gaps_that_no_row_writes_are_counted_before_they_are_filled_in(tmp_path):
    """A hundred kilobytes of rows, each with a column of its own, took gigabytes."""
    few = read_table(write(tmp_path / "few.jsonl", own_columns(1000)))
    assert few.rows == 1000 and few.column("c7")[6:9] == [None, 1, None]
    assert list(few.columns) == [f"c{row}" for row in range(1000)]
    late = write(tmp_path / "late.jsonl", "{}\n" * 3000 + json.dumps({f"c{n}": n for n in range(1000)}))
    for many in (write(tmp_path / "many.jsonl", own_columns(2000)), late):
        with pytest.raises(UserError, match=r"By row [\d,]+ it has 1,\d+ columns"):
            read_table(many)
        assert read_table(many, ["c7"]).column("c7").count(None) == read_table(many, ["c7"]).rows - 1


def test_a_table_that_writes_all_its_cells_is_read_whatever_their_number(tmp_path, monkeypatch):
    rows = "".join(json.dumps({"a": row, "b": row}) + "\n" for row in range(20))
    monkeypatch.setattr(readers, "_CELLS", 11)
    assert read_table(write(tmp_path / "t.jsonl", rows)).column("b") == list(range(20))
    assert read_table(write(tmp_path / "t.jsonl", '{"a": 1}\n' * 11 + '{"a": 1, "b": 2}')).column("b")[11] == 2
    with pytest.raises(UserError, match="By row 13 it has 2 columns"):
        read_table(write(tmp_path / "t.jsonl", '{"a": 1}\n' * 12 + '{"a": 1, "b": 2}'))


def test_a_text_that_no_row_may_hold_is_refused_before_it_is_copied(tmp_path, monkeypatch):
    """A few kilobytes of parquet say hundreds of megabytes, by what they say of themselves or not."""
    monkeypatch.setattr(parquets, "_LONGEST", 1000)
    monkeypatch.setattr(parquets, "_LARGE", 1000)
    for name, prompts in (("one", ["a" * 5000]), ("among", ["b"] * 9 + ["a" * 1001])):
        parquet.write_table(pa.table({"prompt": prompts, "n": range(len(prompts))}), tmp_path / f"{name}.parquet")
        with pytest.raises(UserError, match="A text in column 'prompt' has more than"):
            list(iter_rows(tmp_path / f"{name}.parquet"))
        assert len(list(iter_rows(tmp_path / f"{name}.parquet", ["n"]))) == len(prompts)
    with pytest.raises(UserError, match="A text in column 'prompt' has more than"):
        read_table(tmp_path / "one.parquet")
    parquet.write_table(pa.table({"prompt": ["a" * 900] * 10}), tmp_path / "fits.parquet")
    assert len(list(iter_rows(tmp_path / "fits.parquet"))) == 10


def test_names_with_spaces_and_excels_line_of_the_separator(tmp_path):
    (tmp_path / "x.csv").write_text("sep=;\nitem; h1 ; h2\na; 3;4\n", encoding="utf-8-sig")
    table = read_table(tmp_path / "x.csv")
    assert list(table.columns) == ["item", "h1", "h2"] and list(table.numbers("h1")) == [3]
    assert list(iter_rows(tmp_path / "x.csv")) == [{"item": "a", "h1": " 3", "h2": "4"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_arrow_s_threads_hold_nothing_that_needs_the_interpreter(encoding, tmp_path, monkeypatch):
    """A process that ended just as one of them let go of it aborted or hung, after all was printed."""
    from pyarrow import csv as arrow_csv

    given = []

    def open_csv(*args):
        given.append(args)
        return opened(*args)

    opened = arrow_csv.open_csv
    monkeypatch.setattr(arrow_csv, "open_csv", open_csv)
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,ä\n2,€\n", encoding=encoding)
    assert read_table(path).column("b") == ["ä", "€"] == [row["b"] for row in iter_rows(path)]
    path.write_text("a,b\n1,2\n1,2,3\n", encoding=encoding)
    with pytest.raises(UserError, match=r"t\.csv, row 2 has 3 cells\. The header has 2\."):
        read_table(path)
    assert len(given) == 3
    for file, read, parse, _ in given:
        assert isinstance(file, Path)
        assert (read.encoding, parse.invalid_row_handler) == ("utf8", None)
        assert file == path or not file.exists(), "a copy in UTF-8 is removed"


OPEN = 'prompt,score,label\n"red,1,1\nblue,2,3\ngreen,3,2\nx "y",4,5\nz,7,6\n'


@pytest.mark.parametrize("text", [OPEN, OPEN.replace(",", ";"), OPEN.replace(",", "\t"), OPEN.replace('x "y"', '"x"')])
@pytest.mark.parametrize("read", [lambda path: list(iter_rows(path)), read_table], ids=["rows", "columns"])
def test_a_quotation_mark_that_is_not_closed_swallows_no_rows(tmp_path, text, read):
    """Of five rows two were left, without a word."""
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=r"t\.csv, line 2: a cell goes on over \d lines"):
        read(tmp_path / "t.csv")


def test_cells_of_several_lines_and_marks_inside_cells_are_read(tmp_path):
    cells = ["a\nb,1,2\nc", 'a "red"\ncat', 'the "b', "x"]
    path = tmp_path / "t.csv"
    path.write_text('prompt,score\n"a\nb,1,2\nc",1\n"a ""red""\ncat",2\nthe "b,3\nx,4\n')
    assert [row["prompt"] for row in iter_rows(path)] == read_table(path).column("prompt") == cells


@pytest.mark.parametrize(("name", "text"), [("t.jsonl", '{"a": 1, "b": 2, "a": 3}'), ("t.json", '[{"a": 1, "a": 3}]')])
def test_a_column_twice_in_one_object_is_refused(tmp_path, name, text):
    """Python keeps the last: a score of 1 was read as 9."""
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="the name 'a' stands twice"):
        list(iter_rows(tmp_path / name))


def test_nought_is_the_name_of_a_rater_an_item_and_an_aspect(tmp_path):
    """The rater 0 was no rater, and the item 0 had the name of its row."""
    rows = [{"item": i, "rater": r, "score": i + r, "aspect": 0} for i in range(3) for r in range(2)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    table, raters, aspect = wide_from_long(read_table(tmp_path / "t.jsonl"), Long(["item"], "rater", "score"), None)
    assert (table.rows, raters, aspect) == (3, ["0", "1"], "0")
    assert Columns(id="item").item({"item": 0, "prompt": "x", "image": None}, 7)[3] == "0"
    assert Columns(id="item").item({"item": None, "prompt": "x", "image": None}, 7)[3] == "00000007"


def test_spaces_around_a_name_make_no_other_rater_or_item(tmp_path):
    (tmp_path / "t.csv").write_text("item,rater,score\na,ann,1\na , bob,2\nb,ann ,3\nb,bob,4\n")
    table, raters, _ = wide_from_long(read_table(tmp_path / "t.csv"), Long(["item"], "rater", "score"), None)
    assert (table.rows, raters) == (2, ["ann", "bob"])
    (tmp_path / "t.csv").write_text("item,rater,score\na,ann,1\na,ann ,2\n")
    with pytest.raises(UserError, match="'ann' rated 'a' twice"):
        wide_from_long(read_table(tmp_path / "t.csv"), Long(["item"], "rater", "score"), None)


def test_lists_of_one_length_in_parquet_are_lists_of_ratings(tmp_path):
    lists = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64(), 2))
    parquet.write_table(pa.table({"ratings": lists}), tmp_path / "t.parquet")
    found = listed_numbers(read_table(tmp_path / "t.parquet"), "ratings")
    assert found == {"ratings_1": [1.0, 3.0], "ratings_2": [2.0, 4.0]}


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_a_cell_does_not_lose_its_quotation_marks(tmp_path: Path, name: str) -> None:
    """`"hi" says the cat` was read without them, and ocr: found nothing that was quoted."""
    path, comma = tmp_path / name, "," if name == "t.csv" else "\t"
    for cell in ('"hi" says the cat', '"a ""b"" c" d'):
        path.write_text(f"prompt{comma}image\na cup{comma}0.png\n{cell}{comma}1.png\n")
        for read in (lambda: list(iter_rows(path)), lambda: read_table(str(path))):
            with pytest.raises(UserError, match=rf"{name}, line 3: other text stands behind a closing quotation mark"):
                read()
    for cell, text in {
        '"""hi"" says the cat"': '"hi" says the cat',
        'a 12" cat': 'a 12" cat',
        '"a cat" ': "a cat ",
    }.items():
        path.write_text(f"prompt{comma}image\n{cell}{comma}1.png\n")
        assert [row["prompt"] for row in iter_rows(path)] == [text]
