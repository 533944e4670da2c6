"""Makes many calls at once within limits: what a server can take, and what may be spent. Also for sync callers."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sized
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from ..errors import Stopped, UserError
from ..records import Usage

T = TypeVar("T")
R = TypeVar("R")
_MOST_CALLS = 10_000  # at once
_MOST_PATIENCE = 64
DRAIN_SECONDS = 15.0  # how long an interrupted run waits for replies that are already paid for


async def gather_all(work: Iterable[Awaitable[T]]) -> list[T]:
    """Results in order, like `asyncio.gather`, but everything ends before the first error is raised.

    Nothing is cancelled half way: a call under way is paid for, and its reply must be stored.
    """
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


async def map_bounded(function: Callable[[T], Awaitable[R]], items: Iterable[T], limit: int) -> list[R]:
    """`function` of every item, at most `limit` at a time, results in order; an item is taken when its turn comes.

    After an error no further item is begun; those under way end, then the error is raised.
    """
    queue = iter(enumerate(items))
    results: dict[int, R] = {}
    failed = False

    async def worker() -> None:
        nonlocal failed
        while not failed and (entry := next(queue, None)) is not None:
            index, item = entry
            try:
                results[index] = await function(item)
            except BaseException:
                failed = True
                raise

    number = min(limit, len(items)) if isinstance(items, Sized) else limit
    await gather_all(worker() for _ in range(number))
    return [results[index] for index in range(len(results))]


def check_concurrency(most: int) -> int:
    """The number of calls at once, if it is one. Raises `UserError`."""
    if most < 1:
        raise UserError(f"The concurrency is {most}", "No call can be sent", "Give 1 or more")
    if most > _MOST_CALLS:
        raise UserError(f"The concurrency is {most:,}", "No server takes as many", f"Give at most {_MOST_CALLS:,}")
    return most


class AdaptiveLimit:
    """At most `limit` at once: `start` to begin with, twice as many each round until the server is overloaded.

    An overload halves the limit. From then on it grows by one at a time, after so many successes that a server of few
    slots is hardly ever asked for more: each overload doubles their number, each growth that lasts halves it.

    Args:
        most: the bound that is never exceeded.
        start: the limit to begin with; None for `most`.
    """

    def __init__(self, most: int, start: int | None = None) -> None:
        self.most, self.limit = check_concurrency(most), start or most
        self._active = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._paused_until = self._halved_at = 0.0
        self._patience = 0  # rounds of successes before the limit grows by one; 0 while there was no overload
        self._successes = 0
        self._answered = False
        self._lasted = True  # was there a growth since the last overload?

    async def __aenter__(self) -> float:
        """Wait for a place; returns when it was taken, for `overloaded`."""
        while self._active >= self.limit or time.monotonic() < self._paused_until:
            if (pause := self._paused_until - time.monotonic()) > 0:
                await asyncio.sleep(pause)
                continue
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                self._wake()
                raise
        self._active += 1
        return time.monotonic()

    async def __aexit__(self, *_: object) -> None:
        self._active -= 1
        self._wake()

    def succeeded(self) -> None:
        """One more reply came in time."""
        self._successes += 1
        self._answered = True
        if not self._patience:
            self.limit = min(self.most, self.limit + 1)
        elif self._successes >= self.limit * self._patience and self.limit < self.most:
            self.limit, self._successes = self.limit + 1, 0
            self._patience = max(1, self._patience // 2) if self._lasted else self._patience
            self._lasted = True

    def overloaded(self, sent_at: float, pause: float = 0.0) -> None:
        """The server wants less. Halves once per round: calls sent before the last halving do not count again."""
        if sent_at > self._halved_at:
            self.limit, self._halved_at = max(1, self.limit // 2), time.monotonic()
            self._patience = min(_MOST_PATIENCE, max(2, 2 * self._patience))
            self._successes, self._lasted = 0, False
        self._paused_until = max(self._paused_until, time.monotonic() + pause)

    def gave_up(self) -> None:
        """A call came to nothing. While none has come to anything, nothing is known about the server's capacity."""
        if not self._answered:
            self.limit = min(self.most, 2 * self.limit)

    def _wake(self) -> None:
        for _ in range(self.limit - self._active):
            while self._waiting and (place := self._waiting.popleft()):
                if not place.done():
                    place.set_result(None)
                    break


