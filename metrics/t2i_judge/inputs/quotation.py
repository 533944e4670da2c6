"""Finds a quotation mark that begins a cell of a CSV file and does not end it.

Never closed, rows behind it are part of that cell: readers close it at the next quotation mark, in whatever row that
stands, and say nothing: of five rows two are left. Closed before the cell's end (`"hi" says the cat`), it is left out.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from ..errors import UserError
from ..files import open_text
from ..wording import counted


def require_closed(path: Path, separator: str) -> None:
    """Raise `UserError` where other text stands behind a closing quotation mark."""
    now = path.stat()
    _require_once(path, separator, now.st_ino, now.st_size, now.st_mtime_ns)


@lru_cache(maxsize=1024)  # a run reads its table for each shard
def _require_once(path: Path, separator: str, *_state: int) -> None:
    lines: list[str] = []
    with open_text(path, newline="") as text:

        def read() -> Iterator[str]:
            for line in text:
                lines.append(line)
                yield line

        reader = csv.reader(read(), delimiter=separator)
        for _ in reader:
            if any('"' in line for line in lines) and not _is_closed(lines, separator):
                raise _open(f"{path}, line {reader.line_num - len(lines) + 1}", len(lines))
            lines.clear()


def _open(place: str, lines: int) -> UserError:
    fix = "Write quotation marks inside cells twice, or export the table again"
    if lines == 1:
        reason = "Readers leave such marks out, and with them what a prompt quotes"
        return UserError(f"{place}: other text stands behind a closing quotation mark", reason, fix)
    reason = "A quotation mark begins it and is not closed there, so the rows behind it would be part of it"
    return UserError(f"{place}: a cell goes on over {counted(lines, 'line')}", reason, fix)


def _is_closed(lines: list[str], separator: str) -> bool:
    """Whether a row's quotation marks end its cells, but for blanks behind them."""
    blanks = re.compile(rf'" +(?={re.escape(separator)}|[\r\n]*$)')
    try:
        return len(list(csv.reader([blanks.sub('"', line) for line in lines], delimiter=separator, strict=True))) == 1
    except csv.Error:
        return False
