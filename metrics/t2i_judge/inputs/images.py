"""Images from anywhere a user keeps them, safely: limits first, then pixels; nothing is ever fetched from a URL.

`load_image` gives pixels to local models, `encode_image` the bytes that a served model receives (unchanged where they
already are what such a server takes, so that the hash of what was sent is the hash of the file).
"""

from __future__ import annotations

import base64
import hashlib
import io
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from .jpeg import without_metadata
from .structure import Suspicious, check_tags
from .structure import check as check_structure

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

ImageLike: TypeAlias = "Image.Image | str | Path | bytes | np.ndarray | dict[str, Any]"
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
TOO_MUCH_MEMORY = "it takes too much memory to decode"
_SENT_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_ORIENTATION = 0x0112  # EXIF tag
_TELLS_ORIENTATION = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")  # of a Pillow image's `info`
_BACKGROUND = (255, 255, 255)


class ImageError(Exception):
    """An image that cannot be judged; `reason` is one line and becomes the item's reason."""

    def __init__(self, reason: str) -> None:
        self.reason = " ".join(reason.split())
        super().__init__(self.reason)


@dataclass(frozen=True)
class ImageLimits:
    """What is accepted: encoded size in bytes, width x height in pixels, and the longest side in pixels."""

    bytes: int = 50_000_000
    pixels: int = 50_000_000
    side: int = 20_000


LIMITS = ImageLimits()


@dataclass(frozen=True)
class EncodedImage:
    """An image as a server receives it. `sha256` is over `data`; the base64 text is made once."""

    data: bytes
    mime: str
    width: int
    height: int

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the bytes that are sent."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def data_url(self) -> str:
        """`data:MIME;base64,...`, as the OpenAI chat API takes images."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"


class Decoder(Protocol):
    """Decodes files in the place of this process (`decoding.Decoders`). Its methods raise `ImageError`."""

    def pixels(self, data: bytes, limits: ImageLimits) -> Image.Image:
        """As `load_image`."""

    def encoded(self, data: bytes, limits: ImageLimits) -> EncodedImage:
        """As `encode_image`."""


_decoder: Decoder | None = None


@contextmanager
def decoded_by(decoder: Decoder) -> Iterator[None]:
    """As long as this is open, `decoder` decodes every file that this process would, whichever thread asks."""
    global _decoder
    before, _decoder = _decoder, decoder
    try:
        yield
    finally:
        _decoder = before


def load_image(source: ImageLike | None, limits: ImageLimits = LIMITS) -> Image.Image:
    """The image as an upright RGB `PIL.Image`, fully decoded; transparency is laid over white.

    Args:
        source: a PIL image, a path, encoded bytes, a uint8 (or [0, 1] float) array of shape (H, W), (H, W, 1),
            (H, W, 3) or (H, W, 4), or `{"bytes": ..., "path": ...}` as `datasets.Image(decode=False)` gives it.
        limits: refused above these.

    Raises:
        ImageError: missing, broken, truncated, too large, animated, of another type, or a URL.
    """
    data = _read(source, limits)
    if _decoder is not None and isinstance(data, bytes):
        return _decoder.pixels(data, limits)
    with _readable(data):
        return _to_rgb(_open(data, limits))


def encode_image(source: ImageLike | None, limits: ImageLimits = LIMITS) -> EncodedImage:
    """The image as bytes for a served model: checked like `load_image`, re-encoded only where it must be.

    A PNG, JPEG or WebP in plain RGB or grey, upright and without EXIF (which may say where it was taken), passes
    unchanged; so the bytes of a file, and their hash, are those of the request. From a JPEG with EXIF the metadata is
    cut out, and one that has to be turned stays a JPEG; all else becomes a PNG.

    Raises:
        ImageError: as `load_image`.
    """
    data = _read(source, limits)
    if _decoder is not None and isinstance(data, bytes):
        return _decoder.encoded(data, limits)
    with _readable(data):
        image = _open(data, limits)
        plain = image.mode in ("RGB", "L") and not _exif(image) and "transparency" not in image.info
        if isinstance(data, bytes) and plain and image.format in _SENT_AS_THEY_ARE:
            return EncodedImage(data, _SENT_AS_THEY_ARE[image.format], *image.size)
        if not isinstance(data, bytes) or image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L"):
            return _encoded(_to_rgb(image), as_jpeg=False)
        upright = _exif(image).get(_ORIENTATION, 1) == 1
        if upright and (bare := without_metadata(data)):
            return EncodedImage(bare, "image/jpeg", *image.size)
        return _encoded(_to_rgb(image), as_jpeg=True)


def scaled_down(image: EncodedImage, side: int) -> EncodedImage:
    """The image no more than `side` pixels wide and high: a smaller one in the same kind of file, or as it is."""
    from PIL import Image

    if max(image.width, image.height) <= side:
        return image
    scale = side / max(image.width, image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    pixels = load_image(image.data).resize(size, Image.Resampling.LANCZOS)
    return _encoded(pixels, image.mime == "image/jpeg")


def _encoded(image: Image.Image, as_jpeg: bool) -> EncodedImage:
    """Pixels as a file: JPEG where they came from one, else PNG."""
    out = io.BytesIO()
    if as_jpeg:
        image.save(out, "JPEG", quality=95, subsampling=0, comment=b"")
    else:
        image.save(out, "PNG")
    return EncodedImage(out.getvalue(), "image/jpeg" if as_jpeg else "image/png", *image.size)


def image_size(source: ImageLike | None, limits: ImageLimits = LIMITS) -> tuple[int, int]:
    """Width and height from the header alone, as stored (before EXIF orientation); the pixels are not decoded.

    Raises:
        ImageError: no image can be made out; one that is broken further in is not noticed here.
    """
    data = _read(source, limits)
    with _readable(data):
        return _header(data).size


def open_image(data: bytes, limits: ImageLimits = LIMITS) -> Image.Image:
    """A file of a known format with a sound structure, as Pillow opens it: header and metadata, pixels not decoded.

    Everything here that opens a file opens it by this.

    Raises:
        ImageError: no image can be made out, or it is not worth the time that it would take.
    """
    with _readable(data):
        image = _header(_read(data, limits))
        _check_exif(image)
        return image


def _header(data: Image.Image | bytes) -> Image.Image:
    from PIL import Image

    if not isinstance(data, bytes):
        return data
    check_structure(data)
    return Image.open(io.BytesIO(data), formats=FORMATS)


@contextmanager
def _readable(data: Image.Image | bytes) -> Iterator[None]:
    """Whatever Pillow trips over in a broken file, in its pixels or beside them, is this image's `ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever a broken file makes them trip over
        raise ImageError(_what_is_wrong(data, error)) from error


