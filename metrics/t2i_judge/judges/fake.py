"""`fake`: a judge for tests and rehearsals of large runs. Its scores depend on prompt and id, and mean nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ..records import Answer, JudgeInfo, Judgement, Question
from ..scoring import aspect_scores
from .base import Candidate, Judge
from .names import JudgeName

_QUESTIONS = (
    Question("q1", "intrinsic", (), "Is this a fake question?", "yes"),
    Question("q2", "appearance", (), "Does a fake judge look at images?", None),
)


class FakeJudge(Judge):
    """Never opens an image; the same prompt and id always get the same scores."""

    def __init__(self, name: str = "fake") -> None:
        super().__init__(JudgeInfo(name, "fake", "none", "1"))

    def _score(self, items: Sequence[Candidate], explain: bool, progress: bool) -> list[Judgement]:
        return [self._judge(item.image_id or str(number), item.prompt) for number, item in enumerate(items)]

    def _judge(self, image_id: str, prompt: str) -> Judgement:
        digest = hashlib.sha256(f"{image_id}\0{prompt}".encode()).digest()
        answers = tuple(
            Answer(question.id, "made up", True, byte % 101 / 10) for question, byte in zip(_QUESTIONS, digest)
        )
        scores = aspect_scores(_QUESTIONS, answers)
        return Judgement(image_id, prompt, self.info, scores=scores, questions=_QUESTIONS, answers=answers)


def fake_judge(name: JudgeName) -> FakeJudge:
    """The judge of the name `fake`."""
    return FakeJudge(name.label)
