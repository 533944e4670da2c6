"""The names of this Space: which a request may call it by, and which Gradio writes into what it sends.

Gradio takes the name from X-Forwarded-Host, whoever sent that, and keeps the description of the API as it wrote it for
the first who asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from visitors import is_forwarded

_INFO = "/gradio_api/info"
_NAME, _SERVER = b"x-forwarded-host", b"x-gradio-server"
_LOCAL = ("127.0.0.1", "localhost", "::1")
Application = Callable[..., Any]


def by_its_name(scope: dict[str, Any]) -> dict[str, Any]:
    """The request without what its client says of our name; what the nearest proxy has written stays, and only that."""
    headers = [pair for pair in scope["headers"] if pair[0] not in (_NAME, _SERVER)]
    said = b",".join(value for name, value in scope["headers"] if name == _NAME)
    if said and is_forwarded(scope):  # at the end is what the proxy has added
        headers.append((_NAME, said.rpartition(b",")[2].strip()))
    return {**scope, "headers": headers}


def is_named_so(scope: dict[str, Any], blocks: Any) -> bool:
    """Whether a request calls us by a name of ours, where we listen on this machine alone.

    Else it comes of a page whose own name leads here now (DNS rebinding). Behind a proxy on the same machine the owner
    gives our address (GRADIO_ROOT_PATH).
    """
    if not _is_loopback(str(getattr(blocks, "server_name", None) or "")):
        return True
    said = dict(scope["headers"]).get(b"host", b"localhost").decode("latin-1")
    return _host(f"//{said}") in {*_LOCAL, _host(str(blocks.root_path or ""))} - {None}


async def described(app: Application, scope: dict[str, Any]) -> None:
    """Let Gradio describe the API now, unless it has: under our own name, and not that of whoever asks first."""
    if scope["app"].api_info:
        return
    name = os.environ.get("SPACE_HOST", "").partition(",")[0]
    port = (scope.get("server") or ("", None))[1]
    host = name or (f"localhost:{port}" if port else "localhost")
    own = {"method": "GET", "path": _INFO, "raw_path": _INFO.encode(), "query_string": b"", "client": None}
    scheme = "https" if name else "http"
    await app({**scope, **own, "scheme": scheme, "headers": [(b"host", host.encode())]}, _hears_nothing, _says_nothing)


async def _hears_nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def _says_nothing(message: dict[str, Any]) -> None:
    del message


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _host(address: str) -> str | None:
    with suppress(ValueError):
        return urlsplit(address).hostname
    return None
