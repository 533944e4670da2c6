"""Small pictures inside a page: as large as there is room for, never more bytes than that."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from PIL import Image
from tqdm import tqdm

Thing = TypeVar("Thing")
ROOM = 10_000_000  # bytes of all thumbnails of a page, before base64 makes four thirds of them
LARGEST = 60_000  # bytes of one
_SIDES = (512, 384, 320, 256, 192, 128, 96, 64)
_QUALITY = 82
_BYTES_A_PIXEL = 0.15  # of a photograph in WebP, about: where to begin


def thumbnails(
    things: Sequence[Thing], load: Callable[[Thing], Image.Image | None], progress: bool = False
) -> list[str | None]:
    """WebP in base64 of each picture, None where `load` gives none. All together take at most `ROOM` bytes."""
    room = min(LARGEST, ROOM // max(1, len(things)))

    def small(thing: Thing) -> str | None:
        image = load(thing)
        return None if image is None else base64.b64encode(encode(image, room)).decode()

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        every = pool.map(small, things)
        return list(tqdm(every, total=len(things), desc="thumbnails", disable=None if progress else True, leave=False))


def encode(image: Image.Image, room: int) -> bytes:
    """WebP of the largest side that fits into `room` bytes; of the smallest side where none does."""
    image = image.convert("RGB")
    data = b""
    for side in _sides(room):
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        out = io.BytesIO()
        image.save(out, "WEBP", quality=_QUALITY, method=2)
        if len(data := out.getvalue()) <= room:
            break
    return data


def _sides(room: int) -> Sequence[int]:
    """Sides to try: from the first that a photograph may fit with."""
    first = next((at for at, side in enumerate(_SIDES) if side * side * _BYTES_A_PIXEL <= room * 1.5), len(_SIDES) - 1)
    return _SIDES[first:]
