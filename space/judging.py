"""Loads each judge once, in the background, and asks it within a time limit."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from limits import LOCAL, PAID, SECONDS, THREADS, TOGETHER, in_time, timed
from offers import OWN, Offer, OwnKey, all_offers
from spending import MAX_COST, Spending
from t2i_judge.errors import UserError, quoted
from t2i_judge.judges.names import TINY
from t2i_judge.records import Judgement, Question
from t2i_judge.serving.batching import Batcher, Item, score
from visitors import Visitor

if TYPE_CHECKING:
    from PIL import Image

    from t2i_judge.judges.base import Judge

_KEPT = 512  # judgements of the page's own pictures
_PATIENCE = 40.0  # seconds that a visitor waits for a judge that is being loaded, before being told so
_AGAIN = 60.0  # seconds after which a judge that could not be loaded may be tried again


@dataclass(frozen=True)
class Standing:
    """The state of a judge: `line` tells it to visitors and is empty once the judge is ready."""

    state: Literal["ready", "loading", "failed"]
    line: str = ""


class _Loading:
    """A judge on its way, in a thread of its own that does not keep the Space from ending."""

    def __init__(self, load: Callable[[], Judge]) -> None:
        self.judge: Future[Judge] = Future()
        self.began = time.monotonic()
        self.ended: float | None = None
        threading.Thread(target=self._load, args=(load,), daemon=True).start()

    def _load(self, load: Callable[[], Judge]) -> None:
        try:
            self.judge.set_result(load())
        except Exception as error:  # whatever keeps it from loading, the rest of the page works
            self.judge.set_exception(error)
        self.ended = time.monotonic()

    @property
    def may_be_tried_again(self) -> bool:
        """It failed, a while ago."""
        return self.ended is not None and bool(self.judge.exception()) and time.monotonic() - self.ended > _AGAIN


class JudgeDesk:
    """Loads each judge once and asks it in time.

    Args:
        names: judges on offer.
        load: `t2i_judge.load_judge`, or a function with its signature.
        default: the one that is chosen to begin with, as visitors call it; None: the first.
        progress: how much of a judge's weights has come, in words, by the judge's full name.
        max_cost: US dollars a day that served judges may cost the owner.
    """

    def __init__(
        self,
        names: Sequence[str],
        load: Callable[..., Judge],
        default: str | None = None,
        progress: Callable[[str], str] = lambda name: "",
        max_cost: float = MAX_COST,
    ) -> None:
        self.offers = all_offers(names)
        self.default = default or next(iter(self.offers))
        self._load, self._progress = load, progress
        self._loading: dict[str, _Loading] = {}
        self._lock = threading.Lock()
        self._spending = Spending(max_cost)
        self._local = Batcher(TOGETHER, keep=_KEPT)

    @property
    def embedded(self) -> str:
        """The judge of rendered scenes if it is on offer, else the default."""
        scenes = (name for name, each in self.offers.items() if each.judge and each.judge.kind == TINY)
        return next(scenes, self.default)

    @property
    def sees_pictures(self) -> bool:
        """Whether there is a judge of any picture, besides a visitor's own."""
        return any(each.sees_pictures for each in self.offers.values())

    def start(self, name: str, patience: float = 0.0) -> None:
        """Begin to load a judge, unless that was begun, and wait for it so many seconds. A visitor's own needs none."""
        if self.offers[name].judge is not None:
            wait([self._start(name).judge], patience)

    def _start(self, name: str) -> _Loading:
        judge = self.offers[name].judge
        with self._lock:
            loading = self._loading.get(name)
            if loading is None or loading.may_be_tried_again:
                loading = self._loading[name] = _Loading(lambda: self._load(str(judge)))
                loading.judge.add_done_callback(lambda future: _note(name, future))
            return loading

    def standing(self, name: str) -> Standing:
        """Whether a judge can be asked, and in a line why not. One that nobody has asked for is ready to be loaded."""
        loading = self._loading.get(name)
        if loading is None or (loading.judge.done() and not loading.judge.exception()):
            return Standing("ready")
        if loading.judge.done():
            return Standing("failed", str(self._unavailable(name)))
        return Standing("loading", f"It is being loaded: {self._so_far(name, loading)}.")

    def _so_far(self, name: str, loading: _Loading) -> str:
        seconds = f"{time.monotonic() - loading.began:.0f} s so far"
        arrived = self._progress(str(self.offers[name].judge))
        return f"{arrived}, {seconds}" if arrived else seconds

    def _unavailable(self, name: str) -> UserError:
        """Why is for the owner's log, because it may name the owner's folders and servers."""
        fact = f"{self.offers[name].label} is not available"
        return UserError(fact, "It could not be loaded", "Choose another judge, or tell the owner of this Space")

    async def _opened(self, name: str) -> Judge:
        """The judge once it is there. Raises `UserError` when it cannot be had, or not soon."""
        loading = self._start(name)
        future = asyncio.wrap_future(loading.judge)
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # looked at, by whoever else asks
        await asyncio.wait({future}, timeout=_PATIENCE)
        if not loading.judge.done():
            fact = f"{self.offers[name].label} is still being loaded"
            raise UserError(fact, self._so_far(name, loading), "Try again in a minute, or choose another judge")
        if error := loading.judge.exception():
            raise self._unavailable(name) from error
        return loading.judge.result()

    async def judge(
        self,
        name: str,
        image: Image.Image,
        prompt: str,
        *,
        image_id: str,
        visitor: Visitor,
        reference: Image.Image | None = None,
        questions: Sequence[Question] | None = None,
        explain: bool = False,
        own: OwnKey | None = None,
        key: Hashable | None = None,
    ) -> Judgement:
        """One judgement; a failed one has its status. Raises `UserError` when the judge cannot be asked at all.

        A `visitor` (`NOBODY` where none is known) may ask the owner's served judges only so often.

        `key` names a picture of the page's own, whose judgement is kept for whoever asks for it next.
        """
        if name not in self.offers:
            raise UserError(f"{quoted(name)} is not offered here", "", f"Choose one of {', '.join(self.offers)}")
        by = partial(
            Item,
            image=image,
            prompt=prompt,
            image_id=image_id,
            reference=reference,
            questions=questions,
            explain=explain,
            key=key,
            turns=visitor.turns,
        )
        if name == OWN:
            if own is None:
                raise UserError("There is no key yet", "This judge needs your own key", "Enter it below the judge")
            ended = await THREADS.take(visitor.turns)
            return await timed("remote", self._by_own_key, by, own, ended=ended)
        offer, item = self.offers[name], by(await self._opened(name))
        if offer.kind == "remote":
            PAID.take(visitor)
            ended = await THREADS.take(visitor.turns)
            return await timed("remote", self._served, offer, item, ended=ended)
        return _without(await in_time("local", await self._queued(item)), offer.hidden, "[folder]")

    async def _queued(self, item: Item) -> Future[Judgement]:
        """The judgement to come by a local judge, once there is a place. Raises `UserError` where none comes free."""
        known = self._local.known(item.key, item.image_id) if item.key is not None else None
        if known is not None:
            return known
        ended = await LOCAL.take(item.turns)
        judgement = self._local.submit(item)
        judgement.add_done_callback(lambda _: ended())
        return judgement

    def _by_own_key(self, by: Callable[..., Item], own: OwnKey) -> Judgement:
        """Ask a judge that lives for this call alone, because it has a visitor's key."""
        judge: Any = self._load(own.judge, api_key=own.key, timeout=SECONDS["remote"] / 2, attempts=2)
        try:
            [judgement] = score([by(judge)])
        except UserError as error:
            raise UserError(str(error).replace(own.key, "[key]")) from None
        finally:
            judge.close()
        return _without(judgement, (own.key,), "[key]")

    def _served(self, offer: Offer, item: Item) -> Judgement:
        """Ask a judge of the owner's, for the owner's money."""
        return _without(self._spending.on(partial(_answer, offer, item), item.judge), offer.hidden, "[server]")


def _answer(offer: Offer, item: Item) -> Judgement:
    """What a served judge says. Its address and troubles (a key, a budget) stay the owner's."""
    try:
        [judgement] = score([item])
    except UserError as error:
        logging.getLogger(__name__).warning("%s: %s", offer.name, error)
        fact = f"{offer.label} does not answer"
        raise UserError(fact, "Its server rejects this Space's requests", "Choose another judge") from error
    return judgement


def _note(name: str, future: Future[Judge]) -> None:
    """Into the owner's log."""
    log = logging.getLogger(__name__)
    error = future.exception()
    if isinstance(error, UserError):
        log.warning("%s: %s", name, error)
    elif error is not None:
        log.warning("%s could not be loaded", name, exc_info=error)


def _without(judgement: Judgement, hidden: Sequence[str], sign: str) -> Judgement:
    """The judgement with a sign for every hidden word, wherever a server may have repeated it."""

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            for word in hidden:
                value = value.replace(word, sign)
            return value
        if isinstance(value, dict):
            return {key: clean(part) for key, part in value.items()}
        return [clean(part) for part in value] if isinstance(value, list) else value

    return Judgement.from_json(clean(judgement.to_json())) if hidden else judgement
