"""One reader for every table: CSV with comma, semicolon or tab, JSONL, JSON, parquet, workbook or dataset, row by row.

A name means, in this order: a file; a folder or glob of images; a dataset folder; a missing file, if it has the ending
of a table; a dataset on the Hub. Datasets are written NAME, NAME:CONFIG or NAME:CONFIG:SPLIT and are streamed. A row
keeps its images as they are stored (paths, or `{"bytes", "path"}`), so that a broken image becomes the status of its
item later.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, faults, nearest
from ..files import open_text, parse_json, read_text, whole_number
from ..wording import counted
from .dataset_cards import check_card, check_hub_card
from .folders import folder_rows, is_image_folder
from .headers import Remarks, looks_like_a_summary
from .parquets import parquet_columns, parquet_rows, parquet_table
from .places import check_places, dataset_parts
from .separated import ENDINGS as _SEPARATED
from .separated import LONGEST, require_closed_quotes, separated, separated_rows
from .spreadsheets import is_ours, unguarded
from .workbooks import ENDINGS as _WORKBOOKS
from .workbooks import book_and_sheet, workbook_rows

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]

ENDINGS = (*_SEPARATED, ".jsonl", ".json", ".parquet", *_WORKBOOKS)
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[^:]+){0,2}")
# Cells of a table that is held at once; and, as a few kilobytes of parquet may say that they hold all of these, as many
# as any file may have, and beyond that so many for each of its bytes (ratings of five levels take a third of one).
_CELLS, _FREE, _IN_A_BYTE = 100_000_000, 2_000_000, 20


def most_cells(size: int) -> int:
    """How many cells a file of so many bytes may say that it has, without writing each."""
    return min(_CELLS, max(_FREE, _IN_A_BYTE * size))


class UnknownColumn(UserError):
    """The table lacks a column that is asked for."""


def unknown_column(path: str, name: str, columns: Iterable[str]) -> UnknownColumn:
    """The error for a missing column. It names the nearest column, or all of them."""
    return UnknownColumn(f"{path} has no column '{name}'", nearest(name, columns), "Use one of its columns")


def require(source: str, wanted: Iterable[str], known: Iterable[str]) -> None:
    """Raise `UserError` for the first wanted column that does not exist."""
    known = list(known)
    for name in wanted:
        if name not in known:
            raise unknown_column(source, name, known)


def iter_rows(
    source: str | Path,
    columns: Sequence[str] | None = None,
    start: int = 0,
    count: int | None = None,
    prompts_from: str | None = None,
    remarks: Remarks | None = None,
) -> Iterator[Row]:
    """Rows from number `start` (counted from 0), at most `count` of them, with only a few in memory at a time.

    Args:
        source: a .csv, .tsv, .jsonl, .json (array of objects) or .parquet file; a workbook, or BOOK.xlsx:SHEET
            (`inputs.workbooks`); a folder or glob of images (`inputs.folders`); a dataset folder or a Hub dataset.
        columns: columns to read from parquet files and datasets; in spreadsheets they also distinguish the header from
            titles above it (`headers.header_place`). None reads everything.
        start, count: which rows. Parquet does not read the rows before them.
        prompts_from: for a folder of images, see `inputs.folders`.
        remarks: receives remarks on lines above the header, and on a last row that looks like a total.

    Values are as the format gives them: text in CSV (`007` stays `007`), typed elsewhere.

    Raises:
        UserError: the table or a column does not exist (the nearest is named), or a row cannot be read.
    """
    path, _ = book_and_sheet(source)
    ending, noted = path.suffix.lower(), remarks or Remarks()
    if prompts_from and (path.is_file() or not is_image_folder(source)):
        raise UserError(
            f"{source} is not a folder of images", "A table has its prompts in a column", "Leave out --prompts-from"
        )
    if path.is_file():
        if ending not in ENDINGS:
            raise UserError(
                f"{path} has an unknown extension",
                "The extension says how to read the file",
                f"Use one of {', '.join(ENDINGS)}",
            )
        with _readable(path):
            if ending == ".parquet":
                require(str(path), columns or (), parquet_columns(path))
                yield from islice(parquet_rows(path, columns, start), count)
            else:
                if ending in _SEPARATED:
                    rows = separated_rows(path, columns or (), noted)
                elif ending in _WORKBOOKS:
                    rows = workbook_rows(Path(source), columns or (), noted)
                else:
                    rows = _OBJECTS[ending](path)
                yield from islice(rows, start, None if count is None else start + count)
    elif is_image_folder(source):
        yield from islice(folder_rows(source, iter_rows, prompts_from), start, None if count is None else start + count)
    elif Path(dataset_parts(source)[0]).is_dir() or (ending not in ENDINGS and _HUB_NAME.fullmatch(str(source))):
        yield from islice(_dataset_rows(str(source), columns, start), count)
    else:
        raise UserError(
            f"Cannot find the table '{path}'", "There is no such file", "Check the path, or give OWNER/NAME on the Hub"
        )


def is_spreadsheet(source: str | Path) -> bool:
    """Whether the header of this file is a line among others: it is a CSV file or a workbook."""
    path, _ = book_and_sheet(source)
    return path.is_file() and path.suffix.lower() in (*_SEPARATED, *_WORKBOOKS)


def count_rows(source: str, prompts_from: str | None = None) -> int:
    """Number of rows, from the footer of a parquet file, else counted. Raises `UserError` as `iter_rows`."""
    path = Path(source)
    if path.is_file() and path.suffix.lower() == ".parquet":
        from pyarrow import parquet

        with _readable(path):
            return int(parquet.read_metadata(path).num_rows)
    return sum(1 for _ in iter_rows(source, prompts_from=prompts_from))


def columns_at_once(
    source: str | Path, columns: Sequence[str] | None, remarks: Remarks
) -> dict[str, pa.ChunkedArray] | None:
    """Name -> column of a file that is itself a table (CSV, parquet); None for what must be read row by row.

    `remarks` as `iter_rows`.

    Raises:
        UserError: as `iter_rows`.
    """
    path, ending = Path(source), Path(source).suffix.lower()
    if not path.is_file() or ending not in (*_SEPARATED, ".parquet"):
        return None
    import pyarrow as pa
    from pyarrow import parquet

    with _readable(path):
        if ending == ".parquet":
            require(str(path), columns or (), parquet.read_schema(path).names)
            about = parquet.read_metadata(path)
            cells, size = about.num_rows * len(columns or about.schema.names), path.stat().st_size
            if cells > most_cells(size):
                rows = counted(about.num_rows, "row", form=",")
                reason = f"In {size:,} bytes it says {rows}: more than are held in memory at once"
                raise UserError(f"Cannot read {path}", reason, "Split the table into parts")
            table = parquet_table(path, None if columns is None else list(columns))
        else:
            with separated(path, LONGEST, columns or (), remarks) as batches:
                require(str(path), columns or (), batches.schema.names)
                table = batches.read_all()
            require_closed_quotes(path, columns or ())
            if is_ours(table.column_names):
                table = pa.table({name: list(map(unguarded, table[name].to_pylist())) for name in table.column_names})
            if len(table):
                first = table.column_names[0]
                remarks.last_row = looks_like_a_summary(path, first, table.column(first)[-1].as_py())
    return {name: table.column(name) for name in columns or table.column_names}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What a file and its readers raise, as `UserError`."""
    from pyarrow import ArrowException

    try:
        yield
    except MemoryError as error:  # Arrow's own is one
        raise UserError(f"Cannot read {path}", "It takes too much memory", "Split the table into parts") from error
    except (ArrowException, csv.Error) as error:
        words = str(error).splitlines()[0]
        if "invalid UTF8" in words or "codec can't decode" in words:
            raise UserError(f"Cannot read {path}", "It is not UTF-8", "Save it as UTF-8") from error
        if "straddling" in words or "field larger" in words:
            reason = f"A row has more than {LONGEST >> 20} MB, or a quotation mark is never closed"
            raise UserError(f"Cannot read {path}", reason, "Export it again, or use parquet") from error
        raise UserError(f"{path} is not valid {path.suffix[1:].upper()}", words, "Export it again") from error
    except UserError:
        raise
    except faults() as error:  # OSError, UnicodeDecodeError, and whatever a reader trips over in a broken file
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"Cannot read {path}", words, "Save it as UTF-8, in a place that you can read") from error


