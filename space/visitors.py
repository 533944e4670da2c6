"""Who somebody is here: a browser by a cookie of ours, a visit by Gradio's session, a client without either by its
address. None of the three is a login; together they distinguish one visitor's files from another's."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from t2i_judge.serving.shares import account_of

COOKIE = "t2i_judge_visitor"
# Not by http.cookies, which drops all cookies of a request for one that it cannot read, a foreign one, too.
_IN_HEADER = re.compile(rf"(?:^|;\s*){COOKIE}=([0-9a-f]{{32}})([0-9a-f]{{32}})\s*(?:;|$)")
_KEY = secrets.token_bytes(32)  # of this process: a cookie that nobody was given counts for nothing


@dataclass(frozen=True)
class Visitor:
    """One visitor.

    Attributes:
        browser: the browser's cookie, "" for a client that keeps none.
        session: Gradio's session hash, None where there is none: an upload, a call by plain HTTP.
        address: the IP address that the server sees.
    """

    browser: str = ""
    session: str | None = None
    address: str = ""

    @property
    def account(self) -> str:
        """The account on which the quota is counted."""
        return self.browser or account_of(self.address)


def visitor_of(scope: Mapping[str, Any], session: str | None = None) -> Visitor:
    """The visitor behind a request's ASGI scope."""
    client = scope.get("client") or ("",)
    cookies = b"; ".join(value for name, value in scope.get("headers", ()) if name == b"cookie")
    return Visitor(_browser(cookies.decode("latin-1")), session, str(client[0]))


def _browser(cookies: str) -> str:
    match = _IN_HEADER.search(cookies)
    return match[1] if match and hmac.compare_digest(_signature(match[1]), match[2]) else ""


def _signature(name: str) -> str:
    return hashlib.blake2b(name.encode(), key=_KEY, digest_size=16).hexdigest()


def new_cookie(secure: bool) -> bytes:
    """The header that gives a browser its cookie; `secure`: also inside the Hub's frame, which needs HTTPS."""
    name, kind = secrets.token_hex(16), "Secure; SameSite=None; Partitioned" if secure else "SameSite=Lax"
    return f"{COOKIE}={name}{_signature(name)}; Path=/; HttpOnly; {kind}".encode()
