"""What callers hand over side by side, an entry an item, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .errors import UserError


def aligned(*columns: Sequence[Any] | None) -> list[tuple[Any, ...]]:
    """Rows of columns of equal length; a column None is None in every row. Raises `UserError` where they differ."""
    lengths = [len(column) for column in columns if column is not None]
    if len(set(lengths)) > 1:
        raise UserError(f"lengths differ: {lengths}", "items go together", "give one of each")
    rows = max(lengths, default=0)
    return list(zip(*([None] * rows if column is None else column for column in columns)))
