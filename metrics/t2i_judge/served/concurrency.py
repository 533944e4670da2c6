"""Many calls at once, no more than a server can take: an adaptive limit, a spending limit, a loop for sync callers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from ..errors import UserError

T = TypeVar("T")
R = TypeVar("R")
_DRAIN_SECONDS = 15.0  # how long an interrupted run waits for replies that are already paid for


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

    await gather_all(worker() for _ in range(limit))
    return [results[index] for index in range(len(results))]


class AdaptiveLimit:
    """At most `limit` at once; halves when the server is overloaded, grows back by one per `limit` successes (AIMD).

    Args:
        most: the bound that is never exceeded, and the limit to begin with.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise UserError(f"concurrency is {most}", "nothing can be sent", "give at least 1")
        self.most, self.limit = most, float(most)
        self._active = 0
        self._changed = asyncio.Condition()
        self._paused_until = self._halved_at = 0.0

    async def __aenter__(self) -> float:
        """Wait for a place; returns when it was taken, for `overloaded`."""
        while (pause := self._paused_until - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        async with self._changed:
            await self._changed.wait_for(lambda: self._active < int(self.limit))
            self._active += 1
        return time.monotonic()

    async def __aexit__(self, *_: object) -> None:
        async with self._changed:
            self._active -= 1
            self._changed.notify(max(1, int(self.limit) - self._active))

    def succeeded(self) -> None:
        """One more reply came in time."""
        self.limit = min(float(self.most), self.limit + 1 / self.limit)

    def overloaded(self, sent_at: float, pause: float = 0.0) -> None:
        """The server wants less. Halves once per round: calls sent before the last halving do not count again."""
        if sent_at > self._halved_at:
            self.limit, self._halved_at = max(1.0, self.limit / 2), time.monotonic()
        self._paused_until = max(self._paused_until, time.monotonic() + pause)


class BudgetExceeded(UserError):
    """The next call could exceed `max_cost`; it was not made."""


class Budget:
    """Money, reserved before a call and settled after it, so that a limit is kept under concurrency.

    Args:
        limit: US dollars; None for no limit.
        spent: how many of them are gone already.
    """

    def __init__(self, limit: float | None = None, spent: float = 0.0) -> None:
        self.limit, self.spent = limit, spent
        self._reserved = 0.0
        self._underestimate = 1.0  # largest ratio of an actual cost to its estimate
        self._settled = asyncio.Condition()

    async def reserve(self, estimate: float) -> float:
        """Set aside the most a call can cost; waits for calls under way when their refund may make room.

        Raises:
            BudgetExceeded: the call could exceed the limit.
        """
        async with self._settled:
            while self.limit is not None and self.spent + self._reserved + estimate * self._underestimate > self.limit:
                if not self._reserved:
                    raise BudgetExceeded(
                        f"stopped at ${self.spent:.4f} of ${self.limit:g}",
                        f"the next call may cost ${estimate * self._underestimate:.4f}",
                        "raise max_cost and run again: what is paid for is kept",
                    )
                await self._settled.wait()
            amount = estimate * self._underestimate
            self._reserved += amount
            return amount

    async def settle(self, reserved: float, estimate: float, actual: float) -> None:
        """Replace a reservation by what the call did cost (0 when it failed)."""
        async with self._settled:
            self._reserved = max(0.0, self._reserved - reserved)
            if self._reserved < 1e-12:
                self._reserved = 0.0
            self.spent += actual
            if estimate > 0:
                self._underestimate = max(self._underestimate, actual / estimate)
            self._settled.notify_all()


class EventLoop:
    """An asyncio loop in a thread of its own, so that synchronous callers (a notebook's too) can use it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def run(self, work: Coroutine[Any, Any, T], on_interrupt: Callable[[], None] = lambda: None) -> T:
        """Result of `work`. Ctrl-C calls `on_interrupt` and lets calls under way end; a second one cancels them."""
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result()
        except KeyboardInterrupt:
            on_interrupt()
            try:
                future.exception(_DRAIN_SECONDS)
            except BaseException:  # too slow, or interrupted again
                future.cancel()
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="t2i-judge-calls", daemon=True).start()
            return self._loop

    def close(self) -> None:
        """Stop the thread."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._loop = None
