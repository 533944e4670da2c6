"""Fair shares of what there is for all visitors: threads, decoders, memory. One visitor never holds all of it.

Many visitors together can, for as long as each may hold its share. Then ranges of addresses take turns, in each range
its addresses, and of an address its browsers. A range that holds less goes first: what comes free goes to a newcomer
from elsewhere, however many cookies or addresses somebody in a range of their own has.
"""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import count

from ..errors import UserError
from ..wording import counted

_MOST_WAITING = 64  # of one account
_MOST_TOGETHER = 1024  # of all: some may wait for every visitor that can be served in time
_SUBSCRIBER = {4: 32, 6: 64}  # bits of an address that tell one client from another, by version
_RANGE = {4: 24, 6: 48}  # and the smallest range that the internet routes
Turns = tuple[str, ...]  # a range, an address, a browser: each takes turns with others in the one before it


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

    turns: Turns
    amount: float
    turn: asyncio.Future[None]
    holds: bool = False

    @property
    def account(self) -> str:
        """That holds the share."""
        return self.turns[-1]

    @property
    def range(self) -> str:
        """That it comes from."""
        return self.turns[0]

    @cached_property
    def groups(self) -> tuple[Turns, ...]:
        """It and all that it belongs to, the widest first."""
        return tuple(self.turns[: level + 1] for level in range(len(self.turns)))


class Shares:
    """Amounts that accounts hold while they work. Who wants more than there is waits.

    Ranges of addresses take turns, in a range its accounts, and an account's own come in order; a range that holds less
    than another goes before it. An account with more waiting than its share passes its turn to others; one that waits
    for what all hold does not, so that many small ones do not keep a large one waiting for ever. Where too many wait,
    the last of the range with most of them is sent away.

    Who waits is an account (an address, or any other name, which is a range of its own), or `Turns`, whose last is one.

    Args:
        what: what is held, in the words of a refusal.
        each: most that an account holds; a single larger amount is taken alone.
        together: most that all hold.
        patience: seconds to wait.
        waiting: most of an account's that wait; one more is refused.
    """

    def __init__(self, what: str, each: float, together: float, patience: float, waiting: int = _MOST_WAITING) -> None:
        self.what, self.each, self.together, self.patience, self.waiting = what, each, together, patience, waiting
        self._held: Counter[str] = Counter()  # by account
        self._of_range: Counter[str] = Counter()
        self._waiting: dict[Turns, deque[_Waiter]] = {}  # in order
        self._since: dict[Turns, int] = {}  # group -> when it had its turn, or began to wait
        self._clock = count()
        self._lock = threading.Lock()

    @asynccontextmanager
    async def held(self, who: str | Turns, amount: float = 1) -> AsyncIterator[None]:
        """Hold an amount. Raises `UserError` when it takes too long, or too many wait already."""
        release = await self.take(who, amount)
        try:
            yield
        finally:
            release()

    async def take(self, who: str | Turns, amount: float = 1) -> Callable[[], None]:
        """As `held`; returns what gives it back, from any thread, once."""
        turns = (range_of(who), who) if isinstance(who, str) else who
        waiter = _Waiter(turns, amount, asyncio.get_running_loop().create_future())
        with self._lock:
            if len(self._waiting.get(turns, ())) >= self.waiting:
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
        present = {group for queue in self._waiting.values() for group in queue[0].groups}
        for group in waiter.groups:
            if group not in present:
                self._since[group] = next(self._clock)
        self._waiting.setdefault(waiter.turns, deque()).append(waiter)
        if sum(map(len, self._waiting.values())) > self._most:
            last = self._last_of_the_crowd(waiter)
            self._remove(last)
            _tell(last, _Crowded())

    def _last_of_the_crowd(self, newest: _Waiter) -> _Waiter:
        """The last of the range with most waiting, in it of the address, then the browser; of equals the newest."""
        queues = list(self._waiting.values())
        level = 0
        while len(queues) > 1:
            level += 1
            crowds: Counter[Turns] = Counter()
            for queue in queues:
                crowds[queue[0].turns[:level]] += len(queue)
            crowd = max(crowds, key=lambda group: (crowds[group], group == newest.turns[:level]))
            queues = [queue for queue in queues if queue[0].turns[:level] == crowd]
        return queues[0][-1]

    def _remove(self, waiter: _Waiter) -> None:
        queue = self._waiting[waiter.turns]
        queue.remove(waiter)
        if not queue:
            del self._waiting[waiter.turns]
        if len(self._since) > 4 * self._most:
            present = {group for queue in self._waiting.values() for group in queue[0].groups}
            self._since = {group: since for group, since in self._since.items() if group in present}

    def _leave(self, waiter: _Waiter) -> None:
        """Who does not wait any longer, though the turn may have come in the same moment."""
        with self._lock:
            if waiter in self._waiting.get(waiter.turns, ()):
                self._remove(waiter)
                self._serve()
        if waiter.holds:
            self._give_back(waiter)

    def _give_back(self, waiter: _Waiter) -> None:
        with self._lock:
            for held, name in ((self._held, waiter.account), (self._of_range, waiter.range)):
                held[name] -= waiter.amount  # type: ignore[assignment]
                if held[name] <= 0:
                    del held[name]
            self._serve()

    def _serve(self) -> None:
        """Take shares for those whose turn it is."""
        while (waiter := self._next()) is not None:
            self._remove(waiter)
            self._held[waiter.account] += waiter.amount  # type: ignore[assignment]
            self._of_range[waiter.range] += waiter.amount  # type: ignore[assignment]
            self._since |= dict.fromkeys(waiter.groups, next(self._clock))
            waiter.holds = True
            _tell(waiter)

    def _next(self) -> _Waiter | None:
        """Whose turn it is, if there is enough for them."""
        first = min(
            (queue[0] for queue in self._waiting.values() if self._may_hold(queue[0])),
            key=lambda each: (self._of_range[each.range], *(self._since[group] for group in each.groups)),
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
