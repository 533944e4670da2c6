"""Many callers, one judge: waiting items are judged together, and repeated ones only once.

A batch is closed when it is full, or when for a moment nobody has brought anything new. While a batch is being judged
the next one gathers. Ranges of addresses take turns, in a range its addresses and then its browsers, so that one with a
thousand images does not keep out the others, under whatever names. Threads do the work, so that callers may live in any
event loop or in none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from ..errors import UserError
from ..inputs.images import ImageLike
from ..judges.base import Judge
from ..kept import Kept
from ..records import Judgement, Question, Status, Usage
from ..wording import counted
from .shares import Turns

_QUIET, _LONGEST = 0.01, 0.1  # seconds without anything new that close a batch, and most that its first item waits
# Most questions of a call, so that nobody's turn is long; of an item that brings none; and how many one counts for
# that is answered in words, too: a large model may write for five seconds about each.
_QUESTIONS, _OF_AN_ITEM, _IN_WORDS = 512, 8, 16
_IDLE = 10.0  # seconds without work after which a thread ends


@dataclass(frozen=True, eq=False)
class Item:
    """One image to judge.

    Attributes:
        judge: who judges it.
        image_id: what its caller calls it.
        turns: who asks, and with whom they take turns.
        key: names image, prompt and all else that decides the judgement; None where it must be judged in any case.
    """

    judge: Judge
    image: ImageLike
    prompt: str
    image_id: str
    reference: ImageLike | None = None
    questions: Sequence[Question] | None = None
    explain: bool = False
    turns: Turns = ()
    key: Hashable | None = None

    @property
    def weight(self) -> int:
        """About how many questions it takes, in the time of one that is answered with a number."""
        questions = _OF_AN_ITEM if self.questions is None else len(self.questions)
        return questions * (_IN_WORDS if self.explain else 1)

    def goes_with(self, other: Item) -> bool:
        """May both be judged in one call?"""
        alike = self.judge is other.judge and self.explain == other.explain
        return alike and (self.reference is None) == (other.reference is None)


@dataclass(eq=False)
class _Job:
    """An item and everybody who waits for its judgement, each with their own name for the image."""

    item: Item
    askers: list[tuple[Future[Judgement], str]] = field(default_factory=list)
    arrived: float = field(default_factory=time.monotonic)


class Batcher:
    """Judges items as they come, in as few calls as possible.

    Args:
        size: most items in a call.
        threads: calls at once. One for judges on this machine, which take all of it; more for those behind a server.
        keep: how many judgements with a score are kept for who asks the same again, as far as there is room for them
            (`kept`); the oldest go.
        judged: told about every call: its judge, how many items, how many seconds.
    """

    def __init__(
        self,
        size: int = 32,
        threads: int = 1,
        keep: int = 0,
        judged: Callable[[Judge, int, float], None] = lambda judge, items, seconds: None,
    ) -> None:
        self.size, self.threads, self._judged = size, threads, judged
        self._changed = threading.Condition()
        self._waiting: list[_Job] = []
        self._served: dict[Turns, float] = {}  # of those that wait: when their range, address, browser had a turn
        self._latest = 0.0  # when the last item came
        self._on_their_way = self._working = 0
        self._jobs: dict[Hashable, _Job] = {}  # that wait or are being judged
        self._kept: Kept[Hashable, Judgement] = Kept(number=keep)

    def submit(self, item: Item) -> Future[Judgement]:
        """The judgement to come; it raises what the judge raises. Cancelled before its turn, it is not made."""
        future: Future[Judgement] = Future()
        with self._changed:
            if self._answered(item, future):
                return future
            job = _Job(item, [(future, item.image_id)])
            if item.key is not None:
                self._jobs[item.key] = job
            self._waiting.append(job)
            self._latest = time.monotonic()
            if self._working < self.threads:
                self._working += 1
                threading.Thread(target=self._work, name="judge", daemon=True).start()
            self._changed.notify_all()
        return future

    def known(self, key: Hashable, image_id: str) -> Future[Judgement] | None:
        """The judgement of what was asked before, or is being judged; None where `submit` has to be told about it."""
        future: Future[Judgement] = Future()
        with self._changed:
            return future if self._join(key, future, image_id) else None

    @contextmanager
    def expected(self) -> Iterator[None]:
        """An item is on its way: a batch waits a moment longer for it."""
        with self._changed:
            self._on_their_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._on_their_way -= 1
                self._changed.notify_all()

    def _answered(self, item: Item, future: Future[Judgement]) -> bool:
        return item.key is not None and self._join(item.key, future, item.image_id)

    def _join(self, key: Hashable, future: Future[Judgement], image_id: str) -> bool:
        if judgement := self._kept.get(key):
            future.set_result(replace(judgement, image_id=image_id, usage=Usage()))
            return True
        if job := self._jobs.get(key):
            job.askers.append((future, image_id))
            return True
        return False

    def _work(self) -> None:
        while jobs := self._next():
            self._judge(jobs)

    def _next(self) -> list[_Job]:
        """The jobs of the next call; none when this thread is not needed any longer."""
        with self._changed:
            while True:
                if not self._changed.wait_for(lambda: bool(self._waiting), _IDLE):
                    self._working -= 1
                    return []
                if (seconds := self._patience()) <= 0:
                    break
                self._changed.wait(seconds)
            jobs = self._together()
            self._waiting = [job for job in self._waiting if job not in jobs]
            self._note(jobs)
            return jobs

    def _note(self, jobs: Sequence[_Job]) -> None:
        """These have had their turns; those of whom nothing waits may be forgotten."""
        now, present = time.monotonic(), {group for job in self._waiting for group in _groups(job)}
        self._served |= {group: now for job in jobs for group in _groups(job)}
        self._served = {group: when for group, when in self._served.items() if group in present}

    def _patience(self) -> float:
        """Seconds for which it pays to wait for more."""
        now, oldest = time.monotonic(), self._waiting[0]
        if sum(oldest.item.goes_with(job.item) for job in self._waiting) >= self.size:
            return 0.0
        left = oldest.arrived + _LONGEST - now
        return left if self._on_their_way else min(left, self._latest + _QUIET - now)

    def _together(self) -> list[_Job]:
        """The job whose turn it is and what goes with it, up to a sum of questions."""
        first, *rest = self._in_turn(self._waiting)
        together, questions = [first], first.item.weight
        for job in rest:
            if len(together) == self.size:
                break
            if job.item.goes_with(first.item):
                questions += job.item.weight
                if questions > _QUESTIONS:
                    break
                together.append(job)
        return together

    def _in_turn(self, jobs: Sequence[_Job], level: int = 0) -> list[_Job]:
        """One job of each range, then the second of each, and so on; in a range one of each address, ...

        Whoever has waited longest, since they came or had a turn, comes first.
        """
        groups: dict[Turns, list[_Job]] = {}
        for job in jobs:
            groups.setdefault(job.item.turns[: level + 1], []).append(job)
        if all(len(group) <= level for group in groups):
            return list(jobs)
        first = sorted(groups, key=lambda group: max(self._served.get(group, 0.0), groups[group][0].arrived))
        turns = zip_longest(*(self._in_turn(groups[group], level + 1) for group in first))
        return [job for turn in turns for job in turn if job]

    def _judge(self, jobs: Sequence[_Job]) -> None:
        with self._changed:
            wanted = [job for job in jobs if not all(future.cancelled() for future, _ in job.askers)]
            for job in jobs:
                if job not in wanted:
                    self._jobs.pop(job.item.key, None)
        if not wanted:
            return
        begun = time.monotonic()
        outcomes = _outcomes([job.item for job in wanted])
        if any(isinstance(outcome, Judgement) for outcome in outcomes):
            self._judged(wanted[0].item.judge, len(wanted), time.monotonic() - begun)
        for job, outcome in zip(wanted, outcomes, strict=True):
            self._tell(job, outcome)

    def _tell(self, job: _Job, outcome: Judgement | BaseException) -> None:
        """Everybody who waits; the first is told what it took, for the others it took nothing."""
        key = job.item.key
        with self._changed:
            if key is not None:
                self._jobs.pop(key, None)
                if isinstance(outcome, Judgement) and outcome.status is Status.OK:
                    self._kept[key] = outcome
        for future, image_id in job.askers:
            if not future.set_running_or_notify_cancel():
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(replace(outcome, image_id=image_id))
                outcome = replace(outcome, usage=Usage())


def _groups(job: _Job) -> list[Turns]:
    """Who asks and all that they belong to."""
    return [job.item.turns[: level + 1] for level in range(len(job.item.turns))]


def _outcomes(items: Sequence[Item]) -> list[Judgement | BaseException]:
    """Of each item its judgement, or what its judge raised over it: a call that fails is halved until that is alone.

    What a judge says of itself (`UserError`: a wrong key, no credit) is everybody's.
    """
    try:
        return [*score(items)]
    except BaseException as error:  # whatever it is, who waits is told
        if len(items) == 1 or isinstance(error, UserError) or not isinstance(error, Exception):
            return [error] * len(items)
    half = len(items) // 2
    return _outcomes(items[:half]) + _outcomes(items[half:])


def score(items: Sequence[Item]) -> list[Judgement]:
    """The judgements of items that go together, in one call."""
    references = [item.reference for item in items] if items[0].reference is not None else None
    judgements = items[0].judge.score(
        [item.image for item in items],
        [item.prompt for item in items],
        references,
        image_ids=[item.image_id for item in items],
        questions=[item.questions for item in items],
        explain=items[0].explain,
    )
    if len(judgements) != len(items):
        raise RuntimeError(f"{counted(len(judgements), 'judgement')} of {counted(len(items), 'image')}")
    return judgements
