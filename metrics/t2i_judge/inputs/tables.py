"""Tables that users bring, as columns. Blank cells are gaps. `readers` says what a table may be.

Numbers become float64. A cell that is not a number is an error that names row, column, value and fix. Rows are those of
the file, counted from 1, without the header.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files import sha256
from ..wording import counted
from .headers import Remarks
from .numerals import GAPS, Numerals, is_blank
from .readers import UnknownColumn, columns_at_once, iter_rows, most_cells, require, unknown_column
from .workbooks import book_and_sheet

if TYPE_CHECKING:
    import pyarrow as pa
_LOOKED_AT = 1000  # rows in which columns that are asked for may stand instead


@dataclass(frozen=True)
class Table:
    """Columns of equal length, their source, and the SHA-256 of the file (for a Hub dataset, of the rows).

    A column is a list if rows are objects, and an Arrow array if the file itself is a table. `numerals` says how the
    table writes numbers. `origins` has the file's rows (from 1) of a column's cells, where rows were chosen or put
    together from several.
    """

    path: str
    sha256: str
    rows: int
    columns: dict[str, list[Any] | pa.ChunkedArray]
    numerals: Numerals = field(default_factory=Numerals)
    remarks: Remarks = field(default_factory=Remarks)
    origins: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def file_row(self, row: int, column: str | None = None) -> int:
        """The file's row of cell number `row` (from 0) of a column; without a column, of the row's first cell."""
        rows = self.origins.get(column) if column else next(iter(self.origins.values()), None)
        return rows[row] if rows else row + 1

    def place(self, row: int, column: str | None = None) -> str:
        """The file and `file_row`, for messages."""
        return f"{self.path}, row {self.file_row(row, column)}"

    def column(self, name: str) -> list[Any]:
        """The cells of a column, blank ones as None. Raises `UserError`, which names the nearest column."""
        if name not in self.columns:
            raise unknown_column(self.path, name, self.columns)
        cells = self.columns[name]
        try:
            listed = cells if isinstance(cells, list) else cells.to_pylist()
        except Exception as error:  # text that is no UTF-8, a time zone that nobody knows
            words = str(error) or type(error).__name__
            raise UserError(f"Cannot read column '{name}' of {self.path}", words, "Write the file again") from error
        return [None if is_blank(cell) else cell for cell in listed]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as float64, gaps as nan; true and false are 1 and 0."""
        array = self.columns.get(name)
        if array is not None and not isinstance(array, list):
            if self.numerals.plain and (numbers := _all_numbers(array)) is not None:
                return numbers
            if (numbers := self._by_distinct(array)) is not None:
                return numbers
        cells = enumerate(self.column(name))
        return np.asarray([self._number(cell, row, name) for row, cell in cells], dtype=np.float64)

    def _by_distinct(self, array: pa.ChunkedArray) -> NDArray[np.float64] | None:
        """A column of text by its distinct cells, each parsed once; None where one is no number, or it is no text."""
        import pyarrow as pa

        if not pa.types.is_string(array.type) and not pa.types.is_large_string(array.type):
            return None
        try:
            coded = array.combine_chunks().dictionary_encode()
            worth = [self.numerals.parse(cell) for cell in coded.dictionary.to_pylist()]
        except ValueError:  # also text that is no UTF-8
            return None
        codes = np.asarray(coded.indices.fill_null(len(worth)))
        numbers: NDArray[np.float64] = np.asarray([*worth, np.nan], dtype=np.float64)[codes]
        return numbers

    def labels(self, name: str) -> list[Hashable]:
        """A column of group names, blank cells as None, and Arrow's decimals as text (see `files.whole_number`)."""
        cells = [str(cell) if isinstance(cell, Decimal) else cell for cell in self.column(name)]
        for row, cell in enumerate(cells):
            if not isinstance(cell, Hashable):
                raise self._bad_cell(row, name, cell, "is not a single value", "Name a column of plain values")
        return cells

    def _number(self, cell: Any, row: int, column: str) -> float:
        try:
            return self.numerals.parse(cell)
        except ValueError as error:
            fix = "Write a number, or leave the cell blank"
            if "comma" in str(error):
                fix += "; where all decimals have a comma, say --decimal comma"
            elif isinstance(cell, str) and not any(sign.isdigit() for sign in cell):
                fix += "; what words are worth is said by --levels WORD=NUMBER,WORD=NUMBER"
            raise self._bad_cell(row, column, cell, str(error), fix) from None

    def _bad_cell(self, row: int, column: str, cell: Any, reason: str, fix: str) -> UserError:
        shown = repr(cell) if len(repr(cell)) <= 60 else repr(cell)[:57] + "..."
        return UserError(f"{self.place(row, column)}, column '{column}': {shown} {reason}", "", fix)


