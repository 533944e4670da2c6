"""Figures that take seconds: each is computed once, one at a time while ranges of visitors take turns, and the last few
are kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from limits import FIGURES, timed
from visitors import Visitor

_Name = TypeVar("_Name", bound=Hashable)
_Figure = TypeVar("_Figure")


class Figures(Generic[_Name, _Figure]):
    """What a slow function says, by its only argument.

    Args:
        compute: the function.
        most: how many are kept; those that nobody asked for lately go.
    """

    def __init__(self, compute: Callable[[_Name], _Figure], most: int = 64) -> None:
        self._compute, self._most = compute, most
        self._kept: OrderedDict[_Name, _Figure] = OrderedDict()
        self._lock = threading.Lock()

    async def of(self, name: _Name, visitor: Visitor) -> _Figure:
        """A figure, at once where it is kept. Raises `UserError` where the visitor's turn does not come in time."""
        if name not in self._kept:
            ended = await FIGURES.take(visitor.turns)
            return await timed("figures", self.now, name, ended=ended)
        return self.now(name)

    def now(self, name: _Name) -> _Figure:
        """A figure, whoever else waits."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        made = self._compute(name)
        with self._lock:
            self._kept[name] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made
