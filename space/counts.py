"""Counts what visitors have, now or lately, so that none of them, however many they claim to be, takes it all."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from t2i_judge.errors import UserError
from visitors import Visitor

Full = Literal["", "browser", "others"]


class Counts:
    """How much each browser, each range of the internet and all visitors together have. Safe to use from threads.

    A browser has at most `each`. Cookies are free, so that a range of addresses, whatever it claims to be, has at most
    `share` of what all others leave free: the largest crowd is refused first, and who comes from elsewhere finds room.
    A visitor whose address tells nothing (`Visitor.crowd`) may be anybody, and is bound by the sum of all alone.

    Args:
        fact, fix: the line that a visitor reads who would have too much.
        each: most that a browser has.
        together: most that all have.
        share: of what is free, most that a range has.
        seconds: after which what was taken counts no longer; None where it is given back.
    """

    def __init__(
        self, fact: str, fix: str, *, each: float, together: float, share: float = 1.0, seconds: float | None = None
    ) -> None:
        self.fact, self.fix = fact, fix
        self.each, self.together, self.share, self.seconds = each, together, share, seconds
        self.sum = 0.0
        self._sums: Counter[str] = Counter()  # by browser and by range
        self._lately: deque[tuple[float, Visitor, float, str]] = deque()  # when, who, how much, under what name
        self._names: set[str] = set()
        self._lock = threading.RLock()

    def full(self, visitor: Visitor, amount: float = 1) -> Full:
        """Why a visitor may not have so much more: the browser has too much, or its range and all others have."""
        with self._lock:
            self._forget()
            if visitor.browser and self._sums[visitor.browser] + amount > self.each:
                return "browser"
            free = self.together - self.sum
            theirs = self._sums[visitor.crowd] + amount if visitor.crowd else 0
            return "others" if amount > free or theirs > self.share * free else ""

    def take(self, visitor: Visitor, amount: float = 1, name: str = "") -> None:
        """Count it. What has a name counts once in its time. Raises `UserError` where it is too much."""
        with self._lock:
            self._forget()
            if name and name in self._names:
                return
            if self.full(visitor, amount):
                raise UserError(self.fact, "", self.fix)
            self.add(visitor, amount)
            if self.seconds is not None:
                self._lately.append((time.monotonic(), visitor, amount, name))
                self._names.add(name)

    def add(self, visitor: Visitor, amount: float = 1) -> None:
        """Count it, too much or not; less where it is negative."""
        with self._lock:
            self.sum += amount
            for key in filter(None, (visitor.browser, visitor.crowd)):
                self._sums[key] += amount  # type: ignore[assignment]
                if self._sums[key] <= 0:
                    del self._sums[key]

    @contextmanager
    def held(self, visitor: Visitor) -> Iterator[None]:
        """Count one for as long as it lasts. Raises `UserError`."""
        self.take(visitor)
        try:
            yield
        finally:
            self.add(visitor, -1)

    def _forget(self) -> None:
        """What was taken long ago."""
        while self._lately and time.monotonic() - self._lately[0][0] >= (self.seconds or 0):
            _, visitor, amount, name = self._lately.popleft()
            self.add(visitor, -amount)
            self._names.discard(name)
