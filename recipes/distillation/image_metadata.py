"""Images without what a camera, a program or a person left in the file: EXIF, GPS, XMP, prompts, comments.

A part of a file that its pixels do not need is metadata, known or not: generators write prompts and folders of their
users into text chunks, and what nobody looks at may hold anything.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from t2i_judge.inputs.images import is_heic, open_image
from t2i_judge.inputs.parts import private_metadata
from t2i_judge.inputs.profiles import is_plain
from t2i_judge.inputs.structure import check_tags

_ORIENTATION = 0x0112  # EXIF tag
_PROFILE = "icc_profile"
_KEPT = (_PROFILE, "transparency", "gamma")  # what pixels need to look as they did


def without_metadata(image: Path | bytes) -> Path | bytes:
    """The image re-saved in its format where it carries private metadata (turned upright first), else itself.

    PNG, WebP (lossless) and the like keep their pixels; JPEG keeps its quantisation unless it had to be turned. HEIC,
    which hardly any reader of a dataset opens, becomes a JPEG whatever it carries.
    """
    data = image if isinstance(image, bytes) else image.read_bytes()
    if private_metadata(data) is None and not is_heic(data):
        return image
    with open_image(data) as opened:
        kind = {"HEIF": "JPEG"}.get(opened.format or "", opened.format or "PNG")
        upright, turned = _upright(opened)
        clean = upright if turned or kind != "JPEG" else opened
        kept: dict[str, Any] = {key: clean.info[key] for key in _KEPT if key in clean.info}
        if not is_plain(kept.get(_PROFILE) or b""):
            kept.pop(_PROFILE, None)
        clean.info.clear()
        quality = "keep" if opened.format == "JPEG" and not turned else 95
        options: dict[str, Any] = {
            "JPEG": {"quality": quality},
            "WEBP": {"lossless": True},
            "AVIF": {"quality": 95, "subsampling": "4:4:4"},
        }
        out = io.BytesIO()
        clean.save(out, kind, **kept, **options.get(kind, {}))
    return out.getvalue()


def _upright(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image as its EXIF says it is to be held, and whether it had to be turned; broken EXIF turns nothing."""
    try:
        check_tags(image.info.get("exif") or b"", below=True)
        return ImageOps.exif_transpose(image), image.getexif().get(_ORIENTATION, 1) != 1
    except Exception:  # SyntaxError, struct.error and more, by how the block is broken
        return image, False
