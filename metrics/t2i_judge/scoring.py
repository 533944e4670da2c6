"""From answers to scores: dependency rule, aspect scores, overall. The only place where scores are aggregated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from .records import ASPECTS, OVERALL, PERSONALISED_ASPECTS, Answer, Question, Status


def dependency_scores(matches: Mapping[str, bool], parents: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Score each question 1.0 or 0.0 under DSG's dependency rule (arXiv 2310.18235, section 3.1).

    Args:
        matches: question id -> does its own (raw) answer match?
        parents: question id -> ids it depends on; ids that are not in `matches` are ignored.

    Returns:
        question id -> 1.0 if it matches and all its parents' *raw* answers match, else 0.0. Only direct parents are
        looked at, as upstream does.
    """
    return {
        question: float(own and all(matches.get(parent, True) for parent in parents.get(question, ())))
        for question, own in matches.items()
    }


def question_scores(questions: Sequence[Question], answers: Sequence[Answer]) -> dict[str, float | None]:
    """Score of every question after the dependency rule: 0 if a parent does not match, None if the question failed.

    If a parent has no answer, the question keeps its own score: what is unknown does not count against it.
    """
    by_id = {answer.question_id: answer for answer in answers}
    scores: dict[str, float | None] = {}
    for question in questions:
        answer = by_id.get(question.id)
        absent = any((parent := by_id.get(p)) is not None and parent.matches is False for p in question.depends_on)
        if answer is None or answer.status is not Status.OK:
            scores[question.id] = None
        else:
            scores[question.id] = 0.0 if absent else answer.score
    return scores


def aspects_of(questions: Sequence[Question]) -> tuple[str, ...]:
    """`PERSONALISED_ASPECTS` where the questions are about those, else `ASPECTS`."""
    personalised = any(question.aspect in PERSONALISED_ASPECTS for question in questions)
    return PERSONALISED_ASPECTS if personalised else ASPECTS


def asked_aspects(questions: Sequence[Question]) -> list[str]:
    """The aspects that have questions, in the usual order."""
    return [aspect for aspect in aspects_of(questions) if any(question.aspect == aspect for question in questions)]


def aspect_scores(questions: Sequence[Question], answers: Sequence[Answer]) -> dict[str, float | None]:
    """Aspect -> mean of its questions' scores, plus `overall`, the mean over the aspects that the prompt asks about.

    The aspects are `ASPECTS`, or `PERSONALISED_ASPECTS` where the questions are about those. None where an aspect has
    no question or any of its questions failed: a mean over the questions that happened to succeed would be another
    quantity. `overall` is None when any asked aspect is None.
    """
    by_question = question_scores(questions, answers)
    scores = {
        aspect: _mean(by_question[q.id] for q in questions if q.aspect == aspect) for aspect in aspects_of(questions)
    }
    scores[OVERALL] = _mean(scores[aspect] for aspect in asked_aspects(questions))
    return scores


def soft_tifa(answers: Sequence[Answer]) -> tuple[float, float] | None:
    """Soft-TIFA of GenEval 2 (arXiv 2512.16853): arithmetic and geometric mean of the answers' scores, in [0, 1].

    All questions count equally, whatever their aspects and dependencies. None without questions, or if one has no
    score.
    """
    scores = [answer.score for answer in answers if answer.score is not None]
    if not scores or len(scores) < len(answers):
        return None
    geometric = math.exp(sum(map(math.log, scores)) / len(scores)) if min(scores) > 0 else 0.0
    return sum(scores) / len(scores), geometric


def _mean(values: Iterable[float | None]) -> float | None:
    known = list(values)
    if not known or any(value is None for value in known):
        return None
    return sum(value for value in known if value is not None) / len(known)
