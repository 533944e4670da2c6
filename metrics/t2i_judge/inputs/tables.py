"""Tables that users bring, as columns; blanks are gaps. `readers` says what a table may be.

Numbers become float64 and nothing else; a cell that is not one is an error that names row, column, value and fix. Rows
are numbered from 1, header not counted.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files import sha256
from .readers import columns_at_once, iter_rows, require, unknown_column

if TYPE_CHECKING:
    import pyarrow as pa

_WHOLE = re.compile(r"[+-]?\d+")
_COMMA = re.compile(r"[+-]?\d*,\d+")
_GAPS = ("na", "n/a", "none", "null", "nan")  # what people and programs write for no number


@dataclass(frozen=True)
class Table:
    """Columns of equal length, where they came from, and the SHA-256 of the file (of the rows, for a Hub dataset).

    A column is a list where rows are objects, and an Arrow array where the file itself is a table.
    """

    path: str
    sha256: str
    rows: int
    columns: dict[str, list[Any] | pa.ChunkedArray]

    def column(self, name: str) -> list[Any]:
        """The cells of a column, blank ones as None. Raises `UserError` that names the nearest column."""
        if name not in self.columns:
            raise unknown_column(self.path, name, self.columns)
        cells = self.columns[name]
        try:
            listed = cells if isinstance(cells, list) else cells.to_pylist()
        except Exception as error:  # text that is no UTF-8, a time zone that nobody knows
            words = str(error) or type(error).__name__
            raise UserError(f"cannot read column '{name}' of {self.path}", words, "write it anew") from error
        return [None if is_blank(cell) else cell for cell in listed]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as float64, blank cells as nan; true and false are 1 and 0."""
        array = self.columns.get(name)
        if array is not None and not isinstance(array, list) and (numbers := _all_numbers(array)) is not None:
            return numbers
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
        if cell is None or is_gap(cell):
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


def is_gap(cell: Any) -> bool:
    """Is there no number in a cell of numbers: blank, or NA, N/A, None, null, in any case?"""
    return is_blank(cell) or (isinstance(cell, str) and cell.strip().lower() in _GAPS)


def number_or_gap(cell: Any, place: str) -> float | None:
    """A cell as float64, None where it is a gap (`is_gap`). Raises `UserError` that names the place."""
    if is_gap(cell):
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
        raise ValueError(_no_number(text)) from None
    if math.isinf(number):
        raise ValueError("is not finite in float64")
    if isinstance(text, int) and number != text:
        raise ValueError("has more digits than float64 holds")
    return number


def _no_number(cell: Any) -> str:
    """Half a sentence; of what spreadsheets write, with what to write instead."""
    if isinstance(cell, str) and _COMMA.fullmatch(cell):
        return "is not a number: the decimal point must be a point, not a comma"
    if isinstance(cell, str) and cell.endswith("%"):
        return "is not a number: leave the percent sign out"
    return "is not a number"


def column_names(listed: str | None) -> list[str]:
    """The names in a comma-separated list, each once."""
    names = (name.strip() for name in (listed or "").split(","))
    return list(dict.fromkeys(name for name in names if name))


def read_table(source: str | Path, columns: Sequence[str] | None = None) -> Table:
    """Read a table, or only some of its columns, into memory.

    Args:
        source: what `readers.iter_rows` reads.
        columns: what to keep; None keeps everything.

    Raises:
        UserError: no such table, no rows, no such column (the nearest is named), or a row that cannot be read.
    """
    is_file = Path(source).is_file()
    arrays = columns_at_once(source, columns)
    if arrays is not None:
        kept: dict[str, Any] = arrays
        rows, digest = (len(next(iter(kept.values()))) if kept else 0), sha256(source)
    else:
        rows, digest, kept = _columns_of_rows(source, columns)
        digest = sha256(source) if is_file else digest
    if not rows:
        raise UserError(f"{source} has no rows", "there is nothing to measure", "check how the table was written")
    return Table(str(source), digest, rows, kept)


def _columns_of_rows(source: str | Path, columns: Sequence[str] | None) -> tuple[int, str, dict[str, list[Any]]]:
    """Number of rows, their digest, and columns, where every row has names of its own: what one lacks is a gap."""
    names: dict[str, None] = {}
    kept: dict[str, list[Any]] = {name: [] for name in columns or ()}
    count, digest, is_file = 0, hashlib.sha256(), Path(source).is_file()
    for row in iter_rows(source, columns):
        for name in row.keys() - names.keys():
            names[name] = None
            if columns is None:
                kept[name] = [None] * count
        for name, cells in kept.items():
            cells.append(row.get(name))
        count += 1
        if not is_file:
            digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    if count:
        require(str(source), columns or (), names)
    return count, digest.hexdigest(), kept


def _all_numbers(array: pa.ChunkedArray) -> NDArray[np.float64] | None:
    """A whole column as float64 at once, by the rules of `parse_number`; None where a cell has to be looked at."""
    import pyarrow as pa
    from pyarrow import compute

    try:
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            text = compute.utf8_trim_whitespace(array)
            if compute.any(compute.match_substring_regex(text, r"^[+-]?\d{16,}$")).as_py():
                return None  # float64 may not hold all digits
            gaps = compute.is_in(compute.utf8_lower(text), value_set=pa.array(["", *_GAPS], text.type))
            array = compute.if_else(gaps, None, text)
        numbers = array.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    values = np.asarray(numbers, dtype=np.float64)  # null becomes nan
    return None if np.isinf(values).any() else values
