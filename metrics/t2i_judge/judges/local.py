"""Shared by judges on this machine: items are loaded and read in batches, and a failure is the status of one item.

Mode "expected" scores by the expectation of a distribution over the ten levels, "greedy" by its likeliest level;
"likelihood" by the probability of an expected answer, where a protocol asks for one (see `distilled`).
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal, Protocol, TypeVar

from ..calibration import Calibration
from ..errors import UserError, faults, quoted
from ..inputs.images import ImageError, encode_image, load_image
from ..local.model import Asked, LocalModel, Reading, Turn
from ..prompts import LEVELS, level_to_score
from ..records import SCORE_RANGE, JudgeInfo, Judgement, Question, Status, Usage, failed
from ..served.words import shorten
from .base import Candidate, Judge

Mode = Literal["expected", "greedy", "likelihood"]
MODES = ("expected", "greedy", "likelihood")
DEFAULT_MODE: Mode = "expected"
PROMPTS_AN_IMAGE = 4  # prompts that are decomposed in the room that one image takes
ROOM = 2**27  # pixels held at once, of 4 bytes: 64 images of 1024 x 1024, and references as large
_WORDS_TOKENS = 160
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Failure:
    """Why an item, or a part of it, has no score."""

    status: Status
    reason: str


@dataclass(frozen=True)
class Loaded:
    """One image to judge, loaded. `outcome` is set as soon as it is clear that it cannot be judged.

    `wanted` is what the judge answers about the reference: question's id -> answer, or why there is none.
    """

    image_id: str
    prompt: str
    images: tuple[Any, ...] = ()
    questions: tuple[Question, ...] | None = None
    wanted: Mapping[str, str | Failure] = field(default_factory=dict)
    outcome: Failure | None = None

    def ended(self, outcome: Failure) -> Loaded:
        """The item that cannot be judged; its pixels are let go."""
        return replace(self, images=(), outcome=outcome)


def probabilities(reading: Reading) -> dict[str, float] | None:
    """Level -> probability among the ten levels; None when the model's logits are not finite."""
    if not all(map(math.isfinite, reading.level_logits)):
        return None
    highest = max(reading.level_logits)
    weights = [math.exp(logit - highest) for logit in reading.level_logits]
    return {level: weight / sum(weights) for level, weight in zip(LEVELS, weights, strict=True)}


def level_score(distribution: Mapping[str, float], mode: Mode) -> float:
    """Score in [0, 10] of a distribution over levels: of its expectation, or of its likeliest level."""
    if mode == "greedy":
        return level_to_score(int(max(distribution, key=lambda level: distribution[level])))
    return level_to_score(sum(int(level) * share for level, share in distribution.items()))


class Reads(Protocol):
    """A model on this machine: `model.LocalModel`, or `answers.AnswerModel`."""

    def read(self, batch: Sequence[Asked], max_new_tokens: int = 0) -> list[Any]:
        """For each item, (task, of) -> reading of that turn. Raises ValueError for an item that it cannot take."""
        ...


class LocalJudge(Judge):
    """Shared by local judges: items in, judgements out, in order. A bad item raises nothing.

    Args:
        model: the loaded model.
        info: who judges.
        batch_size: images that go through the model together.
        declines: image -> why it is not judged, or None. For judges that know their domain.
    """

    def __init__(
        self,
        model: Reads,
        info: JudgeInfo,
        batch_size: int = 16,
        declines: Callable[[Any], str | None] | None = None,
    ) -> None:
        super().__init__(info)
        if batch_size < 1:
            raise UserError(f"The batch_size is {batch_size}", "A batch has at least one item", "Give 1 or more")
        self.model, self.batch_size, self.declines = model, batch_size, declines

    @abstractmethod
    def _turns(self, item: Loaded, explain: bool) -> list[Turn]:
        """What is asked about an image."""

    @abstractmethod
    def _judgement(self, item: Loaded, readings: Any, usage: Usage) -> Judgement:
        """The judgement that the readings of `_turns` make."""

    def _prepare(self, batch: list[Loaded]) -> list[Loaded]:
        """Give each item its questions. Protocols without questions do nothing."""
        return batch

    def _score(self, items: Sequence[Candidate], explain: bool, progress: bool) -> list[Judgement]:
        from ..progress import Progress

        judgements: list[Judgement] = []
        with Progress(total=len(items), disable=not progress, leave=False, desc=self.info.name, unit="image") as bar:
            rest = iter(items)
            while len(judgements) < len(items):
                judgements += self._judge_next(rest, explain, bar.update)
        return judgements

    def _judge_next(self, rest: Iterator[Candidate], explain: bool, done: Callable[[int], Any]) -> list[Judgement]:
        """Judgements of as many items as are prepared together. When it returns, their pixels are gone."""
        most = self.batch_size * PROMPTS_AN_IMAGE
        read = fitting(rest, lambda item: _loaded(item, self.declines), lambda item: item.images, most)
        judgements: list[Judgement] = []
        for batch in chunks(self._prepared(read), self.batch_size):
            judgements += self._judge_batch(batch, explain)
            done(len(batch))
        return judgements

    def _prepared(self, batch: list[Loaded]) -> list[Loaded]:
        """As `_prepare`; an item over which that fails is its own failure, and nobody else's."""
        try:
            return self._prepare(batch)
        except UserError:
            raise
        except faults() as error:  # of any kind: what is asked about an item may be anything
            if len(batch) == 1:
                return [batch[0].ended(_not_taken(error))]
        half = len(batch) // 2
        return self._prepared(batch[:half]) + self._prepared(batch[half:])

    def _read(self, items: Sequence[Loaded], explain: bool) -> list[Any]:
        """The readings of each item's turns, or its `Failure`."""
        return read_safely(self.model, [Asked(item.images, self._turns(item, explain)) for item in items])

    def _judge_batch(self, batch: Sequence[Loaded], explain: bool) -> list[Judgement]:
        """Judgements of a batch: one pass over the items that can be judged."""
        start = time.perf_counter()
        sound = [number for number, item in enumerate(batch) if item.outcome is None]
        readings = dict(zip(sound, self._read([batch[number] for number in sound], explain), strict=True))
        seconds = (time.perf_counter() - start) / max(len(sound), 1)
        judgements = []
        for number, item in enumerate(batch):
            outcome = item.outcome or readings[number]
            if isinstance(outcome, Failure):
                judgements.append(
                    failed(
                        item.image_id,
                        item.prompt,
                        self.info,
                        outcome.status,
                        outcome.reason,
                        score_range=self.score_range,
                        questions=item.questions or (),
                    )
                )
            else:
                tokens = [(reading.tokens_read, reading.tokens) for reading in outcome.values()]
                usage = Usage(1, sum(read for read, _ in tokens), sum(wrote for _, wrote in tokens), seconds, 0.0)
                judgements.append(self._judgement(item, outcome, usage))
        return judgements


