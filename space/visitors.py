"""Who somebody is here: a browser by a cookie of ours, a visit by Gradio's session, a client without either by its
address. None of the three is a login; together they distinguish one visitor's files from another's.

Where a request comes from is decided here alone (`address_of`). A peer on the internet is its own address. A peer in a
private network, or on this machine, is the nearest proxy if the request says for whom it was forwarded; then the last
entry of X-Forwarded-For, which that proxy has written itself, is the address, and nothing left of it, which any client
may have sent. Without that header it is a machine of the same house, or a proxy that does not tell: no crowd.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from t2i_judge.serving.shares import Turns, account_of, is_address, is_public, range_of

COOKIE = "t2i_judge_visitor"
# Not by http.cookies, which drops all cookies of a request for one that it cannot read, a foreign one, too.
_IN_HEADER = re.compile(rf"(?:^|;\s*){COOKIE}=([0-9a-f]{{32}})([0-9a-f]{{32}})\s*(?:;|$)")
_KEY = secrets.token_bytes(32)  # of this process: a cookie that nobody was given counts for nothing
_ENTRY = re.compile(r"\[([^\]]*)\](?::\d+)?|([\d.]+):\d+")  # of X-Forwarded-For, where a port stands with the address


@dataclass(frozen=True)
class Visitor:
    """One visitor.

    Attributes:
        browser: the browser's cookie, "" for a client that keeps none.
        session: Gradio's session hash, None where there is none: an upload, a call by plain HTTP.
        address: the IP address that the request comes from, "" where it is not known.
    """

    browser: str = ""
    session: str | None = None
    address: str = ""

    @property
    def account(self) -> str:
        """The account on which the quota is counted."""
        return self.browser or account_of(self.address)

    @property
    def crowd(self) -> str:
        """The range of the internet that it comes from; "" where the address is private: that may be anybody."""
        account = account_of(self.address)
        return range_of(account) if is_public(account) else ""

    @property
    def turns(self) -> Turns:
        """With whom it takes turns where all wait: cookies are free, so its range comes first, then its address."""
        return (self.crowd, account_of(self.address), self.account) if self.crowd else (self.account,)


NOBODY = Visitor()  # of whom nothing is known


def visitor_of(scope: Mapping[str, Any], session: str | None = None) -> Visitor:
    """The visitor behind a request's ASGI scope."""
    cookies = b"; ".join(value for name, value in scope.get("headers", ()) if name == b"cookie")
    return Visitor(_browser(cookies.decode("latin-1")), session, address_of(scope))


def address_of(scope: Mapping[str, Any]) -> str:
    """Where a request comes from, "" where that is not known; see above.

    uvicorn, which sees the peer, has put the forwarded address in its place where the peer is this machine. Where the
    owner says that every peer is a proxy (FORWARDED_ALLOW_IPS=*), it took the first entry, which is a client's claim.
    """
    peer = str((scope.get("client") or ("",))[0])
    forwarded = _forwarded(scope)
    if forwarded and (not is_public(peer) or os.environ.get("FORWARDED_ALLOW_IPS") == "*"):
        last = forwarded.rpartition(b",")[2].decode("latin-1").strip()
        entry = _ENTRY.fullmatch(last)
        peer = (entry[1] or entry[2]) if entry else last
    return peer if is_address(peer) else ""


def is_forwarded(scope: Mapping[str, Any]) -> bool:
    """Whether a proxy sent the request, one in a private network or one that the owner trusts.

    uvicorn gives a peer no port where it has put the forwarded address in its place.
    """
    peer, port = (*(scope.get("client") or ("", 0)),)[:2]
    trusted = not is_public(str(peer)) or not port or os.environ.get("FORWARDED_ALLOW_IPS") == "*"
    return trusted and bool(_forwarded(scope))


def _forwarded(scope: Mapping[str, Any]) -> bytes:
    return b",".join(value for name, value in scope.get("headers", ()) if name == b"x-forwarded-for")


def _browser(cookies: str) -> str:
    match = _IN_HEADER.search(cookies)
    return match[1] if match and hmac.compare_digest(_signature(match[1]), match[2]) else ""


def _signature(name: str) -> str:
    return hashlib.blake2b(name.encode(), key=_KEY, digest_size=16).hexdigest()


def new_cookie(secure: bool) -> bytes:
    """The header that gives a browser its cookie; `secure`: also inside the Hub's frame, which needs HTTPS."""
    name, kind = secrets.token_hex(16), "Secure; SameSite=None; Partitioned" if secure else "SameSite=Lax"
    return f"{COOKIE}={name}{_signature(name)}; Path=/; HttpOnly; {kind}".encode()
