"""What a public Space must refuse, and how long it may take: uploads, prompts, links, time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from PIL import Image

from t2i_judge.errors import UserError
from t2i_judge.images import ImageError, ImageLimits, load_image

UPLOAD = ImageLimits(bytes=10_000_000, pixels=24_000_000, side=8_000)
MAX_IMAGES = 8
MAX_PROMPT = 1_000  # characters
MAX_BODY = 2_000_000  # bytes of a request that is not an upload
MAX_UPLOAD_BODY = (MAX_IMAGES + 1) * UPLOAD.bytes  # of one that is: every file has its own limit besides
QUEUE = 64  # visitors waiting before new ones are told to come back
SECONDS = {"local": 60, "remote": 180}  # a judgement may take, waiting for its turn included
# A local judge takes all cores for one forward and keeps state meanwhile: one at a time is fastest, and safe.
_POOLS = {"local": ThreadPoolExecutor(1, "local-judge"), "remote": ThreadPoolExecutor(16, "remote-judge")}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_Result = TypeVar("_Result")


def clean_image(upload: str | Image.Image | None) -> Image.Image:
    """The upload as bare upright RGB pixels: no EXIF, no other metadata. Raises `UserError` naming what is wrong."""
    try:
        return Image.fromarray(_pixels(load_image(upload, UPLOAD)))
    except ImageError as error:
        name = f"{Path(upload).name}: " if isinstance(upload, str) else ""
        size = f"{UPLOAD.bytes // 1_000_000} MB and {UPLOAD.pixels // 1_000_000} megapixels"
        raise UserError(
            f"{name}{error.reason.rstrip('?.')}",
            "",
            f"upload one PNG, JPEG, WebP, GIF, BMP or TIFF picture of at most {size}",
        ) from error


def _pixels(image: Image.Image) -> Any:
    import numpy as np

    return np.asarray(image)


def clean_prompt(text: str | None) -> str:
    """The prompt without control characters and outer space. Raises `UserError` for none and for too much of it."""
    prompt = _CONTROL.sub("", text or "").strip()
    if not prompt:
        raise UserError("There is no prompt", "a judge compares the picture with it", "type what was asked for")
    if len(prompt) > MAX_PROMPT:
        raise UserError(f"The prompt has {len(prompt)} characters", f"{MAX_PROMPT} are allowed", "shorten it")
    return prompt


async def timed(kind: str, function: Callable[..., _Result], *args: Any, **options: Any) -> _Result:
    """Run a blocking function in the pool of its kind ("local", "remote"); cancelling the caller returns at once.

    Raises:
        UserError: it took longer than `SECONDS[kind]`; the thread is left to end by itself.
    """
    call = asyncio.get_running_loop().run_in_executor(_POOLS[kind], lambda: function(*args, **options))
    try:
        return await asyncio.wait_for(call, SECONDS[kind])
    except TimeoutError as error:
        raise UserError(
            f"No answer in {SECONDS[kind]} seconds", "the judge is slow or busy", "try again later"
        ) from error


async def told(work: Awaitable[_Result]) -> _Result:
    """Await, with a user's error as the one line that an API client gets."""
    try:
        return await work
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from error


class GuardedBlocks(gr.Blocks):
    """Blocks that fetch nothing for a visitor: Gradio itself would download a link given in place of an upload."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **options: Any) -> list[Any]:
        """As in `gr.Blocks`, after refusing every file that is not an upload."""
        if _names_a_link(inputs):
            raise gr.Error("Links are not fetched. Upload the file itself.", print_exception=False)
        return await super().preprocess_data(block_fn, inputs, *args, **options)


def _names_a_link(value: Any) -> bool:
    """Is there a file payload with a link for its path anywhere in what the visitor sent?"""
    if isinstance(value, dict):
        is_file = "path" in value and ("meta" in value or "url" in value)
        link = is_file and "://" in str(value["path"])
        return link or any(_names_a_link(part) for part in value.values())
    return isinstance(value, list) and any(_names_a_link(part) for part in value)


class RequestGuard:
    """ASGI middleware: Gradio's routes that fetch a link are closed, and requests that are no uploads are small."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """Answer 403 or 413 in one line, or pass the request on."""
        path = scope.get("path", "")
        if scope["type"] == "http" and ("/file=http" in path or "/proxy=" in path):
            await _answer(send, 403, b"Links are not fetched.")
        elif scope["type"] == "http" and _length(scope) > (MAX_UPLOAD_BODY if path.endswith("/upload") else MAX_BODY):
            await _answer(send, 413, b"The request is too large.")
        else:
            await self.app(scope, receive, send)


def _length(scope: dict[str, Any]) -> float:
    """Declared length of the body in bytes; a body sent in chunks, its end unknown, counts as endless."""
    headers = dict(scope["headers"])
    declared = headers.get(b"content-length", b"0")
    return int(declared) if declared.isdigit() and b"transfer-encoding" not in headers else float("inf")


async def _answer(send: Callable[..., Any], status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
