"""Reads the lines of a run's shards and checks them: a score is a number in its judge's range, or None.

A folder of results may come from a stranger, or from a disk that lost half of it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import read_jsonl
from ..records import OVERALL, SCORE_RANGE, Status

Row = dict[str, Any]
SHARDS = "shards"  # of a run: its folder of lines and their markers
_TEXT, _LIST, _TABLE = (str, type(None)), (list, tuple, type(None)), (dict, type(None))
_TYPES = {
    "image_id": str, "prompt": str, "status": str, "reason": _TEXT, "rationale": _TEXT, "scores": dict,
    "judge": _TABLE, "row": _TABLE, "interval": _TABLE, "images": _LIST, "questions": _LIST, "answers": _LIST,
}  # fmt: skip
_QUESTION = {"id": str, "aspect": str, "text": str, "expected": _TEXT, "entities": (list, tuple), "depends_on": _LIST}
_ANSWER = {
    "question_id": str, "text": _TEXT, "matches": (bool, type(None)), "explanation": _TEXT, "status": str,
    "reason": _TEXT, "score": object,
}  # fmt: skip
_STATUSES = frozenset(status.value for status in Status)
_TOLERANCE = 1e-6  # of the range: a cosine of 1.0000001 is one


def run_lines(folder: Path) -> Iterator[Row]:
    """The lines of every shard of a run's folder that is done (it has a marker), in order; raises as `read_lines`."""
    for shard in sorted((folder / SHARDS).glob("*.jsonl")):
        if shard.with_suffix(".json").is_file():
            yield from read_lines(shard)


def read_lines(shard: Path) -> Iterator[Row]:
    """The lines of a shard. Raises `UserError` for a line that no run can have written."""
    for line in read_jsonl(shard):
        if problem := fault(line):
            fix = f"Remove {shard} and run the command again: paid replies are in the cache"
            raise UserError(f"{shard} has a line that is not a judgement", f"No run wrote this line: {problem}", fix)
        yield line


def fault(line: Mapping[str, Any]) -> str | None:
    """Why a line is not a judgement, as half a sentence; None if it is one."""
    if missing := [name for name in ("image_id", "prompt", "status", "scores") if name not in line]:
        return f"a line has no {missing[0]!r}"
    if (name := _unlike(line, _TYPES)) is not None:
        return f"{name} of another type"
    if not all(isinstance(digest, str | None) for digest in line.get("images") or ()):
        return "images of another type"
    return _fault_of_scores(line) or _fault_of_answers(line)


def _unlike(record: Mapping[str, Any], types: Mapping[str, Any]) -> str | None:
    """The first field that has another type; a field that is not there is None."""
    for name, kind in types.items():
        if not isinstance(record.get(name), kind):
            return name
    return None


def _fault_of_scores(line: Mapping[str, Any]) -> str | None:
    scores, ends = line["scores"], line.get("score_range", SCORE_RANGE)
    if line["status"] not in _STATUSES:
        return f"the status {line['status'][:50]!r}"
    if not isinstance(ends, list | tuple) or not all(map(is_number, ends)):
        return "scores or their range of another type"
    lowest, highest = map(float, ends) if len(ends) == 2 else (math.nan, math.nan)
    room = _TOLERANCE * (highest - lowest)
    told = [score for score in scores.values() if score is not None]
    if outside := [s for s in told if not (is_number(s) and lowest - room <= s <= highest + room)]:
        return f"the score {str(outside[0])[:50]!r}"
    if line["status"] != Status.OK.value and scores.get(OVERALL) is not None:
        return f"a score with the status {line['status']!r}"
    return None


def _fault_of_answers(line: Mapping[str, Any]) -> str | None:
    """What is wrong with the questions, the answers or the interval."""
    for question in line.get("questions") or ():
        if not isinstance(question, dict) or not question.keys() <= _QUESTION.keys() or _unlike(question, _QUESTION):
            return "questions of another form"
    for answer in line.get("answers") or ():
        if not isinstance(answer, dict) or not answer.keys() >= _ANSWER.keys() or _unlike(answer, _ANSWER):
            return "answers of another form"
        score, failed = answer["score"], answer["status"] != Status.OK.value
        if answer["status"] not in _STATUSES or (failed and not answer["reason"]):
            return f"an answer with the status {answer['status'][:50]!r}"
        if score is not None and (failed or not is_number(score)):
            return f"an answer with the score {str(score)[:50]!r}"
    interval = line.get("interval")
    if interval and not interval.keys() >= {"low", "high", "level", "target", "n"}:
        return "an interval of another form"
    return None


def is_number(value: object) -> bool:
    """Whether it is a number that a float can hold: JSON has NaN, infinities and integers of any length, too."""
    largest = sys.float_info.max
    return isinstance(value, int | float) and not isinstance(value, bool) and -largest <= value <= largest
