"""The segments of a JPEG (ITU-T T.81 annex B), and which of them hold more than its pixels need."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from .profiles import ODD_PROFILE, is_plain

_ALONE = (0x01, *range(0xD0, 0xD8))  # markers that no length follows
_PROGRAMS = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}  # how they begin, and their length: no thumbnail
_PROFILE = b"ICC_PROFILE\0"  # then its number and how many there are
_HUFFMAN, _ARITHMETIC, _SCAN, _QUANTISERS, _RESTARTS = 0xC4, 0xCC, 0xDA, 0xDB, 0xDD
_FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))
_NAMES = {_HUFFMAN: "DHT", _ARITHMETIC: "DAC", _SCAN: "SOS", _QUANTISERS: "DQT", _RESTARTS: "DRI"}
_LARGEST_CATEGORY = 16  # of a difference of DC values: what a Huffman table of these lists

_ANNEX_K = (  # how the SHA-256 of each table of codes there begins
    "2f66814c875b53173f057d784a16a34d", "a6283a08f5d97906b66adcc812e32396",
    "602f734c8c12c1d9d049a18fd91d9ef3", "13f90e3c9dc476c66f24347f6ad29cea",
)  # fmt: skip
_Key = tuple[int, int]  # the marker of a table, its class and number


def more_than_pixels(data: bytes) -> Iterator[str]:
    """The names of segments that pixels do not need or that hold more than their kind, and of bytes beside them."""
    at, known, profile, tables = 2, set[int](), list[bytes](), Tables()
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            yield "bytes between its segments"
            return
        marker = data[at + 1]
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : end]
        if marker in _FRAMES or marker in _NAMES:
            if tables.is_odd(marker, body):
                yield f"an odd {_NAMES.get(marker, 'SOF')} segment"
        elif marker == 0xE2 and body.startswith(_PROFILE):
            profile.append(body.removeprefix(_PROFILE))
        elif marker in known or not _is_program(marker, body):
            yield "a comment" if marker == 0xFE else f"a segment of an application (APP{marker - 0xE0})"
        known.add(marker)
        at = end_of_scan(data, end) if marker == _SCAN else end
    if profile and not _is_profile(profile):
        yield ODD_PROFILE
    if tables.unused:
        yield "a table that no scan uses"
    if at + 2 < len(data):
        yield "bytes after its end"


class Tables:
    """The tables of a JPEG as its segments come: each is to be used by a scan, or it could hold anything.

    The tables of codes in annex K may come unused: many a camera writes all four of them, in grey pictures too.
    """

    def __init__(self) -> None:
        self.unused = set[_Key]()
        self._quantisers = dict[int, int]()  # of the frame's components
        self._frames = 0

    def is_odd(self, marker: int, body: bytes) -> bool:
        """Takes a segment in. Whether it holds more than its kind, or takes the place of a table before its use."""
        if marker == _HUFFMAN:
            return self._huffman(body)
        if marker == _QUANTISERS:
            return self._quantiser(body)
        if marker == _RESTARTS:
            return self._put((marker, 0)) or len(body) != 2
        if marker == _ARITHMETIC:
            return len(body) > 16 or len(body) % 2 == 1
        if marker == _SCAN:
            return self._scan(body)
        self._frames += 1
        self._quantisers = {body[at]: body[at + 2] for at in range(6, len(body) - 2, 3)}
        return self._frames > 1 or len(body) < 6 or len(body) != 6 + 3 * body[5]

    def _put(self, key: _Key) -> bool:
        """Whether the table was there and is not used yet."""
        before = key in self.unused
        self.unused.add(key)
        return before

    def _huffman(self, body: bytes) -> bool:
        at = 0
        while at + 17 <= len(body):
            kind, counts = body[at], body[at + 1 : at + 17]
            values = body[at + 17 : at + 17 + sum(counts)]
            at += 17 + sum(counts)
            too_large = kind < 16 and any(value > _LARGEST_CATEGORY for value in values)
            if self._put((_HUFFMAN, kind)) or kind & 0xEC or len(set(values)) < sum(counts) or too_large:
                return True
            if hashlib.sha256(counts + values).hexdigest()[:32] in _ANNEX_K:
                self.unused.discard((_HUFFMAN, kind))
        return at != len(body)

    def _quantiser(self, body: bytes) -> bool:
        at = 0
        while at < len(body):
            kind = body[at]
            if self._put((_QUANTISERS, kind & 15)) or kind & 0xEC:
                return True
            at += 129 if kind >> 4 else 65
        return at != len(body)

    def _scan(self, body: bytes) -> bool:
        count = body[0] if body else 0
        if len(body) != 4 + 2 * count:
            return True
        for at in range(1, 1 + 2 * count, 2):
            quantiser = self._quantisers.get(body[at], -1)
            dc, ac = body[at + 1] >> 4, body[at + 1] & 15
            self.unused -= {(_QUANTISERS, quantiser), (_HUFFMAN, dc), (_HUFFMAN, 0x10 | ac), (_RESTARTS, 0)}
        return False


def _is_program(marker: int, body: bytes) -> bool:
    """Whether a segment of an application says what the colours mean, and nothing else."""
    start, length = _PROGRAMS.get(marker, (b"", -1))
    return body.startswith(start) and len(body) == length


def _is_profile(parts: Sequence[bytes]) -> bool:
    """Whether the parts of a colour profile are all of it, each with its number and how many there are."""
    numbered = sorted(parts)
    counted = all(part[:2] == bytes([number, len(parts)]) for number, part in enumerate(numbered, 1))
    return len(parts) < 256 and counted and is_plain(b"".join(part[2:] for part in numbered))


def end_of_scan(data: bytes, at: int) -> int:
    """Where the next marker stands: in entropy-coded data 0xFF stands before 0, restarts and itself alone."""
    at = data.find(b"\xff", at)
    while 0 <= at < len(data) - 1 and (data[at + 1] in (0, 0xFF) or 0xD0 <= data[at + 1] <= 0xD7):
        at = data.find(b"\xff", at + 1)
    return at if at >= 0 else len(data)
