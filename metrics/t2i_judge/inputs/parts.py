"""Finds the parts of an image file that its pixels do not need, by the structure of each format.

Formats: PNG (W3C, third edition), JPEG (ITU-T T.81 annex B), GIF89a, WebP (RFC 9649), TIFF 6.0, BMP, AVIF (ISO/IEC
14496-12). The parts that pixels need are listed; every other part, known or not, is reported.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

from .images import ImageError, decoder, open_image
from .png_pixels import hides_data
from .profiles import is_plain
from .structure import Suspicious, tiff_parts

ODD_PROFILE = "a colour profile with more than colours"
PNG = b"\x89PNG\r\n\x1a\n"
_PNG_BYTES = {  # of the chunks that pixels need: how many bytes they have at most
    "IHDR": 13, "PLTE": 768, "IDAT": None, "IEND": 0, "tRNS": 256, "cHRM": 32, "gAMA": 4, "iCCP": None, "sBIT": 4,
    "sRGB": 1, "cICP": 4, "bKGD": 6, "pHYs": 9, "acTL": 8, "fcTL": 26, "fdAT": None,
}  # fmt: skip
_PNG_REPEATED = ("IDAT", "fcTL", "fdAT")
_LARGEST_NUMBER = 1_000_000  # of a PNG's resolution, gamma, primaries: four letters are a larger one
_PALETTE = 3  # a PNG's type of colour
_PROFILE_BYTES = 10_000_000  # of a colour profile
_WEBP_CHUNKS = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_GIF_PROGRAMS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")  # extensions that say how often an animation runs
_TIFF_TAGS = frozenset(
    (254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 282, 283, 284, 290, 291, 292, 293, 296, 301, 317)
    + (318, 319, 320, 321, 322, 323, 324, 325, 332, 334, 336, 338, 339, 340, 341, 347, 529, 530, 531, 532, 34675)
)
_PADDING = 16  # bytes that belong to nothing, so that parts begin at even places
_BMP_PALETTE = 4 * 256 + 16  # bytes: most colours, and the masks of three channels and alpha
_GPS = 0x8825  # EXIF tag
_PRIVATE_EXIF = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif", "photoshop")
_AVIF_BOXES = frozenset(("ftyp", "meta", "mdat", "moov", "moof"))  # EXIF and XMP in `meta` are read by Pillow
_JPEG_ALONE = (0x01, *range(0xD0, 0xD8))
_JPEG_TABLES = (*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDD)
_JPEG_PROGRAMS = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}  # how they begin, and their length: no thumbnail
_JPEG_PROFILE = b"ICC_PROFILE\0"  # then its number and how many there are


def private_metadata(data: bytes) -> str | None:
    """The kind of private metadata in an image file, None if there is none (or it cannot be opened).

    While `decoding.apart` is open, the file is read in a separate process; if that ends, the file hides something.
    """
    if (apart := decoder()) is None:
        return private_part(data)
    try:
        return apart.private(data)
    except ImageError as error:
        return f"something that cannot be read ({error.reason})"


def private_part(data: bytes) -> str | None:
    """As `private_metadata`, in this process."""
    try:
        picture = open_image(data)
    except ImageError as error:
        return "a structure that hides what it holds" if isinstance(error.__cause__, Suspicious) else None
    try:
        if _GPS in picture.getexif():
            return "GPS"
    except Exception:  # SyntaxError, struct.error and more, by how the block is broken; who knows what it holds
        return "EXIF that cannot be read"
    if (profile := picture.info.get("icc_profile")) and not is_plain(profile):
        return ODD_PROFILE
    return next((key for key in _PRIVATE_EXIF if picture.info.get(key)), None) or next(more_than_pixels(data), None)


def more_than_pixels(data: bytes) -> Iterator[str]:
    """The names of all parts of an image file that its pixels do not need."""
    if data.startswith(PNG):
        yield from _png(data)
    elif data.startswith(b"\xff\xd8"):
        yield from _jpeg(data)
    elif data.startswith(b"GIF8"):
        yield from _gif(data)
    elif data[:4] == b"RIFF":
        yield from _webp(data)
    elif data.startswith((b"II", b"MM")):
        yield from _tiff(data)
    elif data[4:8] == b"ftyp":
        yield from (f"a {kind} box" for kind in _boxes(data) if kind not in _AVIF_BOXES)
    elif data.startswith(b"BM"):
        yield from _bmp(data)


def _png(data: bytes) -> Iterator[str]:
    chunks = list(png_chunks(data))
    counts = Counter(kind for kind, _ in chunks)
    palette = data[25:26] == bytes([_PALETTE])
    for kind, body in chunks:
        if kind not in _PNG_BYTES or (kind == "PLTE" and not palette):
            yield f"a {kind} chunk" if len(kind) == 4 else kind
        elif _is_odd(kind, body) or (counts[kind] > 1 and kind not in _PNG_REPEATED):
            yield ODD_PROFILE if kind == "iCCP" else f"an odd {kind} chunk"
    if hides_data(chunks):
        yield "bytes behind its pixels"


def _is_odd(kind: str, body: bytes) -> bool:
    """Whether a chunk of a PNG that pixels need holds more than its kind does."""
    if kind == "iCCP":
        return not is_plain(_inflated(body.partition(b"\0")[2][1:]))
    if kind == "pHYs":
        return len(body) != 9 or body[8] > 1 or _has_large(body[:8])
    if kind in ("cHRM", "gAMA"):
        return len(body) != _PNG_BYTES[kind] or _has_large(body)
    most = _PNG_BYTES[kind]
    return most is not None and len(body) > most


def _has_large(body: bytes) -> bool:
    numbers = (int.from_bytes(body[at : at + 4], "big") for at in range(0, len(body), 4))
    return any(number > _LARGEST_NUMBER for number in numbers)


def _inflated(data: bytes) -> bytes:
    """A colour profile; nothing where it is broken, too large, or has something behind it."""
    stream = zlib.decompressobj()
    try:
        profile = stream.decompress(data, _PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if stream.eof and not stream.unused_data else b""


def png_chunks(data: bytes) -> Iterator[tuple[str, bytes]]:
    """(type, body) of every chunk of a PNG, with the type `bytes after its end` for what follows the last one."""
    at = len(PNG)
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8].decode("latin-1")
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == "IEND":
            break
    if at < len(data):
        yield "bytes after its end", data[at:]


def _jpeg(data: bytes) -> Iterator[str]:
    at, known, profile = 2, set[int](), list[bytes]()
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            yield "bytes between its segments"
            return
        marker = data[at + 1]
        if marker == 0xFF or marker in _JPEG_ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : end]
        if marker == 0xE2 and body.startswith(_JPEG_PROFILE):
            profile.append(body.removeprefix(_JPEG_PROFILE))
        elif marker not in _JPEG_TABLES and (marker in known or not _is_program(marker, body)):
            yield "a comment" if marker == 0xFE else f"a segment of an application (APP{marker - 0xE0})"
        known.add(marker)
        at = _end_of_scan(data, end) if marker == 0xDA else end
    if profile and not _is_profile(profile):
        yield ODD_PROFILE
    if at + 2 < len(data):
        yield "bytes after its end"


def _is_program(marker: int, body: bytes) -> bool:
    """Whether a segment of an application says what the colours mean, and nothing else."""
    start, length = _JPEG_PROGRAMS.get(marker, (b"", -1))
    return body.startswith(start) and len(body) == length


def _is_profile(parts: Sequence[bytes]) -> bool:
    """Whether the parts of a colour profile are all of it, each with its number and how many there are."""
    numbered = sorted(parts)
    counted = all(part[:2] == bytes([number, len(parts)]) for number, part in enumerate(numbered, 1))
    return len(parts) < 256 and counted and is_plain(b"".join(part[2:] for part in numbered))


def _end_of_scan(data: bytes, at: int) -> int:
    """Where the next marker stands: in entropy-coded data 0xFF stands before 0, restarts and itself alone."""
    at = data.find(b"\xff", at)
    while 0 <= at < len(data) - 1 and (data[at + 1] in (0, 0xFF) or 0xD0 <= data[at + 1] <= 0xD7):
        at = data.find(b"\xff", at + 1)
    return at if at >= 0 else len(data)


def _gif(data: bytes) -> Iterator[str]:
    at = 13 + _table(data[10])
    while at < len(data) and data[at] != 0x3B:
        if data[at] == 0x2C:
            at += 11 + _table(data[at + 9])
        else:
            label, name = data[at + 1], data[at + 3 : at + 14]
            if label in (0x01, 0xFE) or (label == 0xFF and name not in _GIF_PROGRAMS):
                yield "a comment" if label == 0xFE else "a text" if label == 0x01 else "an application's extension"
            at += 2
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    if at + 1 < len(data):
        yield "bytes after its end"


def _table(flags: int) -> int:
    """Bytes of the colour table that the flags declare."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(data: bytes) -> Iterator[str]:
    at, end = 12, 8 + int.from_bytes(data[4:8], "little")
    while at + 8 <= min(end, len(data)):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind not in _WEBP_CHUNKS:
            yield f"a {kind.decode('latin-1').strip()} chunk"
        at += 8 + length + length % 2
    if end + end % 2 < len(data):
        yield "bytes after its end"


