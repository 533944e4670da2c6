"""Reads a model's reply strictly: a number, words, or the answers to questions. Nothing is guessed.

Any other reply raises `ReplyError` with the status that the item or answer gets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..records import OVERALL, SCORE_RANGE, Answer, Question, Status, Summary
from .refusals import refuses
from .thinking import bare, spoken
from .verdicts import ReplyError, as_json, plain_number, read_object
from .words import clean, shorten

_QUOTES = {"*": "*", "_": "_", "`": "`", '"': '"', "'": "'", "“": "”"}  # around all of a reply, never within it
_NUMBER = re.compile(
    r"(?:(?:\*\*|__)?(?:(?:the|overall|final)\s++){0,3}(?:score|rating)\s*+"  # a label, if any
    r"(?:is\b|[:=])?(?:\*\*|__)?\s*+[:=]?\s*+)?"
    r"(?P<mark>[*_`]{1,2})?(?P<number>[+-]?[0-9]+(?:\.[0-9]+)?)(?(mark)(?P=mark))"
    r"(?:\s*(?:/|out\s+of)\s*(?P<top>[0-9]+(?:\.0+)?))?"
    r"\s*[.!,;]?",
    re.IGNORECASE,
)
_RIGHT = 8.0  # a score from here on says "right and good" (`prompts.TEACHER_JUDGE`)
_LONGEST_NUMBER = 500  # characters, its label and marks included


def parse_words(text: str) -> str:
    """What a reply in words says, without what was thought; a reply without thoughts is returned as it is.

    Raises:
        ReplyError: UNPARSABLE when there are none, REFUSED when they decline.
    """
    words = spoken(text)
    if not words.strip():
        raise ReplyError(Status.UNPARSABLE, "the reply is nothing but thought")
    if refuses(words):
        raise ReplyError(Status.REFUSED, f"refused: {shorten(words, 200)}")
    return words if words is text else words.strip()


def parse_score(text: str, score_range: tuple[float, float] = SCORE_RANGE) -> float:
    """The number of a reply like `8`, `7.5`, `**8**`, `8/10`, `Score: 8 out of 10.` or `{"score": 8}`.

    Anything else (prose, two numbers, another denominator, nan) is not a score.

    Raises:
        ReplyError: UNPARSABLE, OUT_OF_RANGE for a number outside `score_range`, never clipped; or REFUSED.
    """
    stripped = bare(parse_words(text))
    if stripped.startswith("{"):
        return check_score(read_object(stripped)[0].get("score"), score_range)
    match = _NUMBER.fullmatch(_unquoted(stripped)) if len(stripped) <= _LONGEST_NUMBER else None
    if not match:
        raise ReplyError(Status.UNPARSABLE, f"not a score: {shorten(text)!r}")
    if match["top"] is not None and float(match["top"]) != score_range[1]:
        raise ReplyError(Status.UNPARSABLE, f"a score out of {match['top']}, not out of {score_range[1]:g}")
    return check_score(float(match["number"]), score_range)


def _unquoted(text: str) -> str:
    """A short text without the quotes and emphasis that stand around all of it."""
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    return text


def check_score(value: object, score_range: tuple[float, float] = SCORE_RANGE) -> float:
    """A JSON number, or a text that is one plain number, as a score. Raises `ReplyError` as `parse_score` does."""
    number = plain_number(value)
    if number is None:
        raise ReplyError(Status.UNPARSABLE, f"not a score: {shorten(as_json(value))}")
    if not score_range[0] <= number <= score_range[1]:
        reason = f"score {float(number):g} is outside {score_range[0]:g}-{score_range[1]:g}"
        raise ReplyError(Status.OUT_OF_RANGE, reason)
    return float(number)


def extract_json(text: str) -> dict[str, Any]:
    """The object that a reply says (`verdicts.read_object`). Raises `ReplyError`."""
    return read_object(text)[0]


def parse_answers(record: Mapping[str, Any], questions: Sequence[Question]) -> list[Answer]:
    """One answer per question, in their order, from `{"answers": [...]}` (`prompts.judge_schema`).

    A question without an answer, with two, or with one that does not fit gets a failed answer; answers to questions
    that were not asked are left out.

    Raises:
        ReplyError: UNPARSABLE when `answers` is not a list of objects.
    """
    entries = record.get("answers")
    if not isinstance(entries, list) or not all(isinstance(item, dict) for item in entries):
        raise ReplyError(Status.UNPARSABLE, "the reply has no list of answers")
    by_id: dict[str, list[dict[str, Any]]] = {}
    for item in entries:
        if isinstance(name := item.get("question_id"), str):
            by_id.setdefault(name, []).append(item)
    return [_answer(question, by_id.get(question.id, [])) for question in questions]


def _answer(question: Question, entries: Sequence[Mapping[str, Any]]) -> Answer:
    if len(entries) != 1:
        reason = "answered more than once" if entries else "not answered"
        return Answer(question.id, status=Status.UNPARSABLE, reason=reason)
    text, explanation = (to_text(entries[0].get(key)) for key in ("answer", "explanation"))
    matches = entries[0].get("matches")
    kept: dict[str, Any] = {"text": text, "explanation": explanation}
    if declining := next((words for words in (text, explanation) if words and refuses(words)), None):
        return Answer(question.id, status=Status.REFUSED, reason=f"refused: {shorten(declining, 200)}", **kept)
    if not isinstance(matches, bool):
        if question.expected is not None:
            reason = f"matches is {shorten(as_json(matches))}, neither true nor false"
            return Answer(question.id, status=Status.UNPARSABLE, reason=reason, **kept)
        matches = None
    try:
        score = check_score(entries[0].get("score"))
        if question.expected is not None and matches is False and score >= _RIGHT:
            raise ReplyError(Status.UNPARSABLE, f"matches is false, and the score is {score:g}: one of them is wrong")
        return Answer(question.id, matches=matches, score=score, **kept)
    except ReplyError as error:
        return Answer(question.id, matches=matches, status=error.status, reason=error.reason, **kept)


def parse_summaries(record: Mapping[str, Any], asked: Sequence[str]) -> dict[str, Summary]:
    """The usable ones of `{"summaries": {aspect: {"explanation", "score"}}}` for the aspects asked about and overall.

    What the model wrote about the whole is kept beside the aggregate, so a summary that does not fit is left out
    (its score then is None), and fails nothing.
    """
    entries = record.get("summaries")
    summaries = {}
    for aspect in (*asked, OVERALL):
        item = entries.get(aspect) if isinstance(entries, dict) else None
        if isinstance(item, dict) and not refuses(to_text(item.get("explanation")) or ""):
            summaries[aspect] = parse_summary(aspect, item)
    return summaries


def parse_summary(aspect: str, record: Mapping[str, Any]) -> Summary:
    """One summary; its score is None where it is missing or unusable."""
    try:
        score = check_score(record.get("score"))
    except ReplyError:
        score = None
    return Summary(aspect, to_text(record.get("explanation")), score)


def to_text(value: object) -> str | None:
    """A JSON value as words: texts, and numbers and truth values as JSON writes them; None for all else."""
    if isinstance(value, str):
        return clean(value).strip() or None
    is_plain = isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
    return as_json(value) if is_plain else None
