"""Finds the parts of an image file that its pixels do not need, by the structure of each format.

PNG (W3C, third edition) is here; the other formats are in `jpeg_parts`, `tiff_tags`, `boxes` (AVIF) and `blocks`. The
parts that pixels need are listed, each with what it may hold at most; every other part, known or not, is reported.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator

from . import blocks, boxes, jpeg_parts, tiff_tags
from .images import ImageError, decoder, open_image
from .png_pixels import hides_data
from .profiles import ODD_PROFILE, is_plain
from .structure import Suspicious

PNG = b"\x89PNG\r\n\x1a\n"
_PNG_BYTES = {  # of the chunks that pixels need: how many bytes they have at most
    "IHDR": 13, "PLTE": 768, "IDAT": None, "IEND": 0, "tRNS": 256, "cHRM": 32, "gAMA": 4, "iCCP": None, "sBIT": 4,
    "sRGB": 1, "cICP": 4, "bKGD": 6, "pHYs": 9, "acTL": 8, "fcTL": 26, "fdAT": None,
}  # fmt: skip
_PNG_REPEATED = ("IDAT", "fcTL", "fdAT")
_LARGEST_NUMBER = 1_000_000  # of a PNG's resolution, gamma, primaries: four letters are a larger one
_PALETTE = 3  # a PNG's type of colour
_PROFILE_BYTES = 10_000_000  # of a colour profile
_GPS = 0x8825  # EXIF tag
_PRIVATE_EXIF = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif", "photoshop")


def private_metadata(data: bytes) -> str | None:
    """The kind of private metadata in an image file, None if there is none (or it cannot be opened).

    While `decoding.apart` is open, the file is read in a separate process; if that ends, the file hides something.
    """
    if (apart := decoder()) is None:
        return private_part(data)
    try:
        return apart.private(data)
    except ImageError as error:
        return f"something that cannot be read ({error.reason})"


def private_part(data: bytes) -> str | None:
    """As `private_metadata`, in this process."""
    try:
        picture = open_image(data)
    except ImageError as error:
        return "a structure that hides what it holds" if isinstance(error.__cause__, Suspicious) else None
    try:
        if _GPS in picture.getexif():
            return "GPS"
    except Exception:  # SyntaxError, struct.error and more, by how the block is broken; who knows what it holds
        return "EXIF that cannot be read"
    if (profile := picture.info.get("icc_profile")) and not is_plain(profile):
        return ODD_PROFILE
    return next((key for key in _PRIVATE_EXIF if picture.info.get(key)), None) or next(more_than_pixels(data), None)


def more_than_pixels(data: bytes) -> Iterator[str]:
    """The names of all parts of an image file that its pixels do not need."""
    if data.startswith(PNG):
        yield from _png(data)
    elif data.startswith(b"\xff\xd8"):
        yield from jpeg_parts.more_than_pixels(data)
    elif data.startswith((b"II", b"MM")):
        yield from tiff_tags.more_than_pixels(data)
    elif data[4:8] == b"ftyp":
        yield from boxes.more_than_pixels(data)
    else:
        yield from blocks.more_than_pixels(data)


def _png(data: bytes) -> Iterator[str]:
    chunks = list(png_chunks(data))
    counts = Counter(kind for kind, _ in chunks)
    palette = data[25:26] == bytes([_PALETTE])
    for kind, body in chunks:
        if kind not in _PNG_BYTES or (kind == "PLTE" and not palette):
            yield f"a {kind} chunk" if len(kind) == 4 else kind
        elif _is_odd(kind, body) or (counts[kind] > 1 and kind not in _PNG_REPEATED):
            yield ODD_PROFILE if kind == "iCCP" else f"an odd {kind} chunk"
    if hides_data(chunks):
        yield "bytes behind its pixels"


def _is_odd(kind: str, body: bytes) -> bool:
    """Whether a chunk of a PNG that pixels need holds more than its kind does."""
    if kind == "iCCP":
        return not is_plain(_inflated(body.partition(b"\0")[2][1:]))
    if kind == "pHYs":
        return len(body) != 9 or body[8] > 1 or _has_large(body[:8])
    if kind in ("cHRM", "gAMA"):
        return len(body) != _PNG_BYTES[kind] or _has_large(body)
    most = _PNG_BYTES[kind]
    return most is not None and len(body) > most


def _has_large(body: bytes) -> bool:
    numbers = (int.from_bytes(body[at : at + 4], "big") for at in range(0, len(body), 4))
    return any(number > _LARGEST_NUMBER for number in numbers)


def _inflated(data: bytes) -> bytes:
    """A colour profile; nothing where it is broken, too large, or has something behind it."""
    stream = zlib.decompressobj()
    try:
        profile = stream.decompress(data, _PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if stream.eof and not stream.unused_data else b""


def png_chunks(data: bytes) -> Iterator[tuple[str, bytes]]:
    """(type, body) of every chunk of a PNG, with the type `bytes after its end` for what follows the last one."""
    at = len(PNG)
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8].decode("latin-1")
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == "IEND":
            break
    if at < len(data):
        yield "bytes after its end", data[at:]
