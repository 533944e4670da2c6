"""Options that are numbers: one that makes no sense is one line, before anything is read or paid for."""

from __future__ import annotations

import argparse
import math
from typing import Any

from ..errors import UserError

MOST = 2**31 - 1


class Finite(argparse.Action):
    """Of an option of `type=float` that is neither infinite nor nan: JSON and clocks have no such numbers."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, value: Any, option_string: str | None = None
    ) -> None:
        """Keep the number. Raises `UserError`."""
        if not math.isfinite(value):
            raise UserError(f"{option_string} is {value}", "It must be a finite number", "Correct it")
        setattr(namespace, self.dest, value)


class Whole(argparse.Action):
    """Of an option of `type=int` that lies in a range; without one of its own, what counters of 32 bits hold."""

    def __init__(self, *arguments: Any, least: int = 0, most: int = MOST, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.least, self.most = least, most

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, value: Any, option_string: str | None = None
    ) -> None:
        """Keep the number. Raises `UserError`."""
        if not self.least <= value <= self.most:
            fix = f"Give a number from {self.least} to {self.most}"
            raise UserError(f"{option_string} is {value}", "It is out of range", fix)
        setattr(namespace, self.dest, value)


class Counted(Whole):
    """Of an option of `type=int` that counts items, rows or workers."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, least=1, **options)
