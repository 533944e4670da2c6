"""How files and batches of a server are asked for: sent nowhere else, and read within limits.

The provider's own client would follow redirects, with prompts and pictures, and read a reply of any length.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2

_LARGEST = 500_000_000  # bytes, after decompression: three times those of the calls that a file takes there
_SECONDS = 3_600.0  # that a whole reply may take, however slowly it drips
_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding")  # headers that are no longer true


def bounded_client() -> httpx2.Client:
    """A client that follows no redirect, and raises `ValueError` for a reply without an end."""
    import httpx2

    class Bounded(httpx2.Client):
        def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
            """The whole reply, read."""
            response = super().send(request, **{**options, "stream": True})
            try:
                content = _whole(response)
            finally:
                response.close()
            headers = [pair for pair in response.headers.multi_items() if pair[0].lower() not in _OF_THE_WIRE]
            return httpx2.Response(response.status_code, headers=headers, content=content, request=request)

    return Bounded(follow_redirects=False)


def _whole(response: httpx2.Response) -> bytes:
    parts, size, end = [], 0, time.monotonic() + _SECONDS
    for part in response.iter_bytes():
        size += len(part)
        if size > _LARGEST:
            raise ValueError(f"the reply is larger than {_LARGEST // 1_000_000} MB")
        if time.monotonic() > end:
            raise ValueError(f"no whole reply within {_SECONDS:g} s")
        parts.append(part)
    return b"".join(parts)
