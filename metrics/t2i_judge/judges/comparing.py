"""Shared by judges that compare two images for one prompt, in both orders.

A judge that prefers the image it sees first contradicts itself when the images change places. Such a disagreement is a
tie and is counted as a flip (`Comparison.flipped`); it is never a win.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..errors import UserError
from ..inputs.images import ImageError, ImageLike
from ..prompts import PAIR_VERDICTS
from ..records import Comparison, JudgeInfo, Status
from ..served.asking import Outcome

Pair = tuple[ImageLike, ImageLike, str]  # a, b and their prompt
T = TypeVar("T")
SINGLE = "a pair+ judge compares two images; use compare, or use the judge without pair+"
# What a verdict means when a was shown first, and when b was.
_MEANT = dict(zip(PAIR_VERDICTS, ("a", "b", "tie"))), dict(zip(PAIR_VERDICTS, ("b", "a", "tie")))


@dataclass(frozen=True)
class Verdict:
    """The result of one order.

    Attributes:
        winner: one of `PAIR_VERDICTS`.
        explanation: why, in the judge's words.
        probabilities: probability of each of `PAIR_VERDICTS` among all possible answers, where it can be read.
    """

    winner: str
    explanation: str | None = None
    probabilities: Mapping[str, float] | None = None


def paired(images_a: Sequence[ImageLike], images_b: Sequence[ImageLike], prompts: Sequence[str]) -> list[Pair]:
    """The arguments of `Judge.compare`, pair by pair. Raises `UserError` if lengths differ."""
    if not len(images_a) == len(images_b) == len(prompts):
        lengths = [len(images_a), len(images_b), len(prompts)]
        raise UserError(
            f"Lengths differ: {lengths}",
            "Each comparison has two images and a prompt",
            "Give one of each per comparison",
        )
    return list(zip(images_a, images_b, prompts))


def opened(pair: Pair, judge: JudgeInfo, read: Callable[[ImageLike], T]) -> tuple[T, T] | Comparison:
    """Both images of a pair as `read` gives them, or a comparison that says why they cannot be compared."""
    a, b, prompt = pair
    if not isinstance(prompt, str) or not prompt.strip():
        return Comparison(str(prompt or ""), judge, status=Status.SKIPPED, reason="the prompt is empty or is not text")
    try:
        return read(a), read(b)
    except ImageError as error:
        return Comparison(prompt, judge, status=Status.IMAGE_ERROR, reason=error.reason)


def comparison(prompt: str, judge: JudgeInfo, outcomes: Sequence[Outcome[Verdict]]) -> Comparison:
    """The comparison that follows from two orders: a shown first, and b shown first."""
    verdicts = [outcome.value for outcome in outcomes]
    first, second = [meant[verdict.winner] if verdict else None for meant, verdict in zip(_MEANT, verdicts)]
    broken = next((outcome for outcome in outcomes if outcome.value is None), None)
    explanations = [verdict.explanation if verdict else None for verdict in verdicts]
    probabilities = [_of_sides(meant, verdict) for meant, verdict in zip(_MEANT, verdicts)]
    return Comparison(
        prompt,
        judge,
        None if broken else first if first == second else "tie",
        first,
        second,
        (explanations[0], explanations[1]),
        broken.status if broken else Status.OK,
        broken.reason if broken else None,
        outcomes[0].usage + outcomes[1].usage,
        (probabilities[0], probabilities[1]),
    )


def _of_sides(meant: Mapping[str, str], verdict: Verdict | None) -> dict[str, float] | None:
    """The probabilities of a, b and tie."""
    if verdict is None or verdict.probabilities is None:
        return None
    return {meant[winner]: share for winner, share in verdict.probabilities.items()}