def _read(source: Any, limits: ImageLimits) -> Image.Image | bytes:
    """Encoded bytes, or the PIL image that the caller already has."""
    from PIL import Image

    if isinstance(source, dict):
        source = source.get("bytes") or source.get("path")
    if source is None:
        raise ImageError("no image")
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, str | Path):
        return _read_file(str(source), limits)
    if isinstance(source, bytes | bytearray | memoryview):
        if len(source) > limits.bytes:
            raise ImageError(f"{len(source)} bytes are more than the {limits.bytes} allowed")
        return bytes(source)
    if hasattr(source, "__array_interface__"):
        return _from_array(source)
    raise ImageError(f"cannot read an image from {type(source).__name__}")


def _read_file(name: str, limits: ImageLimits) -> bytes:
    if name.startswith(("http://", "https://", "ftp://", "data:", "file:")):
        raise ImageError("URLs are not fetched; give a file, bytes or a PIL image")
    try:
        path = Path(name)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path.name} is not a file")
        if status.st_size > limits.bytes:
            raise ImageError(f"{path.name} has {status.st_size} bytes, more than the {limits.bytes} allowed")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ImageError(f"cannot read {Path(name).name}: {getattr(error, 'strerror', None) or error}") from error


def _from_array(source: Any) -> Image.Image:
    import numpy as np
    from PIL import Image

    array = np.asarray(source)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(f"an array of shape {array.shape} is not an image; (height, width[, 1, 3 or 4]) is")
    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ImageError("an array of floats must lie in [0, 1]")
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(f"an array of {array.dtype} is not an image; uint8 or floats in [0, 1] are")
    return Image.fromarray(array)


def _open(data: Image.Image | bytes, limits: ImageLimits) -> Image.Image:
    """Decoded pixels, in the file's own mode, after all limits were checked on the header alone."""
    image = _header(data)
    width, height = image.size
    if width * height > limits.pixels or max(width, height) > limits.side:
        raise ImageError(f"{width} x {height} pixels are more than the {limits.pixels} allowed")
    if _animated(image):
        raise ImageError("animated or multi-page: which frame is meant?")
    image.load()
    if not width * height:
        raise ImageError("no pixels")
    return image


def _animated(image: Image.Image) -> bool:
    """More than one frame? Reads no further than the second; a phone's JPEG with an embedded preview is still one."""
    if image.format == "MPO" or not hasattr(image, "seek") or image.format is None:
        return False
    if image.format in ("PNG", "WEBP"):
        return getattr(image, "n_frames", 1) > 1
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _what_is_wrong(data: Image.Image | bytes, error: Exception) -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, MemoryError):
        return TOO_MUCH_MEMORY
    if isinstance(error, Suspicious):
        return str(error)
    if not isinstance(data, bytes):
        return f"the PIL image cannot be decoded: {error}"
    if not data:
        return "the file is empty"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "it declares more pixels than are allowed (a decompression bomb)"
    if isinstance(error, UnidentifiedImageError):
        return f"not an image in any of {', '.join(FORMATS)}"
    return f"broken or truncated: {error or type(error).__name__}"


def _check_exif(image: Image.Image) -> None:
    """Raise `Suspicious` for a block that would take long to read; Pillow finds it plain, or in a PNG's hexadecimal."""
    for block in (image.info.get("exif"), image.info.get("Raw profile type exif")):
        if isinstance(block, str):
            with suppress(ValueError):  # no hexadecimal, no EXIF
                check_tags(bytes.fromhex("".join(block.split("\n")[3:])))
        elif isinstance(block, bytes):
            check_tags(block)


def _exif(image: Image.Image) -> Image.Exif:
    """The EXIF tags; what cannot be read might say how the image is to be turned, so it is not passed over."""
    _check_exif(image)
    try:
        return image.getexif()
    except Exception as error:  # SyntaxError, struct.error and more, by how the block is broken
        raise ImageError(f"its EXIF block is broken ({error}); save it without metadata") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    image = _upright(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if image.mode == "F":
        raise ImageError("floating-point pixels have no agreed range; save it with 8 bits a channel")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (*_BACKGROUND, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """As its EXIF says that it is to be held. Pillow's own function would read all EXIF there is, and write it anew."""
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }  # fmt: skip
    turn = turns.get(_exif(image).get(_ORIENTATION, 1))
    if turn is None:
        return image
    turned = image.transpose(turn)
    for key in _TELLS_ORIENTATION:  # what is upright now must not be turned again
        turned.info.pop(key, None)
    return turned


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, by its high byte: PIL's own conversion clips everything above 255 to white."""
    import numpy as np
    from PIL import Image

    grey = np.asarray(image)
    if grey.min() < 0 or grey.max() > 0xFFFF:
        raise ImageError("grey values beyond 16 bits; save it with 8 bits a channel")
    return Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")
