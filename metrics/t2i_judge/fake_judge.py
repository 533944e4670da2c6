"""`fake`: a judge for tests and rehearsals of large runs. Its scores depend on prompt and id, and mean nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from .images import ImageLike
from .records import SCORE_RANGE, Answer, JudgeInfo, Judgement, Question
from .scoring import aspect_scores

_QUESTIONS = (
    Question("q1", "intrinsic", (), "Is this a fake question?", "yes"),
    Question("q2", "appearance", (), "Does a fake judge look at images?", None),
)


class FakeJudge:
    """Never opens an image; the same prompt and id always get the same scores."""

    score_range = SCORE_RANGE

    def __init__(self, name: str = "fake") -> None:
        self.info = JudgeInfo(name, "fake", "none", "1")

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
        """One made-up judgement an image."""
        ids = image_ids or [str(number) for number in range(len(images))]
        return [self._judge(image_id, prompt) for image_id, prompt in zip(ids, prompts, strict=True)]

    def _judge(self, image_id: str, prompt: str) -> Judgement:
        digest = hashlib.sha256(f"{image_id}\0{prompt}".encode()).digest()
        answers = tuple(
            Answer(question.id, "made up", True, byte % 101 / 10) for question, byte in zip(_QUESTIONS, digest)
        )
        scores = aspect_scores(_QUESTIONS, answers)
        return Judgement(image_id, prompt, self.info, scores=scores, questions=_QUESTIONS, answers=answers)