def _tiff(data: bytes) -> Iterator[str]:
    """Its tags, and bytes that none of them names: a TIFF's parts may lie anywhere."""
    image = open_image(data)
    yield from (f"the TIFF tag {tag}" for tag in image.tag_v2 if tag not in _TIFF_TAGS)  # type: ignore[attr-defined]
    end = 0
    for start, stop in sorted(tiff_parts(data)):
        if start - end > _PADDING:
            yield "bytes between its parts"
        end = max(end, stop)
    if len(data) - end > _PADDING:
        yield "bytes after its end"


def _bmp(data: bytes) -> Iterator[str]:
    """Pixels without compression have a length; of others, the file says its own."""
    start, header = (int.from_bytes(data[at : at + 4], "little") for at in (10, 14))
    end = int.from_bytes(data[2:6], "little")
    if header >= 40 and not int.from_bytes(data[30:34], "little"):
        width, height = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22))
        end = start + (width * int.from_bytes(data[28:30], "little") + 31) // 32 * 4 * abs(height)
    if end + _PADDING < len(data):
        yield "bytes after its end"
    if start > 14 + header + _BMP_PALETTE:
        yield "bytes between its parts"


def _boxes(data: bytes) -> Iterator[str]:
    """Types of the boxes that an AVIF file consists of."""
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8].decode("latin-1")
        at += int.from_bytes(data[at + 8 : at + 16], "big") if length == 1 else length or len(data)
        if length != 1 and 0 < length < 8:
            return
    if at < len(data):
        yield "torn"
