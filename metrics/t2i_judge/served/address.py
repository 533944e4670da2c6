"""The address of a server: what is called, what may be shown, and what identifies the server.

Users write it in many ways: with or without `/v1`, with a query (Azure's `?api-version=...`), with a login. A login and
keys in the query are sent and written nowhere else.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from ..errors import UserError, quoted
from ..logins import SECRET, shown_address

OPENAI = "https://api.openai.com/v1"
_ENDPOINT = "/chat/completions"


@dataclass(frozen=True)
class Address:
    """Where a server answers.

    Attributes:
        url: scheme, host and path, without a slash at the end.
        query: sent with every request.
        login: user and password, sent as HTTP's basic authentication; None for most servers.
    """

    url: str
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    login: tuple[str, str] | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str | None) -> Address:
        """Read an address; None means OPENAI_BASE_URL, or else OpenAI's. Raises `UserError` if it is not an address."""
        if text is None:
            text = os.environ.get("OPENAI_BASE_URL", "").strip() or OPENAI
        text = text.strip()
        try:
            parts = urlsplit(text)
            port = f":{parts.port}" if parts.port else ""
        except ValueError:
            parts, port = urlsplit(""), ""
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname or re.search(r"\s", text):
            fix = "Write it like http://HOST:PORT/v1"
            raise UserError(
                f"{quoted(shown_address(text))} is not the address of a server", "It is not an http or https URL", fix
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        path = parts.path.rstrip("/").removesuffix(_ENDPOINT).rstrip("/")
        login = (unquote(parts.username or ""), unquote(parts.password or "")) if "@" in parts.netloc else None
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        return cls(f"{parts.scheme.lower()}://{host}{port}{path}", query, login)

    @property
    def host(self) -> str:
        """Name of the machine, in lower case."""
        return urlsplit(self.url).hostname or ""

    @property
    def identity(self) -> str:
        """Identifies the server for a cache. It is the same with and without /v1, and with any login."""
        query = _written(tuple(pair for pair in self.query if not _is_secret(*pair)))
        return self.url.removesuffix("/v1") + query

    @property
    def endpoints(self) -> tuple[str, ...]:
        """URLs at which chat completions may be found, the likeliest first: `/v1` is often left out."""
        other = self.url.removesuffix("/v1") if self.url.endswith("/v1") else f"{self.url}/v1"
        places = (self.url, other) if urlsplit(self.url).path else (other, self.url)
        return places[0] + _ENDPOINT, places[1] + _ENDPOINT

    @property
    def basic(self) -> str:
        """The login as HTTP's basic authentication sends it; empty without one."""
        return b64encode(":".join(self.login).encode()).decode() if self.login else ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown of it."""
        login = (self.login[1] or self.login[0], self.basic) if self.login else ()  # a name alone is a key
        return (*login, *(value for name, value in self.query if _is_secret(name, value)))

    @property
    def is_openai(self) -> bool:
        """Whether it is OpenAI's own, or Azure's, which take the same arguments."""
        return self.host == urlsplit(OPENAI).hostname or self.is_azure

    @property
    def is_azure(self) -> bool:
        """Whether it is Azure's, whose keys go into a header of their own."""
        return self.host.endswith((".azure.com", ".azure-api.net"))

    def __str__(self) -> str:
        shown = tuple((name, "..." if _is_secret(name, value) else value) for name, value in self.query)
        return self.url + _written(shown)


def _is_secret(name: str, value: str) -> bool:
    """Whether an argument of the query is a key, or has one behind a `;`, which some servers read as `&`."""
    names = (part.partition("=") for part in f"{name}={value}".split(";"))
    return any(equals and SECRET.search(name) for name, equals, _ in names)


def _written(query: tuple[tuple[str, str], ...]) -> str:
    return f"?{urlencode(query, safe='.')}" if query else ""
