"""`vqa+hf:MODEL`: VQAScore (arXiv 2404.01291), how likely a model answers yes when asked whether the picture fits.

The score is in [0, 1]: the probability, over the whole vocabulary, of all single tokens that spell yes. The
probabilities of yes and of no are kept. If they are less than one half together, the model has not answered, and the
item is skipped.

For items with questions, or with a decomposer, it computes Soft-TIFA as GenEval 2 does (arXiv 2512.16853). Each
question is asked in its own words. Its score is the probability of the tokens that spell the expected answer (a number
as a word and as digits), and an item's score is their arithmetic or geometric mean. An answer of several tokens cannot
be scored like this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import UserError, quoted
from ..kept import Kept
from ..local.answers import AnswerModel, NextWord
from ..local.model import Turn
from ..local.spelling import spellings, tokens_of
from ..local.weights import find_weights, load_parts
from ..prompts import SOFT_TIFA, VQA, check_template, filled, template_hash
from ..records import (
    EXPECTED,
    NO,
    OVERALL,
    PERSONALISED_ASPECTS,
    YES,
    Answer,
    JudgeInfo,
    Judgement,
    Question,
    Status,
    Usage,
)
from ..scoring import aspect_scores, soft_tifa
from .decomposing import Decomposer
from .local import Loaded
from .names import JudgeName
from .words import NOT_FINITE, WordJudge, shown_tokens, yes_or_no

TEMPLATE = VQA  # has {prompt}
MEANS = ARITHMETIC, GEOMETRIC = ("arithmetic", "geometric")
RANGE = (0.0, 1.0)
LEAST = 0.5  # of yes + no, for an answer to be one
_PROMPT_FOLLOWING = PERSONALISED_ASPECTS[1]


def vqa_question(text: str) -> Question:
    """The one question of VQAScore."""
    return Question("q1", _PROMPT_FOLLOWING, (), text, YES)


def vqa_answer(masses: Mapping[str, float], normalised: bool) -> Answer:
    """The answer, from the probabilities of yes and no. It is skipped if the model says neither."""
    yes, no = masses[YES], masses[NO]
    if yes + no < LEAST:
        reason = f"yes and no together are {yes + no:.2g} of what the model would say, less than {LEAST}"
        return Answer("q1", status=Status.SKIPPED, reason=reason, probabilities=dict(masses))
    score = yes / (yes + no) if normalised else yes
    return Answer("q1", matches=yes >= no, score=min(score, 1.0), probabilities=dict(masses))


def vqa_fields(question: Question, answer: Answer) -> dict[str, Any]:
    """Fields of the judgement that an answer makes."""
    return {
        "status": answer.status,
        "reason": answer.reason,
        "scores": aspect_scores([question], [answer]),
        "score_range": RANGE,
        "questions": (question,),
        "answers": (answer,),
    }


def soft_tifa_fields(questions: Sequence[Question], answers: Sequence[Answer], mean: str) -> dict[str, Any]:
    """Fields of the judgement that the answers to an item's own questions make; it is OK when every answer is."""
    broken = next((answer for answer in answers if answer.status is not Status.OK), None)
    means = soft_tifa(answers)
    note = f"Soft-TIFA: arithmetic mean {means[0]:.4f}, geometric mean {means[1]:.4f}" if means else None
    return {
        "status": broken.status if broken else Status.OK,
        "reason": f"{broken.question_id}: {broken.reason}" if broken else None,
        "scores": {OVERALL: means[MEANS.index(mean)] if means else None},
        "score_range": RANGE,
        "questions": tuple(questions),
        "answers": tuple(answers),
        "rationale": note,
    }


def label_of(name: JudgeName, normalised: bool, mean: str) -> str:
    """The judge's name in judgements: its name, and whatever differs from the default."""
    if mean not in MEANS:
        raise UserError(f"The mean {quoted(mean)} is unknown", "There are two", f"Use one of {MEANS}")
    return name.label + " (normalised)" * normalised + f" ({mean} mean)" * (mean != ARITHMETIC)


