"""What every judge does: images and prompts in, one judgement per item out. A bad item never raises an error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..conformal import Conformal
from ..errors import UserError, nearest, quoted
from ..inputs.images import ImageLike
from ..records import SCORE_RANGE, Comparison, JudgeInfo, Judgement, Question, Status, failed


@dataclass(frozen=True)
class Candidate:
    """One image to judge, as the caller gave it. Where `questions` is None, the prompt is decomposed first."""

    image: ImageLike
    prompt: str
    reference: ImageLike | None = None
    image_id: str | None = None
    questions: Sequence[Question] | None = None


class Judge(ABC):
    """Anything that scores images for prompts.

    Attributes:
        score_range: lowest and highest possible score.
        intervals: calibrated intervals, which each of its judgements then carries; None if there are none.
    """

    score_range: tuple[float, float] = SCORE_RANGE
    intervals: Conformal | None = None

    def __init__(self, info: JudgeInfo) -> None:
        self._info = info

    @property
    def info(self) -> JudgeInfo:
        """Describes the judge. Every judgement carries it, and it never changes."""
        return self._info

    @property
    def template_hashes(self) -> tuple[str | None, ...]:
        """Those that its judgements carry, where it asks in one of several ways."""
        return (self.info.template_hash,)

    @property
    def notes(self) -> list[str]:
        """Sentences about what was done differently than planned, such as what a server did not accept."""
        return []

    def check(self) -> None:
        """Raise `UserError` if this judge cannot judge now. A judge on this machine always can.

        Costs nothing, or two words of a server whose last calls failed.
        """
        return

    @contextmanager
    def anew(self) -> Iterator[None]:
        """Inside this context, ask again even what was answered before. Only judges that keep replies need it."""
        yield

    def interrupt(self) -> None:
        """Begin no more calls of the work under way, which then ends with a `UserError`. For another thread.

        A judge on this machine makes none, and goes on.
        """
        return

    def close(self) -> None:
        """Close its connections and files. A judge on this machine has none."""
        return

    def score(
        self,
        images: Sequence[ImageLike],
        prompts: Sequence[str],
        reference_images: Sequence[ImageLike | None] | None = None,
        *,
        image_ids: Sequence[str] | None = None,
        questions: Sequence[Sequence[Question] | None] | None = None,
        explain: bool = False,
        progress: bool = False,
    ) -> list[Judgement]:
        """Judge each image for its prompt. The results are in order, each with its own status.

        Args:
            images, prompts, reference_images, image_ids, questions: lists of equal length. Without an id, an image is
                called by its SHA-256. Without questions, a judge that asks questions makes them from the prompt.
            explain: also write answers, explanations and summaries. Some judges always do.
            progress: show a bar.

        Raises:
            UserError: the lengths differ, or nothing can be judged at all (wrong key, unknown model, budget spent).
        """
        rows = _aligned(images, prompts, reference_images, image_ids, questions)
        judgements = self._score([Candidate(*row) for row in rows], explain, progress)
        return judgements if self.intervals is None else [self.intervals.carried(one) for one in judgements]

    def compare(
        self,
        images_a: Sequence[ImageLike],
        images_b: Sequence[ImageLike],
        prompts: Sequence[str],
        *,
        progress: bool = False,
    ) -> list[Comparison]:
        """Say which of two images is better for its prompt, asking in both orders. One result per pair, in order.

        Args:
            images_a, images_b, prompts: lists of equal length.
            progress: show a bar.

        Raises:
            UserError: the lengths differ, this judge rates single images, or nothing can be compared at all.
        """
        raise UserError(f"{self.info.name} does not compare images", "It scores single images", "Use a judge pair+NAME")

    @abstractmethod
    def _score(self, items: Sequence[Candidate], explain: bool, progress: bool) -> list[Judgement]:
        """One judgement per item, in order. Whatever is wrong with an item becomes its status, never an exception."""

    def _failed(self, item: Candidate, status: Status, reason: str, **rest: Any) -> Judgement:
        """A judgement without a score. Like those with one, it declares this judge's score range."""
        rest |= {"score_range": self.score_range, "questions": tuple(item.questions or ())}
        return failed(item.image_id or "", str(item.prompt or ""), self.info, status, reason, **rest)


def _aligned(*columns: Sequence[Any] | None) -> list[tuple[Any, ...]]:
    """Columns of equal length as rows; a missing column is None in each. Raises `UserError` if the lengths differ."""
    lengths = [len(column) for column in columns if column is not None]
    if len(set(lengths)) > 1:
        raise UserError(f"Lengths differ: {lengths}", "Each item has one of each", "Give one of each per item")
    rows = max(lengths, default=0)
    return list(zip(*([None] * rows if column is None else column for column in columns)))


def check_options(name: str, options: Iterable[str], known: Iterable[str]) -> None:
    """Raise `UserError` for the first option that the judge of that name does not know."""
    for option in options:
        if option not in (names := list(known)):
            raise UserError(
                f"{name} has no option {quoted(option)}",
                nearest(option, names) if names else "It takes no options",
                "Leave it out",
            )
