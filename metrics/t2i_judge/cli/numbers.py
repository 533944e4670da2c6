"""Options that are numbers: one that makes no sense is one line, before anything is read or paid for."""

from __future__ import annotations

import argparse
import math
from typing import Any

from ..errors import UserError


class Finite(argparse.Action):
    """Of an option of `type=float` that is neither infinite nor nan: JSON and clocks have no such numbers."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, value: Any, option_string: str | None = None
    ) -> None:
        """Keep the number. Raises `UserError`."""
        if not math.isfinite(value):
            raise UserError(f"{option_string} is {value}", "It must be a finite number", "Correct it")
        setattr(namespace, self.dest, value)


class Counted(argparse.Action):
    """Of an option of `type=int` that counts items or rows to judge."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, value: Any, option_string: str | None = None
    ) -> None:
        """Keep the number. Raises `UserError`."""
        if value < 1:
            raise UserError(f"{option_string} is {value}", "It is the number of items to judge", "Give 1 or more")
        setattr(namespace, self.dest, value)
