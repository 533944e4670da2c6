"""A served model as a judge: `openai:MODEL[@BASE_URL]`. The same class is the teacher of a distillation.

A prompt is decomposed once, without any image; then one structured call answers, explains, scores and summarises
everything about an image (`protocol="structured"`), or each question has its own turns (`"staged"`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

from ..decompose import check
from ..errors import UserError, quoted
from ..inputs.images import EncodedImage
from ..prompts import (
    NO_REFERENCE,
    REFERENCE_NOTE,
    STAGED_HASH,
    TEACHER_HASH,
    TEACHER_JUDGE,
    inside,
    judge_schema,
    questions_json,
    wants_reference,
)
from ..records import (
    OVERALL,
    Answer,
    JudgeInfo,
    Judgement,
    Question,
    Status,
    Summary,
    Usage,
    count_statuses,
)
from ..scoring import asked_aspects, aspect_scores, aspects_of
from ..served.asking import Outcome, ask_json
from ..served.client import OpenAIBackend
from ..served.replies import parse_answers, parse_summaries
from ..served.wire import Message
from ..wording import counted
from .base import Candidate
from .decomposing import decomposed
from .names import JudgeName
from .secret_ids import with_secret_ids
from .served import ServedJudge, served_backend
from .staged import answer_all, summarise_all

T = TypeVar("T")
R = TypeVar("R")
Protocol = Literal["structured", "staged"]
MAX_TOKENS = 4096
_TOKENS = 500  # of a reply, and as many again for each question:
_TOKENS_A_QUESTION = 150


class OpenAIJudge(ServedJudge):
    """`openai:MODEL`: questions about the image, each answered, explained and scored from 0 to 10.

    Args:
        backend: the served model.
        name: the judge's name in its results; None: openai:MODEL.
        protocol: "structured" (one call per image) or "staged" (turns for each question, concurrently).
        max_tokens: most tokens of one structured reply.
        personalised: ask about a subject and its reference (`PERSONALISED_ASPECTS`); every item needs a reference.
        secret_ids: give the questions ids that no image can know (`secret_ids`); structured only.
    """

    backend: OpenAIBackend

    def __init__(
        self,
        backend: OpenAIBackend,
        name: str | None = None,
        protocol: Protocol = "structured",
        max_tokens: int = MAX_TOKENS,
        personalised: bool = False,
        secret_ids: bool = False,
    ) -> None:
        if protocol not in ("structured", "staged"):
            raise UserError(
                f"The protocol {quoted(protocol)} is unknown", "There are two protocols", 'Use "structured" or "staged"'
            )
        if secret_ids and protocol == "staged":
            raise UserError(
                "Secret ids cannot be used with the staged protocol",
                "Its replies have no ids",
                "Leave out one of the two",
            )
        self.protocol, self.max_tokens, self.personalised = protocol, max_tokens, personalised
        self.secret_ids = secret_ids
        version = TEACHER_HASH if protocol == "structured" else STAGED_HASH
        name = name or f"openai:{backend.model}"
        super().__init__(backend, JudgeInfo(name, "openai", backend.model, backend.snapshot, version))

    def decompose(self, prompts: Sequence[str], progress: bool = False) -> list[list[Question]]:
        """The questions of each prompt; an empty list if the decomposition failed (see `decompositions`)."""
        return [outcome.value or [] for outcome in self.decompositions(prompts, progress)]

    def decompositions(self, prompts: Sequence[str], progress: bool = False) -> list[Outcome[list[Question]]]:
        """The questions of each prompt, or the status and reason why there are none. One call per distinct prompt."""
        return self._map(self._decompose, prompts, progress)

    async def _decompose(self, prompt: str) -> Outcome[list[Question]]:
        return await decomposed(self.backend, prompt, self.max_tokens, self.personalised)

    async def _judge(self, item: Candidate, images: tuple[EncodedImage, ...]) -> Judgement:
        if self.personalised and len(images) < 2:
            return self._failed(item, Status.SKIPPED, NO_REFERENCE)
        questions = item.questions
        if questions is None:
            outcome = await self._decompose(item.prompt)
            if outcome.value is None:
                reason = f"decomposition: {outcome.reason}"
                return self._failed(item, outcome.status, reason, usage=outcome.usage)
            questions = outcome.value
        try:
            check(questions)
        except ValueError as error:
            return self._failed(item, Status.SKIPPED, f"questions: {error}")
        if len(images) < 2 and any(map(wants_reference, questions)):
            return self._failed(item, Status.SKIPPED, NO_REFERENCE)
        judge = self._structured if self.protocol == "structured" else self._staged
        return await judge(item, questions, images)

    async def _structured(
        self, item: Candidate, questions: Sequence[Question], images: tuple[EncodedImage, ...]
    ) -> Judgement:
        named: Sequence[Question] = questions
        if self.secret_ids:
            named = with_secret_ids(questions, self.backend.cache.secret, item.prompt, images)
        own = {secret.id: question.id for secret, question in zip(named, questions, strict=True)}

        def read(record: dict[str, Any]) -> tuple[tuple[list[Answer], dict[str, Summary]], str | None]:
            answers = parse_answers(record, named)
            broken = [a for a in answers if a.status is not Status.OK]
            problem = f"question {broken[0].question_id}: {broken[0].reason}" if broken else None
            answers = [replace(answer, question_id=own[answer.question_id]) for answer in answers]
            return (answers, parse_summaries(record, asked_aspects(questions))), problem

        text = TEACHER_JUDGE.format(prompt=inside(item.prompt), questions=inside(questions_json(named)))
        note = REFERENCE_NOTE if len(images) > 1 else ""
        tokens = min(self.max_tokens, reply_tokens(len(questions)))
        schema = ("judgement", judge_schema(aspects_of(questions)))
        asked = [Message("user", note + text, images)]
        outcome = await ask_json(self.backend, asked, schema, read, tokens, self.max_tokens, by_parts=True)
        if outcome.value is None:
            return self._failed(item, outcome.status, str(outcome.reason), usage=outcome.usage)
        answers, summaries = outcome.value
        return self._judgement(item, questions, answers, summaries, outcome.usage, outcome.model, outcome.reason)

    async def _staged(
        self, item: Candidate, questions: Sequence[Question], images: tuple[EncodedImage, ...]
    ) -> Judgement:
        answers, usage, model = await answer_all(self.backend, questions, images)
        if any(answer.status is not Status.OK for answer in answers):  # nothing whole to summarise
            return self._judgement(item, questions, answers, {}, usage, model)
        summaries, more = await summarise_all(self.backend, item.prompt, questions, answers, images)
        return self._judgement(item, questions, answers, summaries, usage + more, model)

    def _judgement(
        self,
        item: Candidate,
        questions: Sequence[Question],
        answers: Sequence[Answer],
        summaries: dict[str, Summary],
        usage: Usage,
        model: str | None,
        repair: str | None = None,
    ) -> Judgement:
        """The item is OK if every answer is; else it has the status of the first answer that is not OK."""
        broken = [answer for answer in answers if answer.status is not Status.OK]
        status, reason = Status.OK, repair
        if broken:
            counts = ", ".join(f"{n} {name}" for name, n in count_statuses(a.status for a in broken).items())
            first = f"{broken[0].question_id}: {broken[0].reason}"
            status, reason = broken[0].status, f"{counts} of {counted(len(answers), 'answer')} ({first})"
        whole = summaries.get(OVERALL)
        return Judgement(
            image_id=str(item.image_id),
            prompt=item.prompt,
            judge=self._named(model),
            status=status,
            reason=reason,
            scores=aspect_scores(questions, answers),
            summary_scores={aspect: summary.score for aspect, summary in summaries.items()},
            summary_texts={aspect: summary.explanation for aspect, summary in summaries.items()},
            questions=tuple(questions),
            answers=tuple(answers),
            rationale=whole.explanation if whole else None,
            usage=usage,
        )


def reply_tokens(questions: int) -> int:
    """Length limit of a structured reply to that many questions: two to three times what such replies take."""
    return _TOKENS + _TOKENS_A_QUESTION * questions


def openai_judge(name: JudgeName, **options: Any) -> OpenAIJudge:
    """The judge of a name `openai:MODEL[@BASE_URL]`.

    Args:
        name: of the judge.
        options: as `served_backend`; `protocol` and `secret_ids` as `OpenAIJudge`.

    Raises:
        UserError: an option is unknown, or the backend cannot be made.
    """
    own = {name: options.pop(name) for name in ("protocol", "secret_ids") if name in options}
    return OpenAIJudge(served_backend(name, **options), name.label, **own)