def column_names(listed: str | None) -> list[str]:
    """The names in a comma-separated list, each once."""
    names = (name.strip() for name in (listed or "").split(","))
    return list(dict.fromkeys(name for name in names if name))


def read_table(source: str | Path, columns: Sequence[str] | None = None, numerals: Numerals | None = None) -> Table:
    """Read a table, or only some of its columns, into memory.

    Args:
        source: what `readers.iter_rows` reads.
        columns: what to keep; None keeps everything.
        numerals: how the table writes its numbers.

    Raises:
        UserError: the table, its rows or a column do not exist (the nearest is named), or a row cannot be read.
    """
    file, _ = book_and_sheet(source)
    remarks = Remarks()
    try:
        arrays = columns_at_once(source, columns, remarks)
        if arrays is not None:
            kept: dict[str, Any] = arrays
            rows, digest = (len(next(iter(kept.values()))) if kept else 0), ""
        else:
            rows, digest, kept = _columns_of_rows(source, columns, remarks)
    except UnknownColumn as error:
        raise _turned(source, columns or ()) or error from None
    if not rows:
        raise UserError(f"{source} has no rows", "There is nothing to measure", "Check how the table was made")
    digest = sha256(file) if file.is_file() else digest
    return Table(str(source), digest, rows, kept, numerals or Numerals(), remarks)


def _turned(source: str | Path, columns: Sequence[str]) -> UserError | None:
    """The error for a table whose rows are the columns that are asked for; None where it is another mistake."""
    try:
        rows = [list(row.items()) for row in islice(iter_rows(source), _LOOKED_AT)]
    except UserError:
        return None
    known = {name for row in rows for name, _ in row}
    called = {str(row[0][1]).strip() for row in rows if row}
    lacking = [name for name in columns if name not in known]
    if not lacking or not called.issuperset(lacking):
        return None
    are = "is a row" if len(lacking) == 1 else "are rows"
    return UserError(
        f"{', '.join(map(repr, lacking))} {are} of {source}",
        "A table has one row per item and one column per rater or judge",
        "Transpose it (in a spreadsheet: copy, then paste transposed)",
    )


def _columns_of_rows(
    source: str | Path, columns: Sequence[str] | None, remarks: Remarks
) -> tuple[int, str, dict[str, list[Any]]]:
    """Number of rows, their digest, and columns, where every row has names of its own: what one lacks is a gap.

    Gaps that no row writes grow with the square of a table: they are counted before they are filled in.
    """
    names: dict[str, None] = {}
    kept: dict[str, list[Any]] = {name: [] for name in columns or ()}
    file, _ = book_and_sheet(source)
    is_file = file.is_file()
    count, written, digest, size = 0, 0, hashlib.sha256(), file.stat().st_size if is_file else 0
    for row in iter_rows(source, columns, remarks=remarks):
        if not is_file:
            digest.update(line := json.dumps(row, sort_keys=True, default=str).encode())
            size += len(line)
        new = [name for name in row if name not in names]
        names.update(dict.fromkeys(new))
        count, written = count + 1, written + len(row)
        if columns is None:
            if count * len(names) - written > most_cells(size):
                wide = counted(len(names), "column", form=",")
                reason = f"By row {count:,} it has {wide}, most of them blank in most rows"
                raise UserError(f"Cannot read {source}", reason, "Give all rows the same columns")
            kept.update((name, [None] * (count - 1)) for name in new)
        for name, cells in kept.items():
            cells.append(row.get(name))
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
            gaps = compute.is_in(compute.utf8_lower(text), value_set=pa.array(["", *GAPS], text.type))
            array = compute.if_else(gaps, None, text)
        numbers = array.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    values = np.asarray(numbers, dtype=np.float64)  # null becomes nan
    return None if np.isinf(values).any() else values
