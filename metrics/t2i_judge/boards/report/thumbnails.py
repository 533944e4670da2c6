"""Small pictures for a page, as large as the allowed number of bytes permits."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from PIL import Image

from ...progress import Progress

Thing = TypeVar("Thing")
ROOM = 10_000_000  # bytes of all thumbnails of a page, before base64 makes four thirds of them
LARGEST = 60_000  # bytes of one
_LARGEST_SIDE, _SMALLEST_SIDE = 512, 64  # pixels
_QUALITY = 82
_BYTES_A_PIXEL = 0.15  # of a photograph in WebP, about: where to begin


def thumbnails(
    things: Sequence[Thing], load: Callable[[Thing], Image.Image | None], progress: bool = False
) -> list[str | None]:
    """Each picture as WebP in base64, None if `load` gives none. All together take at most `ROOM` bytes."""
    room = min(LARGEST, ROOM // max(1, len(things)))

    def small(thing: Thing) -> str | None:
        image = load(thing)
        return None if image is None else base64.b64encode(encode(image, room)).decode()

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        every = pool.map(small, things)
        return list(Progress(every, total=len(things), desc="thumbnails", disable=not progress, leave=False))


def encode(image: Image.Image, room: int) -> bytes:
    """WebP at about the largest size that fits into `room` bytes; at the smallest size if none fits."""
    image = image.convert("RGB")
    side = min(_LARGEST_SIDE, max(_SMALLEST_SIDE, int((room / _BYTES_A_PIXEL) ** 0.5)))
    while True:
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        out = io.BytesIO()
        image.save(out, "WEBP", quality=_QUALITY, method=1)
        data = out.getvalue()
        if len(data) <= room or side == _SMALLEST_SIDE:
            return data
        side = max(_SMALLEST_SIDE, int(max(image.size) * 0.95 * (room / len(data)) ** 0.5))
