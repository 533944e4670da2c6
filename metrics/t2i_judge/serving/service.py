"""Judging for a server: items in as they were sent, results out, each with its status, within time and room.

Pictures are decoded in processes of their own (`inputs.decoding`) before they wait for the judge, so that a slow one
keeps nobody else waiting. Whatever is wrong with an item is its status; what is wrong with the judge is an exception.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from ..errors import UserError, quoted
from ..inputs.decoding import Decoders
from ..inputs.images import ImageError, ImageLike, ImageLimits
from ..judges.base import Judge
from ..records import Judgement, Status, failed
from ..served.client import OpenAIBackend
from .batching import Batcher, Item
from .figures import Figures
from .requests import Wanted, picture
from .shares import Shares, is_public, range_of

T = TypeVar("T")
_REMOTE_CALLS = 4  # batches at a time for judges behind servers; each asks many things at once
_DECODERS = 3  # processes; one client has at most two of them at work
_CHANNELS = 4  # bytes that a decoded pixel takes
_MOST_PIXELS = 1_500_000_000  # bytes of decoded pixels at a time, of all clients
_RATE_AFTER = 0.2  # weight of the newest call in the rate of judging


@dataclass(frozen=True)
class ServiceLimits:
    """What is accepted, and for how long it may take.

    Attributes:
        image: of a picture.
        items: of a request.
        queue: items that wait at a time, of all requests.
        seconds: for an item, its waiting included.
        batch: items of a call.
        keep: judgements that are kept for who asks the same again.
    """

    image: ImageLimits = field(default_factory=lambda: ImageLimits(pixels=24_000_000))
    items: int = 256
    queue: int = 1024
    seconds: float = 300.0
    batch: int = 32
    keep: int = 4096


class Full(Exception):
    """The queue has no room; `seconds` until it may have."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        super().__init__(f"the queue is full; send it again in {seconds} s")


class NoRoom(Exception):
    """There was no reader, no decoder, or no room for a decoded picture, in time."""


