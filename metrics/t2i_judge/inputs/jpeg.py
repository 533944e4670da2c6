"""Removes metadata from JPEG files without touching the pixels: the application data of ITU-T T.81 (annex B)."""

from __future__ import annotations

_START, _END, _SCAN = 0xD8, 0xD9, 0xDA  # markers: start of image, end of image, start of scan
_APP0, _APP14, _APP15, _COMMENT = 0xE0, 0xEE, 0xEF, 0xFE
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers that no length follows


def without_metadata(data: bytes) -> bytes | None:
    """The file with only what decoding needs, up to the end of its first image.

    EXIF, XMP, ICC profiles, thumbnails, comments and whatever follows the image go. JFIF's header and Adobe's stay:
    they say what the colours mean.

    Returns:
        None if the structure cannot be followed to the end.
    """
    if data[:2] != bytes([0xFF, _START]):
        return None
    kept, at = [data[:2]], 2
    while at + 2 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == _END:
            return b"".join([*kept, data[at : at + 2]])
        if marker == 0xFF or marker in _ALONE:  # a fill byte, or a marker alone
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end < at + 4 or end > len(data):
            return None
        if not _is_metadata(marker, data[at + 4 : end]):
            kept.append(data[at:end])
        at = end
        if marker == _SCAN:
            at = _end_of_scan(data, end)
            kept.append(data[end:at])
    return None


def _is_metadata(marker: int, body: bytes) -> bool:
    if marker == _APP0:
        return not (body.startswith(b"JFIF\0") and len(body) == 14)  # longer, it holds a thumbnail
    if marker == _APP14:
        return not (body.startswith(b"Adobe") and len(body) == 12)
    return _APP0 < marker <= _APP15 or marker == _COMMENT


def _end_of_scan(data: bytes, start: int) -> int:
    """Where the next marker stands: the entropy-coded bytes before it hold 0xFF only before 0 and restart markers."""
    at = data.find(b"\xff", start)
    while 0 <= at < len(data) - 1 and (data[at + 1] == 0 or 0xD0 <= data[at + 1] <= 0xD7):
        at = data.find(b"\xff", at + 2)
    return at if at >= 0 else len(data)
