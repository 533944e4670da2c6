"""Cells as numbers: which cells are gaps, which are numbers, and how a user declares another way of writing them.

One rule for all tables says which cells are numbers and which are gaps. If a table writes numbers differently (with a
decimal comma, or in words such as good and bad), the user declares it (`Numerals`). Nothing is guessed; any other cell
is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError, quoted

_WHOLE = re.compile(r"[+-]?\d+")
_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}([,.' \u2019\u00a0\u202f]\d{3})+([.,]\d+)?")
_SHARE = re.compile(r"[+-]?\d+(\.\d+)?\s*/\s*\d+")
# What people and programs write for no number, in lower case; dashes stand for one in many a spreadsheet.
GAPS = ("na", "n/a", "none", "null", "nan", "#n/a", "n.a.", "n.d.", "-", "--", "\u2013", "\u2014")


def is_blank(cell: Any) -> bool:
    """Whether this cell is a gap: None, nan, or only white space."""
    return (
        cell is None or (isinstance(cell, str) and not cell.strip()) or (isinstance(cell, float) and math.isnan(cell))
    )


def is_gap(cell: Any) -> bool:
    """Whether a cell of numbers has no number: it is blank, or one of `GAPS` in any case."""
    return is_blank(cell) or (isinstance(cell, str) and cell.strip().lower() in GAPS)


def number_or_gap(cell: Any, place: str) -> float | None:
    """A cell as float64, None if it is a gap (`is_gap`). Raises `UserError` that names the place."""
    if is_gap(cell):
        return None
    try:
        return parse_number(cell)
    except ValueError as error:
        raise UserError(f"{place}: {quoted(cell)} {error}", "", "Write a number or leave it blank") from None


def parse_number(cell: Any) -> float:
    """A cell as float64. Raises `ValueError` with part of a sentence: not a number, infinite, or too many digits."""
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
    text = cell if isinstance(cell, str) else ""
    if _THOUSANDS.fullmatch(text):
        return "is not a number: leave out what separates thousands, and write a point before decimals"
    if _COMMA.fullmatch(text):
        return "is not a number: the decimal point must be a point, not a comma"
    if text.endswith("%"):
        return "is not a number: leave out the percent sign"
    if _SHARE.fullmatch(text):
        return "is not a number: leave out the slash and what follows"
    return "is not a number"


@dataclass(frozen=True)
class Numerals:
    """How a table writes its numbers, as the user declares it.

    Attributes:
        levels: lower-case word -> its value, even for a word in `GAPS`. Other cells are numbers.
        decimal_comma: whether 4,5 is a number and 4.5 an error.
    """

    levels: Mapping[str, float] = field(default_factory=dict)
    decimal_comma: bool = False

    @classmethod
    def stated(cls, levels: str | None, decimal: str | None) -> Numerals:
        """From `--levels` ("bad=1,fair=2,good=3") and `--decimal` (point, comma). Raises `UserError` for no mapping."""
        worth: dict[str, float] = {}
        for pair in (levels or "").split(",") if levels is not None else ():
            word, _, number = pair.rpartition("=")
            word = word.strip().lower()
            if not word or not is_number(number) or is_gap(number):
                raise UserError(
                    f"--levels: {quoted(pair.strip())} is not a level", "", 'Write --levels "bad=1,fair=2,good=3"'
                )
            if is_number(word):
                raise UserError(f"--levels: {quoted(word)} is not a word", "A number is read as it is", "Leave it out")
            if word in worth:
                raise UserError(
                    f"--levels: {quoted(word)} appears twice", "Upper and lower case are equal", "Leave out one of them"
                )
            worth[word] = parse_number(number)
        return cls(worth, decimal == "comma")

    @property
    def plain(self) -> bool:
        """Whether nothing was declared."""
        return not self.levels and not self.decimal_comma

    def parse(self, cell: Any) -> float:
        """A cell as float64, nan if it is a gap (`is_gap`). Raises `ValueError` as `parse_number` does."""
        if isinstance(cell, str) and (worth := self.levels.get(cell.strip().lower())) is not None:
            return worth
        if is_gap(cell):
            return math.nan
        if isinstance(cell, str):
            text = cell.strip()
            if self.decimal_comma and "." in text:
                raise ValueError("has a point, but --decimal is comma")
            if self.decimal_comma and _COMMA.fullmatch(text):
                return parse_number(text.replace(",", "."))
        return parse_number(cell)


def is_number(text: str) -> bool:
    """Whether this cell is a number; true and false are."""
    try:
        parse_number(text)
    except ValueError:
        return False
    return True
