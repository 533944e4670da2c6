"""One reader for every table: CSV with comma, semicolon or tab, JSONL, JSON, parquet, workbook or dataset, row by row.

A name means, in this order: a file; a folder or glob of images; a dataset folder; a missing file, if it has the ending
of a table; a dataset on the Hub. Datasets are written NAME, NAME:CONFIG or NAME:CONFIG:SPLIT and are streamed. A row
keeps its images as they are stored (paths, or `{"bytes", "path"}`), so that a broken image becomes the status of its
item later.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, nearest
from ..files import encoding_of, open_text, parse_json, read_text, whole_number
from ..wording import counted
from .dataset_cards import check_card, check_hub_card
from .folders import folder_rows, is_image_folder
from .headers import LINES, Remarks, header_place, looks_like_a_summary, passed_over
from .parquets import parquet_columns, parquet_rows, parquet_table
from .places import check_places
from .spreadsheets import is_ours, unguarded
from .workbooks import ENDINGS as _WORKBOOKS
from .workbooks import book_and_sheet, workbook_rows

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]

_SEPARATED = {".csv": ",", ".tsv": "\t"}  # ending -> what separates cells where the lines do not tell
_SEPARATORS = (",", ";", "\t")
_ENDINGS = (*_SEPARATED, ".jsonl", ".json", ".parquet", *_WORKBOOKS)
_HINT = re.compile(r"sep=.?", re.IGNORECASE)
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[^:]+){0,2}")
_BATCH = 1000  # rows made at a time
_BLOCK = 1 << 16  # bytes of a CSV file read at a time
_LONGEST = 1 << 26  # the same for files with longer rows; no row may be longer than this
# Cells of a table that is held at once; and, as a few kilobytes of parquet may say that they hold all of these, as many
# as any file may have, and beyond that so many for each of its bytes (ratings of five levels take a third of one).
_CELLS, _FREE, _IN_A_BYTE = 100_000_000, 2_000_000, 20
_SAMPLE = 20  # records that show what separates cells


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
        if ending not in _ENDINGS:
            raise UserError(
                f"{path} has an unknown extension",
                "The extension says how to read the file",
                f"Use one of {', '.join(_ENDINGS)}",
            )
        with _readable(path):
            if ending == ".parquet":
                require(str(path), columns or (), parquet_columns(path))
                yield from islice(parquet_rows(path, columns, start), count)
            else:
                if ending in _SEPARATED:
                    rows = _separated_rows(path, columns or (), noted)
                elif ending in _WORKBOOKS:
                    rows = workbook_rows(Path(source), columns or (), noted)
                else:
                    rows = _OBJECTS[ending](path)
                yield from islice(rows, start, None if count is None else start + count)
    elif is_image_folder(source):
        yield from islice(folder_rows(source, iter_rows, prompts_from), start, None if count is None else start + count)
    elif Path(str(source).split(":")[0]).is_dir() or (ending not in _ENDINGS and _HUB_NAME.fullmatch(str(source))):
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
            if cells > min(_CELLS, max(_FREE, _IN_A_BYTE * size)):
                rows = counted(about.num_rows, "row", form=",")
                reason = f"In {size:,} bytes it says {rows}: more than are held in memory at once"
                raise UserError(f"Cannot read {path}", reason, "Split the table into parts")
            table = parquet_table(path, None if columns is None else list(columns))
        else:
            with _separated(path, _LONGEST, columns or (), remarks) as batches:
                require(str(path), columns or (), batches.schema.names)
                table = batches.read_all()
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
            reason = f"A row has more than {_LONGEST >> 20} MB, or a quotation mark is never closed"
            raise UserError(f"Cannot read {path}", reason, "Export it again, or use parquet") from error
        raise UserError(f"{path} is not valid {path.suffix[1:].upper()}", words, "Export it again") from error
    except UserError:
        raise
    except Exception as error:  # OSError, UnicodeDecodeError, and whatever a reader trips over in a broken file
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"Cannot read {path}", words, "Save it as UTF-8, in a place that you can read") from error


def _separated_rows(path: Path, wanted: Sequence[str], remarks: Remarks) -> Iterator[Row]:
    """Rows of a CSV file, read in small blocks for as long as every row fits into one."""
    from pyarrow import ArrowInvalid

    count = 0
    for block in (_BLOCK, _LONGEST):
        try:
            for row in islice(_rows_in_blocks(path, block, wanted, remarks), count, None):
                count += 1
                yield row
            return
        except ArrowInvalid as error:
            if "straddling" not in str(error) or block == _LONGEST:
                raise


def _rows_in_blocks(path: Path, block: int, wanted: Sequence[str], remarks: Remarks) -> Iterator[Row]:
    with _separated(path, block, wanted, remarks) as batches:
        ours = is_ours(batches.schema.names)
        for batch in batches:
            for first in range(0, len(batch), _BATCH):
                for row in batch.slice(first, _BATCH).to_pylist():
                    yield {name: unguarded(cell) for name, cell in row.items()} if ours else row


@contextmanager
def _separated(path: Path, block: int, wanted: Sequence[str], remarks: Remarks) -> Iterator[pa.RecordBatchReader]:
    """The named columns of a CSV file as Arrow batches of text, closed at the end; for `wanted` see `header_place`."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    header = _header(path, wanted)
    named = [name for name in header.names if name]
    if header.above:
        remarks.above = passed_over(path, header.above)
    twice = next((name for name, count in Counter(named).items() if count > 1), None)
    if twice is not None:
        raise UserError(
            f"{path} has the column '{twice}' twice", "Each column needs its own name", "Rename one of them"
        )
    uneven: list[arrow_csv.InvalidRow] = []

    def keep(row: arrow_csv.InvalidRow) -> str:
        uneven.append(row)
        return "error"  # an exception of our own would be swallowed

    read = arrow_csv.ReadOptions(
        use_threads=False,  # rows are numbered for errors then, and nothing is read ahead
        block_size=block,
        skip_rows=header.line,
        column_names=[name or f"\0{number}" for number, name in enumerate(header.names)],
        encoding="utf-16" if encoding_of(path) == "utf-16" else "utf8",  # Arrow recodes "utf-8"
    )
    parse = arrow_csv.ParseOptions(
        delimiter=header.separator,
        newlines_in_values=True,
        invalid_row_handler=keep,
    )
    convert = arrow_csv.ConvertOptions(column_types=dict.fromkeys(named, pa.string()), include_columns=named)
    try:
        with _nothing(named) if _ends(path, header.line) else arrow_csv.open_csv(path, read, parse, convert) as batches:
            yield batches
    except pa.ArrowInvalid as error:
        if not uneven:
            raise
        row = uneven[0]
        fix = "Quote cells that contain separators or line breaks"
        title = "Remove the lines above the header. " if row.expected_columns == 1 else ""
        raise UserError(
            f"{path}, row {row.number - header.line} has {counted(row.actual_columns, 'cell')}",
            f"The header has {row.expected_columns}",
            f"{title}{fix}",
        ) from error


