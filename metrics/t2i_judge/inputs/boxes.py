"""The boxes of an AVIF or HEIC file (ISO/IEC 14496-12, 23008-12), and which of them hold more than its pixels need."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from .profiles import ODD_PROFILE, is_plain, words

_Box: TypeAlias = tuple[str, int, int]  # type, first byte of its body, behind the last
_INSIDE = {  # boxes of boxes: how many bytes stand before the first of these
    "meta": 4, "iprp": 0, "ipco": 0, "grpl": 0, "iref": 4, "dinf": 0, "dref": 8, "moov": 0, "trak": 0, "tref": 0,
    "edts": 0, "mdia": 0, "minf": 0, "stbl": 0, "stsd": 8, "av01": 78,
}  # fmt: skip
_BYTES = {  # of the others: how many they have at most
    "hdlr": 64, "pitm": 8, "iloc": 4_000, "infe": 64, "idat": 64, "auxl": 64, "dimg": 2_000, "thmb": 64, "prem": 64,
    "base": 64, "altr": 64, "url ": 4, "ispe": 12, "pixi": 9, "av1C": 128, "hvcC": 512, "colr": 11, "auxC": 64,
    "pasp": 8, "clap": 32, "irot": 1, "imir": 1, "a1op": 1, "a1lx": 13, "lsel": 2, "clli": 4, "mdcv": 24, "ipma": 4_000,
    "mvhd": 112, "tkhd": 96, "elst": 64, "mdhd": 36, "vmhd": 12, "ccst": 8, "auxi": 64, "btrt": 12, "fiel": 2,
    "stts": None, "stsc": None, "stsz": None, "stco": None, "co64": None, "stss": None,
}  # fmt: skip
_BRANDS = frozenset(
    b"avif avis avio mif1 mif2 msf1 miaf MA1A MA1B MiHA MiHB MiHE MiPr 1pic geo1 tmap av01 heic heix hevc hevx heim "
    b"heis hevm hevs isom iso2 iso4 iso5 iso6 iso8 iso9 mp41 mp42".split()
)
_NAMES = re.compile(  # what programs write into boxes in words; of anything else, no six letters stand together
    rb"libavif|AOM Coding|PictureHandler|VideoHandler|Lavc[\d.]{0,12} lib(?:aom-av1|svtav1|rav1e)"
    rb"|urn:mpeg:mpegB:cicp:systems:auxiliary:alpha|urn:mpeg:hevc:2015:auxid:1"
)
_ITEMS = (b"av01", b"hvc1", b"grid", b"iden", b"iovl", b"tmap")
_ITEM_NAMES = (b"", b"\0", b"Color\0", b"Alpha\0", b"GMap\0")
_PADDING, _DEEPEST, _MOST_DATA = 16, 12, 8


def more_than_pixels(data: bytes) -> Iterator[str]:
    """The names of boxes that pixels do not need or that are larger than their kind, and of bytes that none names."""
    brands = data[8:12] + data[16 : int.from_bytes(data[:4], "big")]
    if int.from_bytes(data[12:16], "big") > 0xFFFF or any(
        brands[at : at + 4] not in _BRANDS for at in range(0, len(brands), 4)
    ):
        yield "an odd ftyp box"
    top = list(_boxes(data, 0, len(data)))
    kinds = [kind for kind, *_ in top]
    known = ["ftyp", "meta", "mdat", *(["moov"] if b"avis" in brands or b"msf1" in brands else [])]
    yield from (f"a {kind} box" for kind in kinds if kind not in known)
    yield from (
        f"one {kind} box too many" for kind in known if kinds.count(kind) > (_MOST_DATA if kind == "mdat" else 1)
    )
    named: list[tuple[int, int]] = []
    for box in top:
        if box[0] in ("meta", "moov"):
            yield from _odd_boxes(data, box, named)
    yield from _not_named([(start, stop) for kind, start, stop in top if kind == "mdat"], sorted(named))


def _boxes(data: bytes, at: int, end: int) -> Iterator[_Box]:
    """The boxes in a place, with the type `torn` for what is none."""
    while at < end:
        length, head = int.from_bytes(data[at : at + 4], "big"), 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        length = length or end - at  # 0: up to the end
        if length < head or at + length > end:
            yield "torn", at, end
            return
        yield data[at + 4 : at + 8].decode("latin-1"), at + head, at + length
        at += length


def _odd_boxes(data: bytes, box: _Box, named: list[tuple[int, int]], depth: int = 0) -> Iterator[str]:
    """Adds what `iloc` and a track's tables name of the file to `named`."""
    kind, start, end = box
    before = (6 if not data[start : start + 1].strip(b"\0") else 8) if kind == "iinf" else _INSIDE.get(kind)
    if before is None:
        if kind not in _BYTES:
            yield f"a {kind} box"
        elif kind == "colr" and data[start : start + 4] in (b"prof", b"rICC"):
            yield from () if is_plain(data[start + 4 : end]) else (ODD_PROFILE,)
        elif _is_odd(kind, data[start:end]):
            yield f"an odd {kind} box"
        elif kind == "iloc":
            named += _places(data[start:end])
        return
    if depth > _DEEPEST or start + before > end or any(words(_NAMES.sub(b"\0", data[start : start + before]))):
        yield f"an odd {kind} box"
        return
    inside = list(_boxes(data, start + before, end))
    for each in inside:
        yield from _odd_boxes(data, each, named, depth + 1)
    if kind == "stbl":
        named += _samples({each: data[first:last] for each, first, last in inside})


