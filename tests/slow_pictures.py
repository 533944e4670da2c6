"""Small files that take long to decode, made here: what a hostile visitor sends."""

from __future__ import annotations

import io

from PIL import Image


def progressive(scans: int = 500, size: tuple[int, int] = (6000, 4000)) -> bytes:
    """A grey JPEG whose last refinement scan is repeated; each costs a pass over all pixels and some 40 bytes."""
    out = io.BytesIO()
    Image.new("L", size, 128).save(out, "JPEG", progressive=True, quality=30)
    data = out.getvalue()
    start, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:end] + data[start:end] * scans + data[end:]