def _json_lines_rows(path: Path) -> Iterator[Row]:
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _json_object(line, f"{path}, line {number}")


def _json_object(text: str, where: str) -> Row:
    row = parse_json(text, where, "Write one object per line", whole_number, once=True)
    if not isinstance(row, dict):
        raise UserError(f"{where} is not an object", "A row needs column names", 'Write {"column": value, ...}')
    return row


def _json_rows(path: Path) -> Iterator[Row]:
    fix = "Export it again, or use .jsonl"
    rows = parse_json(read_text(path, fix), str(path), fix, whole_number, once=True)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} is not an array of objects", "Each object is a row", 'Write [{"column": value, ...}]')
    yield from rows


_OBJECTS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _json_lines_rows,
    ".json": _json_rows,
}


def _dataset_rows(source: str, columns: Sequence[str] | None, start: int) -> Iterator[Row]:
    from datasets import load_dataset

    name, config, split = dataset_parts(source)
    folder, revision = Path(name), None
    try:
        if folder.is_dir():
            check_places(folder)
            check_card(folder)
        else:
            revision = check_hub_card(name)
        splits = load_dataset(name, config, streaming=True, revision=revision)
        chosen = split or (next(iter(splits)) if len(splits) == 1 else "test")
        if chosen not in splits:
            raise UserError(
                f"{source} has no split '{chosen}'", f"It has {', '.join(splits)}", "Write NAME:CONFIG:SPLIT"
            )
        rows = splits[chosen]
        if columns is not None:
            require(source, columns, rows.column_names or list(next(iter(rows), {})))
            rows = rows.select_columns(list(dict.fromkeys(columns)))
        if rows.features:
            rows = rows.decode(False)  # a picture's path is looked at before anything opens it
        yield from rows.skip(start)
    except UserError:
        raise
    except Exception as error:  # whatever the Hub client, the network or a builder raises is one line for the user
        cause = error.__cause__ or error  # a builder's own error only says that there was one
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())[:200]
        raise UserError(
            f"Cannot load the dataset {source}", reason, "Check its name, its config and HF_TOKEN"
        ) from error
