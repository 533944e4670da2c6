"""Who may ask, how much a request may hold, and how long its body may take: decided before a byte of it is kept.

A plain ASGI layer around the application: the key first, then the size that is declared, then the bytes that come.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from .shares import account_of, is_public, range_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
_OPEN = ("/health", "/docs", "/openapi.json")  # paths that need no key
_TOLD = {401: [("www-authenticate", "Bearer")], 429: [("retry-after", "1")]}  # headers of refusals
_FULL = "many large requests are being processed"
_STILL, _WHOLE = 30.0, 300.0  # seconds that a body may stand still, and that all of it may take
_DIGITS = 20  # of a length: no larger one is told from it
_READ_AWAY = 4  # times the limit that is read and thrown away, so that whoever sends too much hears the answer


@dataclass
class Admission:
    """Lets requests through to an application.

    Args:
        application: whatever is inside.
        key: that clients must present as `Authorization: Bearer KEY`; None for none.
        most_bytes: of a body.
        most_held: bytes of all bodies that are in here at a time; of a range of the internet at most half of them.
        hosts: names of this server in a browser's address; pages of other hosts are refused where there is no key.
        local: whether it listens on this machine alone. Then what asks for another host, without the key, is a page
            whose name leads here now (DNS rebinding), and is refused.
    """

    application: Application
    key: str | None
    most_bytes: int
    most_held: int
    hosts: tuple[str, ...]
    local: bool = False
    held: int = 0
    _of_range: Counter[str] = field(default_factory=Counter)  # bytes of `held`, by range of the internet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        size, receive, crowd = _size(headers), in_time(receive, _STILL, _WHOLE), _crowd(scope)
        if refused := self._refused(scope["path"], headers, size, crowd):
            with suppress(HTTPException):  # it took too long over what nobody wants
                await _read_away(receive, _READ_AWAY * self.most_bytes)
            await _refuse(send, *refused)
        else:
            await self._counted(scope, receive, send, crowd)

    async def _counted(self, scope: Scope, receive: Receive, send: Send, crowd: str) -> None:
        """Let the application have a request, as long as what comes of it is allowed.

        What came is counted, and not what was declared: who sends nothing takes nobody's room.
        """
        came = 0

        async def count() -> Message:
            nonlocal came
            message = await receive()
            size = len(message.get("body", b""))
            if came + size > self.most_bytes:
                await _read_away(receive, _READ_AWAY * self.most_bytes)
                raise HTTPException(413, self._too_large(came + size))
            if self._is_full(size, crowd, came):
                raise HTTPException(429, _FULL, dict(_TOLD[429]))
            came, self.held = came + size, self.held + size
            if crowd:
                self._of_range[crowd] += size
            return message

        def give_back() -> None:
            nonlocal came
            if crowd:
                self._of_range[crowd] -= came
                self._of_range += Counter()  # without those of whom nothing is here
            came, self.held = 0, self.held - came

        async def answer(message: Message) -> None:
            give_back()  # who answers is done with the body, however long the client takes to read
            await send(message)

        try:
            await self.application(scope, count, answer)
        finally:
            give_back()

    def _is_full(self, size: int, crowd: str, mine: int = 0) -> bool:
        """Is there no room for so many bytes more beside what others, and others of the same range, have here?"""
        theirs = self._of_range[crowd] if crowd else 0
        return (self.held > mine and self.held + size > self.most_held) or (
            theirs > mine and theirs + size > self.most_held / 2
        )

    def _refused(self, path: str, headers: dict[str, str], size: int, crowd: str) -> tuple[int, str] | None:
        """Status and sentence for a request that is not let in."""
        presented = headers.get("authorization", "").removeprefix("Bearer ").strip()
        is_known = self.key is not None and hmac.compare_digest(presented.encode(), self.key.encode())
        if self.key is not None and not is_known and path not in _OPEN:
            return 401, "the key is wrong or missing: send Authorization: Bearer KEY"
        if self.local and not is_known and _host(f"//{headers.get('host', self.hosts[0])}") not in self.hosts:
            return 421, "this server is called localhost: name it so, or give it a key (--client-key-env) and send that"
        if self.key is None and (origin := headers.get("origin")) and _host(origin) not in self.hosts:
            return 403, "a web page of another address sent this request: give this server a key (--client-key-env)"
        if size > self.most_bytes:
            return 413, self._too_large(size)
        if size and self._is_full(size, crowd):
            return 429, _FULL
        return None

    def _too_large(self, size: int) -> str:
        return f"{size} bytes are more than the {self.most_bytes} allowed: send fewer images at a time"


def _host(address: str) -> str | None:
    """The host that an address names; None for what is no address."""
    with suppress(ValueError):
        return urlsplit(address).hostname
    return None


def _crowd(scope: Scope) -> str:
    """The range of the internet that a request comes from; "" for one of this machine or of a network of one's own."""
    account = account_of(str((scope.get("client") or ("",))[0]))
    return range_of(account) if is_public(account) else ""


def _size(headers: dict[str, str]) -> int:
    """Bytes of the body as declared; 0 where they are not (a chunked body)."""
    declared = headers.get("content-length", "0")
    return int(declared[:_DIGITS]) if declared.isascii() and declared.isdecimal() else 0


def in_time(receive: Receive, still: float, total: float) -> Receive:
    """`receive` that raises HTTP 408 for a body that stands still, or takes longer than so many seconds in total.

    After the body, who waits may wait.
    """
    end, whole = time.monotonic() + total, False

    async def receiving() -> Message:
        nonlocal whole
        if whole:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), min(still, end - time.monotonic()))
        except TimeoutError:
            raise HTTPException(408, "the body did not arrive: send it again") from None
        whole = not message.get("more_body", False)
        return message

    return receiving


async def _read_away(receive: Receive, most: int) -> None:
    message: Message = {"more_body": True}
    while most > 0 and message.get("more_body"):
        message = await receive()
        most -= len(message.get("body", b""))


async def _refuse(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"detail": sentence}).encode()
    pairs = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    pairs += [(name.encode(), value.encode()) for name, value in _TOLD.get(status, [])]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
