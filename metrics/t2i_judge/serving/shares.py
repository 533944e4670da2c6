"""Fair shares of what there is for all visitors: threads, decoders, memory. One visitor never holds all of it.

Many visitors together can, for as long as each may hold its share. Then ranges of addresses take turns, and in each
range its accounts: whoever comes next waits for one share of each range, even where somebody has a range of their own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count

from ..errors import UserError
from ..wording import counted

_MOST_WAITING = 64  # of one account
_MOST_TOGETHER = 1024  # of all: some may wait for every visitor that can be served in time
_SUBSCRIBER = {4: 32, 6: 64}  # bits of an address that tell one client from another, by version
_RANGE = {4: 24, 6: 48}  # and the smallest range that the internet routes


def account_of(address: str) -> str:
    """What one client is counted by: its address; of IPv6 the network that a subscriber has, not its 2^64 addresses."""
    return _network(address, _SUBSCRIBER)


def range_of(account: str) -> str:
    """The range that an address belongs to (/24, of IPv6 /48); an account that is no address is its own."""
    return _network(account, _RANGE)


def is_address(name: str) -> bool:
    """Whether it is an IP address at all."""
    return _address(name) is not None


def is_public(account: str) -> bool:
    """Whether it is an address of the internet, not of this machine, of a house or of a company's own network."""
    known = _address(account)
    return known is not None and known.is_global


def _network(address: str, bits: dict[int, int]) -> str:
    known = _address(address)
    if known is None:
        return address
    network = ipaddress.ip_network((known, bits[known.version]), strict=False)
    return str(known) if network.num_addresses == 1 else str(network)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, or the first of a network; None for any other name."""
    try:
        known = ipaddress.ip_interface(name).ip
    except ValueError:
        return None
    return (known.ipv4_mapped if isinstance(known, ipaddress.IPv6Address) else None) or known


@dataclass(eq=False)
class _Waiter:
    """Somebody who waits for a share; `turn` is set, in its own loop, once it is taken for them."""

    account: str
    range: str
    amount: float
    turn: asyncio.Future[None]
    holds: bool = False


class Shares:
    """Amounts that accounts hold while they work. Who wants more than there is waits.

    Ranges of addresses take turns, in a range its accounts, and an account's own come in order. An account with more
    waiting than its share passes its turn to others; one that waits for what all hold does not, so that many small ones
    do not keep a large one waiting for ever. Where too many wait, the last of the range with most of them is sent away.

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
        self._waiting: dict[str, deque[_Waiter]] = {}  # by account, in order
        self._since: dict[str, int] = {}  # range or account -> when it had its turn, or began to wait
        self._clock = count()
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
        waiter = _Waiter(account, range_of(account), amount, asyncio.get_running_loop().create_future())
        with self._lock:
            if len(self._waiting.get(account, ())) >= self.waiting:
                yours = counted(self.waiting, "request of yours is", "requests of yours are")
                raise UserError(f"{yours} waiting", "", "Send more when they are done")
            self._join(waiter)
            self._serve()
        try:
            await asyncio.wait_for(asyncio.shield(waiter.turn), self.patience)
        except (TimeoutError, asyncio.CancelledError, _Crowded) as error:
            self._leave(waiter)
            if isinstance(error, asyncio.CancelledError):
                raise
            late = f"Your turn did not come in {self.patience:.0f} s"
            crowd = f"{counted(self._most, 'request is', 'requests are')} waiting"
            fact = crowd if isinstance(error, _Crowded) else late
            raise UserError(fact, f"{self.what} at the moment", "Try again later") from None
        return lambda: self._give_back(waiter)

    @property
    def _most(self) -> int:
        """That wait together."""
        return max(_MOST_TOGETHER, self.waiting)

    def _join(self, waiter: _Waiter) -> None:
        """Wait behind all who wait already, and send somebody away where too many do."""
        if not any(queue[0].range == waiter.range for queue in self._waiting.values()):
            self._since[waiter.range] = next(self._clock)
        if waiter.account not in self._waiting:
            self._since[waiter.account] = next(self._clock)
        self._waiting.setdefault(waiter.account, deque()).append(waiter)
        if sum(map(len, self._waiting.values())) > self._most:
            last = self._last_of_the_crowd(waiter.range)
            self._remove(last)
            _tell(last, _Crowded())

    def _last_of_the_crowd(self, newest: str) -> _Waiter:
        """The one who came last to the account with most waiting in the range with most; of equal ranges the newest."""
        crowds: Counter[str] = Counter()
        for queue in self._waiting.values():
            crowds[queue[0].range] += len(queue)
        crowd = max(crowds, key=lambda name: (crowds[name], name == newest))
        return max((queue for queue in self._waiting.values() if queue[0].range == crowd), key=len)[-1]

    def _remove(self, waiter: _Waiter) -> None:
        queue = self._waiting[waiter.account]
        queue.remove(waiter)
        if not queue:
            del self._waiting[waiter.account]
        if len(self._since) > 4 * self._most:
            present = {name for queue in self._waiting.values() for name in (queue[0].range, queue[0].account)}
            self._since = {name: since for name, since in self._since.items() if name in present}

    def _leave(self, waiter: _Waiter) -> None:
        """Who does not wait any longer, though the turn may have come in the same moment."""
        with self._lock:
            if waiter in self._waiting.get(waiter.account, ()):
                self._remove(waiter)
                self._serve()
        if waiter.holds:
            self._give_back(waiter)

    def _give_back(self, waiter: _Waiter) -> None:
        with self._lock:
            self._held[waiter.account] -= waiter.amount  # type: ignore[assignment]
            if self._held[waiter.account] <= 0:
                del self._held[waiter.account]
            self._serve()

    def _serve(self) -> None:
        """Take shares for those whose turn it is."""
        while (waiter := self._next()) is not None:
            self._remove(waiter)
            self._held[waiter.account] += waiter.amount  # type: ignore[assignment]
            self._since[waiter.range] = self._since[waiter.account] = next(self._clock)
            waiter.holds = True
            _tell(waiter)

    def _next(self) -> _Waiter | None:
        """Whose turn it is, if there is enough for them."""
        first = min(
            (queue[0] for queue in self._waiting.values() if self._may_hold(queue[0])),
            key=lambda each: (self._since[each.range], self._since[each.account]),
            default=None,
        )
        held = sum(self._held.values())
        return first if first is not None and (not held or held + first.amount <= self.together) else None

    def _may_hold(self, waiter: _Waiter) -> bool:
        mine = self._held[waiter.account]
        return not mine or mine + waiter.amount <= self.each


class _Crowded(Exception):
    """Too many wait."""


def _tell(waiter: _Waiter, refusal: Exception | None = None) -> None:
    """Wake somebody who waits, in their own loop."""
    with suppress(RuntimeError):  # it is closed: a server that ends
        waiter.turn.get_loop().call_soon_threadsafe(_set, waiter.turn, refusal)


def _set(turn: asyncio.Future[None], refusal: Exception | None) -> None:
    if turn.done():
        return
    if refusal is None:
        turn.set_result(None)
    else:
        turn.set_exception(refusal)
