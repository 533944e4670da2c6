"""Reads images safely from wherever a user keeps them: limits are checked before pixels. No URL is ever fetched.

`load_image` gives pixels for local models, `encode_image` the bytes for a served model. A file that a server takes as
it is stays unchanged, so that the hash of what was sent is the hash of the file.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from .cells import LIMITS, ImageError, ImageLike, ImageLimits, read_cell
from .jpeg import without_metadata
from .pixels import ORIENTATION, check_exif, exif_of, to_rgb
from .structure import Suspicious, check_tags
from .structure import check as check_structure

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "LIMITS", "Decoder", "EncodedImage", "ImageError", "ImageLike", "ImageLimits", "decoded_by", "encode_image",
    "fitted", "image_size", "is_heic", "load_image", "open_image", "scaled_down",
]  # fmt: skip
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
TOO_MUCH_MEMORY = "it takes too much memory to decode"
_SENT_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_PHOTOGRAPHS = ("JPEG", "MPO", "AVIF", "HEIF")  # of these, pixels are sent as JPEG: as PNG they are ten times as large
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}  # brands; AVIF may call itself mif1
_NOT_IMAGES = {  # what lies in an image's place, by how it begins
    b"version https://git-lfs": "a Git LFS pointer, not the image itself; run git lfs pull",
    b"<!doctype html": "a web page, not an image; download the image itself",
    b"<html": "a web page, not an image; download the image itself",
    b"<svg": "a drawing (SVG), not pixels; export it as PNG",
    b"%pdf": "a PDF; export the page as PNG",
}


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
    """Decodes files instead of this process (`decoding.Decoders`). Its methods raise `ImageError`."""

    def size(self, data: bytes, limits: ImageLimits) -> tuple[int, int]:
        """As `image_size`."""

    def pixels(self, data: bytes, limits: ImageLimits) -> Image.Image:
        """As `load_image`."""

    def encoded(self, data: bytes, limits: ImageLimits) -> EncodedImage:
        """As `encode_image`."""

    def private(self, data: bytes) -> str | None:
        """As `parts.private_part`."""


_decoder: Decoder | None = None


@contextmanager
def decoded_by(decoder: Decoder) -> Iterator[None]:
    """As long as this is open, `decoder` decodes every file that any thread of this process asks for."""
    global _decoder
    before, _decoder = _decoder, decoder
    try:
        yield
    finally:
        _decoder = before


def decoder() -> Decoder | None:
    """The decoder that works instead of this process, if there is one."""
    return _decoder


def load_image(source: ImageLike | None, limits: ImageLimits = LIMITS) -> Image.Image:
    """The image as an upright RGB `PIL.Image`, fully decoded; transparency is laid over white.

    Args:
        source: a PIL image, a path, encoded bytes or a file object that holds them, base64 or a data URL, an array or
            tensor of shape (H, W), (H, W, C) or (C, H, W) of whole numbers up to 255 or floats in [0, 1], or
            `{"bytes": ..., "path": ...}` as `datasets.Image(decode=False)` gives it, or a function without arguments
            that gives one of these, so that nobody holds it until then (`cells` has all of them).
        limits: larger images are refused.

    Raises:
        ImageError: the image is missing, broken, truncated, too large, animated, of another type, or a URL.
    """
    data = read_cell(source, limits)
    if _decoder is not None and isinstance(data, bytes):
        return _decoder.pixels(data, limits)
    with _readable(data):
        return to_rgb(_open(data, limits))


def encode_image(source: ImageLike | None, limits: ImageLimits = LIMITS) -> EncodedImage:
    """The image as bytes for a served model, checked as by `load_image`, and encoded anew only if necessary.

    An upright PNG, JPEG or WebP in plain RGB or grey without EXIF (which may say where it was taken) is sent unchanged,
    so the request has the bytes and the hash of the file. From a JPEG with EXIF, the metadata is cut out. A JPEG that
    must be turned stays a JPEG; AVIF and HEIC become JPEG; everything else becomes PNG.

    Raises:
        ImageError: as `load_image`.
    """
    data = read_cell(source, limits)
    if _decoder is not None and isinstance(data, bytes):
        return _decoder.encoded(data, limits)
    with _readable(data):
        image = _open(data, limits)
        plain = image.mode in ("RGB", "L") and not exif_of(image) and "transparency" not in image.info
        if isinstance(data, bytes) and plain and image.format in _SENT_AS_THEY_ARE:
            return EncodedImage(data, _SENT_AS_THEY_ARE[image.format], *image.size)
        if not isinstance(data, bytes) or image.format not in _PHOTOGRAPHS or image.mode not in ("RGB", "L"):
            return _encoded(to_rgb(image), as_jpeg=False)
        upright = exif_of(image).get(ORIENTATION, 1) == 1
        if upright and (bare := without_metadata(data)):  # None for what is no JPEG
            return EncodedImage(bare, "image/jpeg", *image.size)
        return _encoded(to_rgb(image), as_jpeg=True)


def scaled_down(image: EncodedImage, side: int) -> EncodedImage:
    """The image at most `side` pixels wide and high: scaled down in the same kind of file, or as it is."""
    from PIL import Image

    size = fitted((image.width, image.height), side)
    if size == (image.width, image.height):
        return image
    pixels = load_image(image.data).resize(size, Image.Resampling.LANCZOS)
    return _encoded(pixels, image.mime == "image/jpeg")


def fitted(size: tuple[int, int], side: int | None) -> tuple[int, int]:
    """Width and height of an image once it is at most `side` pixels wide and high; None for any size."""
    if side is None or max(size) <= side:
        return size
    scale = side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _encoded(image: Image.Image, as_jpeg: bool) -> EncodedImage:
    """Pixels as a file: JPEG where they came from one, else PNG."""
    out = io.BytesIO()
    if as_jpeg:
        image.save(out, "JPEG", quality=95, subsampling=0, comment=b"")
    else:
        image.save(out, "PNG")
    return EncodedImage(out.getvalue(), "image/jpeg" if as_jpeg else "image/png", *image.size)


def image_size(source: ImageLike | None, limits: ImageLimits = LIMITS) -> tuple[int, int]:
    """Width and height from the header, as stored (before EXIF orientation). The pixels are not decoded.

    Raises:
        ImageError: this is not an image. Damage behind the header is not noticed here.
    """
    data = read_cell(source, limits)
    if _decoder is not None and isinstance(data, bytes):
        return _decoder.size(data, limits)
    with _readable(data):
        return _header(data).size


def open_image(data: bytes, limits: ImageLimits = LIMITS) -> Image.Image:
    """A file of a known format with a sound structure, as Pillow opens it: header and metadata, pixels not decoded.

    Everything here that opens a file opens it by this.

    Raises:
        ImageError: this is not an image, or it would take too long to open.
    """
    with _readable(data):
        image = _header(read_cell(data, limits))
        check_exif(image)
        return image


def _header(data: Image.Image | bytes) -> Image.Image:
    from PIL import Image

    if not isinstance(data, bytes):
        return data
    check_structure(data)
    if is_heic(data):
        return _heic(data)
    if data[4:8] == b"ftyp":
        _check_avif(data)
    return Image.open(io.BytesIO(data), formats=FORMATS)


def is_heic(data: bytes) -> bool:
    """Whether a file says that it is HEIC (or HEIF, but not AVIF)."""
    return data[4:8] == b"ftyp" and data[8:12] in _HEIC and b"avif" not in data[8:64]


def _heic(data: bytes) -> Image.Image:
    """What an iPhone writes; pillow-heif decodes it, and is opened here without telling all of Pillow about it."""
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ImportError as error:
        raise ImageError("HEIC needs pillow-heif: pip install 't2i-judge[heic]'") from error
    image: Image.Image = HeifImageFile(io.BytesIO(data))
    return image


def _check_avif(data: bytes) -> None:
    """Its EXIF block may lie in pieces; libavif, which Pillow asks as well, puts it together. Raises `Suspicious`."""
    try:
        from PIL import _avif
    except ImportError:  # a Pillow without AVIF says so itself
        return
    for part in _avif.AvifDecoder(data, "auto", 1).get_info():
        if isinstance(part, bytes):
            check_tags(part, below=True)


@contextmanager
def _readable(data: Image.Image | bytes) -> Iterator[None]:
    """Whatever Pillow trips over in a broken file, in its pixels or beside them, is this image's `ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever a broken file makes them trip over
        raise ImageError(_what_is_wrong(data, error)) from error


def _open(data: Image.Image | bytes, limits: ImageLimits) -> Image.Image:
    """Decoded pixels, in the file's own mode, after all limits were checked on the header alone."""
    image = _header(data)
    width, height = image.size
    if width * height > limits.pixels or max(width, height) > limits.side:
        raise ImageError(f"{width} x {height} pixels are more than the {limits.pixels} allowed")
    if _animated(image):
        raise ImageError("animated or multi-page; save the frame to judge as its own file")
    image.load()
    if not width * height:
        raise ImageError("no pixels")
    return image


def _animated(image: Image.Image) -> bool:
    """More than one frame? Reads no further than the second; a phone's JPEG with an embedded preview is still one."""
    if image.format in ("MPO", "HEIF") or not hasattr(image, "seek") or image.format is None:
        return False
    if image.format in ("PNG", "WEBP", "AVIF"):
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
        head = data[:100].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
        known = next((what for start, what in _NOT_IMAGES.items() if head.startswith(start)), None)
        return known or f"not an image in any of {', '.join(FORMATS)}, HEIC"
    return f"broken or truncated: {error or type(error).__name__}"
