"""Any vision-language model as a judge: `hf:MODEL` for a model without judge.json and without an adapter.

The prompt is decomposed by the model's own chat, with the teacher's prompts, or by another judge (`decomposer`). Each
question is put as "Is the answer X?" and scored 10 * yes / (yes + no), from the probabilities of all single tokens that
spell yes and no. (How likely an answer itself is does not compare between answers of different lengths.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..local.answers import AnswerModel, NextWord
from ..local.chat import LocalChat
from ..local.model import Turn
from ..local.weights import Weights, load_parts
from ..prompts import ZERO_SHOT, ZERO_SHOT_WORDS, check_template, filled
from ..records import YES, Answer, JudgeInfo, Judgement, Question, Status, Usage
from ..scoring import aspect_scores
from .base import check_options
from .decomposing import ChatDecomposer, Decomposer
from .local import Loaded
from .names import JudgeName
from .words import NOT_FINITE, WordJudge, yes_or_no

TEMPLATE = ZERO_SHOT  # has {question} and {expected}


class ZeroShotJudge(WordJudge):
    """Asks a model that was never trained to judge. It answers each question with one word.

    Args:
        model: the loaded model.
        info: who judges.
        decomposer: who breaks prompts into questions.
        template: of what is asked, with {question} and {expected}.
        options: as `LocalJudge`.

    Raises:
        UserError: the template lacks a place.
    """

    def __init__(
        self,
        model: AnswerModel,
        info: JudgeInfo,
        decomposer: Decomposer,
        template: str = TEMPLATE,
        **options: Any,
    ) -> None:
        check_template(template, "question", "expected")
        super().__init__(model, info, template, decomposer, **options)

    def _turns(self, item: Loaded, explain: bool) -> list[Turn]:
        questions = item.questions or ()
        turns = [Turn("score", question.id, self._text(question)) for question in questions]
        if not explain:
            return turns
        words = [filled(ZERO_SHOT_WORDS, question=question.text) for question in questions]
        return turns + [Turn("answer", q.id, text, write=True) for q, text in zip(questions, words, strict=True)]

    def _text(self, question: Question) -> str:
        expected = question.expected or YES  # "Is the cat undistorted?" expects none
        return filled(self.template, question=question.text, expected=expected)

    def _judgement(self, item: Loaded, readings: Mapping[tuple[str, str], NextWord], usage: Usage) -> Judgement:
        questions = item.questions or ()
        answers = [self._answer(question, readings) for question in questions]
        broken = next((answer for answer in answers if answer.status is not Status.OK), None)
        return Judgement(
            item.image_id,
            item.prompt,
            self.info,
            status=broken.status if broken else Status.OK,
            reason=f"{broken.question_id}: {broken.reason}" if broken else None,
            scores=aspect_scores(questions, answers),
            score_range=self.score_range,
            questions=questions,
            answers=tuple(answers),
            usage=usage,
        )

    def _answer(self, question: Question, readings: Mapping[tuple[str, str], NextWord]) -> Answer:
        masses, share = yes_or_no(self.model, readings["score", question.id])
        if not math.isfinite(share):
            return Answer(question.id, status=Status.UNPARSABLE, reason=NOT_FINITE)
        written = readings.get(("answer", question.id))
        return Answer(
            question.id,
            text=written.text if written else None,
            matches=share >= 0.5 if question.expected is not None else None,
            score=self.score_range[1] * share,
            probabilities=masses,
        )


def zero_shot_judge(
    name: JudgeName,
    weights: Weights,
    quantization: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    decomposer: Decomposer | None = None,
    **options: Any,
) -> ZeroShotJudge:
    """The zero-shot judge of a name `hf:MODEL`.

    Args:
        name, weights: of the model.
        quantization, device, dtype: as `load_parts`.
        decomposer: turns prompts into questions; None: the model's own chat.
        options: `template`, `batch_size`.

    Raises:
        UserError: an option is unknown, or the model cannot be loaded.
    """
    known = ("template", "batch_size", "quantization", "device", "dtype", "decomposer")
    check_options(f"{name}, which judges zero-shot", options, known)
    if "template" in options:
        check_template(options["template"], "question", "expected")
    parts = load_parts(weights, quantization, device, dtype)
    model = AnswerModel(parts.model, parts.processor, parts.precision)
    own = ChatDecomposer(LocalChat(model.model, model.processor, weights.base, weights.revision))
    info = JudgeInfo(name.label, "zero-shot", weights.name, weights.revision)
    return ZeroShotJudge(model, info, decomposer or own, **options)
