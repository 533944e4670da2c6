"""ICC profiles in image files (ICC.1:2022): whether one holds more than colours need, and what it says in words."""

from __future__ import annotations

import re
from collections.abc import Iterator

ODD_PROFILE = "a colour profile with more than colours"
_HEAD, _ENTRY = 132, 12  # bytes in front of the table of tags, with their number, and of one tag in it
_RESERVED = slice(100, 128)
_MOST = 100  # tags
_TAGS = frozenset(
    b"A2B0 A2B1 A2B2 B2A0 B2A1 B2A2 D2B0 D2B1 D2B2 D2B3 B2D0 B2D1 B2D2 B2D3 rXYZ gXYZ bXYZ rTRC gTRC bTRC kTRC wtpt "
    b"bkpt chad chrm cicp clro clrt clot cprt desc dmdd dmnd gamt lumi meas ncl2 pre0 pre1 pre2 rig0 rig2 tech view "
    b"vued calt resp".split()
)
_RUNS = (  # of letters: a byte each, and two either way round
    (re.compile(rb"[\x20-\x7e]{6,}"), "ascii"),
    (re.compile(rb"(?:\0[\x20-\x7e]){6,}"), "utf-16-be"),
    (re.compile(rb"(?:[\x20-\x7e]\0){6,}"), "utf-16-le"),
)


def is_plain(profile: bytes) -> bool:
    """Whether a profile is whole and consists of tags that the standard knows, with nothing between or behind them."""
    count = int.from_bytes(profile[128:_HEAD], "big")
    end = _HEAD + _ENTRY * count
    size = int.from_bytes(profile[:4], "big")
    if profile[36:40] != b"acsp" or count > _MOST or not end <= size <= len(profile) or any(profile[_RESERVED]):
        return False
    parts = []
    for at in range(_HEAD, end, _ENTRY):
        start, length = (int.from_bytes(profile[at + place : at + place + 4], "big") for place in (4, 8))
        if profile[at : at + 4] not in _TAGS or start + length > size:
            return False
        parts.append((start, start + length))
    for start, stop in sorted(parts):
        if any(profile[end:start]):
            return False
        end = max(end, stop)
    return not any(profile[end:])


def words(data: bytes) -> Iterator[str]:
    """The texts in bytes: runs of letters in ASCII, or in UTF-16."""
    for run, encoding in _RUNS:
        yield from (match[0].decode(encoding) for match in run.finditer(data))
