"""One POST to one server: the whole reply within limits of time and size. Nothing is sent anywhere else.

No redirect is followed, since key, prompt and image would go along. The user has to correct the address.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .address import Address
from .words import shorten

if TYPE_CHECKING:
    import ssl

    import httpx2

LARGEST_REPLY = 16_000_000  # bytes, after decompression
_SECRET = 12  # characters of a key that is no word that a reply may hold


class Silent(Exception):
    """No whole reply came in time, or the connection broke.

    `busy`: as it does when a server has too much to do. `sent`: the request may have arrived.
    """

    def __init__(self, reason: str, busy: bool = True, sent: bool = True) -> None:
        self.reason, self.busy, self.sent = reason, busy, sent
        super().__init__(reason)


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of a reply; `record` is the body where it is JSON, else its text."""

    status: int
    headers: Mapping[str, str]
    record: Any

    @property
    def is_error(self) -> bool:
        """Whether it is no answer to what was asked; some servers say so with status 200."""
        error = isinstance(self.record, dict) and self.record.get("error") and not self.record.get("choices")
        return self.status != 200 or bool(error)


class HttpClient:
    """Connections to a server, kept open between calls.

    Each connection is a client of its own: a pool looks at every connection that it holds for every request, which with
    a hundred of them takes longer than the request. A fork opens its own: two processes on one connection would read
    each other's replies.

    Args:
        address: of the server.
        key: sent with every request; None for none.
        timeout: seconds for a whole exchange, however slowly bytes drip.
    """

    def __init__(self, address: Address, key: str | None, timeout: float) -> None:
        self.address, self.timeout, self._key = address, timeout, key
        self._secrets = [each.encode() for each in (key, *address.secrets) if each and len(each) >= _SECRET]
        self._idle: defaultdict[int, list[httpx2.AsyncClient]] = defaultdict(list)  # by process
        self._certificates: ssl.SSLContext | None = None

    async def post(self, url: str, body: Mapping[str, Any], seconds: float | None = None) -> Answer:
        """Send a body. Raises `Silent` when no reply came, `UserError` when the way there is closed."""
        return await self._exchange("POST", url, json.dumps(body).encode(), seconds)

    async def get(self, url: str, seconds: float) -> Answer:
        """Fetch something small. Raises as `post`."""
        return await self._exchange("GET", url, None, min(seconds, self.timeout))

    async def _exchange(self, method: str, url: str, content: bytes | None, seconds: float | None = None) -> Answer:
        import httpx2

        idle, limit = self._idle[os.getpid()], seconds or self.timeout
        client = idle.pop() if idle else self._open()
        query = dict(self.address.query) or None
        try:
            async with (
                asyncio.timeout(limit),
                client.stream(method, url, content=content, params=query, timeout=limit) as response,
            ):
                return Answer(response.status_code, response.headers, await self._record(response))
        except (TimeoutError, httpx2.TimeoutException) as error:
            unsent = isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout)
            raise Silent(f"no whole reply within {limit:g} s", sent=not unsent) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            refused = isinstance(error, httpx2.ConnectError | httpx2.ProxyError)
            reason = f"connection failed: {shorten(str(error)) or type(error).__name__}"
            raise Silent(reason, not refused, not refused) from error
        finally:
            idle.append(client)

    def _open(self) -> httpx2.AsyncClient:
        import httpx2

        self._certificates = self._certificates or httpx2.create_ssl_context()
        limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1)
        options: dict[str, Any] = {"limits": limits, "verify": self._certificates, "follow_redirects": False}
        try:
            return httpx2.AsyncClient(headers=self._headers(), **options)
        except ImportError as error:
            fix = 'Run: pip install "httpx2[socks]", or unset ALL_PROXY, HTTPS_PROXY and HTTP_PROXY'
            raise UserError("A SOCKS proxy is set", "SOCKS proxies need one more package", fix) from error
        except ValueError as error:  # its message may show the proxy's password
            fix = "Correct HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
            raise UserError("The proxy cannot be used", "Its address has an unknown format", fix) from error

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if self._key and (self.address.is_azure or any(name == "api-version" for name, _ in self.address.query)):
            headers["api-key"] = self._key
        if self.address.login:
            headers["Authorization"] = f"Basic {self.address.basic}"
        elif self._key and not self.address.is_azure:
            headers["Authorization"] = f"Bearer {self._key}"
        return headers

    async def _record(self, response: httpx2.Response) -> Any:
        """What the body says, without the key: of a text that is cut short somewhere, half of it would remain."""
        parts, size = [], 0
        async for part in response.aiter_bytes():
            size += len(part)
            if size > LARGEST_REPLY:
                raise Silent(f"the reply is larger than {LARGEST_REPLY // 1_000_000} MB", busy=False)
            parts.append(part)
        body = b"".join(parts)
        for secret in self._secrets:
            body = body.replace(secret, b"[key]")
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            return body.decode("utf-8", "replace")

    async def close(self) -> None:
        """Close the connections."""
        idle = self._idle[os.getpid()]
        while idle:
            await idle.pop().aclose()
