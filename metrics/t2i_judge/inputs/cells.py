"""Turns whatever users give as an image into encoded bytes or a PIL image. Nothing is decoded or fetched here.

A path, bytes, a file object, base64 or a data URL, a PIL image, an array or a tensor, a dataset's `{"bytes", "path"}`,
a list of one of these, the text that a CSV makes of a list or a dictionary, or a function that gives one of these.
"""

from __future__ import annotations

import ast
import base64
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote_to_bytes

from ..files import NotPlain, open_plain
from ..wording import counted

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

ImageLike: TypeAlias = "Image.Image | str | Path | bytes | np.ndarray | dict[str, Any] | Any"
REASON = "reason"  # key of a dictionary that stands for an image which could not be read, and says why
_KEYS = ("bytes", "path", "b64_json", "base64", "url", "image_url", "image")  # of a cell that is a dictionary
_URL = re.compile(r"[a-z][a-z0-9+.-]*://|file:", re.IGNORECASE)
_DATA_URL = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_URL_SAFE, _SPACES = bytes.maketrans(b"-_", b"+/"), b" \t\n\r\v\f"
_SIGNATURES = re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF|BM|II[*+]\0|MM\0[*+]|.{4}ftyp", re.DOTALL)
_BYTES = re.compile(r"""b(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""", re.DOTALL)  # as Python writes them
_STARTS = re.compile(r"""b['"]""")
_LONG = 100_000  # characters of a list or dictionary as text
_SHOWN, _SHORTEST, _LONGEST_PATH = 60, 64, 4096  # characters
_CHANNELS = (1, 3, 4)


class ImageError(Exception):
    """An image that cannot be judged; `reason` is one line and becomes the item's reason."""

    def __init__(self, reason: str) -> None:
        self.reason = " ".join(reason.split())
        super().__init__(self.reason)


@dataclass(frozen=True)
class ImageLimits:
    """Limits on images: encoded size in bytes, width x height in pixels, and the longest side in pixels."""

    bytes: int = 50_000_000
    pixels: int = 50_000_000
    side: int = 20_000


LIMITS = ImageLimits()


def read_cell(source: ImageLike | None, limits: ImageLimits = LIMITS) -> Image.Image | bytes:
    """Encoded bytes, or the pixels that the caller already has.

    Raises:
        ImageError: there is no image, several images, a URL, or too many bytes.
    """
    try:
        return _read(source, limits)
    except ImageError:
        raise
    except Exception as error:  # an object may raise whatever it likes when it is asked for its pixels
        raise ImageError(f"cannot read an image from {type(source).__name__}: {error}") from error


def _read(source: Any, limits: ImageLimits) -> Image.Image | bytes:
    from PIL import Image

    source = unwrapped(source)
    if isinstance(source, dict) and source.get(REASON):
        raise ImageError(str(source[REASON]))
    if isinstance(source, dict):
        source = source.get("bytes")
    if source is None:
        raise ImageError("no image")
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, Path):
        return _from_file(str(source), limits)
    if isinstance(source, str):
        return _from_text(source, limits)
    if isinstance(source, bytes | bytearray | memoryview):
        return _within(bytes(source), limits)
    if isinstance(source, list | tuple):
        raise ImageError(
            f"{counted(len(source), 'image')} in one cell; give each image its own row" if source else "no image"
        )
    if hasattr(source, "read"):
        return _from_stream(source, limits)
    if hasattr(source, "__array__") or hasattr(source, "__array_interface__"):
        return _from_array(source)
    if callable(source):
        return _read(source(), limits)
    raise ImageError(f"cannot read an image from {type(source).__name__}")


def unwrapped(cell: Any) -> Any:
    """A cell's one image, taken out of a list or dictionary, or out of the text of one."""
    while True:
        if isinstance(cell, str) and _is_written(cell) and not is_file(cell):
            if (value := _written(cell)) is None:
                return cell
            cell = value
        elif isinstance(cell, list | tuple) and len(cell) == 1:
            cell = cell[0]
        elif isinstance(cell, dict) and not cell.get(REASON) and isinstance(cell.get("bytes") or "", str):
            cell = next((cell[key] for key in _KEYS if cell.get(key)), None)
        else:
            return cell


def is_path(text: str) -> bool:
    """Whether a text is the name of a file, and not an image itself, a URL or a list."""
    return not (_DATA_URL.match(text) or _URL.match(text) or _is_base64(text) or _is_written(text))


def _from_text(text: str, limits: ImageLimits) -> Image.Image | bytes:
    if _DATA_URL.match(text):
        head, _, body = text.partition(",")
        return (
            _from_base64(body, limits) if head.lower().endswith(";base64") else _within(unquote_to_bytes(body), limits)
        )
    if _URL.match(text):
        raise ImageError("URLs are not fetched; download the image, and give a file, bytes or a PIL image")
    return _from_base64(text, limits) if _is_base64(text) and not is_file(text) else _from_file(text, limits)


def is_file(text: str) -> bool:
    """Whether a text is the name of a file that exists."""
    with suppress(OSError, ValueError):  # a name too long, or with a null byte
        return Path(text).is_file()
    return False


