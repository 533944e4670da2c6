"""Turns votes that name the better image's model into A>B and B>A, by the position of its image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import UserError, quoted
from ..stats.preferences import HUMAN_VOTES, parse_verdict
from .numerals import is_number
from .tables import Table

_WORDS = (("a", "b"), ("1", "2"), ("left", "right"), ("first", "second"))
# What the columns are called that say whose the first and the second image of a pair are.
USUAL = [
    pair
    for model in ("model", "generator", "system", "method")
    for a, b in _WORDS
    for pair in ((f"{model}_{a}", f"{model}_{b}"), (f"{a}_{model}", f"{b}_{model}"))
]


@dataclass(frozen=True)
class Sides:
    """The models of the first and of the second image of each pair, one name per row of a table."""

    table: Table
    first: Sequence[object]
    second: Sequence[object]

    @classmethod
    def of(cls, table: Table, pair: tuple[str, str]) -> Sides:
        """Two columns, if the table has both, else the same two names in every row."""
        if set(pair) <= set(table.columns):
            return cls(table, table.column(pair[0]), table.column(pair[1]))
        return cls(table, [pair[0]] * table.rows, [pair[1]] * table.rows)

    def said(self, cells: Sequence[str | None]) -> list[str | None]:
        """Votes or verdicts. Those that name a model become A>B or B>A, all others stay as they are.

        Raises:
            UserError: both images have the name, or the name is also the word for the other side.
        """
        rows = zip(cells, self.first, self.second, strict=True)
        return [cell and self._said(row, cell, first, second) for row, (cell, first, second) in enumerate(rows)]

    def _said(self, row: int, cell: str, first: object, second: object) -> str:
        sides = [
            side for side, name in (("A>B", first), ("B>A", second)) if name is not None and _name(name) == _name(cell)
        ]
        if not sides:
            return cell
        place = f"{self.table.place(row)}: {quoted(cell)}"
        if len(sides) > 1:
            raise UserError(f"{place} has both images", "A vote is for one of them", "Write first, second or tie")
        if parse_verdict(cell) not in (None, sides[0]):
            reason = "It is the model of one image, and a word for the other"
            raise UserError(f"{place} may mean either image", reason, "Write A>B, B>A or tie")
        return sides[0]


def two_names(columns: Iterable[Sequence[str | None]]) -> tuple[str, str] | None:
    """The two names that stand in columns of votes and verdicts instead of sides, in alphabetical order.

    None where there are more or fewer, where one is a number, and where some cell names a side: which name is whose
    would be a guess then. Where all say names, it does not matter.
    """
    names: dict[str, str] = {}
    for cell in (cell for cells in columns for cell in cells if cell):
        said = HUMAN_VOTES.get(cell) or parse_verdict(cell)
        if said in ("A>B", "B>A"):
            return None
        if said is None:
            names.setdefault(_name(cell), cell)
    first, second = sorted(names.values()) if len(names) == 2 else ("", "")
    return (first, second) if first and not any(map(is_number, names)) else None


def _name(cell: object) -> str:
    return str(cell).strip().casefold()