def _is_odd(kind: str, body: bytes) -> bool:
    most = _BYTES[kind]
    if most is not None and len(body) > most:
        return True
    if kind == "infe":
        at = 8 if body[:1] == b"\2" else 10
        return body[at : at + 4] not in _ITEMS or body[at + 4 :] not in _ITEM_NAMES
    return any(words(_NAMES.sub(b"\0", body)))


def _places(body: bytes) -> Iterator[tuple[int, int]]:
    """(first byte, behind the last) of each extent that `iloc` names in the file; none of one that is not whole."""
    stream = io.BytesIO(body)

    def number(size: int) -> int:
        return int.from_bytes(stream.read(size), "big")

    version, sizes = number(4) >> 24, number(2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(number(4 if version == 2 else 2)):
        number(4 if version == 2 else 2)
        method = number(2) & 15 if version else 0
        number(2)
        start = number(base)
        for _ in range(number(2)):
            if not length or stream.tell() >= len(body):
                return
            number(index if version else 0)
            first, size = start + number(offset), number(length)
            if not method:
                yield first, first + size


def _samples(tables: dict[str, bytes]) -> Iterator[tuple[int, int]]:
    """(first byte, behind the last) of each chunk of a track's samples."""
    sizes, runs = tables.get("stsz", b""), _table(tables.get("stsc", b"")[8:], 4)
    chunks = _table(tables["co64"][8:], 8) if "co64" in tables else _table(tables.get("stco", b"")[8:], 4)
    same, each, at = int.from_bytes(sizes[4:8], "big"), _table(sizes[12:], 4), 0
    counts = dict(zip(runs[::3], runs[1::3]))  # from this chunk on, so many samples in each
    count = 0
    for number, start in enumerate(chunks, 1):
        count = counts.get(number, count)
        yield start, start + (same * count if same else sum(each[at : at + count]))
        at += count


def _table(body: bytes, size: int) -> list[int]:
    return [int.from_bytes(body[at : at + size], "big") for at in range(0, len(body) - size + 1, size)]


def _not_named(held: Sequence[tuple[int, int]], named: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Says so where bytes of `held` are in no place of `named`, which is sorted."""
    for at, end in held:
        for start, stop in named:
            if start > at + _PADDING:
                break
            at = max(at, min(stop, end)) if stop > at else at
        if end - at > _PADDING:
            yield "bytes between its parts"
