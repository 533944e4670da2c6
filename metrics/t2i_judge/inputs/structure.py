"""What a file's structure gives away before anything is decoded: the small ones that keep a decoder busy for minutes.

Pillow goes through a file's parts in Python and decodes some of them (comments, EXIF, tiles) as it opens the file, so
limits on bytes and pixels come too late. These checks walk the same parts by their declared lengths, at most so many of
them, and look at nothing else; whether the rest is sound is the decoder's to find out.

Formats: JPEG, ITU-T T.81 annex B; PNG, W3C; GIF89a; TIFF 6.0 and BigTIFF; WebP, RFC 9649.
"""

from __future__ import annotations

import re
import struct

SCANS = 64  # of a JPEG: libjpeg's own progressive script has 10, and each costs a pass over all pixels
PARTS, BYTES_A_PART = 5_000, 128  # parts of a file: so many, and one more for so many bytes
COMMENTS = 500_000  # bytes of a GIF's comments and extensions: Pillow copies all of them for each of 255 bytes
TAGS = 1_000  # of a TIFF or an EXIF block
_TILE, _EDGE = 1_024, 16  # pixels a side of a TIFF's tile in a small image, and over the edge of a large one
_TILES = 100_000
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")  # in entropy-coded data 0xFF stands before 0 and restarts alone
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WIDTH, _LENGTH, _STRIPS, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS = 256, 257, 273, 322, 323, 324


class Suspicious(ValueError):
    """A structure that no picture needs."""


def check(data: bytes) -> None:
    """Raise `Suspicious` for a file that would take long to open, or much memory, for what it shows."""
    most = PARTS + len(data) // BYTES_A_PART
    if data.startswith(b"\xff\xd8"):
        _check_jpeg(data, most)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_png(data, most)
    elif data.startswith(b"GIF8"):
        _check_gif(data, most)
    elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        check_tags(data)


def _too_many(what: str, most: int) -> Suspicious:
    return Suspicious(f"more than {most} {what}: no picture needs them")


def _check_jpeg(data: bytes, most: int) -> None:
    """Segments, and scans among them."""
    at, parts, scans, skipped = 2, 0, 0, 0
    while (found := _marker(data, at)) is not None:
        marker, end = found
        parts, skipped, at = parts + 1, skipped + end - at - 2, end
        if parts > most or skipped > PARTS:
            raise _too_many("segments, or bytes between them", PARTS)
        if marker == 0xD9:  # end of image
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # alone
            continue
        at += max(2, int.from_bytes(data[at : at + 2], "big"))
        if marker == 0xDA:
            scans += 1
            if scans > SCANS:
                raise _too_many("scans", SCANS)
            match = _NEXT_MARKER.search(data, at)
            at = match.start() if match else len(data)


def _marker(data: bytes, at: int) -> tuple[int, int] | None:
    """The next marker and where it ends; Pillow skips what lies before it byte by byte, so that must be little."""
    match = _MARKER.search(data, at)
    return (data[match.start() + 1], match.end()) if match else None


def _check_png(data: bytes, most: int) -> None:
    at = 8
    for _ in range(most):
        if at + 8 > len(data):
            return
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    raise _too_many("chunks", most)


def _check_gif(data: bytes, most: int) -> None:
    """Blocks, their sub-blocks, and the bytes of those that are no image."""
    at = 13 + _table(data[10]) if len(data) > 10 else len(data)
    parts, beside = 0, 0
    while at < len(data) and data[at] != 0x3B:  # trailer
        kind = data[at]
        at += {0x21: 2, 0x2C: 11}.get(kind, 0)  # an extension, an image; of anything else, Pillow skips one byte
        if kind == 0x2C and at - 2 < len(data):
            at += _table(data[at - 2])
        while kind in (0x21, 0x2C) and at < len(data) and data[at] and parts <= most:
            beside += data[at] if kind == 0x21 else 0
            at, parts = at + data[at] + 1, parts + 1
        at, parts = at + 1, parts + 1
        if parts > most:
            raise _too_many("blocks", most)
        if beside > COMMENTS:
            raise Suspicious(f"more than {COMMENTS} bytes of comments: no picture needs them")


def _table(flags: int) -> int:
    """Bytes of the colour table that the flags declare."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def check_tags(data: bytes) -> None:
    """The first two directories of a TIFF, or of an EXIF block, which is one: Pillow reads no more of them.

    Raises:
        Suspicious: one of them has more than a picture needs.
    """
    data = data.removeprefix(b"Exif\0\0")
    order, big = "<" if data[:2] == b"II" else ">", data[2:3] == b"+" or data[3:4] == b"+"
    head, count, entry = ("8xQ", "Q", "HHQ8s") if big else ("4xI", "H", "HHI4s")
    try:
        [at] = struct.unpack_from(order + head, data)
        for _ in range(2):
            [tags] = struct.unpack_from(order + count, data, at)
            if tags > TAGS:
                raise _too_many("tags", TAGS)
            size, at = struct.calcsize(order + entry), at + struct.calcsize(order + count)
            entries = [struct.unpack_from(order + entry, data, at + size * number) for number in range(tags)]
            _check_values(entries, order, len(data))
            [at] = struct.unpack_from(order + head[-1], data, at + size * tags)
            if not at:
                return
    except struct.error:
        return  # torn: Pillow says so


def _check_values(entries: list[tuple[int, int, int, bytes]], order: str, size: int) -> None:
    """The values are read whole, one after the other; several may lie in the same place."""
    held = sum(_TYPE_BYTES.get(kind, 1) * count for _, kind, count, _ in entries)
    if held > size:
        raise Suspicious("its tags hold more than the file")
    counts = {tag: count for tag, _, count, _ in entries}
    if max(counts.get(_STRIPS, 0), counts.get(_TILE_OFFSETS, 0)) > _TILES:
        raise _too_many("tiles", _TILES)
    numbers = {tag: _number(kind, value, order) for tag, kind, count, value in entries if count == 1}
    width, length = numbers.get(_WIDTH, 0), numbers.get(_LENGTH, 0)
    if _TILE_WIDTH in numbers or _TILE_LENGTH in numbers:
        across, down = numbers.get(_TILE_WIDTH, 0), numbers.get(_TILE_LENGTH, 0)
        if across and down and -(-width // across) * -(-length // down) > _TILES:
            raise _too_many("tiles", _TILES)
        if across > max(width, _TILE) + _EDGE or down > max(length, _TILE) + _EDGE:
            raise Suspicious(f"a tile of {across} x {down} pixels: no picture needs it")


def _number(kind: int, value: bytes, order: str) -> int:
    """A single unsigned value that stands in the entry itself; 0 of any other kind."""
    codes = {1: "B", 3: "H", 4: "I", 16: "Q", 13: "I"}
    return int(struct.unpack_from(order + codes[kind], value)[0]) if kind in codes else 0
