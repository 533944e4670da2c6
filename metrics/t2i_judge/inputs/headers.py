"""Finds the line that names a table's columns, if titles, dates or remarks stand above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ..wording import counted
from .numerals import is_gap, parse_number

LINES = 20  # not blank, in which the names are looked for
SUMMARIES = (
    "average", "averages", "avg", "mean", "means", "total", "totals", "sum", "median", "std", "sd", "std dev",
    "mittelwert", "durchschnitt", "summe", "gesamt", "moyenne", "somme", "promedio", "suma", "media", "somma",
    "gemiddelde", "平均", "平均值", "合计", "总计", "合計",
)  # fmt: skip


@dataclass
class Remarks:
    """Remarks about a table: on lines above its header, and on its last row.

    above: what was left out. last_row: it looks like a mean or a total, and still counts as a row.
    """

    above: str = ""
    last_row: str = ""

    @property
    def lines(self) -> list[str]:
        """Those that there are."""
        return [line for line in (self.above, self.last_row) if line]


def header_place(lines: Sequence[Sequence[str]], wanted: Sequence[str]) -> int:
    """The position of the line that names the columns: the first with every wanted name, else the first of all.

    A later line is taken only if the lines above it have fewer cells, as titles have, and if it has no number and no
    repeated cell. So a line of data that happens to hold the wanted names is not taken. A wanted name may be a pattern.

    Args:
        lines: cells, stripped, of the lines that are not blank.
        wanted: names of the columns that are asked for.
    """
    most = 0
    for place, cells in enumerate(lines[:LINES]):
        named = [cell for cell in cells if cell]
        has_all = all(any(fnmatchcase(cell, name) or cell == name for cell in named) for name in wanted)
        if has_all and (not place or (len(named) > most and len(set(named)) == len(named) and _no_numbers(named))):
            return place
        most = max(most, len(named))
    return 0


def _no_numbers(cells: Sequence[str]) -> bool:
    for cell in cells:
        try:
            parse_number(cell)
        except ValueError:
            if not is_gap(cell):
                continue
        return False
    return True


def passed_over(source: str | Path, lines: Sequence[Sequence[str]]) -> str:
    """The remark on lines above the header."""
    title = next(cell for cell in lines[0] if cell)
    more = f" and {counted(len(lines) - 1, 'more line')}" if len(lines) > 1 else ""
    return f"{source}: left out above the names of its columns: {title[:60]!r}{more}"


def looks_like_a_summary(source: str | Path, column: str, cell: object) -> str:
    """The remark on a last row whose first cell says that it is a mean or a total; "" for any other cell."""
    if not isinstance(cell, str) or cell.strip().lower().rstrip(":") not in SUMMARIES:
        return ""
    name = cell.strip()
    return f"{source}: its last row is called {name!r} and counts as an item; --where '{column}!={name}' leaves it out"
