"""Small files that take long to decode, made here: what a hostile visitor sends."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

from PIL import Image


def progressive(scans: int = 500, size: tuple[int, int] = (6000, 4000)) -> bytes:
    """A grey JPEG whose last refinement scan is repeated; each costs a pass over all pixels and some 40 bytes."""
    out = io.BytesIO()
    Image.new("L", size, 128).save(out, "JPEG", progressive=True, quality=30)
    data = out.getvalue()
    start, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:end] + data[start:end] * scans + data[end:]


def _png(*chunks: bytes) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + _chunk(b"IDAT", zlib.compress(b"\0\0")) + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _directory(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """A TIFF's directory: (tag, type, count, value) each."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", following)


def _tiff(*entries: tuple[int, int, int, int], rest: int = 0, following: int = 0) -> bytes:
    """A little-endian TIFF of 8 x 8 grey pixels with further entries, and so many bytes behind it."""
    plain = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    return b"II*\0\x08\0\0\0" + _directory(*plain, *entries, following=following) + bytes(rest)


def _tiles(side: int, image: int = 8) -> bytes:
    """Deflated tiles of a size that has nothing to do with the image's."""
    data = zlib.compress(bytes(64))
    entries = {256: image, 257: image, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 200, 325: len(data)}
    body = b"II*\0\x08\0\0\0" + _directory(*((tag, 4, 1, value) for tag, value in entries.items()))
    return body.ljust(200, b"\0") + data


def _exif_bomb(tags: int = 60_000, each: int = 60_000) -> bytes:
    """Tags of an EXIF block that all hold the same bytes."""
    block = b"Exif\0\0II*\0\x08\0\0\0" + _directory(*((tag, 7, each, 0) for tag in range(1000, 1000 + tags)))
    return block + bytes(each)


def _jpeg_with(segments: bytes) -> bytes:
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "JPEG")
    data = out.getvalue()
    return data[:2] + segments + data[2:]


def _gif_with(blocks: bytes) -> bytes:
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "GIF")
    data = out.getvalue()
    start = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:start] + blocks + data[start:]


def _webp_with_exif() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "WEBP", exif=_exif_bomb())
    return out.getvalue()


# Name -> a file of at most 30 MB that an unguarded Pillow takes long, or much memory, to open.
ATTACKS: dict[str, Callable[[], bytes]] = {
    "repeated scans": lambda: progressive(scans=2500),
    "empty JPEG segments": lambda: _jpeg_with(b"\xff\xfe\0\x02" * 2_000_000),
    "fill bytes in a JPEG": lambda: _jpeg_with(b"\xff" * 9_000_000),
    "long GIF comment": lambda: _gif_with(b"\x21\xfe" + (b"\xff" + b"x" * 255) * 36_000 + b"\0"),
    "empty GIF comments": lambda: _gif_with(b"\x21\xfe\0" * 3_000_000),
    "tiny GIF sub-blocks": lambda: _gif_with(b"\x21\xfe" + b"\x01x" * 4_000_000 + b"\0"),
    "junk between GIF blocks": lambda: _gif_with(b"\x01" * 9_000_000),
    "empty PNG chunks": lambda: _png(_chunk(b"tEXt", b"") * 2_000_000),
    "EXIF tags in one place, PNG": lambda: _png(_chunk(b"eXIf", _exif_bomb()[6:])),
    "EXIF tags in one place, WebP": _webp_with_exif,
    "a large tile in a small TIFF": lambda: _tiles(39_000),
    "tiles of a pixel": lambda: _tiles(1, 7_000),
    "TIFF tags in one place": lambda: _tiff(*((tag, 7, 8_000_000, 8) for tag in range(1000, 1900)), rest=8_000_000),
    "many TIFF tags": lambda: _tiff(*((tag, 7, 4, 8) for tag in range(1000, 60_000))),
    "a second TIFF page of tags": lambda: _second_page(),
}


def _second_page() -> bytes:
    first = _tiff((273, 4, 1, 400), (278, 4, 1, 8), (279, 4, 1, 64), following=1000).ljust(1000, b"\0")
    return first + _directory(*((tag, 7, 8_000_000, 8) for tag in range(1000, 1900))) + bytes(8_000_000)
