"""What lies open with whom: for so long nobody else is shown it in their place; who only looked holds it no longer."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator

SECONDS = 1800.0  # since it was last shown


class Leases:
    """One item of each holder, in memory; a restart forgets them. Callers hold a lock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # holder -> (item, annotator, mark, until), those that end first in front
        self._open: OrderedDict[Hashable, tuple[str, str, str, float]] = OrderedDict()

    def hold(self, holder: Hashable, item: str, annotator: str, mark: str) -> None:
        """This item lies open with the holder from now on, in place of an earlier one. `mark` is the visitor's."""
        self._open[holder] = item, annotator, mark, self._clock() + SECONDS
        self._open.move_to_end(holder)

    def of(self, holder: Hashable) -> str | None:
        """What lies open with the holder."""
        self._end()
        return self._open[holder][0] if holder in self._open else None

    def of_others(self, annotator: str) -> Iterator[tuple[str, str, str]]:
        """(item, annotator, mark) of what lies open with other annotators."""
        self._end()
        for item, who, mark, _ in self._open.values():
            if who != annotator:
                yield item, who, mark

    def _end(self) -> None:
        """Drop those whose time is over."""
        now = self._clock()
        while self._open and next(iter(self._open.values()))[-1] <= now:
            self._open.popitem(last=False)
