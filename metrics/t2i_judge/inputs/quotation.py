"""Finds a quotation mark that begins a cell of a CSV file and is never closed: rows behind it are part of that cell.

Readers close it at the next quotation mark, in whatever row that stands, and say nothing: of five rows two are left.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import open_text
from ..wording import counted

if TYPE_CHECKING:
    import pyarrow as pa


def has_line_breaks(rows: pa.Table | pa.RecordBatch) -> bool:
    """Whether a cell of text has a line break, as one that goes on over other rows has."""
    from pyarrow import compute

    return any(compute.any(compute.match_substring(column, "\n")).as_py() for column in rows.columns)


def require_closed(path: Path, separator: str) -> None:
    """Raise `UserError` for a row of several lines in which other text stands behind a closing quotation mark."""
    lines: list[str] = []
    with open_text(path, newline="") as text:

        def read() -> Iterator[str]:
            for line in text:
                lines.append(line)
                yield line

        reader = csv.reader(read(), delimiter=separator)
        for _ in reader:
            if len(lines) > 1 and not _is_closed(lines, separator):
                first = reader.line_num - len(lines) + 1
                fact = f"{path}, line {first}: a cell goes on over {counted(len(lines), 'line')}"
                reason = "A quotation mark begins it and is not closed there, so the rows behind it would be part of it"
                raise UserError(fact, reason, "Write quotation marks inside cells twice, or export the table again")
            lines.clear()


def _is_closed(lines: list[str], separator: str) -> bool:
    try:
        return len(list(csv.reader(lines, delimiter=separator, strict=True))) == 1
    except csv.Error:
        return False