class BudgetExceeded(Stopped):
    """The next call could exceed `max_cost`; it was not made."""


class Estimates:
    """How one client's calls compare with what they were expected to cost; another's say nothing about them."""

    def __init__(self) -> None:
        self.exceeded_by = 1.0  # largest ratio of an actual cost to its estimate

    def learn(self, estimate: float, actual: float) -> None:
        """A call has ended."""
        if estimate > 0:
            self.exceeded_by = max(self.exceeded_by, actual / estimate)


class Budget:
    """Money that is reserved before a call and settled after it, so that a limit holds under concurrency.

    Several backends, each with an event loop of its own, may share one. A copy in another process is a budget of its
    own, with what is left. A fork has none: nobody gave it a part, and its parent goes on with the whole.

    Args:
        limit: US dollars; None for no limit.
        spent: how many of them earlier runs have used; None for a limit of this run alone.

    Raises:
        UserError: the limit is below nought, or no number.
    """

    def __init__(self, limit: float | None = None, spent: float | None = None) -> None:
        if limit is not None and not limit >= 0:
            raise UserError(f"The limit max_cost is {limit}", "It is a limit in US dollars", "Give 0 or more")
        self.limit, self.spent, self._of_all_runs = limit, spent or 0.0, spent is not None
        self._under_way: list[tuple[float, Estimates]] = []  # of the calls that are not settled
        self._waiting: list[Future[None]] = []
        self._lock, self._owner = threading.Lock(), os.getpid()

    def __reduce__(self) -> tuple[type[Budget], tuple[float | None, ...]]:
        return Budget, (self.limit, self.spent) if self._of_all_runs else (self.left,)

    @classmethod
    def of(cls, limit: float | Budget | None, spent: float | None = None) -> Budget:
        """A new one of that limit; one that is there already stays itself."""
        return limit if isinstance(limit, Budget) else cls(limit, spent)

    @property
    def left(self) -> float | None:
        """What may still be spent, with what calls under way will cost; None for no limit."""
        return None if self.limit is None else max(0.0, self.limit - self.spent)

    def refuse_forks(self) -> None:
        """Raise `UserError` in a fork of the process that has the limit: together they would spend it twice."""
        if self.limit is not None and os.getpid() != self._owner:
            fact = "This process is a fork, and has no part of max_cost"
            fix = "Load the judge in each process that asks it, with a max_cost of its own"
            raise UserError(fact, "Its parent still spends all of it", fix)

    def pay(self, money: float) -> None:
        """Count what was paid without being reserved."""
        with self._lock:
            self.spent += money

    async def reserve(self, estimate: float, client: Estimates) -> None:
        """Set aside the most a call can cost; waits for calls under way when their refund may make room.

        What a client's calls turn out to cost beyond their estimates is set aside for those under way, too.

        Raises:
            BudgetExceeded: the call could exceed the limit.
            UserError: as `refuse_forks`.
        """
        self.refuse_forks()
        while change := self._change_to_wait_for(estimate, client):
            await asyncio.wrap_future(change)

    def _change_to_wait_for(self, estimate: float, client: Estimates) -> Future[None] | None:
        """Set the estimate aside if there is room, else say what may make some."""
        with self._lock:
            if self._has_room(estimate, client):
                self._under_way.append((estimate, client))
                return None
            if not self._under_way:
                raise self.exceeded(f"The next call may cost ${estimate * client.exceeded_by:.4f}")
            self._waiting.append(Future())
            return self._waiting[-1]

    def exceeded(self, reason: str) -> BudgetExceeded:
        """What is said at the limit, and whether another run of the command has it anew."""
        fact = f"Stopped at ${self.spent:.4f} of ${self.limit:g}"
        if self._of_all_runs:
            return BudgetExceeded(fact, reason, "Raise max_cost and run the command again: paid replies are kept")
        fix = "Raise max_cost, or run the command again, which may spend as much once more: paid replies are kept"
        return BudgetExceeded(fact, reason, fix)

    async def again(self, estimate: float, client: Estimates) -> bool:
        """Set aside as much for one more attempt of a call; False if it could exceed the limit.

        It waits for nobody: others may wait for this very call.
        """
        with self._lock:
            if has_room := self._has_room(estimate, client):
                self._under_way.append((estimate, client))
            return has_room

    def _has_room(self, estimate: float, client: Estimates) -> bool:
        calls = [*self._under_way, (estimate, client)]
        most = self.spent + math.fsum(expected * estimates.exceeded_by for expected, estimates in calls)
        return self.limit is None or most <= self.limit

    async def settle(self, estimate: float, actual: float, client: Estimates) -> None:
        """Replace what was reserved for a call by what it did cost (0 when it failed)."""
        with self._lock:
            self._under_way.remove((estimate, client))
            self.spent += actual
            client.learn(estimate, actual)
            waiting, self._waiting = self._waiting, []
        for change in waiting:
            if change.set_running_or_notify_cancel():
                change.set_result(None)


