"""Converts decoded pixels of any kind to upright RGB: orientation, transparency, depth and colour space."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from .cells import ImageError
from .structure import check_tags

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION = 0x0112  # EXIF tag
_TELLSORIENTATION = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")  # of a Pillow image's `info`
_BACKGROUND = (255, 255, 255)


def check_exif(image: Image.Image) -> None:
    """Raise `Suspicious` for an EXIF block that would take long to read. Pillow also finds one in a PNG's hex text."""
    for block in (image.info.get("exif"), image.info.get("Raw profile type exif")):
        if isinstance(block, str):
            with suppress(ValueError):  # no hexadecimal, no EXIF
                check_tags(bytes.fromhex("".join(block.split("\n")[3:])))
        elif isinstance(block, bytes):
            check_tags(block)


def exif_of(image: Image.Image) -> Image.Exif:
    """The EXIF tags. Unreadable ones are an error, because they might say how the image must be turned."""
    check_exif(image)
    try:
        return image.getexif()
    except Exception as error:  # SyntaxError, struct.error and more, by how the block is broken
        raise ImageError(f"its EXIF block is broken ({error}); save it without metadata") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """The image upright, in 8-bit RGB, over white. Raises `ImageError` if the range of the pixels is unknown."""
    from PIL import Image

    image = _upright(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_whole_numbers(image)
    if image.mode == "F":
        raise ImageError("floating-point pixels have no agreed range; save it with 8 bits per channel")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        layer = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")  # Pillow knows no other way
        ground = Image.new("RGBA", layer.size, (*_BACKGROUND, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    if image.mode == "LAB":
        return _from_lab(image)
    return image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """As its EXIF says that it is to be held. Pillow's own function would read all EXIF there is, and write it anew."""
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }  # fmt: skip
    turn = turns.get(exif_of(image).get(ORIENTATION, 1))
    if turn is None:
        return image
    turned = image.transpose(turn)
    for key in _TELLSORIENTATION:  # what is upright now must not be turned again
        turned.info.pop(key, None)
    return turned


def _from_whole_numbers(image: Image.Image) -> Image.Image:
    """Grey of 16 bits by its high byte, or as it is where no pixel is above 255: PIL's own conversion clips.

    A picture that really has 16 bits and nothing above 255 of them is black to the eye; programs that keep 8 bits in
    wider numbers are common.
    """
    import numpy as np
    from PIL import Image

    grey = np.asarray(image)
    lowest, highest = int(grey.min()), int(grey.max())
    if lowest < 0 or highest > 0xFFFF:
        raise ImageError("grey values beyond 16 bits; save it with 8 bits per channel")
    return Image.fromarray((grey if highest <= 0xFF else grey >> 8).astype(np.uint8)).convert("RGB")


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import Image, ImageCms

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
    assert isinstance(converted, Image.Image)
    return converted
