"""What lies open with whom: for so long nobody else is shown it in their place; who only looked holds it no longer."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator

SECONDS = 1800.0  # since it was last shown


class Leases:
    """One item of each holder, in memory; a restart forgets them. Callers hold a lock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[Hashable, tuple[str, str, str, float]] = {}  # holder -> (item, annotator, mark, until)

    def hold(self, holder: Hashable, item: str, annotator: str, mark: str) -> None:
        """This item lies open with the holder from now on, in place of an earlier one. `mark` is the visitor's."""
        self._open[holder] = item, annotator, mark, self._clock() + SECONDS

    def last(self, holder: Hashable) -> tuple[str | None, bool]:
        """What was last open with the holder (None: nothing was), and whether it is still theirs."""
        item, _, _, until = self._open.get(holder, (None, "", "", 0.0))
        return item, item is not None and until > self._clock()

    def of_others(self, annotator: str) -> Iterator[tuple[str, str, str]]:
        """(item, annotator, mark) of what lies open with other annotators."""
        now = self._clock()
        for item, who, mark, until in self._open.values():
            if who != annotator and until > now:
                yield item, who, mark
