"""`vqa+openai:MODEL`: VQAScore and Soft-TIFA (see `vqa`) by the log-probabilities of a server's first token.

A server names only the likeliest tokens, at most twenty. Other tokens count as nothing, so a probability is never too
large. If a server gives no log-probabilities, its items are skipped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..decompose import check
from ..inputs.images import EncodedImage
from ..local.spelling import NO, YES, spellings
from ..prompts import SOFT_TIFA, check_template, filled, inside, template_hash, wants_reference
from ..records import EXPECTED, Answer, JudgeInfo, Judgement, Question, Status, Usage
from ..served.asking import Outcome
from ..served.client import OpenAIBackend
from ..served.concurrency import gather_all
from ..served.wire import Message, Reply
from .base import Candidate, Judge
from .decomposing import Decomposer
from .names import JudgeName
from .served import ServedJudge, served_backend
from .vqa import ARITHMETIC, RANGE, TEMPLATE, label_of, soft_tifa_fields, vqa_answer, vqa_fields, vqa_question

_TOKENS = 16  # of a reply; what counts is its first one
_LIKELIEST = (20, 5)  # how many are asked for; some servers name fewer
_SILENT = "the server gives no logprobs"


class ServedVQAJudge(ServedJudge):
    """A served model that says yes or no to the whole prompt, or answers an item's own questions.

    Args:
        backend: the served model.
        name: of the judge.
        template, decomposer, normalised, mean: as `vqa.VQAJudge`.

    Raises:
        UserError: the template lacks its place.
    """

    backend: OpenAIBackend
    score_range = RANGE

    def __init__(
        self,
        backend: OpenAIBackend,
        name: str,
        template: str = TEMPLATE,
        decomposer: Decomposer | None = None,
        normalised: bool = False,
        mean: str = ARITHMETIC,
    ) -> None:
        self.template = check_template(template, "prompt")
        tokens = f"yes, no: as stripped and lowercased among the {_LIKELIEST[0]} likeliest tokens"
        asked = {"template": template, "tokens": tokens, "way": "logprobs"}
        info = JudgeInfo(name, "VQAScore, openai", backend.model, backend.snapshot, template_hash(template), **asked)
        super().__init__(backend, info)
        self.questioned = replace(info, template=SOFT_TIFA, template_hash=template_hash(SOFT_TIFA))
        self.decomposer, self.normalised, self.mean = decomposer, normalised, mean
        self._likeliest = _LIKELIEST[0]

    @property
    def template_hashes(self) -> tuple[str | None, ...]:
        """Of prompts, and of questions."""
        return self.info.template_hash, self.questioned.template_hash

    @property
    def notes(self) -> list[str]:
        """The server's, and the decomposer's."""
        return [*super().notes, *getattr(self.decomposer, "notes", [])]

    def check(self) -> None:
        """Raise `UserError` if the server or the decomposer cannot be reached."""
        super().check()
        if isinstance(self.decomposer, Judge):
            self.decomposer.check()

    def interrupt(self) -> None:
        """Let the calls under way end, the decomposer's too, and begin no more of them."""
        super().interrupt()
        if isinstance(self.decomposer, Judge):
            self.decomposer.interrupt()

    def close(self) -> None:
        """Close the backend and the decomposer."""
        super().close()
        if isinstance(self.decomposer, Judge):
            self.decomposer.close()

    def _score(self, items: Sequence[Candidate], explain: bool, progress: bool) -> list[Judgement]:
        wanted = [item.prompt for item in items if item.questions is None and item.prompt] if self.decomposer else []
        prompts = list(dict.fromkeys(wanted))
        outcomes = dict(zip(prompts, self.decomposer.decompositions(prompts, progress))) if self.decomposer else {}
        asked = [self._with_questions(item, outcomes) for item in items]
        judged = iter(super()._score([item for item in asked if isinstance(item, Candidate)], explain, progress))
        return [next(judged) if isinstance(item, Candidate) else item for item in asked]

    def _with_questions(
        self, item: Candidate, outcomes: Mapping[str, Outcome[list[Question]]]
    ) -> Candidate | Judgement:
        """The item with its questions, or the judgement that says why it should have some and has none."""
        if item.questions is not None or item.prompt not in outcomes:
            return item
        outcome = outcomes[item.prompt]
        if outcome.value is None:
            return self._failed(item, outcome.status, f"decomposition: {outcome.reason}", usage=outcome.usage)
        return replace(item, questions=outcome.value)

    async def _judge(self, item: Candidate, images: tuple[EncodedImage, ...]) -> Judgement:
        if item.questions is not None:
            return await self._soft_tifa(item, item.questions, images)
        text = filled(self.template, prompt=inside(item.prompt))
        likeliest, reply = await self._ask(text, images)
        if likeliest is None:
            return self._failed(item, reply.status, str(reply.reason), usage=reply.usage)
        masses = {word: _mass(likeliest, (word,)) for word in (YES, NO)}
        question = vqa_question(text)
        fields = vqa_fields(question, vqa_answer(masses, self.normalised))
        return Judgement(str(item.image_id), item.prompt, self._named(reply.model), usage=reply.usage, **fields)

    async def _soft_tifa(
        self, item: Candidate, questions: Sequence[Question], images: tuple[EncodedImage, ...]
    ) -> Judgement:
        try:
            check(questions)
        except ValueError as error:
            return self._failed(item, Status.SKIPPED, f"questions: {error}")
        if any(map(wants_reference, questions)):
            return self._failed(item, Status.SKIPPED, "Soft-TIFA cannot ask questions about a reference")
        asked = [self._ask(filled(SOFT_TIFA, question=inside(question.text)), images) for question in questions]
        replies = await gather_all(asked)
        answers = [_answer(question, *reply) for question, reply in zip(questions, replies, strict=True)]
        usage = sum((reply.usage for _, reply in replies), Usage())
        info = replace(self.questioned, revision=self._named(replies[0][1].model).revision)
        fields = soft_tifa_fields(questions, answers, self.mean)
        return Judgement(str(item.image_id), item.prompt, info, usage=usage, **fields)

    async def _ask(self, text: str, images: tuple[EncodedImage, ...]) -> tuple[Mapping[str, float] | None, Reply]:
        """The likeliest first tokens with their log-probabilities, and the reply; None if there are none."""
        message = Message("user", text, images[:1])
        while True:
            number = self._likeliest
            beside = {"logprobs": True, "top_logprobs": number}
            reply = await self.backend.ask([message], _TOKENS, beside=beside)
            refused = reply.text is None and "logprobs" in str(reply.reason)
            if not refused or number == _LIKELIEST[-1]:
                break
            self._likeliest = _LIKELIEST[-1]  # fewer may be taken
        if reply.text is not None and not reply.likeliest:
            return None, replace(reply, text=None, status=Status.SKIPPED, reason=_SILENT)
        if refused:
            return None, replace(reply, status=Status.SKIPPED, reason=f"{_SILENT}: {reply.reason}")
        return reply.likeliest, reply


def _mass(likeliest: Mapping[str, float], words: Sequence[str]) -> float:
    """Probability of the tokens that are one of the words, stripped and lowercased."""
    shares = (math.exp(value) for token, value in likeliest.items() if token.strip().lower() in words)
    return min(sum(shares), 1.0)


def _answer(question: Question, likeliest: Mapping[str, float] | None, reply: Reply) -> Answer:
    if likeliest is None:
        return Answer(question.id, status=reply.status, reason=reply.reason)
    score = _mass(likeliest, spellings(question.expected or YES))
    return Answer(question.id, text=reply.text, score=score, probabilities={EXPECTED: score})


def served_vqa_judge(
    name: JudgeName,
    template: str = TEMPLATE,
    decomposer: Decomposer | None = None,
    normalised: bool = False,
    mean: str = ARITHMETIC,
    **options: Any,
) -> ServedVQAJudge:
    """The judge of a name `vqa+openai:MODEL[@BASE_URL]`; `options` as `served_backend`, the rest as `vqa.vqa_judge`."""
    check_template(template, "prompt")
    label = label_of(name, normalised, mean)
    return ServedVQAJudge(served_backend(name, **options), label, template, decomposer, normalised, mean)