class Ledger(Protocol):
    """Where it is written what was paid (`cache.CallCache`)."""

    def pay(self, usage: Usage) -> int:
        """Note what was paid. Returns the number of the note."""

    def forget_note(self, number: int) -> None:
        """Take a note back."""


class Stake:
    """What one call has set aside of a budget, attempt by attempt.

    Args:
        budget: of which it is a part.
        estimate: the most that an attempt can cost, in US dollars.
        client: how good its estimates were so far.
        ledger: where what an attempt can cost is noted as long as nobody told what it did cost.
    """

    def __init__(self, budget: Budget, estimate: float, client: Estimates, ledger: Ledger) -> None:
        self._budget, self._estimate, self._client, self._ledger = budget, estimate, client, ledger
        self._held = False
        self._note: int | None = None

    async def begin(self) -> None:
        """Set aside the first attempt. Raises `BudgetExceeded`."""
        await self._budget.reserve(self._estimate, self._client)
        self._held = True

    def send(self) -> None:
        """An attempt is sent. If this process is killed now, nobody will tell what it did cost."""
        if self._note is None and self._estimate:
            self._note = self._ledger.pay(Usage(money=self._estimate))

    async def cancelled(self) -> None:
        """The call has been ended here; the server may go on with it."""
        if self._note is not None:
            await self.lost()

    async def lost(self) -> None:
        """Nobody told what an attempt cost, such as one whose answer was lost: it may be as much as it can be."""
        if self._held:
            self._held = False
            await self._budget.settle(self._estimate, self._estimate, self._client)
            self.send()
            self._note = None  # it stays

    async def again(self) -> bool:
        """Whether there is money for another attempt."""
        self._held = self._held or await self._budget.again(self._estimate, self._client)
        return self._held

    async def settle(self, actual: float) -> None:
        """The call has ended, and this is what its last attempt did cost."""
        if self._held:
            self._held = False
            await self._budget.settle(self._estimate, actual, self._client)
        if self._note is not None:
            self._ledger.forget_note(self._note)
            self._note = None


class EventLoop:
    """An asyncio loop in a thread of its own, so that synchronous callers (a notebook's too) can use it.

    A fork has its parent's loop without the thread that runs it, and begins one of its own.
    """

    def __init__(self) -> None:
        self._loops: dict[int, asyncio.AbstractEventLoop] = {}  # by process

    def run(self, work: Coroutine[Any, Any, T], on_interrupt: Callable[[], None] = lambda: None) -> T:
        """Result of `work`. Ctrl-C calls `on_interrupt` and lets calls under way end; a second one cancels them."""
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result()
        except KeyboardInterrupt:
            on_interrupt()
            try:
                future.exception(DRAIN_SECONDS)
            except BaseException:  # too slow, or interrupted again
                future.cancel()
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        process = os.getpid()
        if loop := self._loops.get(process):
            return loop
        made = asyncio.new_event_loop()
        if (loop := self._loops.setdefault(process, made)) is made:
            threading.Thread(target=made.run_forever, name="t2i-judge-calls", daemon=True).start()
        else:  # another thread was first
            made.close()
        return loop

    def close(self) -> None:
        """Stop the thread."""
        if loop := self._loops.pop(os.getpid(), None):
            loop.call_soon_threadsafe(loop.stop)
