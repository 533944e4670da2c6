"""What lies behind the pixels of a PNG, inside its compressed data, where no viewer looks (W3C PNG, third edition)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by type of colour
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # Adam7
_STEP = 1 << 20  # bytes that are decompressed at a time


def hides_data(chunks: Iterable[tuple[str, bytes]]) -> bool:
    """Whether the pixels of a picture, or of a frame of it, end before its compressed data does.

    Args:
        chunks: type and body of the file's chunks, in order.
    """
    return any(_is_longer(parts, size) for size, parts in _streams(chunks))


def _streams(chunks: Iterable[tuple[str, bytes]]) -> Iterator[tuple[int, list[bytes]]]:
    """(bytes of the pixels, compressed parts) of the picture and of each frame of an animation."""
    header, picture = b"", (0, list[bytes]())
    frame: tuple[int, list[bytes]] | None = None
    for kind, body in chunks:
        if kind == "IHDR":
            header, picture = body, (_size(body, body[:8]), [])
        elif kind == "IDAT":
            picture[1].append(body)
        elif kind == "fcTL":
            if frame is not None:
                yield frame
            frame = _size(header, body[4:12]), []
        elif kind == "fdAT" and frame is not None:
            frame[1].append(body[4:])
    yield picture
    if frame is not None:
        yield frame


def _size(header: bytes, sides: bytes) -> int:
    """Bytes of all rows, each with its filter, of a picture with these sides."""
    if len(header) < 13:
        return 0
    width, height = (int.from_bytes(sides[at : at + 4], "big") for at in (0, 4))
    bits = header[8] * _CHANNELS.get(header[9], 0)
    passes = _PASSES if header[12] else ((0, 0, 1, 1),)
    parts = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in passes]
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in parts if columns > 0 and rows > 0)


def _is_longer(parts: list[bytes], size: int) -> bool:
    """Whether more than `size` bytes come out of a zlib stream, or others follow it."""
    stream, left = zlib.decompressobj(), size
    try:
        for part in parts:
            while part:
                left -= len(stream.decompress(part, _STEP))
                part = stream.unconsumed_tail
                if left < 0 or stream.unused_data:
                    return True
        return len(stream.flush()) > left
    except zlib.error:  # a broken picture, unless all of it has been shown by then
        return left <= 0
