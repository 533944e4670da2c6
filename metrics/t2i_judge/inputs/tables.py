"""Tables that users bring: CSV, TSV, JSONL, JSON, parquet or a Hub dataset, as rows or as columns; blanks are gaps.

Numbers become float64 and nothing else; a cell that is not one is an error that names row, column, value and fix. Rows
are numbered from 1, header not counted.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, nearest

Row = dict[str, Any]

_BATCH = 1000
_LONGEST_CELL = 1 << 27
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[^:]+){0,2}")
_WHOLE = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class Table:
    """Columns of equal length, where they came from, and the SHA-256 of the file (of the rows, for a Hub dataset)."""

    path: str
    sha256: str
    rows: int
    columns: dict[str, list[Any]]

    def column(self, name: str) -> list[Any]:
        """The cells of a column, blank ones as None. Raises `UserError` that names the nearest column."""
        if name not in self.columns:
            raise unknown_column(self.path, name, self.columns)
        return [None if is_blank(cell) else cell for cell in self.columns[name]]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as float64, blank cells as nan; true and false are 1 and 0."""
        cells = enumerate(self.column(name), 1)
        return np.asarray([self._number(cell, row, name) for row, cell in cells], dtype=np.float64)

    def labels(self, name: str) -> list[Hashable]:
        """A column of group names, blank cells as None."""
        cells = self.column(name)
        for row, cell in enumerate(cells, 1):
            if not isinstance(cell, Hashable):
                raise self._bad_cell(row, name, cell, "is not one value", "name a column of plain values")
        return cells

    def _number(self, cell: Any, row: int, column: str) -> float:
        if cell is None:
            return math.nan
        try:
            return parse_number(cell)
        except ValueError as error:
            raise self._bad_cell(row, column, cell, str(error), "write a number, or leave the cell blank") from None

    def _bad_cell(self, row: int, column: str, cell: Any, reason: str, fix: str) -> UserError:
        shown = repr(cell) if len(repr(cell)) <= 60 else repr(cell)[:57] + "..."
        return UserError(f"{self.path}, row {row}, column '{column}': {shown} {reason}", "", fix)


def is_blank(cell: Any) -> bool:
    """Is this cell a gap: None, nan, or nothing but white space?"""
    return (
        cell is None or (isinstance(cell, str) and not cell.strip()) or (isinstance(cell, float) and math.isnan(cell))
    )


def number_or_gap(cell: Any, place: str) -> float | None:
    """A cell as float64, None where it is blank. Raises `UserError` that names the place."""
    if is_blank(cell):
        return None
    try:
        return parse_number(cell)
    except ValueError as error:
        raise UserError(f"{place}: {cell!r} {error}", "", "write a number or leave it blank") from None


def parse_number(cell: Any) -> float:
    """A cell as float64. Raises `ValueError` with half a sentence: not a number, infinite, or too many digits."""
    text = cell.strip() if isinstance(cell, str) else cell
    if isinstance(text, str):
        if text.lower() in ("true", "false"):
            return float(text.lower() == "true")
        if _WHOLE.fullmatch(text):
            text = int(text) if len(text) <= 400 else math.inf
        elif "_" in text:
            raise ValueError("is not a number")
    try:
        number = float(text)
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError):
        raise ValueError("is not a number") from None
    if math.isinf(number):
        raise ValueError("is not finite in float64")
    if isinstance(text, int) and number != text:
        raise ValueError("has more digits than float64 holds")
    return number


def column_names(listed: str | None) -> list[str]:
    """The names in a comma-separated list, each once."""
    names = (name.strip() for name in (listed or "").split(","))
    return list(dict.fromkeys(name for name in names if name))


def unknown_column(path: str, name: str, columns: Iterable[str]) -> UserError:
    """The error for a column that is not there, with the nearest one, else all."""
    return UserError(f"{path} has no column '{name}'", nearest(name, columns), "correct the name")


def read_table(source: str | Path, columns: Sequence[str] | None = None) -> Table:
    """Read a table, or only some of its columns, into memory.

    Args:
        source: a .csv, .tsv, .jsonl, .json (array of objects) or .parquet file; a Hub dataset or a local dataset
            folder as NAME, NAME:CONFIG or NAME:CONFIG:SPLIT.
        columns: what to keep; None keeps everything.

    Raises:
        UserError: no such table, no rows, no such column (the nearest is named), or a row that cannot be read.
    """
    names: dict[str, None] = {}
    kept: dict[str, list[Any]] = {name: [] for name in columns or ()}
    count, digest = 0, hashlib.sha256()
    is_file = Path(source).is_file()
    for row in iter_rows(source, columns):
        for name in [name for name in row if name not in names]:
            names[name] = None
            if columns is None:
                kept[name] = [None] * count
        for name, cells in kept.items():
            cells.append(row.get(name))
        count += 1
        if not is_file:
            digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    if not count:
        raise UserError(f"{source} has no rows", "there is nothing to measure", "check how the table was written")
    _require(str(source), columns or (), names)
    return Table(str(source), _file_sha256(Path(source)) if is_file else digest.hexdigest(), count, kept)


