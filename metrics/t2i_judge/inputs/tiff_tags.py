"""The tags of a TIFF 6.0 or BigTIFF, and which of them hold more than its pixels need."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from .jpeg_parts import Tables
from .profiles import ODD_PROFILE, is_plain
from .structure import TYPE_BYTES, TiffTag, tiff_parts, tiff_tags

_WHOLE, _SHORT, _RATIONAL, _BYTES = (1, 3, 4, 16), (1, 3), (5,), (1, 7)  # types
_ONE = (254, 255, 256, 257, 259, 262, 266, 274, 277, 278, 284, 290, 292, 293, 296, 317, 322, 323, 332, 334, 531)
_EACH_SAMPLE = (258, 338, 339, 340, 341)
_RATIONALS = {282: 1, 283: 1, 318: 2, 319: 6, 529: 3, 532: 6}  # how many numbers these have
_PAIRS = (321, 530)
_CURVES = (291, 301)  # they rise or fall
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _KIND, _SAMPLES, _ROWS, _PLANES = 256, 257, 258, 259, 262, 277, 278, 284
_STRIPS, _STRIP_BYTES, _TILE_WIDTH, _TILE_LENGTH, _TILES, _TILE_BYTES = 273, 279, 322, 323, 324, 325
_DOTS, _PALETTE, _TABLES, _PROFILE = 336, 320, 347, 34675
_ALL_ROWS = 2**32 - 1  # in a strip
_LARGEST, _LARGEST_NUMBER = 2**16 - 1, 10**8  # of a choice; of a fraction's parts, since four letters are a larger one
_MOST_SAMPLES, _MOST_VALUES = 8, 200_000
_PADDING = 16  # bytes that belong to nothing, so that parts begin at even places


def more_than_pixels(data: bytes) -> Iterator[str]:
    """The names of tags that pixels do not need or that hold more than their kind, and of bytes that none names."""
    tags = list(tiff_tags(data))
    counts = Counter(tag.number for tag in tags)
    page = _Page(tags, "little" if data.startswith(b"II") else "big")
    for tag in tags:
        if not page.knows(tag.number):
            yield f"the TIFF tag {tag.number}"
        elif tag.number == _PROFILE and not is_plain(tag.value):
            yield ODD_PROFILE
        elif counts[tag.number] > 1 or any(tag.padding) or page.is_odd(tag):
            yield f"an odd TIFF tag {tag.number}"
    if page.names_too_much():
        yield "bytes behind its pixels"
    end = 0
    for start, stop in sorted(tiff_parts(data)):
        if start - end > _PADDING:
            yield "bytes between its parts"
        end = max(end, stop)
    if len(data) - end > _PADDING:
        yield "bytes after its end"


class _Page:
    """A directory: what its tags say of the picture bounds what the others may hold."""

    def __init__(self, tags: Sequence[TiffTag], order: str) -> None:
        self._order = order
        self._values = {
            tag.number: self._numbers(tag) for tag in tags if tag.kind in _WHOLE and tag.count <= _MOST_VALUES
        }
        self._samples = min(self._first(_SAMPLES, 1), _MOST_SAMPLES)
        bits = self._values.get(_BITS) or [1]
        self._bits = bits if len(bits) > 1 else bits * self._samples
        places = self._places()
        self._counts: dict[int, tuple[tuple[int, ...], int]] = {
            **dict.fromkeys(_ONE, (_WHOLE, 1)),
            **dict.fromkeys(_EACH_SAMPLE, (_SHORT, self._samples)),
            **{number: (_RATIONAL, count) for number, count in _RATIONALS.items()},
            **dict.fromkeys(_PAIRS, (_SHORT, 2)),
            **dict.fromkeys((_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES), (_WHOLE, places)),
            **dict.fromkeys(_CURVES, (_SHORT, 3 * self._levels())),
            _DOTS: (_SHORT, 2 * self._samples),
            _PALETTE: (_SHORT, 3 * self._levels() if self._first(_KIND, 0) == 3 else 0),
            _TABLES: (_BYTES, sys.maxsize),
            _PROFILE: (_BYTES, sys.maxsize),
        }

    def knows(self, number: int) -> bool:
        return number in self._counts

    def is_odd(self, tag: TiffTag) -> bool:
        """Whether it has another type than its kind, more values, or values that are none of its kind."""
        kinds, most = self._counts[tag.number]
        if tag.kind not in kinds or tag.count > most:
            return True
        if tag.number in _RATIONALS:
            parts = (tag.value[at : at + 4] for at in range(0, len(tag.value), 4))
            return any(int.from_bytes(part, self._order) > _LARGEST_NUMBER for part in parts)  # type: ignore[arg-type]
        if tag.number in _CURVES:
            return not self._is_curve(self._values.get(tag.number, ()))
        if tag.number in _ONE:
            value = self._first(tag.number, 0)
            return value > _LARGEST and (tag.number, value) != (_ROWS, _ALL_ROWS)
        return tag.number == _TABLES and not _is_tables(tag.value)

    def names_too_much(self) -> bool:
        """Whether strips or tiles without compression are longer than their pixels."""
        if self._first(_COMPRESSION, 1) != 1:
            return False
        tiled = _TILES in self._values
        across = self._first(_TILE_WIDTH if tiled else _WIDTH, 0)
        down = self._first(_TILE_LENGTH, 0) * self._places() if tiled else self._first(_LENGTH, 0)
        if tiled or self._first(_PLANES, 1) != 2:
            row = -(-across * (max(self._bits) if self._first(_PLANES, 1) == 2 else sum(self._bits)) // 8)
        else:
            row = sum(-(-across * bits // 8) for bits in self._bits)
        return sum(self._values.get(_TILE_BYTES if tiled else _STRIP_BYTES, ())) > row * down + _PADDING

    def _numbers(self, tag: TiffTag) -> list[int]:
        size = TYPE_BYTES[tag.kind]
        parts = (tag.value[at : at + size] for at in range(0, len(tag.value), size))
        return [int.from_bytes(part, self._order) for part in parts]  # type: ignore[arg-type]

    def _first(self, number: int, default: int) -> int:
        return next(iter(self._values.get(number, ())), default)

    def _levels(self) -> int:
        return 1 << min(max(self._bits, default=1), 16)

    def _places(self) -> int:
        """How many strips or tiles the picture has."""
        width, length = self._first(_WIDTH, 0), self._first(_LENGTH, 0)
        if _TILES in self._values:
            across, down = self._first(_TILE_WIDTH, width) or 1, self._first(_TILE_LENGTH, length) or 1
            count = -(-width // across) * -(-length // down)
        else:
            count = -(-length // (self._first(_ROWS, _ALL_ROWS) or 1))
        return count * (self._samples if self._first(_PLANES, 1) == 2 else 1)

    def _is_curve(self, values: Sequence[int]) -> bool:
        """Whether each part of as many values as there are levels rises, or falls."""
        levels = self._levels()
        parts = [list(values[at : at + levels]) for at in range(0, len(values), levels)]
        return all(len(part) == levels and part in (sorted(part), sorted(part, reverse=True)) for part in parts)


def _is_tables(data: bytes) -> bool:
    """Whether bytes are a JPEG's tables, and no more."""
    tables, at = Tables(), 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] in (b"\xc4", b"\xdb"):
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if tables.is_odd(data[at + 1], data[at + 4 : end]):
            return False
        at = end
    return data[:2] == b"\xff\xd8" and data[at:] == b"\xff\xd9"
