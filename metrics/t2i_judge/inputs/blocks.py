"""The blocks of a GIF89a, a WebP (RFC 9649) and a BMP, and which of them hold more than its pixels need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .profiles import ODD_PROFILE, is_plain

_GIF_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")  # extensions that say how often an animation runs
_GIF_LABELS = {0x01: "a text", 0xFE: "a comment", 0xFF: "an application's extension"}
_WEBP_BYTES = {b"VP8X": 10, b"ANIM": 6, b"ICCP": None, b"ALPH": None, b"VP8 ": None, b"VP8L": None, b"ANMF": None}
_WEBP_FLAGS = {b"ICCP": 0x20, b"ALPH": 0x10, b"ANIM": 0x02, b"ANMF": 0x02}  # in VP8X: that there is one
_WEBP_RESERVED = 0xC1
_FRAME_HEAD = 16  # bytes of a frame before its chunks
_BMP_PADDING = 3  # bytes so that pixels begin at a multiple of four
_BMP_END_PADDING = 16
_LARGEST_NUMBER = 1_000_000  # of pixels to the metre: four letters are a larger one
_BMP_SPACES = (b"\0\0\0\0", b"BGRs", b" niW")  # none, sRGB, that of Windows


def more_than_pixels(data: bytes) -> Iterator[str]:
    """The names of blocks that pixels do not need or that hold more than their kind, and of bytes beside them."""
    if data.startswith(b"GIF8"):
        yield from _gif(data)
    elif data[:4] == b"RIFF":
        yield from _webp(data)
    elif data.startswith(b"BM"):
        yield from _bmp(data)


def _gif(data: bytes) -> Iterator[str]:
    at, controls, loops = 13 + _table(data[10:11]), 0, 0
    while at < len(data) and data[at] != 0x3B:
        if not data[at]:  # an empty block
            at += 1
        elif data[at] == 0x2C:
            at, _ = _sub_blocks(data, at + 11 + _table(data[at + 9 : at + 10]))
            controls = 0
        elif data[at] == 0x21:
            label = int.from_bytes(data[at + 1 : at + 2], "big")
            at, parts = _sub_blocks(data, at + 2)
            if label == 0xF9:  # of the picture that follows
                controls += 1
                yield from ("an odd graphic control",) if controls > 1 or [*map(len, parts)] != [4] else ()
            elif label == 0xFF and parts[:1] and parts[0] in _GIF_LOOPS:
                loops += 1
                yield from ("an odd number of loops",) if loops > 1 or [*map(len, parts)] != [11, 3] else ()
            else:
                yield _GIF_LABELS.get(label, f"an extension {label:#04x}")
        else:
            yield "bytes between its blocks"
            return
    if at + 1 < len(data):
        yield "bytes after its end"


def _table(flags: bytes) -> int:
    """Bytes of the colour table that the flags declare."""
    return 3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _sub_blocks(data: bytes, at: int) -> tuple[int, list[bytes]]:
    """Where the sub-blocks end that begin in a place, and what each holds."""
    parts = []
    while at < len(data) and data[at]:
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += data[at] + 1
    return at + 1, parts


def _webp(data: bytes) -> Iterator[str]:
    end = 8 + int.from_bytes(data[4:8], "little")
    chunks = list(_chunks(data[12:end]))
    counts = Counter(kind for kind, _ in chunks)
    flags = chunks[0][1][0] if chunks and chunks[0][0] == b"VP8X" and chunks[0][1] else 0
    for kind, body in chunks:
        name, needed = kind.decode("latin-1").strip(), _WEBP_FLAGS.get(kind, 0)
        if kind not in _WEBP_BYTES:
            yield f"a {name} chunk" if kind else "bytes after its end"
        elif kind == b"ICCP" and not is_plain(body):
            yield ODD_PROFILE
        elif (counts[kind] > 1 and kind != b"ANMF") or flags & needed != needed or _is_odd(kind, body):
            yield f"an odd {name} chunk"
    if counts[b"VP8 "] + counts[b"VP8L"] > (not flags & 0x02) or (counts[b"ALPH"] and not counts[b"VP8 "]):
        yield "a picture that is not shown"
    if end + end % 2 < len(data):
        yield "bytes after its end"


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, body) of every chunk, the type empty for bytes that are none."""
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    if at < len(data):
        yield b"", data[at:]


def _is_odd(kind: bytes, body: bytes) -> bool:
    """Whether a chunk of a WebP that pixels need holds more than its kind does."""
    if kind == b"VP8X" and (any(body[1:4]) or (body[:1] and body[0] & _WEBP_RESERVED)):
        return True
    if kind == b"ANMF":  # a frame: its own chunks
        kinds = [each for each, _ in _chunks(body[_FRAME_HEAD:])]
        return kinds not in ([b"VP8 "], [b"VP8L"], [b"ALPH", b"VP8 "])
    most = _WEBP_BYTES[kind]
    return most is not None and len(body) != most


def _bmp(data: bytes) -> Iterator[str]:
    """Pixels have a length, unless they are compressed by runs: of those, the file says it."""
    start, header = _number(data, 10), _number(data, 14)
    if header == 12:
        width, height, bits = (_number(data, at, 2) for at in (18, 20, 24))
        compression, palette = 0, 3 * 2**bits if bits <= 8 else 0
    else:
        width, height = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22))
        bits, compression, colours = _number(data, 28, 2), _number(data, 30), _number(data, 46)
        masks = {3: 12, 6: 16}.get(compression, 0) if header == 40 else 0
        first, palette = 14 + header + masks, 4 * min(colours or 2**bits, 2**bits) if bits <= 8 else 0
        if any(byte not in (0, 255) for byte in data[first + 3 : first + palette : 4]):
            yield "an odd palette"
        palette += masks
    between = data[14 + header + palette : start]
    if len(between) > _BMP_PADDING or any(between):
        yield "bytes between its parts"
    size = (width * bits + 31) // 32 * 4 * abs(height) if compression not in (1, 2) else _number(data, 34)
    end = start + size if size else _number(data, 2)
    if end + _BMP_END_PADDING < len(data):
        yield "bytes after its end"
    if _is_odd_header(data, header):
        yield "an odd header"


def _is_odd_header(data: bytes, header: int) -> bool:
    """Whether fields that pixels do not need hold more than numbers of their kind."""
    if any(data[6:10]) or (header >= 40 and max(_number(data, 38), _number(data, 42)) > _LARGEST_NUMBER):
        return True
    if header < 108:
        return False
    primaries = [sum(_number(data, at + place) for place in (0, 4, 8)) for at in (74, 86, 98)]
    shares = all(not total or abs(total - 2**30) < 1024 for total in primaries)
    gamma = max(_number(data, at) for at in (110, 114, 118)) < 10 * 2**16
    profile = any(data[126:138]) or _number(data, 122) > 8
    return data[70:74] not in _BMP_SPACES or not shares or not gamma or profile


def _number(data: bytes, at: int, size: int = 4) -> int:
    return int.from_bytes(data[at : at + size], "little")
