"""Limits on what a visitor may send, and on how long anything may take."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import gradio as gr

from counts import Counts
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
CALLS = 256  # of all visitors at a time, each in a place of its own: none waits for another's to end
DECODERS = 4  # processes: more than cores, for a slow picture or two must not keep all others waiting
SECONDS = {
    "local": 60,
    "remote": 180,
    "picture": 30,
    "figures": 60,
    "work": 30,
}  # may pass, waiting for its turn included
_MEGA = 1_000_000
# One visitor's pictures are opened one after the other, in one of the decoders; and decoded ones, up to 96 MB each, are
# held no more than two large ones at a time.
DECODING = Shares("Many pictures are being opened", each=1, together=DECODERS, patience=SECONDS["picture"])
PIXELS = Shares("Many pictures are being judged", each=200 * _MEGA, together=600 * _MEGA, patience=SECONDS["remote"])
# Threads that wait for served judges: a slow server keeps one for as long as an answer may take.
_REMOTE = 16
THREADS = Shares("Served judges have much to do", each=_REMOTE / 4, together=_REMOTE, patience=SECONDS["remote"])
# Pictures for local judges, which have one thread: as many as two calls take, so that the next call gathers meanwhile.
TOGETHER = MAX_IMAGES  # in a call: who comes next waits no longer than for one visitor's comparison
LOCAL = Shares("The judge has much to do", each=MAX_IMAGES, together=2 * TOGETHER, patience=SECONDS["local"])
# Bootstrapped figures of Explore and of boards: one at a time, for each keeps a core.
FIGURES = Shares("Many figures are being computed", each=1, together=1, patience=SECONDS["figures"])
# All else that the page does in threads: pictures and dots of Explore, forms, exports. Each of it is short, but a
# browser may ask for ten a second, and Python's threads take turns at one lock with the thread that answers everybody.
WORK = Shares("The page has much to do", each=1, together=2, patience=SECONDS["work"])
_SLOW = {  # else the judge
    "picture": "Many pictures are being opened",
    "figures": "Many figures are being computed",
}
_POOLS = {  # local judges have a thread of their own (judging.py)
    "remote": ThreadPoolExecutor(_REMOTE, "remote-judge"),
    "figures": ThreadPoolExecutor(1, "figures"),
    "picture": ThreadPoolExecutor(16, "picture"),  # threads that wait for a process (see uploads.py)
}
_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")  # control characters, halves of surrogate pairs
_Result = TypeVar("_Result")
_HOUR = 3600.0
# Of a page that opens come four calls at a time; twenty may open at once behind one address.
_BUSY = "Too many requests are being processed", "Try again when some of them are done"
NAMES = Counts(  # of annotators: each is a file, and goes to the Hub
    "There are too many new names at the moment", "Try again in an hour",
    each=20, together=1_000, share=0.1, seconds=_HOUR,
)  # fmt: skip

VISITS = Counts(  # names of sessions: of each, Gradio keeps a state, and drops that of somebody else for it
    "There are too many new visits from your address at the moment", "Try again in half an hour",
    each=100, together=10_000, share=0.03, seconds=_HOUR / 2,
)  # fmt: skip
RECORDS = Counts(  # ratings and votes: each is a file, and goes to the Hub
    "There are too many new ratings at the moment", "Try again in an hour",
    each=1_000, together=40_000, share=0.25, seconds=_HOUR,  # one in four seconds, all the hour
)  # fmt: skip
PAID = Counts(  # judgements by served judges, which the owner pays for; a visitor's own key is not counted
    "Too many pictures were sent to served judges in the last hour",
    "Choose another judge or your own key, or try again later",
    each=200, together=1_000, share=0.25, seconds=_HOUR,
)  # fmt: skip
EXPORTS = Counts(  # of all annotations: megabytes, which Gradio writes in the thread that answers everybody
    "The annotations were exported too often in the last ten minutes", "Try again in ten minutes",
    each=5, together=100, share=0.06, seconds=600,  # at once they may be all that `RESULTS` holds
)  # fmt: skip
OPEN = Counts(*_BUSY, each=128, together=2_048, share=0.25)  # requests that are being answered, streams among them
UPLOADS = Counts(  # that are coming in: each is a connection and an open file, and may take minutes
    "Too many pictures are being uploaded", "Try again when some of them have come",
    each=8, together=256, share=0.25,
)  # fmt: skip
REQUESTS = Counts(  # a page that opens makes four, a script that judges a picture each second 60
    "Too many requests were sent within a minute", "Wait a minute",
    each=600, together=20_000, share=0.1, seconds=60,
)  # fmt: skip
PAGES = Counts(  # the page and its description, a tenth of a second each: who opens it asks for it once or twice
    "The page was opened too often within a minute", "Wait a minute",
    each=120, together=3_000, share=0.1, seconds=60,
)  # fmt: skip
RESULTS = Counts(  # bytes in memory of what was asked for and nobody has fetched
    "Too many results wait for you to fetch them", "Fetch them, or wait a minute",
    each=10 * _MEGA, together=100 * _MEGA, share=0.25,
)  # fmt: skip


def calls() -> Counts:
    """For calls that wait or are at work: of a browser, of a range, and of all."""
    return Counts(*_BUSY, each=32, together=CALLS, share=0.5)


def clean_prompt(text: str | None) -> str:
    """The prompt without control characters, halves of surrogate pairs and outer space.

    Raises `UserError` for none and for too much of it.
    """
    prompt = _NO_TEXT.sub("", text or "").strip()
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
