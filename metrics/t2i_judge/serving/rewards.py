"""Judgements as rewards for training a generator. An image without a score has no reward, and the caller decides.

Public as `t2i_judge.rewards`. It imports nothing heavy, because a trainer's process is large already.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UserError, quoted
from ..records import OVERALL, Judgement, Status
from ..wording import counted

if TYPE_CHECKING:
    from ..judges.base import Judge

OnFailure = Literal["raise", "nan"]
FlowGrpoReward = Callable[[Any, Sequence[str], Any], tuple[list[float], dict[str, Any]]]


@dataclass(frozen=True)
class Reward:
    """The reward of one image.

    Attributes:
        score: the overall score, in the judge's range ([0, 10] for most); nan if there is none.
        status, reason: "ok", or what went wrong and why.
        scores: aspect -> score; None for an aspect without one.
    """

    score: float
    status: str = Status.OK.value
    reason: str | None = None
    scores: Mapping[str, float | None] = field(default_factory=dict)

    def __float__(self) -> float:
        return self.score


class RewardError(UserError):
    """Some images have no reward. `rewards` has all results in order, with nan for the failed ones."""

    def __init__(self, rewards: Sequence[Reward]) -> None:
        self.rewards = list(rewards)
        lost = [reward for reward in rewards if reward.status != Status.OK]
        counts = ", ".join(f"{number} {status}" for status, number in Counter(r.status for r in lost).items())
        super().__init__(
            f"No reward for {len(lost)} of {counted(len(rewards), 'image')} ({counts})",
            f"The first reason is: {lost[0].reason}",
            'Fix that, or get nan for them with on_failure="nan"',
        )


class Rewards(ABC):
    """A source of rewards.

    Args:
        on_failure: what an image without a score leads to: "raise" raises `RewardError`, "nan" gives nan.
    """

    def __init__(self, on_failure: OnFailure = "raise") -> None:
        if on_failure not in ("raise", "nan"):
            raise UserError(
                f"The option on_failure is {quoted(on_failure)}",
                "It says what a failure becomes",
                'Use "raise" or "nan"',
            )
        self.on_failure = on_failure

    def score(
        self, images: Sequence[Any], prompts: Sequence[str], reference_images: Sequence[Any] | None = None
    ) -> list[Reward]:
        """One reward per image, in order.

        Args:
            images: whatever `load_judge(...).score` takes, such as paths, PIL images, arrays and tensors; or one tensor
                or array that holds a whole batch.
            prompts: one per image.
            reference_images: one per image, for judges of personalised images.

        Raises:
            RewardError: some images have no score, and `on_failure` is "raise".
            UserError: the lengths differ, or nothing can be judged at all.
        """
        images, prompts = list(images), list(prompts)
        references = None if reference_images is None else list(reference_images)
        lengths = {len(column) for column in (images, prompts, references) if column is not None}
        if len(lengths) > 1:
            raise UserError(
                f"Lengths differ: {sorted(lengths)}", "Each item has one of each", "Give one of each per item"
            )
        rewards = self._score(images, prompts, references) if images else []
        if self.on_failure == "raise" and any(reward.status != Status.OK for reward in rewards):
            raise RewardError(rewards)
        return rewards

    @abstractmethod
    def _score(self, images: list[Any], prompts: list[str], references: list[Any] | None) -> list[Reward]:
        """A reward per image; of equal lengths, at least one."""


class LocalRewards(Rewards):
    """Rewards from a judge in this process.

    Args:
        judge: a judge, or its name for `load_judge`.
        on_failure: see `Rewards`.
        options: options of `load_judge`.
    """

    def __init__(self, judge: Judge | str = "tiny", on_failure: OnFailure = "raise", **options: Any) -> None:
        super().__init__(on_failure)
        if isinstance(judge, str):
            from ..judges.loading import load_judge

            judge = load_judge(judge, **options)
        self.judge = judge
        self._lock = threading.Lock()  # a judge on this machine takes one call at a time

    def _score(self, images: list[Any], prompts: list[str], references: list[Any] | None) -> list[Reward]:
        with self._lock:
            return [_reward(judgement) for judgement in self.judge.score(images, prompts, references)]


def _reward(judgement: Judgement) -> Reward:
    score = judgement.scores.get(OVERALL) if judgement.status is Status.OK else None
    return reward_of(judgement.status.value, judgement.reason, score, judgement.scores)


def reward_of(status: str, reason: str | None, score: float | None, scores: Mapping[str, float | None]) -> Reward:
    """The reward of a judgement. It has a number only if the status is ok and there is a score."""
    if status != Status.OK:
        return Reward(math.nan, status, reason or "no reason was given", dict.fromkeys(scores))
    if score is None:
        return Reward(math.nan, Status.SKIPPED.value, "the judge has no overall score for it", scores)
    return Reward(float(score), status, reason, scores)


def flow_grpo_reward(client: Rewards) -> FlowGrpoReward:
    """A reward function of the shape that flow_grpo and its kin call: (images, prompts, metadata) -> (scores, info).

    `images` may be a float tensor (N, C, H, W), whose values are clipped to [0, 1] as those trainers do, an array (N,
    H, W, C), or a list. `info` has lists with one entry per image: `status`, `reason`, and the score of every aspect,
    nan where there is none.
    """

    def reward(images: Any, prompts: Sequence[str], metadata: Any = None) -> tuple[list[float], dict[str, Any]]:
        del metadata
        if hasattr(images, "is_floating_point") and images.is_floating_point():
            images = images.detach().float().clamp(0, 1)
        rewards = client.score(images, prompts)
        aspects = {name: None for each in rewards for name in each.scores}
        info: dict[str, Any] = {"status": [each.status for each in rewards], "reason": [e.reason for e in rewards]}
        for name in aspects:
            values = [each.scores.get(name) for each in rewards]
            info[name] = [math.nan if value is None else value for value in values]
        return [each.score for each in rewards], info

    return reward
