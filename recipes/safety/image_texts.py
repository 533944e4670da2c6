"""The texts that stand in image files beside the pixels: prompts of generators, comments, EXIF, XMP, profiles."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from PIL import Image

from t2i_judge.inputs.images import ImageError, open_image
from t2i_judge.inputs.parts import PNG, png_chunks
from t2i_judge.inputs.profiles import words
from t2i_judge.inputs.structure import check_tags

_PROFILE = "icc_profile"  # its key in Pillow's `info`
_LONGEST = 1_000_000  # bytes of a compressed text that are looked at
_DIRECTORIES = (0x8769, 0x8825, 0xA005)  # of EXIF: its own, GPS, interoperability


def is_image(data: bytes) -> bool:
    """Whether bytes begin as an image file does."""
    starts = (PNG, b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    return data.startswith(starts) or data[8:12] in (b"WEBP", b"avif", b"avis", b"heic")


def image_texts(data: bytes) -> Iterator[tuple[str, str]]:
    """(where, text) of whatever an image file says in words; what cannot be opened is given as it stands."""
    if data.startswith(PNG):
        yield from ((kind, text) for kind, body in png_chunks(data) if (text := _png_text(kind, body)))
    try:
        picture = open_image(data)
    except ImageError:  # its bytes are scanned all the same
        return
    for key, value in [*picture.info.items(), *_tags(picture)]:
        if text := _words(value) if key != _PROFILE else "\n".join(words(value or b"")):
            yield str(key), text
    for segment, body in getattr(picture, "applist", ()):  # of a JPEG
        if text := "\n".join(words(body)):
            yield segment, text


def _tags(picture: Image.Image) -> Iterator[tuple[int, Any]]:
    """The tags of EXIF, and of TIFF, that can be read."""
    for directory in (None, *_DIRECTORIES):
        with suppress(Exception):  # whatever a broken block makes Pillow trip over: it is refused as metadata
            check_tags(picture.info.get("exif") or b"", below=True)
            exif = picture.getexif()
            yield from (exif if directory is None else exif.get_ifd(directory)).items()
    yield from getattr(picture, "tag_v2", {}).items()


def _png_text(kind: str, body: bytes) -> str:
    """Keyword and text of a textual chunk (PNG specification, 11.3.3)."""
    keyword, _, rest = body.partition(b"\0")
    if kind == "tEXt":
        return _decoded(keyword + b" = " + rest)
    if kind == "zTXt":
        return _decoded(keyword + b" = " + _inflated(rest[1:]))
    if kind == "iTXt":
        language, _, after = rest[2:].partition(b"\0")
        translated, _, text = after.partition(b"\0")
        return _decoded(keyword + b" = " + translated + b" " + (_inflated(text) if rest[:1] == b"\1" else text))
    if kind in ("iCCP", "sPLT"):
        return _decoded(keyword)
    return _decoded(body) if kind == "bytes after its end" else ""


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, _LONGEST)
    except zlib.error:
        return b""


def _decoded(data: bytes) -> str:
    """UTF-8, else Latin-1; UTF-16 in EXIF's comments, which name their encoding first, and in what Windows writes."""
    data = data.removeprefix(b"UNICODE\0")
    if 5 * data.count(0) > len(data):
        return data.decode("utf-16-be" if data[:1] == b"\0" else "utf-16-le", errors="replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, tuple | list):
        return " ".join(filter(None, map(_words, value)))
    return ""
