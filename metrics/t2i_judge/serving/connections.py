"""A server's connections, of which it can hold only so many: who does not send the head of a request, or does not read
the answer, is cut off, and of whom has not read nothing more is read.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any, ClassVar

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from .shares import account_of, is_public, range_of

_HEAD = 20.0  # seconds that the head of a request may take
_STILL, _READ = 30.0, 300.0  # seconds for which a client may read nothing of an answer, and for all of it
_MOST_UNREAD = 256_000_000  # bytes of answers that wait for their clients
_FROM_A_RANGE = 256  # connections that a range of the internet may have open


class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Closes a connection whose client keeps it waiting, or one too many of a range."""

    _late: asyncio.TimerHandle | None = None  # for the head
    _silent: asyncio.TimerHandle | None = None  # for the reading
    _since = 0.0  # when the answer began to wait
    _left = 0  # bytes of it that the client had not read when we looked
    _range = ""
    _is_public = False
    _open: ClassVar[Counter[str]] = Counter()  # by range of the internet
    _unread: ClassVar[dict[Connection, None]] = {}  # those whose answers wait, in order

    def connection_made(self, transport: Any) -> None:
        """Somebody calls."""
        super().connection_made(transport)
        account = account_of(str((transport.get_extra_info("peername") or ("",))[0]))
        self._range, self._is_public = range_of(account), is_public(account)
        transport.set_write_buffer_limits(high=0)  # any byte that the client does not read is noticed
        if self._is_public:
            self._open[self._range] += 1
            if self._open[self._range] > _FROM_A_RANGE:
                transport.close()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""
        super().data_received(data)
        self._watch()

    def pause_writing(self) -> None:
        """An answer waits for its client to read."""
        super().pause_writing()
        self._since = time.monotonic()
        self._unread[self] = None
        self._read_nothing()
        self._look()
        while sum(each._left for each in self._unread) > _MOST_UNREAD:
            self._first_of_the_crowd().abort()

    def resume_writing(self) -> None:
        """It was read, or taken by the network."""
        super().resume_writing()
        self._forget()
        if not (self.flow.read_paused or self.transport.is_closing()):
            self.transport.resume_reading()

    def on_response_complete(self) -> None:
        """An answer was written, though not read yet; the server would read on."""
        super().on_response_complete()
        if self in self._unread:
            self._read_nothing()

    def abort(self) -> None:
        """Hang up, whatever is left to be read."""
        self._forget()
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """They hung up."""
        super().connection_lost(exc)
        self._forget()
        if self._is_public:
            self._open[self._range] -= 1
            if not self._open[self._range]:
                del self._open[self._range]
        if self._late is not None:
            self._late.cancel()

    def _watch(self) -> None:
        waits = self.cycle is None or self.cycle.response_complete
        if waits and self._late is None:
            self._late = self.loop.call_later(_HEAD, self.transport.close)
        elif not waits and self._late is not None:
            self._late.cancel()
            self._late = None

    def _read_nothing(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def _look(self) -> None:
        """Look again in a while whether the client has read anything."""
        self._left = self.transport.get_write_buffer_size()
        self._silent = self.loop.call_later(_STILL, self._look_again)

    def _look_again(self) -> None:
        is_still = self.transport.get_write_buffer_size() >= self._left
        if is_still or time.monotonic() - self._since > _READ:
            self.abort()
        else:
            self._look()

    def _first_of_the_crowd(self) -> Connection:
        """Of the range with most unread, the one whose answer waits longest."""
        of_range = Counter[str]()
        for each in self._unread:
            of_range[each._range] += each._left
        crowd = max(of_range, key=lambda name: of_range[name])
        return next(each for each in self._unread if each._range == crowd)

    def _forget(self) -> None:
        self._unread.pop(self, None)
        if self._silent is not None:
            self._silent.cancel()
            self._silent = None