def _is_base64(text: str) -> bool:
    """Does it begin as an image does in base64, or is it too long for a path and nothing but base64's letters?"""
    if len(text) < _SHORTEST:
        return False
    with suppress(ValueError):
        head = _letters(text[: 2 * _SHORTEST])[:_SHORTEST]
        if not _BASE64.fullmatch(head):
            return False
        with suppress(ValueError):
            if _SIGNATURES.match(_decoded(head)):
                return True
        return len(text) > _LONGEST_PATH and _BASE64.fullmatch(_letters(text)) is not None
    return False


def from_base64(text: str) -> bytes:
    """What base64 says, URL-safe or not, with its padding or without, whatever spaces it has. Raises `ValueError`."""
    return _decoded(_letters(text))


def _letters(text: str) -> bytes:
    """Base64 in the usual letters, without spaces, which may stand between any two of millions."""
    try:
        return text.encode("ascii").translate(_URL_SAFE, _SPACES)
    except UnicodeEncodeError:
        raise ValueError("it has signs that base64 has not") from None


def _decoded(letters: bytes) -> bytes:
    letters = letters.rstrip(b"=")
    return base64.b64decode(letters + b"=" * (-len(letters) % 4), validate=True)


def _from_base64(text: str, limits: ImageLimits) -> bytes:
    if len(text) > 2 * limits.bytes:
        raise ImageError(f"{len(text)} characters of base64 hold more than the {limits.bytes} bytes allowed")
    try:
        return _within(from_base64(text), limits)
    except ValueError as error:
        raise ImageError(f"its base64 is broken: {error}") from error


def _is_written(text: str) -> bool:
    """Is it what a CSV makes of a list, a dictionary or bytes?"""
    return text.startswith(("b'", 'b"')) or (text.lstrip()[:1], text.rstrip()[-1:]) in (("[", "]"), ("{", "}"))


def _written(text: str) -> Any:
    """The list, dictionary or bytes that a text writes down in JSON or Python; None where it writes none.

    Of a long text in Python only its first bytes are taken: reading the rest would take a hundred times its size.
    """
    if len(text) > _LONG and (start := _STARTS.search(text, 0, _SHORTEST)):
        text = whole[0] if (whole := _BYTES.match(text, start.end() - 2)) else text
    for parse in (json.loads, ast.literal_eval) if len(text) <= _LONG or text.startswith("b") else (json.loads,):
        with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            value = parse(text)
            return value if isinstance(value, list | tuple | dict | bytes) else None
    return None


def _within(data: bytes, limits: ImageLimits) -> bytes:
    if len(data) > limits.bytes:
        raise ImageError(f"{len(data)} bytes are more than the {limits.bytes} allowed")
    return data


def _from_file(name: str, limits: ImageLimits) -> bytes:
    path = Path(name)
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limits.bytes:
                raise ImageError(f"{path.name} has {size} bytes, more than the {limits.bytes} allowed")
            return file.read(limits.bytes + 1)
    except (IsADirectoryError, NotPlain):
        raise ImageError(f"{path.name} is not a file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        shown = Path(name).name if len(Path(name).name) <= _SHOWN else f"{Path(name).name[:_SHOWN]}..."
        raise ImageError(f"cannot read {shown}: {getattr(error, 'strerror', None) or error}") from error


def _from_stream(source: Any, limits: ImageLimits) -> bytes:
    """Everything in a file object, read from its start, because one that was just written stands at its end."""
    if source.seekable():
        source.seek(0)
    data = source.read(limits.bytes + 1)
    if not isinstance(data, bytes):
        raise ImageError(f"{type(source).__name__} gives text; open it in binary mode")
    return _within(data, limits)


def _from_array(source: Any) -> Image.Image:
    import numpy as np
    from PIL import Image

    is_tensor = hasattr(source, "detach")  # channels first, where it may be either
    array = np.asarray(_on_cpu(source) if is_tensor else source)
    array = array[0] if array.ndim == 4 and len(array) == 1 else array
    if array.ndim == 3:
        first, last = array.shape[0] in _CHANNELS, array.shape[2] in _CHANNELS
        array = np.moveaxis(array, 0, 2) if first and (is_tensor or not last) else array
        array = array[:, :, 0] if array.shape[2] == 1 else array
    if array.size == 0 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(
            f"an array of shape {array.shape} is not an image; the shape must be (height, width[, 1, 3 or 4])"
        )
    return Image.fromarray(np.ascontiguousarray(_eight_bits(array)))


def _on_cpu(tensor: Any) -> Any:
    tensor = tensor.detach().cpu()
    return tensor.float() if tensor.is_floating_point() else tensor  # numpy has no bfloat16


def _eight_bits(array: np.ndarray) -> np.ndarray:
    """Pixels as uint8: floats in [0, 1], whole numbers up to 255, 16 bits by their high byte, true as white."""
    import numpy as np

    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ImageError("an array of floats must lie in [0, 1]")
        return np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind not in "iu":
        raise ImageError(f"an array of {array.dtype} is not an image; use uint8, or floats in [0, 1]")
    lowest, highest = int(array.min()), int(array.max())
    if lowest >= 0 and highest <= 0xFF:
        return array.astype(np.uint8)
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    raise ImageError(f"an array of {array.dtype} from {lowest} to {highest} is not an image; values must be 0 to 255")
