"""What a model's reply says, read strictly: a number, a JSON object, the answers to questions. Nothing is guessed.

A reply that does not say it raises `ReplyError` with the status the item or answer gets.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..records import OVERALL, SCORE_RANGE, Answer, Question, Status, Summary

_NUMBER = re.compile(
    r"(?:(?:the\s+|overall\s+|final\s+)*(?:score|rating)\s*(?:is\b|[:=])?\s*)?"  # a label, if any
    r"(?P<number>[+-]?[0-9]+(?:\.[0-9]+)?)"
    r"(?:\s*(?:/|out\s+of)\s*(?P<top>[0-9]+(?:\.0+)?))?"
    r"\s*[.!,;]?",
    re.IGNORECASE,
)
_MARKUP = str.maketrans("", "", "*`_\"'“”")
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL | re.IGNORECASE)


class ReplyError(ValueError):
    """A reply that cannot be used: `status` is UNPARSABLE or OUT_OF_RANGE, `reason` says what is wrong with it."""

    def __init__(self, status: Status, reason: str) -> None:
        self.status, self.reason = status, " ".join(reason.split())
        super().__init__(self.reason)


def parse_score(text: str, score_range: tuple[float, float] = SCORE_RANGE) -> float:
    """The one number that a reply consists of: `8`, `7.5`, `**8**`, `8/10`, `Score: 8 out of 10.` or `{"score": 8}`.

    Anything else (prose, two numbers, another denominator, nan) is not a score.

    Raises:
        ReplyError: UNPARSABLE, or OUT_OF_RANGE for a number outside `score_range`; never clipped.
    """
    stripped = text.strip()
    if stripped.startswith(("{", "```")):
        return check_score(extract_json(stripped).get("score"), score_range)
    match = _NUMBER.fullmatch(stripped.translate(_MARKUP).strip())
    if not match:
        raise ReplyError(Status.UNPARSABLE, f"not a score: {shorten(text)!r}")
    if match["top"] is not None and float(match["top"]) != score_range[1]:
        raise ReplyError(Status.UNPARSABLE, f"a score out of {match['top']}, not out of {score_range[1]:g}")
    return check_score(float(match["number"]), score_range)


def check_score(value: object, score_range: tuple[float, float] = SCORE_RANGE) -> float:
    """A JSON value as a score; text is read by `parse_score`. Raises `ReplyError` as that does."""
    if isinstance(value, str) and not value.lstrip().startswith(("{", "`")):
        return parse_score(value, score_range)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ReplyError(Status.UNPARSABLE, f"not a score: {shorten(json.dumps(value, default=str))}")
    if not score_range[0] <= value <= score_range[1]:
        raise ReplyError(Status.OUT_OF_RANGE, f"score {value:g} is outside {score_range[0]:g}-{score_range[1]:g}")
    return float(value)


def extract_json(text: str) -> dict[str, Any]:
    """The JSON object of a reply: the whole text, a fenced block, or the first object inside prose.

    Raises:
        ReplyError: UNPARSABLE when there is none.
    """
    for candidate in (text, *_FENCE.findall(text)):
        if isinstance(value := _loads(candidate), dict):
            return value
    decoder = json.JSONDecoder()
    for start in (match.start() for match in re.finditer(r"\{", text)):
        try:
            value, _ = decoder.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError):
            continue
        if isinstance(value, dict) and value:
            return value
    raise ReplyError(Status.UNPARSABLE, f"no JSON object in the reply: {shorten(text)!r}")


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None


def parse_answers(record: Mapping[str, Any], questions: Sequence[Question]) -> list[Answer]:
    """One answer a question, in their order, from `{"answers": [...]}` (`prompts.judge_schema`).

    A question without an answer, with two, or with one that does not fit gets a failed answer; answers to questions
    that were not asked are left out.

    Raises:
        ReplyError: UNPARSABLE when `answers` is not a list of objects.
    """
    entries = record.get("answers")
    if not isinstance(entries, list) or not all(isinstance(item, dict) for item in entries):
        raise ReplyError(Status.UNPARSABLE, "the reply has no list of answers")
    by_id: dict[object, list[dict[str, Any]]] = {}
    for item in entries:
        by_id.setdefault(str(item.get("question_id")), []).append(item)
    return [_answer(question, by_id.get(question.id, [])) for question in questions]


def _answer(question: Question, entries: Sequence[Mapping[str, Any]]) -> Answer:
    if len(entries) != 1:
        reason = "answered more than once" if entries else "not answered"
        return Answer(question.id, status=Status.UNPARSABLE, reason=reason)
    text, explanation = (_text(entries[0].get(key)) for key in ("answer", "explanation"))
    matches = entries[0].get("matches")
    kept: dict[str, Any] = {"text": text, "explanation": explanation}
    if not isinstance(matches, bool):
        if question.expected is not None:
            reason = f"matches is {shorten(str(matches))!r}, neither true nor false"
            return Answer(question.id, status=Status.UNPARSABLE, reason=reason, **kept)
        matches = None
    try:
        return Answer(question.id, matches=matches, score=check_score(entries[0].get("score")), **kept)
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
        if isinstance(item, dict):
            summaries[aspect] = parse_summary(aspect, item)
    return summaries


def parse_summary(aspect: str, record: Mapping[str, Any]) -> Summary:
    """One summary; its score is None where it is missing or unusable."""
    try:
        score = check_score(record.get("score"))
    except ReplyError:
        score = None
    return Summary(aspect, _text(record.get("explanation")), score)


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def shorten(text: str, limit: int = 80) -> str:
    """The text in one line, cut to `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
