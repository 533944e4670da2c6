"""What the served judges of this Space's owner may cost in a day, whoever asks them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from t2i_judge.errors import UserError
from t2i_judge.records import Judgement, Status

MAX_COST = 5.0  # US dollars a day, where the owner says nothing
UNKNOWN = 0.01  # US dollars that a judgement counts whose price nobody knows, or that failed


class Spending:
    """Dollars that judgements have cost since midnight (UTC), or since the Space started. Safe to use from threads.

    A judgement that is being made counts as much as the dearest before it, so that many at a time stay in the bound.

    Args:
        most: US dollars a day; judging ends where the next judgement could exceed it.
    """

    def __init__(self, most: float = MAX_COST) -> None:
        self.most = most
        self._spent, self._pending, self._dearest = 0.0, 0.0, UNKNOWN
        self._day = _today()
        self._lock = threading.Lock()

    def on(self, judging: Callable[[], Judgement]) -> Judgement:
        """Make a judgement, and count what it costs. Raises `UserError` where the day's money is spent, and its own."""
        expected = self._reserve()
        cost = UNKNOWN  # what fails may have been paid for in part
        try:
            made = judging()
            cost = _cost(made)
            return made
        finally:
            with self._lock:
                self._pending -= expected
                self._spent += cost
                self._dearest = max(self._dearest, cost)

    def _reserve(self) -> float:
        with self._lock:
            if (today := _today()) != self._day:
                self._day, self._spent = today, 0.0
            if self._spent + self._pending + self._dearest > self.most + 1e-9:
                logging.getLogger(__name__).warning("MAX_COST: $%.2f of $%.2f are spent today", self._spent, self.most)
                fact = "This Space's served judges have cost today what its owner allows"
                raise UserError(fact, "", "Choose another judge or your own key, or come back tomorrow")
            self._pending += self._dearest
            return self._dearest


def _cost(judgement: Judgement) -> float:
    """US dollars. A reply without a price, or that is lost, may have cost something all the same."""
    money = judgement.usage.money
    known = money is not None and judgement.status is Status.OK
    return money or 0.0 if known else max(money or 0.0, UNKNOWN)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
