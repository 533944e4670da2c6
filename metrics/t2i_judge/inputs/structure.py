"""Checks a file's structure before decoding, to find small files that would keep a decoder busy for minutes.

Pillow goes through a file's parts in Python and decodes some of them (comments, EXIF, tiles) as it opens the file, so
limits on bytes and pixels come too late. These checks follow the declared lengths of the same parts, up to a maximum
number, and look at nothing else. The decoder finds out whether the rest is sound.

Formats: JPEG, ITU-T T.81 annex B; PNG, W3C; GIF89a; TIFF 6.0 and BigTIFF; WebP, RFC 9649; BMP, version 3.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

SCANS = 64  # of a JPEG: libjpeg's own progressive script has 10, and each costs a pass over all pixels
PARTS, BYTES_A_PART = 5_000, 128  # parts of a file: so many, and one more for so many bytes
EXIF_PARTS = 64  # segments of a JPEG that Pillow joins one by one
PROFILES = 16  # of a PNG's colours: Pillow inflates each of them
COMMENTS = 500_000  # bytes of a GIF's comments and extensions: Pillow copies all of them for each of 255 bytes
RUNS = 4_000_000  # pixels of a BMP in runs, which Pillow unpacks, and fills up, one by one in Python
TAGS = 1_000  # of a TIFF or an EXIF block
_TILE, _EDGE = 1_024, 16  # pixels a side of a TIFF's tile in a small image, and over the edge of a large one
_VALUES = 100_000  # tiles, strips, and values of a tag that is no text
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")  # in entropy-coded data 0xFF stands before 0 and restarts alone
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"II\0*", b"MM*\0")  # the last two are wrong, and Pillow takes them
_NO_LENGTH = {0xC8, 0xD8, 0xD9, *range(0xF0, 0xFE)}  # markers by which Pillow goes on at once, and others do not
_EXIF, _MPF = b"Exif\0\0", b"MPF\0"  # how the segments begin that hold a TIFF's tags
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH = 256, 257, 322, 323
_STRIPS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES = 273, 279, 324, 325
_BELOW = (0x8769, 0x8825, 0xA005)  # tags that name a directory: EXIF's, GPS's, that of interoperability
_TEXTS = (1, 2, 6, 7)  # types of a byte
_UNSIGNED = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}  # types of a whole number

_Entry: TypeAlias = tuple[int, int, int, bytes]  # of a directory: tag, type, count, value or where it is


@dataclass(frozen=True)
class TiffTag:
    """A tag of a TIFF: its value as it stands in the file, `padding` behind one that stands in the directory itself.

    start: the value's place in the file, None for one in the directory.
    """

    number: int
    kind: int
    count: int
    value: bytes
    padding: bytes
    start: int | None


class Suspicious(ValueError):
    """The file has a structure that no image needs."""


def check(data: bytes) -> None:
    """Raise `Suspicious` for a file that would take too much time or memory for what it shows."""
    most = PARTS + len(data) // BYTES_A_PART
    if data.startswith(b"\xff\xd8"):
        _check_jpeg(data, most)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_png(data, most)
    elif data.startswith(b"GIF8"):
        _check_gif(data, most)
    elif data.startswith(b"BM"):
        _check_bmp(data)
    elif data.startswith(_TIFF):
        check_tags(data)


def _too_many(what: str, most: int) -> Suspicious:
    return Suspicious(f"more than {most} {what}: no picture needs them")


def _check_jpeg(data: bytes, most: int) -> None:
    """Segments, and scans and tags among them."""
    at, parts, scans, skipped = 2, 0, 0, 0
    exif: list[bytes] = []
    while (found := _marker(data, at)) is not None:
        marker, end = found
        parts, skipped, at = parts + 1, skipped + end - at - 2, end
        if parts > most or skipped > PARTS:
            raise _too_many("segments, or bytes between them", PARTS)
        if marker == 0xD9 and scans:  # end of image
            break
        if marker in _NO_LENGTH and not scans:  # what follows would be read by one reader and skipped by another
            raise Suspicious(f"a marker {marker:#x} in front of the pixels: no picture needs it")
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # alone
            continue
        size = max(2, int.from_bytes(data[at : at + 2], "big"))
        if marker in (0xE1, 0xE2):
            _check_application_data(data[at + 2 : at + size], exif)
        at += size
        if marker == 0xDA:
            scans += 1
            if scans > SCANS:
                raise _too_many("scans", SCANS)
            match = _NEXT_MARKER.search(data, at)
            at = match.start() if match else len(data)
    check_tags(b"".join(exif))


def _check_application_data(body: bytes, exif: list[bytes]) -> None:
    """Adds what belongs to the EXIF block, which Pillow puts together of all its segments, to `exif`."""
    if body.startswith(_MPF):
        check_tags(body.removeprefix(_MPF))
    elif body.startswith(_EXIF):
        exif.append(body.removeprefix(_EXIF))
        if len(exif) > EXIF_PARTS:
            raise _too_many("parts of an EXIF block", EXIF_PARTS)


def _marker(data: bytes, at: int) -> tuple[int, int] | None:
    """The next marker and where it ends; Pillow skips what lies before it byte by byte, so that must be little."""
    match = _MARKER.search(data, at)
    return (data[match.start() + 1], match.end()) if match else None


def _check_png(data: bytes, most: int) -> None:
    at, profiles = 8, 0
    for _ in range(most):
        if at + 8 > len(data):
            return
        profiles += data[at + 4 : at + 8] == b"iCCP"
        if profiles > PROFILES:
            raise _too_many("colour profiles", PROFILES)
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


def _check_bmp(data: bytes) -> None:
    """Its compression: in runs, four bytes a line can stand for a hundred million pixels."""
    with suppress(struct.error):  # torn, or an older header, which knows no compression: Pillow says so
        size, width, height, _, _, compression = struct.unpack_from("<IiiHHI", data, 14)
        if size > 12 and compression in (1, 2) and abs(width * height) > RUNS:
            raise _too_many("pixels in runs", RUNS)


def _table(flags: int) -> int:
    """Bytes of the colour table that the flags declare."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def check_tags(data: bytes, below: bool = False) -> None:
    """The first two directories of a TIFF, or of an EXIF block, which is one: Pillow reads no more of them by itself.

    `below`: also those that their tags name, which it reads when it is asked for them, or writes a block anew. Many an
    honest photograph has a broken one there.

    Raises:
        Suspicious: one of them has more than a picture needs.
    """
    while data.startswith(_EXIF):  # Pillow takes as many of them away as there are
        data = data.removeprefix(_EXIF)
    if data.startswith(_TIFF):
        order = "<" if data.startswith(b"II") else ">"
        _check_pages(data, order, data[2:3] == b"+", below)
        if data[3:4] == b"+":  # Pillow 12 reads it as the other kind
            _check_pages(data, order, True, below)


