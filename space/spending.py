"""What the served judges of this Space's owner may cost in a day, whoever asks them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from t2i_judge.errors import UserError
from t2i_judge.judges.base import Judge
from t2i_judge.records import Judgement, Status

MAX_COST = 5.0  # US dollars a day, where the owner says nothing
UNKNOWN = 0.01  # US dollars that a judgement counts whose price nobody knows, or that failed


class Spending:
    """Dollars that judgements have cost since midnight (UTC), or since the Space started. Safe to use from threads.

    A judgement that is being made counts as much as the dearest of this day and the last, so that many at a time stay
    in the bound. Where one alone costs more than a day may, a new day begins with one of them.
    What a judge's calls may have cost whose answers were lost stands in no judgement, but in the budget of its backend.

    Args:
        most: US dollars a day; judging ends where the next judgement could exceed it.
    """

    def __init__(self, most: float = MAX_COST) -> None:
        self.most = most
        self._spent, self._pending = 0.0, 0.0
        self._expected, self._dearest = min(UNKNOWN, most), UNKNOWN  # of a judgement; the second of today alone
        self._day = _today()
        self._seen: WeakKeyDictionary[Any, float] = WeakKeyDictionary()  # of each budget, what is counted of it
        self._lock = threading.Lock()

    def on(self, judging: Callable[[], Judgement], judge: Judge | None = None) -> Judgement:
        """Make a judgement, and count what it costs. Raises `UserError` where the day's money is spent, and its own."""
        expected = self._reserve()
        cost, known = UNKNOWN, False  # what fails may have been paid for in part
        try:
            made = judging()
            cost, known = _cost(made), _is_known(made)
            return made
        finally:
            with self._lock:
                spent = self._unseen(judge)
                self._pending -= expected
                self._spent += cost if spent is None else spent if known else max(spent, UNKNOWN)
                self._dearest = max(self._dearest, cost)
                self._expected = max(self._expected, cost)

    def _unseen(self, judge: Judge | None) -> float | None:
        """Dollars that a judge's backend has spent since they were last counted, for whichever judgement; None where
        it has none."""
        budget = getattr(getattr(judge, "backend", None), "budget", None)
        if budget is None:
            return None
        spent = float(budget.spent)
        before, self._seen[budget] = self._seen.get(budget, 0.0), spent
        return spent - before

    def _reserve(self) -> float:
        with self._lock:
            if (today := _today()) != self._day:
                self._day, self._spent = today, 0.0
                self._expected, self._dearest = min(self._dearest, self.most), UNKNOWN
            if not self.most or self._spent + self._pending + self._expected > self.most + 1e-9:
                logging.getLogger(__name__).warning("MAX_COST: $%.2f of $%.2f are spent today", self._spent, self.most)
                fact = "This Space's served judges have cost today what its owner allows"
                raise UserError(fact, "", "Choose another judge or your own key, or come back tomorrow")
            self._pending += self._expected
            return self._expected


def _cost(judgement: Judgement) -> float:
    """US dollars. A reply without a price, or that is lost, may have cost something all the same."""
    money = judgement.usage.money or 0.0
    return money if _is_known(judgement) else max(money, UNKNOWN)


def _is_known(judgement: Judgement) -> bool:
    return judgement.usage.money is not None and judgement.status is Status.OK


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
