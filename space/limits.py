"""Limits on what a visitor may send, and on how long anything may take."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import gradio as gr

from t2i_judge.errors import UserError
from t2i_judge.inputs.images import ImageLimits
from t2i_judge.serving.shares import Shares

UPLOAD = ImageLimits(bytes=10_000_000, pixels=24_000_000, side=8_000)
MAX_IMAGES = 8
MAX_FILES = 4 * MAX_IMAGES  # named in one request; those beyond MAX_IMAGES are told so one by one
MAX_PROMPT = 1_000  # characters
MAX_BODY = 100_000  # bytes of a request that is not an upload
MAX_UPLOAD_BODY = (MAX_IMAGES + 1) * UPLOAD.bytes  # of one that is: every file has its own limit besides
SESSIONS = 1_000  # visits whose state is kept; each takes some .2 MB
QUEUE = 64  # visitors waiting before new ones are told to come back
DECODERS = 4  # processes: more than cores, for a slow picture or two must not keep all others waiting
SECONDS = {"local": 60, "remote": 180, "picture": 30}  # may pass, waiting for its turn included
_MEGA = 1_000_000
# One visitor's calls run side by side as long as they are few; their pictures are opened one after the other, in one of
# the decoders; and decoded ones, up to 96 MB each, are held no more than two large ones at a time.
CALLS = Shares("Too many of your own requests are being processed", each=16, together=256, patience=SECONDS["remote"])
DECODING = Shares("Many pictures are being opened", each=1, together=DECODERS, patience=SECONDS["picture"])
PIXELS = Shares("Many pictures are being judged", each=200 * _MEGA, together=600 * _MEGA, patience=SECONDS["remote"])
_SLOW = {"picture": "Many pictures are being opened"}  # else the judge
_POOLS = {  # local judges have a thread of their own (judging.py)
    "remote": ThreadPoolExecutor(16, "remote-judge"),
    "picture": ThreadPoolExecutor(16, "picture"),  # threads that wait for a process (see uploads.py)
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_Result = TypeVar("_Result")


class Rate:
    """So many times an hour for an account, and for all of them together. Safe to use from several threads."""

    def __init__(self, what: str, each: int, together: int, seconds: float = 3600.0) -> None:
        self.what, self.each, self.together, self.seconds = what, each, together, seconds
        self._taken: list[tuple[float, str]] = []
        self._lock = threading.Lock()

    def take(self, account: str) -> None:
        """Raises `UserError` where it was too often."""
        now = time.monotonic()
        with self._lock:
            self._taken = [(then, who) for then, who in self._taken if now - then < self.seconds]
            if len(self._taken) >= self.together or sum(who == account for _, who in self._taken) >= self.each:
                raise UserError(f"There are too many {self.what} at the moment", "", "Try again in an hour")
            self._taken.append((now, account))


NAMES = Rate("new names", each=20, together=1_000)  # of annotators: each is a file, and goes to the Hub


def clean_prompt(text: str | None) -> str:
    """The prompt without control characters and outer space. Raises `UserError` for none and for too much of it."""
    prompt = _CONTROL.sub("", text or "").strip()
    if not prompt:
        raise UserError("There is no prompt", "A judge compares the picture with its prompt", "Type what was asked for")
    if len(prompt) > MAX_PROMPT:
        raise UserError(f"The prompt has {len(prompt)} characters", f"{MAX_PROMPT} are allowed", "Shorten it")
    return prompt


async def timed(
    kind: str, function: Callable[..., _Result], *args: Any, ended: Callable[[], None] = lambda: None
) -> _Result:
    """Run a blocking function in the pool of its kind (a key of `_POOLS`); cancelling the caller returns at once.

    `ended` is called when the function really ends, whoever still waits for it.

    Raises:
        UserError: it took longer than `SECONDS[kind]`; the thread is left to end by itself.
    """
    call = _POOLS[kind].submit(function, *args)
    call.add_done_callback(lambda _: ended())
    return await in_time(kind, call)


async def in_time(kind: str, call: Future[_Result]) -> _Result:
    """What comes of a call within `SECONDS[kind]`; one that has not begun by then is not made. Raises `UserError`."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(call), SECONDS[kind])
    except TimeoutError as error:
        raise UserError(
            f"No answer in {SECONDS[kind]} seconds", _SLOW.get(kind, "The judge is slow or busy"), "Try again later"
        ) from error


async def told(work: Awaitable[_Result]) -> _Result:
    """Await, with a user's error as the one line that an API client gets."""
    try:
        return await work
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from error