def _check_pages(data: bytes, order: str, big: bool, below: bool) -> None:
    head = "8xQ" if big else "4xI"
    with suppress(struct.error):  # torn: Pillow says so
        [at] = struct.unpack_from(order + head, data)
        for _ in range(2):
            entries, end = _directory(data, order, big, at)
            for tag, kind, count, value in entries:
                if below and tag in _BELOW and count == 1:
                    _directory(data, order, big, _number(kind, value, order))
            [at] = struct.unpack_from(order + head[-1], data, end)
            if not at:
                return


def tiff_tags(data: bytes) -> Iterator[TiffTag]:
    """The tags of the first directory of a TIFF."""
    order, big = _kind(data)
    size, word = (8, "Q") if big else (4, "I")
    with suppress(struct.error):
        [at] = struct.unpack_from(f"{order}{size}x{word}", data)
        for tag, kind, count, value in _directory(data, order, big, at)[0]:
            length = TYPE_BYTES.get(kind, 1) * count
            start = struct.unpack(order + word, value)[0] if length > size else None
            whole = value[:length] if start is None else data[start : start + length]
            yield TiffTag(tag, kind, count, whole, value[length:], start)


def tiff_parts(data: bytes) -> Iterator[tuple[int, int]]:
    """(first byte, behind the last) of each part of a TIFF of one page: head, directory, values, strips and tiles."""
    order, big = _kind(data)
    size, word = (8, "Q") if big else (4, "I")
    yield 0, 16 if big else 8
    with suppress(struct.error):
        [at] = struct.unpack_from(f"{order}{size}x{word}", data)
        yield at, _directory(data, order, big, at)[1] + size
        values: dict[int, Sequence[int]] = {}
        for tag in tiff_tags(data):
            if tag.start is not None:
                yield tag.start, tag.start + TYPE_BYTES.get(tag.kind, 1) * tag.count
            if tag.number in (_STRIPS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES) and tag.kind in _UNSIGNED:
                values[tag.number] = struct.unpack(f"{order}{tag.count}{_UNSIGNED[tag.kind]}", tag.value)
        for first, lengths in ((_STRIPS, _STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES)):
            for start, length in zip(values.get(first, ()), values.get(lengths, ())):
                yield start, start + length


