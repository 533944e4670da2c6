"""Decodes strangers' images in separate processes, which end if one takes too long or too much memory.

Inside `apart()`, everything that this process would decode is decoded there. Images share the processes, so each costs
only a copy of its pixels.

Pillow holds the interpreter's lock while it decodes, and a file of a few kilobytes can keep it busy for minutes: a
thread does not help a server, a process does. It gets encoded bytes and gives pixels back, and opens no file.

A request is `limits`, `wanted` and the encoded bytes; a reply is `size` and `kind`, or `reason`, and the bytes that
were wanted (see `processes`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from ..processes import Ended, Processes, Timed, serve
from .images import (
    LIMITS,
    TOO_MUCH_MEMORY,
    EncodedImage,
    ImageError,
    ImageLimits,
    decoded_by,
    encode_image,
    image_size,
    load_image,
)
from .jpeg import without_metadata
from .parts import private_part

if TYPE_CHECKING:
    from PIL import Image

SECONDS = 3.0  # of one core, for one picture; 24 megapixels take .2 (JPEG) to .8 (PNG)
_PATIENCE = 5  # times that, by the clock
MEMORY = 1_500_000_000  # bytes of address space; 24 megapixels with transparency take .5 GB
_Wanted = Literal["size", "pixels", "bare", "encoded", "private"]
# Where nobody waits at a page, and `images.LIMITS` hold: 50 megapixels with transparency take 3 s and 1 GB.
APART_SECONDS, APART_MEMORY = 10.0, 4_000_000_000


@contextmanager
def apart(count: int = 2, seconds: float = APART_SECONDS, memory: int = APART_MEMORY) -> Iterator[None]:
    """As long as this is open, no file is decoded in this process; see `Decoders` for the limits.

    An image that exceeds them is an `ImageError`, as a broken one is. The next image gets a new process.
    """
    decoders = Decoders(count, seconds, memory)
    try:
        with decoded_by(decoders):
            yield
    finally:
        decoders.close()


class Decoders:
    """Up to `count` processes, each started when it is needed and restarted after it was ended.

    Safe to use from several threads; a call waits for a free process, then for its picture.

    Args:
        count: processes at a time.
        seconds: CPU time that an image may take.
        memory: bytes of address space that a process may have.
    """

    def __init__(self, count: int = 2, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self.seconds, self.memory = seconds, memory
        self._processes = Processes(__name__, count, seconds, memory, _PATIENCE)

    def size(self, data: bytes, limits: ImageLimits) -> tuple[int, int]:
        """Width and height as stored, from the header alone. Raises `ImageError` as `pixels` does."""
        head, _ = self._ask(data, limits, "size")
        return head["size"][0], head["size"][1]

    def pixels(self, data: bytes, limits: ImageLimits) -> Image.Image:
        """The image as upright RGB pixels, without anything else of the file.

        Raises:
            ImageError: as `load_image`, or it takes too long or too much memory.
        """
        from PIL import Image

        head, body = self._ask(data, limits, "pixels")
        return Image.frombytes("RGB", (head["size"][0], head["size"][1]), body)

    def bare(self, data: bytes, limits: ImageLimits) -> tuple[str, bytes]:
        """A file with the same pixels and nothing else, and its ending: "jpg" or "png".

        A JPEG that need not be turned keeps its encoding and loses its metadata; as a PNG it would be seven times as
        large. Raises `ImageError` as `pixels` does.
        """
        head, body = self._ask(data, limits, "bare")
        return head["kind"], body

    def encoded(self, data: bytes, limits: ImageLimits) -> EncodedImage:
        """The image as a served model receives it. Raises `ImageError` as `pixels` does."""
        head, body = self._ask(data, limits, "encoded")
        return EncodedImage(data if head["same"] else body, head["kind"], *head["size"])

    def private(self, data: bytes) -> str | None:
        """The kind of private metadata in a file (`parts.private_part`). Raises `ImageError` as `pixels` does."""
        return self._ask(data, LIMITS, "private")[0]["kind"] or None

    def prepare(self) -> None:
        """Start a process that will be needed soon, and do not wait for it."""
        self._processes.prepare()

    def close(self) -> None:
        """End the idle processes. Those at work end after their image."""
        self._processes.close()

    def _ask(self, data: bytes, limits: ImageLimits, wanted: _Wanted) -> tuple[dict[str, Any], bytes]:
        try:
            head, body = self._processes.ask({"limits": asdict(limits), "wanted": wanted}, data)
        except Ended as error:
            reason = "it takes too long to decode" if error.slow else "it cannot be decoded: the decoder crashed"
            raise ImageError(reason) from None
        if "reason" in head:
            raise ImageError(head["reason"])
        return head, body


def _answer(request: dict[str, Any], data: bytes, timed: Timed) -> tuple[dict[str, Any], bytes]:
    limits = ImageLimits(**request["limits"])
    try:
        with timed():
            if request["wanted"] == "size":
                return {"size": image_size(data, limits)}, b""
            if request["wanted"] == "encoded":
                return _encoded(data, limits)
            if request["wanted"] == "private":
                return {"kind": private_part(data) or ""}, b""
            image = load_image(data, limits)
        kind, body = _bare(data, image) if request["wanted"] == "bare" else ("", image.tobytes())
    except ImageError as error:
        return {"reason": error.reason}, b""
    except MemoryError:
        return {"reason": TOO_MUCH_MEMORY}, b""
    return {"size": image.size, "kind": kind}, body


def _encoded(data: bytes, limits: ImageLimits) -> tuple[dict[str, Any], bytes]:
    image = encode_image(data, limits)
    same = image.data is data
    return {"size": (image.width, image.height), "kind": image.mime, "same": same}, b"" if same else image.data


def _bare(data: bytes, image: Image.Image) -> tuple[str, bytes]:
    """The file without its metadata where that leaves every pixel as it is, else a new one."""
    stripped = without_metadata(data)
    if stripped is not None and _shows(stripped, image):
        return "jpg", stripped
    out = io.BytesIO()
    image.info.clear()  # an ICC profile or a comment would go into the file
    image.save(out, "PNG", compress_level=1)
    return "png", out.getvalue()


def _shows(data: bytes, image: Image.Image) -> bool:
    """Does the file decode to exactly these pixels?"""
    try:
        decoded = load_image(data)
    except ImageError:
        return False
    return (decoded.size, decoded.tobytes()) == (image.size, image.tobytes())


if __name__ == "__main__":
    serve(_answer)
