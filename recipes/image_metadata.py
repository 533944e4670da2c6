"""Images without what a camera or a person left in the file: EXIF, GPS, XMP."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from recipes.gate_files import private_metadata

_KEPT = ("icc_profile", "transparency", "gamma")  # what pixels need to look as they did


def without_metadata(image: Path | bytes) -> Path | bytes:
    """The image re-saved in its format where it carries private metadata (turned upright first), else itself.

    PNG, WebP (lossless) and the like keep their pixels; JPEG keeps its quantisation unless it had to be turned.
    """
    data = image if isinstance(image, bytes) else image.read_bytes()
    if private_metadata(data) is None:
        return image
    with Image.open(io.BytesIO(data)) as opened:
        kind = opened.format or "PNG"
        upright = ImageOps.exif_transpose(opened)
        turned = opened.getexif().get(0x0112, 1) != 1
        clean = upright if turned or kind != "JPEG" else opened
        kept: dict[str, Any] = {key: clean.info[key] for key in _KEPT if key in clean.info}
        clean.info.clear()
        options: dict[str, Any] = {"JPEG": {"quality": 95 if turned else "keep"}, "WEBP": {"lossless": True}}
        out = io.BytesIO()
        clean.save(out, kind, **kept, **options.get(kind, {}))
    return out.getvalue()
