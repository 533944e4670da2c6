"""What kind of file is this, and is it one that a release may hold? By its content, not by its name alone.

A release holds texts, safetensors, parquet and, by themselves, images. Whatever holds other files (archives, databases,
compressed data) cannot be looked through by everything that looks, so none of it goes out.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recipes.safety.parquet_pages import parquet_texts
from t2i_judge.inputs.images import ImageError, open_image

Found = tuple[str, str]  # what is wrong, and how to mend it
IMAGES = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".gif": "GIF", ".tif": "TIFF", ".tiff": "TIFF",
    ".bmp": "BMP", ".avif": "AVIF",
}  # fmt: skip
PLAIN = (".py", ".json", ".md", ".yaml", ".txt", ".css", ".js", ".html", ".jinja", ".typed")  # UTF-8
OTHERS = (".safetensors", ".parquet", ".model")
MEGABYTE = 1_000_000
LARGEST = {  # bytes: what is larger is not what its name says, or belongs elsewhere
    ".py": MEGABYTE, ".md": 5 * MEGABYTE, ".yaml": 5 * MEGABYTE, ".css": MEGABYTE, ".js": 5 * MEGABYTE,
    ".html": 5 * MEGABYTE, ".jinja": MEGABYTE, ".typed": 0, ".json": 100 * MEGABYTE, ".txt": 50 * MEGABYTE,
    ".model": 50 * MEGABYTE, ".parquet": 5_000 * MEGABYTE, ".safetensors": 50_000 * MEGABYTE,
}  # fmt: skip
_CONTAINERS = {  # how they begin
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstandard",
    b"\x04\x22\x4d\x18": "lz4", b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar", b"SQLite format 3\0": "SQLite", b"\x89HDF\r\n\x1a\n": "HDF5", b"!<arch>": "ar",
    b"MSCF": "cabinet", b"\x1f\x9d": "compress", b"]\0\0": "lzma", b"x\x01": "zlib", b"x\x5e": "zlib",
    b"x\x9c": "zlib", b"x\xda": "zlib", b"%PDF": "PDF", b"ARROW1": "Arrow", b"Obj\x01": "Avro",
}  # fmt: skip
_TAR_AT, _TAR = 257, b"ustar"
_SHORT = 4096  # bytes by which a zlib header is told from a text that begins with these two letters
_KIND = "release texts, safetensors and parquet only"


def container(data: bytes) -> str | None:
    """The kind of archive, database or compressed data that bytes are, or that stands at their end; else None."""
    for mark, kind in _CONTAINERS.items():
        if data[: len(mark)] == mark and not (len(mark) == 2 and kind == "zlib" and data[:_SHORT].isascii()):
            return kind
    if data[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR:
        return "tar"
    return "zip" if zip_names(data) is not None else None


def zip_names(data: bytes) -> list[str] | None:
    """Names in the zip archive that ends a file, whatever it begins with; None where there is none."""
    if b"PK\x05\x06" not in data[-66_000:]:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        return None


def kind(path: Path, data: bytes) -> Iterator[Found]:
    """What keeps a file from being of a kind that a release may hold, or from being what its name says."""
    suffix = path.suffix.lower()
    if inside := container(data):
        yield f"{inside}: a container, whose content cannot be checked", "release the files in it"
    elif suffix not in (*IMAGES, *PLAIN, *OTHERS):
        yield f"a kind of file that no release has ({suffix or 'no ending'})", _KIND
    elif wrong := _wrong(path, suffix, data):
        yield f"its content does not match its name: {wrong}", "write it again, or leave it out"
    if len(data) > LARGEST.get(suffix, len(data)):
        yield (
            f"{len(data):,} bytes, more than the {LARGEST[suffix]:,} of a {suffix} file",
            "leave out what is not needed",
        )


def _wrong(path: Path, suffix: str, data: bytes) -> str | None:
    if suffix in IMAGES:
        return _wrong_image(suffix, data)
    if suffix == ".safetensors":
        return _wrong_safetensors(data)
    if suffix == ".parquet":
        return _wrong_parquet(path, data)
    return _wrong_text(suffix, data) if suffix in PLAIN else None


def _wrong_image(suffix: str, data: bytes) -> str | None:
    try:
        opened = open_image(data).format
    except ImageError as error:
        return error.reason
    return None if opened == IMAGES[suffix] or (opened, suffix[:3]) == ("MPO", ".jp") else f"it is {opened}"


def _wrong_text(suffix: str, data: bytes) -> str | None:
    try:
        text = data.decode()
        if suffix == ".json":
            json.loads(text)
    except UnicodeDecodeError as error:
        return f"byte {error.start} is not UTF-8"
    except (ValueError, RecursionError) as error:
        return f"not JSON ({error})"
    return "it has null bytes" if "\0" in text else None


def _wrong_safetensors(data: bytes) -> str | None:
    """The header's places must cover the rest of the file, byte for byte (huggingface.co/docs/safetensors)."""
    try:
        [length] = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length].decode())
        places = sorted(entry["data_offsets"] for name, entry in header.items() if name != "__metadata__")
    except (struct.error, ValueError, RecursionError, KeyError, TypeError, AttributeError, OverflowError):
        return "no safetensors header"
    return None if _covers(places, len(data) - 8 - length) else "its tensors do not fill it"


def _covers(places: Sequence[Any], size: int) -> bool:
    end = 0
    for place in places:
        if not (isinstance(place, list) and len(place) == 2 and place[0] == end and place[1] >= end):
            return False
        end = place[1]
    return end == size


def _wrong_parquet(path: Path, data: bytes) -> str | None:
    from pyarrow import lib, parquet

    try:
        parquet.ParquetFile(path)
        parquet_texts(data)
    except (OSError, ValueError, lib.ArrowException) as error:
        return str(error).strip().splitlines()[0]
    return None