def _kind(data: bytes) -> tuple[str, bool]:
    """The order of a TIFF's bytes, and whether it is a BigTIFF."""
    return "<" if data.startswith(b"II") else ">", data[2:3] == b"+" or data[3:4] == b"+"


def _directory(data: bytes, order: str, big: bool, at: int) -> tuple[list[_Entry], int]:
    """The entries of a directory, after a look at them, and where it ends; Pillow, too, reads what is left of one."""
    count, entry = ("Q", "HHQ8s") if big else ("H", "HHI4s")
    [tags] = struct.unpack_from(order + count, data, at)
    if tags > TAGS:
        raise _too_many("tags", TAGS)
    size, at = struct.calcsize(order + entry), at + struct.calcsize(order + count)
    there = min(tags, (len(data) - at) // size)
    entries: list[_Entry] = [struct.unpack_from(order + entry, data, at + size * number) for number in range(there)]
    _check_values(entries, order, len(data))
    return entries, at + size * tags


def _check_values(entries: Sequence[_Entry], order: str, size: int) -> None:
    """The values are read whole, one after the other; several may lie in the same place."""
    held = sum(TYPE_BYTES.get(kind, 1) * count for _, kind, count, _ in entries)
    if held > size:
        raise Suspicious("its tags hold more than the file")
    for tag, kind, count, _ in entries:
        if kind not in _TEXTS and count > _VALUES:  # Pillow makes an object of each
            raise _too_many("tiles" if tag in (_STRIPS, _TILE_OFFSETS) else "values of a tag", _VALUES)
    _check_tiles([each for each in entries if each[0] in (_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH)], order)


def _check_tiles(entries: Sequence[_Entry], order: str) -> None:
    """Sides of the image and of its tiles. What is said twice, or not in a whole number, Pillow and libtiff may take
    for different things."""
    tags = [tag for tag, *_ in entries]
    if _TILE_WIDTH not in tags and _TILE_LENGTH not in tags:
        return
    if len(set(tags)) < len(tags) or any(kind not in _UNSIGNED or count != 1 for _, kind, count, _ in entries):
        raise Suspicious("the sides of its tiles are no whole numbers: no picture needs that")
    sides = {tag: _number(kind, value, order) for tag, kind, _, value in entries}
    width, length = sides.get(_WIDTH, 0), sides.get(_LENGTH, 0)
    across, down = sides.get(_TILE_WIDTH, 0), sides.get(_TILE_LENGTH, 0)
    if across and down and -(-width // across) * -(-length // down) > _VALUES:
        raise _too_many("tiles", _VALUES)
    if across > max(width, _TILE) + _EDGE or down > max(length, _TILE) + _EDGE:
        raise Suspicious(f"a tile of {across} x {down} pixels: no picture needs it")


def _number(kind: int, value: bytes, order: str) -> int:
    """A single unsigned value that stands in the entry itself; 0 of any other kind."""
    return int(struct.unpack_from(order + _UNSIGNED[kind], value)[0]) if kind in _UNSIGNED else 0