class Service:
    """Some judges, ready to be asked.

    Args:
        judges: by the name that clients call them; the first is asked where none is named.
        limits: what is accepted.
    """

    def __init__(self, judges: Mapping[str, Judge], limits: ServiceLimits) -> None:
        self.judges, self.limits, self.figures = dict(judges), limits, Figures()
        self._names = {judge: name for name, judge in judges.items()}
        batcher = partial(Batcher, limits.batch, keep=limits.keep, judged=self._judged)
        # Judges on this machine take all of it: one call at a time is fastest, and safe.
        self._local, self._remote = batcher(threads=1), batcher(threads=_REMOTE_CALLS)
        self._threads = ThreadPoolExecutor(8, "picture")
        self._reader = ThreadPoolExecutor(1, "request")  # one: what a body says may take many times its size
        large = "others' large requests are being read"
        self._readings = Shares(large, 1, 1, limits.seconds, limits.queue)
        self._decoders = Decoders(_DECODERS)
        busy = "others' images are being decoded"
        self._turns = Shares(busy, _DECODERS - 1, _DECODERS, limits.seconds, limits.queue)
        room = f"{_MOST_PIXELS // 1_000_000} MB of images are being judged"
        self._pixels = Shares(room, _MOST_PIXELS / 2, _MOST_PIXELS, limits.seconds, limits.queue)
        self._admitted: Counter[str] = Counter()  # range of addresses -> items that are here
        self._seconds_an_item = 0.05  # of late

    @property
    def most_items(self) -> int:
        """Of a request."""
        return min(self.limits.items, self.limits.queue)

    @property
    def default(self) -> str:
        """The judge that is asked where none is named."""
        return next(iter(self.judges))

    def judge_named(self, name: str | None) -> Judge:
        """Raises `UserError` where there is none of that name."""
        if name is not None and name not in self.judges:
            raise UserError(
                f"There is no judge {quoted(name)} here", f"The judges are {', '.join(self.judges)}", "Name one of them"
            )
        return self.judges[name or self.default]

    @property
    def waiting(self) -> int:
        """Items of all requests that are here."""
        return self._admitted.total()

    def admit(self, number: int, account: str = "") -> None:
        """Take places in the queue, given back by `leave`.

        A range of addresses of the internet has at most half of them, so that nobody fills the queue alone. Raises
        `Full` when there are not enough.
        """
        ours, most = range_of(account), self.limits.queue
        theirs = self._admitted[ours]
        if (self.waiting and self.waiting + number > most) or (
            is_public(account) and theirs and theirs + number > most / 2
        ):
            seconds = math.ceil(self.waiting * self._seconds_an_item)
            raise Full(min(max(seconds, 1), 60))
        self._admitted[ours] += number
        self.figures.waiting.set(self.waiting)

    def leave(self, number: int, account: str = "") -> None:
        """Give places back."""
        self._admitted[range_of(account)] -= number
        self._admitted += Counter()  # without those of whom nothing is here
        self.figures.waiting.set(self.waiting)

    async def judge(self, items: Sequence[Wanted], explain: bool, account: str) -> list[Judgement]:
        """A judgement per item, in order.

        Raises:
            UserError: a judge is not here, or cannot judge anything now (a wrong key, no credit).
        """
        judges = [self.judge_named(item.judge) for item in items]
        tasks = [
            asyncio.create_task(self._in_time(item, judge, explain, account))
            for item, judge in zip(items, judges, strict=True)
        ]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _in_time(self, item: Wanted, judge: Judge, explain: bool, account: str) -> Judgement:
        try:
            async with asyncio.timeout(self.limits.seconds):
                judgement = await self._judgement(item, judge, explain, account)
        except TimeoutError:
            reason = f"no judgement within {self.limits.seconds:g} s: send it again"
            judgement = _failed(item, judge, Status.TRANSPORT, reason)
        self.figures.items.labels(self._names[judge], judgement.status.value).inc()
        return judgement

    async def _judgement(self, item: Wanted, judge: Judge, explain: bool, account: str) -> Judgement:
        batcher = self._remote if _is_served(judge) else self._local
        try:
            with batcher.expected():
                future = await self._asked(batcher, item, judge, explain, account)
            return await asyncio.wrap_future(future)
        except ImageError as error:
            return _failed(item, judge, Status.IMAGE_ERROR, error.reason)
        except NoRoom as error:
            return _failed(item, judge, Status.TRANSPORT, str(error))

    async def _asked(
        self, batcher: Batcher, item: Wanted, judge: Judge, explain: bool, account: str
    ) -> Future[Judgement]:
        """The judgement to come of an item. Raises `ImageError`, or `NoRoom` for its pixels."""
        sent = [item.image, *([] if item.reference is None else [item.reference])]
        files = [await self._run(picture, each) for each in sent]
        digests = tuple([await self._run(_digest, each) for each in files])
        key = (self._names[judge], digests, item.prompt, item.questions, explain)
        image_id = digests[0] if item.id is None else item.id
        if future := batcher.known(key, image_id):
            self.figures.again.inc()
            return future
        release = await self._room(
            account, sum([await self._apart(account, self._decoded_bytes, each) for each in files])
        )
        try:
            pictures = [await self._apart(account, self._decoded, each, _is_served(judge)) for each in files]
        except BaseException:
            release()
            raise
        reference = pictures[1] if len(pictures) > 1 else None
        turns = range_of(account), account
        future = batcher.submit(
            Item(judge, pictures[0], item.prompt, image_id, reference, item.questions, explain, turns, key)
        )
        future.add_done_callback(lambda _: release())
        return future

    async def read(self, account: str, function: Callable[..., T], *arguments: Any) -> T:
        """What a large body says, read by a thread, one body at a time, so that others are answered meanwhile.

        Raises `NoRoom` when this client's turn does not come in time.
        """
        release = await _share(self._readings, account, 1)
        work = self._reader.submit(function, *arguments)
        work.add_done_callback(lambda _: release())
        return await asyncio.wrap_future(work)

    async def _room(self, account: str, size: int) -> Callable[[], None]:
        return await _share(self._pixels, account, size)

    async def _apart(self, account: str, function: Callable[..., T], *arguments: Any) -> T:
        """What needs a decoder, when it is this client's turn; it is held for as long as the decoder is at work."""
        release = await _share(self._turns, account, 1)
        work = self._threads.submit(function, *arguments)
        work.add_done_callback(lambda _: release())
        return await asyncio.wrap_future(work)

    def _decoded_bytes(self, data: bytes) -> int:
        """What the header declares; nothing for a picture that will not be decoded. Raises `ImageError`."""
        width, height = self._decoders.size(data, self.limits.image)
        return _CHANNELS * width * height if width * height <= self.limits.image.pixels else 0

    def _decoded(self, data: bytes, served: bool) -> ImageLike:
        """Pixels for a judge on this machine; for one behind a server the bytes that it gets."""
        limits = self.limits.image
        return self._decoders.encoded(data, limits).data if served else self._decoders.pixels(data, limits)

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _judged(self, judge: Judge, items: int, seconds: float) -> None:
        self._seconds_an_item += _RATE_AFTER * (seconds / items - self._seconds_an_item)
        self.figures.judged(self._names[judge], items, seconds)

    def close(self) -> None:
        """End the decoders and close the judges."""
        self._decoders.close()
        self._threads.shutdown(wait=False)
        self._reader.shutdown(wait=False)
        for judge in self.judges.values():
            judge.close()


async def _share(shares: Shares, account: str, amount: float) -> Callable[[], None]:
    """A share, and what gives it back. Raises `NoRoom`."""
    try:
        return await shares.take(account, amount)
    except UserError as error:
        raise NoRoom(str(error)) from error


def _is_served(judge: Judge) -> bool:
    return isinstance(getattr(judge, "backend", None), OpenAIBackend)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _failed(item: Wanted, judge: Judge, status: Status, reason: str) -> Judgement:
    sent = item.image if isinstance(item.image, bytes) else item.image.encode()
    name = _digest(sent) if item.id is None else item.id
    return failed(name, item.prompt, judge.info, status, reason, score_range=judge.score_range)
