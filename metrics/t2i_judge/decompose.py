"""A prompt's questions, in and out of text: the teacher's JSON and the student's lines.

A student writes one question per line, `aspect | entities | question | expected | parents`. Entities are joined by ",
", `-` means nothing, and parents are line numbers from 1: line k is question "qk".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from .prompts import NOTHING_EXPECTED
from .records import ASPECTS, PERSONALISED_ASPECTS, Question, question_from_json


def to_lines(questions: Sequence[Question]) -> str:
    """Questions with ids q1, q2, ... in order, as the student writes them. Raises ValueError for other ids."""
    if [question.id for question in questions] != [f"q{n}" for n in range(1, len(questions) + 1)]:
        raise ValueError("question ids must be q1, q2, ... in order; call renumber first")
    return "\n".join(_line(question) for question in questions)


def _line(question: Question) -> str:
    parents = ", ".join(parent.removeprefix("q") for parent in question.depends_on)
    cells = (
        question.aspect,
        ", ".join(question.entities),
        question.text,
        question.expected or NOTHING_EXPECTED,
        parents or NOTHING_EXPECTED,
    )
    return " | ".join(" ".join(cell.replace("|", "/").split()) for cell in cells)


def from_lines(text: str) -> list[Question]:
    """Inverse of `to_lines` (except for white space and `|`). Raises ValueError that names the first wrong line."""
    questions = []
    for number, line in enumerate(filter(str.strip, text.splitlines()), 1):
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) != 5 or not cells[2]:
            raise ValueError(f"line {number} is not 'aspect | entities | question | expected | parents': {line!r}")
        aspect, entities, question, expected, parents = cells
        questions.append(
            Question(
                id=f"q{number}",
                aspect=aspect,
                entities=_split(entities),
                text=question,
                expected=None if expected == NOTHING_EXPECTED else expected,
                depends_on=tuple(f"q{parent}" for parent in _split(parents)),
            )
        )
    return check(questions)


def _split(cell: str) -> tuple[str, ...]:
    return () if cell == NOTHING_EXPECTED else tuple(part.strip() for part in cell.split(",") if part.strip())


def from_json(text: str) -> list[Question]:
    """The teacher's JSON (`prompts.decompose_schema`) -> questions, renumbered. Raises ValueError."""
    try:
        return from_record(json.loads(text))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a decomposition: {error!r}") from error


def from_record(record: Mapping[str, Any]) -> list[Question]:
    """An object that fits `prompts.decompose_schema` -> questions, renumbered. Raises ValueError."""
    names = [field.name for field in fields(Question)]
    questions = [question_from_json({name: entry[name] for name in names}) for entry in record["questions"]]
    return check(renumber(questions))


def renumber(questions: Sequence[Question]) -> list[Question]:
    """The same questions with ids q1, q2, ...; dependencies follow. Raises ValueError on duplicate ids."""
    names = {question.id: f"q{n}" for n, question in enumerate(questions, 1)}
    if len(names) != len(questions):
        raise ValueError("question ids are not unique")
    return [
        replace(q, id=names[q.id], depends_on=tuple(names.get(parent, parent) for parent in q.depends_on))
        for q in questions
    ]


def check(questions: Sequence[Question]) -> list[Question]:
    """Check that questions can be judged: at least one, each under an id of its own, with known aspects of one family.

    Parents are other questions; two may depend on each other, as in DSG-1k.

    Raises:
        ValueError: they cannot. The message names the question and the reason.
    """
    if not questions:
        raise ValueError("no questions")
    for question in questions:
        _check_types(question)
    known = Counter(question.id for question in questions)
    if doubled := [name for name, times in known.items() if times > 1]:
        raise ValueError(f"two questions have the id {doubled[0]!r}")
    family = PERSONALISED_ASPECTS if questions[0].aspect in PERSONALISED_ASPECTS else ASPECTS
    for question in questions:
        if question.aspect not in (*ASPECTS, *PERSONALISED_ASPECTS):
            raise ValueError(f"question {question.id}: unknown aspect {question.aspect!r}")
        if question.aspect not in family:
            raise ValueError(f"question {question.id}: {question.aspect!r} is not asked beside {questions[0].aspect!r}")
        if strangers := [p for p in question.depends_on if p not in known or p == question.id]:
            raise ValueError(f"question {question.id}: depends on {strangers[0]!r}, which is not another question")
    return list(questions)


def _check_types(question: Question) -> None:
    """Raise ValueError where JSON held a number, null or an empty text."""
    texts = {"id": question.id, "aspect": question.aspect, "text": question.text}
    texts |= {"expected": "-"} if question.expected is None else {"expected": question.expected}
    for name, value in texts.items():
        if not isinstance(value, str) or (name == "text" and not value.strip()):
            raise ValueError(f"question {question.id}: {name} is {value!r} and not a text")
    for name, values in (("entities", question.entities), ("depends_on", question.depends_on)):
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"question {question.id}: {name} {list(values)} are not all texts")