def _nothing(named: Sequence[str]) -> pa.RecordBatchReader:
    import pyarrow as pa

    return pa.RecordBatchReader.from_batches(pa.schema([(name, pa.string()) for name in named]), [])


def _ends(path: Path, lines: int) -> bool:
    """Whether there is nothing but blank lines behind the first ones."""
    with open_text(path, newline="") as text:  # lines as the header's reader counts them
        return not any(line.strip() for line in islice(text, lines, None))


@dataclass(frozen=True)
class _Header:
    """Names of the columns, the line they end on, what separates cells, and the cells of lines above."""

    names: list[str]
    line: int
    separator: str
    above: list[list[str]]
    even: bool  # whether the next records have as many cells


def _header(path: Path, wanted: Sequence[str] = ()) -> _Header:
    """The header of a CSV file.

    The separator is the one by which it has the wanted names, and the first records all have the same number of cells,
    and the most. Blank lines, lines of nothing but separators, and Excel's line `sep=;` may stand before the header.
    """
    csv.field_size_limit(_LONGEST)
    headers = [_header_by(path, separator, wanted) for separator in _SEPARATORS]
    even = [header for header in headers if header.even]
    usual = next(header for header in headers if header.separator == _SEPARATED[path.suffix.lower()])
    return max(even, key=lambda header: (set(wanted) <= set(header.names), len(header.names)), default=usual)


def _header_by(path: Path, separator: str, wanted: Sequence[str]) -> _Header:
    with open_text(path, newline="") as text:
        reader = csv.reader(text, delimiter=separator)
        filled = ((reader.line_num, cells) for cells in reader if any(cells))
        first = islice(filled, LINES + _SAMPLE)
        records = [(line, cells) for line, cells in first if not _HINT.fullmatch("".join(cells))]
    named = [_names(cells) for _, cells in records]
    place = header_place(named, wanted)
    line, names = (records[place][0], named[place]) if records else (0, [])
    widths = {len(cells) for cells in named[place + 1 : place + 1 + _SAMPLE]}
    return _Header(names, line, separator, named[:place], len(names) > 1 and widths <= {len(names)})


def _names(cells: Sequence[str]) -> list[str]:
    names = [name.strip() for name in cells]
    return [*map(unguarded, names)] if is_ours(names) else names


def _json_lines_rows(path: Path) -> Iterator[Row]:
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _json_object(line, f"{path}, line {number}")


def _json_object(text: str, where: str) -> Row:
    row = parse_json(text, where, "Write one object per line", whole_number)
    if not isinstance(row, dict):
        raise UserError(f"{where} is not an object", "A row needs column names", 'Write {"column": value, ...}')
    return row


def _json_rows(path: Path) -> Iterator[Row]:
    fix = "Export it again, or use .jsonl"
    rows = parse_json(read_text(path, fix), str(path), fix, whole_number)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} is not an array of objects", "Each object is a row", 'Write [{"column": value, ...}]')
    yield from rows


_OBJECTS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _json_lines_rows,
    ".json": _json_rows,
}


def _dataset_rows(source: str, columns: Sequence[str] | None, start: int) -> Iterator[Row]:
    from datasets import load_dataset

    name, config, split = (*source.split(":"), None, None)[:3]
    folder, revision = Path(str(name)), None
    try:
        if folder.is_dir():
            check_places(folder)
            check_card(folder)
        else:
            revision = check_hub_card(str(name))
        splits = load_dataset(name, config or None, streaming=True, revision=revision)
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
