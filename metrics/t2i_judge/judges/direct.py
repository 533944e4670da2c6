"""The direct baseline on this machine: "rate this image", one level, no questions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..local.model import LocalModel, Readings, Turn
from ..prompts import DIRECT_STUDENT_HASH, direct_prompts
from ..records import JudgeInfo, Judgement, Status, Usage, failed
from .local import LevelJudge, Loaded, level_score, probabilities


class DirectLocalJudge(LevelJudge):
    """One level for the whole image, and with a reference image one more for each axis."""

    def __init__(self, model: LocalModel, info: JudgeInfo, **options: Any) -> None:
        super().__init__(model, replace(info, template_hash=DIRECT_STUDENT_HASH), **options)

    def _turns(self, item: Loaded, explain: bool) -> list[Turn]:
        prompts = direct_prompts(item.prompt, len(item.images) > 1)
        return [Turn("direct", aspect, text) for aspect, text in prompts.items()]

    def _judgement(self, item: Loaded, readings: Readings, usage: Usage) -> Judgement:
        scores: dict[str, float | None] = {}
        for (_, aspect), reading in readings.items():
            if (levels := probabilities(reading)) is None:
                reason = "the model's logits are not finite"
                return failed(
                    item.image_id,
                    item.prompt,
                    self.info,
                    Status.UNPARSABLE,
                    reason,
                    usage=usage,
                    score_range=self.score_range,
                )
            scores[aspect] = level_score(levels, self.mode)
        return Judgement(
            item.image_id,
            item.prompt,
            self.info,
            scores=self._calibrated(scores),
            usage=usage,
            score_range=self.score_range,
        )
