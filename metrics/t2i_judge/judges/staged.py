"""The staged protocol: each question has its own turns (answer, explain, score), all at once; then summaries.

T2I-Eval's order of questions (arXiv 2411.15488), without its waiting: the critical path of an image is five calls.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..inputs.images import EncodedImage
from ..prompts import (
    REFERENCE_NOTE,
    STAGED_ANSWER,
    STAGED_EXPLAIN,
    STAGED_SCORE,
    SUMMARY_SCHEMA,
    TEACHER_SUMMARISE,
    inside,
)
from ..records import OVERALL, Answer, Question, Summary, Usage
from ..scoring import asked_aspects
from ..served.asking import Outcome, ask_json, ask_score, ask_words
from ..served.backend import ChatBackend
from ..served.concurrency import gather_all
from ..served.replies import check_score, parse_summary
from ..served.wire import Message

_WORDS = 200  # tokens of an answer or an explanation
_SUMMARY = 400
_MATCHING = 5.0  # a question with an expected answer matches from this score on


def calls_of(questions: Sequence[Question]) -> int:
    """Calls for one image: two per appearance question, three per other question, and the summaries."""
    turns = sum(2 if question.expected is None else 3 for question in questions)
    return turns + len({question.aspect for question in questions}) + 1


async def answer_all(
    backend: ChatBackend, questions: Sequence[Question], images: tuple[EncodedImage, ...]
) -> tuple[list[Answer], Usage, str | None]:
    """Answers in the order of the questions, their usage, and the model that the server named."""
    results = await gather_all(_answer(backend, question, images) for question in questions)
    usage = sum((usage for _, usage, _ in results), Usage())
    return [answer for answer, _, _ in results], usage, next((model for *_, model in results if model), None)


async def _answer(
    backend: ChatBackend, question: Question, images: tuple[EncodedImage, ...]
) -> tuple[Answer, Usage, str | None]:
    """Two calls about appearance (the answer explains itself), three if an answer is expected."""
    turns = [Message("user", _note(images) + STAGED_ANSWER.format(question=inside(question.text)), images)]
    answered = await ask_words(backend, turns, _WORDS)
    usage, explained = answered.usage, answered
    if answered.value is not None and question.expected is not None:
        turns += [_model(answered.value), _user(STAGED_EXPLAIN.format(expected=inside(question.expected)))]
        explained = await ask_words(backend, turns, _WORDS)
        usage += explained.usage
    text = _stripped(answered.value)
    if explained.value is None:
        return Answer(question.id, text, status=explained.status, reason=explained.reason), usage, answered.model
    turns += [_model(explained.value), _user(STAGED_SCORE)]
    scored = await ask_score(backend, turns)
    return (
        Answer(
            question.id,
            text=text,
            matches=None if question.expected is None or scored.value is None else scored.value >= _MATCHING,
            score=scored.value,
            explanation=_stripped(explained.value),
            status=scored.status,
            reason=scored.reason,
        ),
        usage + scored.usage,
        answered.model,
    )


async def summarise_all(
    backend: ChatBackend,
    prompt: str,
    questions: Sequence[Question],
    answers: Sequence[Answer],
    images: tuple[EncodedImage, ...],
) -> tuple[dict[str, Summary], Usage]:
    """A summary of each aspect with questions and of the whole. A failed summary is left out."""
    outcomes = await gather_all(
        _summarise(backend, aspect, prompt, questions, answers, images)
        for aspect in (*asked_aspects(questions), OVERALL)
    )
    summaries = {outcome.value.aspect: outcome.value for outcome in outcomes if outcome.value}
    return summaries, sum((outcome.usage for outcome in outcomes), Usage())


async def _summarise(
    backend: ChatBackend,
    aspect: str,
    prompt: str,
    questions: Sequence[Question],
    answers: Sequence[Answer],
    images: tuple[EncodedImage, ...],
) -> Outcome[Summary]:
    results = [
        {
            "question_id": question.id,
            "aspect": question.aspect,
            "question": question.text,
            "expected": question.expected,
            "depends_on": list(question.depends_on),
            "answer": answer.text,
            "matches": answer.matches,
            "explanation": answer.explanation,
            "score": answer.score,
        }
        for question, answer in zip(questions, answers, strict=True)
        if aspect in (question.aspect, OVERALL)
    ]
    text = TEACHER_SUMMARISE.format(
        aspect=aspect, prompt=inside(prompt), results=inside(json.dumps(results, ensure_ascii=False))
    )

    def read(record: dict[str, Any]) -> tuple[Summary, None]:
        if record["score"] is not None:
            check_score(record["score"])
        return parse_summary(aspect, record), None

    return await ask_json(
        backend,
        [Message("user", _note(images) + text, images)],
        ("summary", SUMMARY_SCHEMA),
        read,
        _SUMMARY,
        2 * _SUMMARY,
    )


def _note(images: tuple[EncodedImage, ...]) -> str:
    return REFERENCE_NOTE if len(images) > 1 else ""


def _user(text: str) -> Message:
    return Message("user", text)


def _model(text: str) -> Message:
    return Message("assistant", text)


def _stripped(text: str | None) -> str | None:
    return text.strip() or None if text else None
