"""Decodes strangers' images in separate processes, which end if one takes too long or too much memory.

Inside `apart()`, everything that this process would decode is decoded there. Images share the processes, so each costs
only a copy of its pixels. Nothing is forked, and the user's script does not run again: a process is Python with this
module.

Pillow holds the interpreter's lock while it decodes, and a file of a few kilobytes can keep it busy for minutes: a
thread does not help a server, a process does. It gets encoded bytes and gives pixels back; it opens no file, and has
none of this process's environment, so no key. Linux and macOS only.

A request is a line of JSON (`bytes`, `limits`, `wanted`) and the encoded bytes; a reply is a line (`size`, `kind` and
`bytes`, or `reason`) and the bytes that were wanted.
"""

from __future__ import annotations

import io
import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
PATIENCE = 5  # times that, by the clock, on a machine that has other things to do
MEMORY = 1_500_000_000  # bytes of address space; 24 megapixels with transparency take .5 GB
_KEPT = ("PATH", "LANG", "LD_LIBRARY_PATH", "TMPDIR", "OPENBLAS_CORETYPE")  # of the environment
_READY = b"ready\n"
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
        self._idle: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)

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

    def close(self) -> None:
        """End the idle processes. Those at work end after their image."""
        with suppress(queue.Empty):
            while True:
                _end(self._idle.get_nowait())

    def _ask(self, data: bytes, limits: ImageLimits, wanted: _Wanted) -> tuple[dict[str, Any], bytes]:
        process = self._idle.get()
        try:
            if process is None or process.poll() is not None:
                _end(process)
                process = _started(self.seconds, self.memory)
            head, body = _exchange(process, {"bytes": len(data), "limits": asdict(limits), "wanted": wanted}, data)
        except BaseException as error:  # interrupted between question and answer, the next one would get this answer
            _end(process)
            process = None
            if isinstance(error, _Ended):
                raise ImageError(str(error)) from None
            raise
        finally:
            self._idle.put(process)
        if "reason" in head:
            raise ImageError(head["reason"])
        return head, body


class _Ended(Exception):
    """The process is gone; says why."""


def _started(seconds: float, memory: int) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, str(seconds), str(memory)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C at the terminal is the server's to answer
    )
    assert process.stdout is not None
    if process.stdout.readline() != _READY:
        process.kill()
        raise _Ended("the process that decodes images does not start")
    return process


def _exchange(process: subprocess.Popen[bytes], request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """Ask, and read the whole answer. Raises `_Ended` when the process ended over it."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(request).encode() + b"\n" + data)
        process.stdin.flush()
        line = process.stdout.readline()
        if line.endswith(b"\n"):
            head = json.loads(line)
            body = process.stdout.read(head["bytes"])
            if len(body) == head["bytes"]:
                return head, body
    slow = process.wait() in (-signal.SIGPROF, -signal.SIGALRM)
    raise _Ended("it takes too long to decode" if slow else "it cannot be decoded: the decoder crashed")


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()


def _serve(seconds: float) -> None:
    """Answer on standard output what comes by standard input, until it ends."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints does not become a reply
    replies.write(_READY)
    replies.flush()
    for line in iter(sys.stdin.buffer.readline, b""):
        request = json.loads(line)
        head, body = _answer(sys.stdin.buffer.read(request["bytes"]), request, seconds)
        replies.write(json.dumps({**head, "bytes": len(body)}).encode() + b"\n" + body)
        replies.flush()


def _answer(data: bytes, request: dict[str, Any], seconds: float) -> tuple[dict[str, Any], bytes]:
    limits = ImageLimits(**request["limits"])
    try:
        with _timed(seconds):
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


@contextmanager
def _timed(seconds: float) -> Iterator[None]:
    """Both signals end a process even in the midst of a decoder's C code; nothing here catches them."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


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
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _serve(float(sys.argv[1]))
