"""The direct protocol of VIEScore (arXiv 2312.14867): rate consistency and quality at once, no questions.

`direct+openai:MODEL`. Overall = sqrt(SC x PQ) in [0, 10]; SC sees image and prompt, PQ the image alone and is the lower
of naturalness and freedom from artifacts, as in the paper's text-to-image task. Prompts are our own words.
"""

from __future__ import annotations

import math
from typing import Any

from ..inputs.images import EncodedImage
from ..prompts import (
    DIRECT_CONSISTENCY,
    DIRECT_CONSISTENCY_SCHEMA,
    DIRECT_HASH,
    DIRECT_QUALITY,
    DIRECT_QUALITY_SCHEMA,
    inside,
)
from ..records import OVERALL, Answer, JudgeInfo, Judgement, Question, Status
from ..served.asking import Outcome, ask_json
from ..served.backend import ChatBackend, Schema
from ..served.concurrency import gather_all
from ..served.replies import check_score, to_text
from ..served.wire import Message
from .base import Candidate
from .names import JudgeName
from .served import ServedJudge, served_backend

CONSISTENCY, QUALITY = "prompt_following", "appearance"  # aspects under which SC and PQ are kept
QUESTIONS = (
    Question("q1", CONSISTENCY, (), "How well does the image follow the prompt (SC)?"),
    Question("q2", QUALITY, (), "How natural and free of artifacts is the image (PQ)?"),
)
_TOKENS = 500


class DirectJudge(ServedJudge):
    """VIEScore's protocol over a served model: two calls per image; scores by aspect are SC and PQ."""

    def __init__(self, backend: ChatBackend, name: str) -> None:
        super().__init__(backend, JudgeInfo(name, "openai", backend.model, backend.snapshot, DIRECT_HASH))

    async def _judge(self, item: Candidate, images: tuple[EncodedImage, ...]) -> Judgement:
        consistency = DIRECT_CONSISTENCY.format(prompt=inside(item.prompt))
        outcomes = await gather_all(
            [
                self._rate(consistency, images[0], ("consistency", DIRECT_CONSISTENCY_SCHEMA)),
                self._rate(DIRECT_QUALITY, images[0], ("quality", DIRECT_QUALITY_SCHEMA)),
            ]
        )
        answers = tuple(_answer(question, outcome) for question, outcome in zip(QUESTIONS, outcomes))
        broken = next((answer for answer in answers if answer.status is not Status.OK), None)
        noted = broken or next((answer for answer in answers if answer.reason), None)
        following, quality = (answer.score for answer in answers)
        overall = math.sqrt(following * quality) if following is not None and quality is not None else None
        return Judgement(
            image_id=str(item.image_id),
            prompt=item.prompt,
            judge=self._named(outcomes[0].model),
            status=broken.status if broken else Status.OK,
            reason=noted.reason if noted else None,
            scores={CONSISTENCY: following, QUALITY: quality, OVERALL: overall},
            score_range=self.score_range,
            questions=QUESTIONS,
            answers=answers,
            rationale=" ".join(answer.explanation for answer in answers if answer.explanation) or None,
            usage=outcomes[0].usage + outcomes[1].usage,
        )

    async def _rate(self, text: str, image: EncodedImage, schema: Schema) -> Outcome[tuple[float, str | None]]:
        def read(record: dict[str, Any]) -> tuple[tuple[float, str | None], None]:
            scores = [check_score(record[name]) for name in schema[1]["properties"] if name != "explanation"]
            return (min(scores), to_text(record["explanation"])), None

        return await ask_json(self.backend, [Message("user", text, (image,))], schema, read, _TOKENS, 2 * _TOKENS)


def _answer(question: Question, outcome: Outcome[tuple[float, str | None]]) -> Answer:
    if outcome.value is None:
        return Answer(question.id, status=outcome.status, reason=outcome.reason)
    score, explanation = outcome.value
    return Answer(question.id, score=score, explanation=explanation, reason=outcome.reason)


def direct_judge(name: JudgeName, **options: Any) -> DirectJudge:
    """The judge of a name `direct+openai:MODEL[@BASE_URL]`; `options` as `served_backend`, which raises `UserError`."""
    return DirectJudge(served_backend(name, **options), name.label)
