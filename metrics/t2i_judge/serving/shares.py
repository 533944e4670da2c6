"""Fair shares of what there is for all visitors: threads, decoders, memory. One visitor never holds all of it."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from ..errors import UserError

_MOST_WAITING = 64  # of one account


@dataclass(eq=False)
class _Waiter:
    """Somebody who waits for a share; `turn` is set, in its own loop, once it is taken for them."""

    account: str
    amount: float
    turn: asyncio.Future[None]


class Shares:
    """Amounts that accounts hold while they work. Who wants more than there is waits, in the order of coming.

    An account with more waiting than its share passes its turn to others; one that waits for what all hold does not,
    so that many small ones do not keep a large one waiting for ever.

    Args:
        what: what is held, in the words of a refusal.
        each: most that an account holds; a single larger amount is taken alone.
        together: most that all hold.
        patience: seconds to wait.
        waiting: most of an account's that wait; one more is refused.
    """

    def __init__(self, what: str, each: float, together: float, patience: float, waiting: int = _MOST_WAITING) -> None:
        self.what, self.each, self.together, self.patience, self.waiting = what, each, together, patience, waiting
        self._held: Counter[str] = Counter()
        self._waiting: list[_Waiter] = []
        self._lock = threading.Lock()

    @asynccontextmanager
    async def held(self, account: str, amount: float = 1) -> AsyncIterator[None]:
        """Hold an amount. Raises `UserError` when it takes too long, or too many wait already."""
        release = await self.take(account, amount)
        try:
            yield
        finally:
            release()

    async def take(self, account: str, amount: float = 1) -> Callable[[], None]:
        """As `held`; returns what gives it back, from any thread, once."""
        waiter = _Waiter(account, amount, asyncio.get_running_loop().create_future())
        with self._lock:
            if sum(each.account == account for each in self._waiting) >= self.waiting:
                raise UserError(f"{self.waiting} of your requests are waiting", "", "Send more when they are done")
            self._waiting.append(waiter)
            self._serve()
        try:
            await asyncio.wait_for(asyncio.shield(waiter.turn), self.patience)
        except (TimeoutError, asyncio.CancelledError) as error:
            self._leave(waiter)
            if isinstance(error, asyncio.CancelledError):
                raise
            reason = f"{self.what} at the moment"
            raise UserError(
                f"Your turn did not come in {self.patience:.0f} seconds", reason, "Try again later"
            ) from None
        return lambda: self._give_back(waiter)

    def _leave(self, waiter: _Waiter) -> None:
        """Who does not wait any longer, though the turn may have come in the same moment."""
        with self._lock:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._serve()
                return
        self._give_back(waiter)

    def _give_back(self, waiter: _Waiter) -> None:
        with self._lock:
            self._held[waiter.account] -= waiter.amount  # type: ignore[assignment]
            if self._held[waiter.account] <= 0:
                del self._held[waiter.account]
            self._serve()

    def _serve(self) -> None:
        """Take shares for those whose turn it is."""
        for waiter in list(self._waiting):
            mine, all_held = self._held[waiter.account], sum(self._held.values())
            if mine and mine + waiter.amount > self.each:
                continue
            if all_held and all_held + waiter.amount > self.together:
                return
            self._waiting.remove(waiter)
            self._held[waiter.account] += waiter.amount  # type: ignore[assignment]
            with suppress(RuntimeError):  # its loop is closed: a server that ends
                waiter.turn.get_loop().call_soon_threadsafe(_set, waiter.turn)


def _set(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