def iter_rows(source: str | Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """The rows of a table one after another, without holding it in memory; `columns` limits what parquet has to read.

    Values are as the format gives them: text in CSV, typed elsewhere. Raises `UserError` as `read_table` does.
    """
    path = Path(source)
    reader = _READERS.get(path.suffix.lower())
    if path.is_file() and reader:
        try:
            yield from reader(path, columns)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {path}", str(error), "save it as UTF-8 and readable") from error
    elif Path(str(source).split(":")[0]).is_dir() or (
        not reader and not path.exists() and _HUB_NAME.fullmatch(str(source))
    ):
        yield from _dataset_rows(str(source), columns)
    elif path.exists():
        raise UserError(f"{path} has no known ending", "it says how to read it", f"use one of {', '.join(_READERS)}")
    else:
        raise UserError(f"no table {path}", "there is no such file", "check the path, or give OWNER/NAME on the Hub")


def _separated_rows(path: Path, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, delimiter=delimiter)
        try:
            header = next((cells for cells in reader if any(cells)), None)
            if header is None:
                return
            _check_header(path, header)
            for number, cells in enumerate((cells for cells in reader if cells), 1):
                if len(cells) != len(header):
                    fact = f"{path}, row {number} (line {reader.line_num}) has {len(cells)} cells"
                    raise UserError(
                        fact, f"the header has {len(header)}", "quote cells that hold commas or line breaks"
                    )
                yield {name: cell for name, cell in zip(header, cells, strict=True) if name}
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num} is not CSV", str(error), "write it anew") from error


def _check_header(path: Path, header: Sequence[str]) -> None:
    named = [name for name in header if name]
    twice = next((name for name in named if named.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path} has the column '{twice}' twice", "a name must mean one column", "rename one of them")


def _json_lines_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _json_object(line, f"{path}, line {number}")


def _json_object(text: str, where: str) -> Row:
    try:
        row = json.loads(text)
    except ValueError as error:
        raise UserError(f"{where} is not JSON", str(error), "write one object a line") from error
    if not isinstance(row, dict):
        raise UserError(f"{where} is not an object", "a row needs column names", 'write {"column": value, ...}')
    return row


def _json_rows(path: Path) -> Iterator[Row]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON", str(error), "write it anew, or use .jsonl") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} is not an array of objects", "each object is a row", 'write [{"column": value, ...}]')
    yield from rows


def _parquet_rows(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as file:
            if columns is not None:
                _require(str(path), columns, file.schema_arrow.names)
            for batch in file.iter_batches(_BATCH, columns=None if columns is None else list(columns)):
                yield from batch.to_pylist()
    except ArrowException as error:
        raise UserError(f"{path} is not parquet", str(error), "write it anew") from error


def _dataset_rows(source: str, columns: Sequence[str] | None) -> Iterator[Row]:
    from datasets import load_dataset

    name, config, split = (*source.split(":"), None, None)[:3]
    try:
        splits = load_dataset(name, config or None)
    except Exception as error:  # whatever the Hub client, the network or a builder raises is one line for the user
        cause = error.__cause__ or error  # a builder's own error only says that there was one
        reason = f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}"
        raise UserError(
            f"cannot load the dataset {source}", reason, "check its name, its config and HF_TOKEN"
        ) from error
    chosen = split or (next(iter(splits)) if len(splits) == 1 else "test")
    if chosen not in splits:
        raise UserError(f"{source} has no split '{chosen}'", f"it has {', '.join(splits)}", "say NAME:CONFIG:SPLIT")
    rows = splits[chosen]
    if columns is not None:
        _require(source, columns, rows.column_names)
        rows = rows.select_columns(list(dict.fromkeys(columns)))
    for batch in rows.with_format("arrow").iter(_BATCH):  # arrow: images are not decoded
        yield from batch.to_pylist()


def _require(source: str, wanted: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in wanted:
        if name not in known:
            raise unknown_column(source, name, known)


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_READERS: dict[str, Callable[[Path, Sequence[str] | None], Iterator[Row]]] = {
    ".csv": lambda path, columns: _separated_rows(path, ","),
    ".tsv": lambda path, columns: _separated_rows(path, "\t"),
    ".jsonl": lambda path, columns: _json_lines_rows(path),
    ".json": lambda path, columns: _json_rows(path),
    ".parquet": _parquet_rows,
}
