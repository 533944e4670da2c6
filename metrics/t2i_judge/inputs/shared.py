"""Finds images that a table stores only once: other rows hold the index of the row that has the image (VLMEvalKit)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .cells import REASON, is_file, unwrapped
from .readers import Row, iter_rows

INDEX = "index"  # the column of the rows' own indices
_MOST_STEPS = 10  # from a row to the one that has its image; VLMEvalKit takes one
_LONGEST = 64  # characters of an index; VLMEvalKit, too, takes what is longer for an image


@dataclass(frozen=True)
class SharedImages:
    """The images of a table, which is read whole as soon as a cell may refer to another row.

    Attributes:
        source, column: of the table (see `readers.iter_rows`).
        folder: where relative paths start; None: nowhere. A cell that is the name of a file there refers to no row.
    """

    source: str
    column: str
    folder: Path | None

    def cell(self, row: Row) -> Any:
        """The row's own cell, or the one of the row that has its image; `{"reason"}` if it is not one row."""
        cell = unwrapped(row.get(self.column))
        passed = [_as_index(row.get(INDEX))]
        while INDEX in row and (index := self._index(cell)) is not None:
            rows = self._rows[index]
            if not index.isdecimal() and (not rows or passed == [index]):
                return cell  # the name of a file that is not there
            if rows != 1:
                return {REASON: f"its image is that of index {index}, which {rows or 'no'} rows have"}
            if index in passed:
                way = " -> ".join(map(str, [*passed, index]))
                return {REASON: f"no row has its image; the rows refer to each other: {way}"}
            if len(passed) > _MOST_STEPS:
                way = " -> ".join(map(str, passed))
                return {REASON: f"its image is more than {_MOST_STEPS} rows away: {way} -> ..."}
            passed.append(index)
            cell = self._cells[index]
        return cell

    def _index(self, cell: Any) -> str | None:
        """The index that a cell may refer to."""
        text = _as_index(cell)
        return None if text is None or (self.folder is not None and is_file(str(self.folder / text))) else text

    @cached_property
    def _rows(self) -> Counter[str | None]:
        """Index -> number of rows that have it."""
        return Counter(_as_index(row.get(INDEX)) for row in iter_rows(self.source, [INDEX]))

    @cached_property
    def _cells(self) -> dict[str, Any]:
        """Index -> cell, of the rows that others refer to."""
        columns = [INDEX, self.column]
        wanted = {_as_index(unwrapped(row.get(self.column))) for row in iter_rows(self.source, columns)}
        rows = ((_as_index(row.get(INDEX)), row.get(self.column)) for row in iter_rows(self.source, columns))
        return {index: unwrapped(cell) for index, cell in rows if index is not None and index in wanted}


def _as_index(cell: Any) -> str | None:
    """A cell as an index: short text, or a whole number; None for anything else."""
    if isinstance(cell, int | float) and not isinstance(cell, bool) and cell == cell // 1:
        return str(int(cell))
    text = cell.strip() if isinstance(cell, str) else ""
    return text if 0 < len(text) <= _LONGEST else None