class VQAJudge(WordJudge):
    """A model on this machine that says yes or no to the whole prompt, or answers an item's own questions.

    Args:
        model: the loaded model.
        info: who judges.
        template: what is asked, with {prompt}.
        decomposer: turns prompts into questions for Soft-TIFA; None: only items with questions of their own have any.
        normalised: score by yes / (yes + no).
        mean: how to average the questions' scores, "arithmetic" or "geometric".
        options: as `LocalJudge`.

    Raises:
        UserError: the template lacks its place.
    """

    score_range = RANGE

    def __init__(
        self,
        model: AnswerModel,
        info: JudgeInfo,
        template: str = TEMPLATE,
        decomposer: Decomposer | None = None,
        normalised: bool = False,
        mean: str = ARITHMETIC,
        **options: Any,
    ) -> None:
        check_template(template, "prompt")
        super().__init__(model, info, template, decomposer, **options)
        self.normalised, self.mean = normalised, mean
        tokens = "single tokens that spell the expected answer"
        asked = {"template": SOFT_TIFA, "template_hash": template_hash(SOFT_TIFA), "tokens": tokens}
        self.questioned = replace(self.info, **asked)  # who judges where an item has questions
        self._spelled: Kept[str, dict[int, str]] = Kept()

    @property
    def template_hashes(self) -> tuple[str | None, ...]:
        """Of prompts, and of questions."""
        return self.info.template_hash, self.questioned.template_hash

    def _turns(self, item: Loaded, explain: bool) -> list[Turn]:
        """There is nothing to explain."""
        if item.questions is None:
            return [Turn("vqa", OVERALL, filled(self.template, prompt=item.prompt))]
        return [Turn("answer", q.id, filled(SOFT_TIFA, question=q.text)) for q in item.questions]

    def _judgement(self, item: Loaded, readings: Mapping[tuple[str, str], NextWord], usage: Usage) -> Judgement:
        if item.questions is not None:
            answers = [self._answer(question, readings["answer", question.id]) for question in item.questions]
            fields = soft_tifa_fields(item.questions, answers, self.mean)
            return Judgement(item.image_id, item.prompt, self.questioned, usage=usage, **fields)
        question = vqa_question(filled(self.template, prompt=item.prompt))
        masses, share = yes_or_no(self.model, readings["vqa", OVERALL])
        broken = Answer("q1", status=Status.UNPARSABLE, reason=NOT_FINITE)
        answer = vqa_answer(masses, self.normalised) if math.isfinite(share) else broken
        return Judgement(item.image_id, item.prompt, self.info, usage=usage, **vqa_fields(question, answer))

    def _answer(self, question: Question, word: NextWord) -> Answer:
        """How likely the expected answer is to come next."""
        expected = question.expected or YES  # "Is the cat undistorted?" expects none
        tokens = self._tokens(expected)
        if not tokens:
            reason = f"no single token of this model spells the answer {quoted(expected)}"
            return Answer(question.id, status=Status.SKIPPED, reason=reason)
        mass = word.mass(tokens)
        if math.isnan(mass):
            return Answer(question.id, status=Status.UNPARSABLE, reason=NOT_FINITE)
        score = min(math.exp(mass), 1.0)
        kept = f"tokens {shown_tokens(tokens)}"
        return Answer(question.id, score=score, explanation=kept, probabilities={EXPECTED: score})

    def _tokens(self, expected: str) -> dict[int, str]:
        tokens = self._spelled.get(expected)
        if tokens is None:
            self._spelled[expected] = tokens = tokens_of(self.model.prompter.tokenizer, spellings(expected))
        return tokens


def vqa_judge(
    name: JudgeName,
    quantization: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    template: str = TEMPLATE,
    decomposer: Decomposer | None = None,
    normalised: bool = False,
    mean: str = ARITHMETIC,
    batch_size: int = 16,
) -> VQAJudge:
    """The judge of a name `vqa+hf:MODEL`.

    Args:
        name: of the judge.
        quantization, device, dtype: as `load_parts`.
        template, decomposer, normalised, mean, batch_size: as `VQAJudge`.

    Raises:
        UserError: the model cannot be loaded, or the template has no {prompt}.
    """
    check_template(template, "prompt")
    label = label_of(name, normalised, mean)
    weights = find_weights(name.model, name.revision)
    if weights.adapter is not None:
        raise UserError(
            f"There is no judge {quoted(str(name))}",
            "Its adapter was trained to answer with levels",
            "Use its base, or leave out vqa+",
        )
    parts = load_parts(weights, quantization, device, dtype)
    model = AnswerModel(parts.model, parts.processor, parts.precision)
    info = JudgeInfo(label, "VQAScore", weights.name, weights.revision)
    return VQAJudge(model, info, template, decomposer, normalised, mean, batch_size=batch_size)