class LevelJudge(LocalJudge):
    """Shared by judges that read score levels.

    Args:
        model: the loaded model.
        info: who judges; the mode is added to its backend.
        mode: "expected", "greedy" or "likelihood".
        calibrate: map of the overall score and the aspects to the human scale, which is then the judge's range.
        options: as `LocalJudge`.
    """

    model: LocalModel

    def __init__(
        self,
        model: LocalModel,
        info: JudgeInfo,
        mode: Mode = DEFAULT_MODE,
        calibrate: Calibration | None = None,
        **options: Any,
    ) -> None:
        if mode not in MODES:
            raise UserError(
                f"The mode {quoted(mode)} is unknown", "It says how levels become a score", f"Use one of {MODES}"
            )
        super().__init__(model, replace(info, backend=f"{info.backend}, {mode} score"), **options)
        self.mode, self.calibrate = mode, calibrate
        if calibrate is not None:
            self.score_range = calibrate.range_of(*SCORE_RANGE)

    def _calibrated(self, scores: dict[str, float | None]) -> dict[str, float | None]:
        if self.calibrate is None:
            return scores
        return {aspect: None if score is None else self.calibrate.apply(score) for aspect, score in scores.items()}


def read_safely(model: Reads, batch: Sequence[Asked]) -> list[Any]:
    """Readings of each item. A batch that fails is halved until the failing items are alone."""
    if not batch:
        return []
    try:
        return model.read(batch, _WORDS_TOKENS)
    except faults() as error:  # too long, out of memory, an image the processor cannot take: of any kind
        if len(batch) == 1:
            return [_not_taken(error)]
    half = len(batch) // 2
    return read_safely(model, batch[:half]) + read_safely(model, batch[half:])


def _not_taken(error: BaseException) -> Failure:
    return Failure(Status.SKIPPED, f"the model cannot take it: {shorten(str(error))}")


def _loaded(raw: Candidate, declines: Callable[[Any], str | None] | None) -> Loaded:
    """Load and check one item."""
    questions = tuple(raw.questions) if raw.questions is not None else None
    item = Loaded(raw.image_id or "", str(raw.prompt or ""), questions=questions)
    if not isinstance(raw.prompt, str) or not raw.prompt.strip():
        return item.ended(Failure(Status.SKIPPED, "the prompt is empty or is not text"))
    try:
        pictures = [load_image(raw.image)] + ([] if raw.reference is None else [load_image(raw.reference)])
        item = replace(item, images=tuple(pictures), image_id=raw.image_id or encode_image(raw.image).sha256)
    except ImageError as error:
        return item.ended(Failure(Status.IMAGE_ERROR, error.reason))
    reason = next(filter(None, map(declines, pictures)), None) if declines else None
    return item.ended(Failure(Status.SKIPPED, reason)) if reason else item


def fitting(rest: Iterator[T], read: Callable[[T], R], pictures: Callable[[R], Iterable[Any]], most: int) -> list[R]:
    """The next items as `read` gives them: `most`, or fewer as soon as their pictures fill `ROOM`.

    A file of 50 kB may hold 50 million pixels.
    """
    items: list[R] = []
    held = 0
    for item in islice(rest, most):
        items.append(read(item))
        held += sum(picture.width * picture.height for picture in pictures(items[-1]))
        if held >= ROOM:
            break
    return items


def chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The values in order, at most `size` at a time."""
    return (values[start : start + size] for start in range(0, len(values), size))
