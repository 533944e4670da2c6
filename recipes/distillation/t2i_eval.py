"""The labels that T2I-Eval published (T2I-Eval-Distill-GPT-4o, arXiv 2411.15488) as items and teacher's judgements.

A recipe with `data: {source: t2i_eval, path: t2i-eval-distill-gpt-4o.json, images: FOLDER}` trains on them without a
teacher: `recipes.build_dataset` calls `read_labels` where it would otherwise ask one. What the file does not say (an
expected answer, which question depends on which, a score) stays unsaid; what cannot be read is counted, never guessed.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from recipes.distillation.table_source import split_of
from recipes.recipe.config import T2IEvalData, resolve
from recipes.recipe.items import Item
from t2i_judge.errors import UserError
from t2i_judge.records import OVERALL, Answer, JudgeInfo, Judgement, Question, Status
from t2i_judge.scoring import aspect_scores

GPT_4O = JudgeInfo("teacher", "published labels", "gpt-4o")
# Aspect -> names of its questions and of its evaluated answers in the file.
SECTIONS = {
    "appearance": ("Appearance Quality Questions", "Appearance Quality Answers"),
    "intrinsic": ("Intrinsic Attribute Consistency Questions", "Intrinsic Attribute Consistency Answers"),
    "relationship": ("Relationship Attribute Consistency Questions", "Relationship Attribute Consistency Answers"),
}
SUMMARIES = {
    "appearance": "Appearance Quality Summary",
    "intrinsic": "Intrinsic Attribute Consistency Summary",
    "relationship": "Relationship Attribute Consistency Summary",
    OVERALL: "Overall Score",
}


def read_labels(folder: Path, data: T2IEvalData) -> tuple[list[Item], dict[str, Judgement]]:
    """Items (image paths relative to `folder`) and the teacher's judgements by item id; says what was left out.

    Raises:
        UserError: the file cannot be read, or nothing in it can be used.
    """
    path, images = resolve(data.path), resolve(data.images)
    items: list[Item] = []
    judgements: dict[str, Judgement] = {}
    left_out: Counter[str] = Counter()
    for position, record in enumerate(islice(_records(path), data.limit)):
        item = _item(position, record, images, folder, data.held_out)
        if isinstance(item, str):
            left_out[item] += 1
            continue
        judgements[item.id] = judgement = read_record(item, record.get("data"))
        left_out.update(f"answers: {a.reason}" for a in judgement.answers if a.status is not Status.OK)
        items.append(item)
    if not items:
        raise UserError(f"nothing in {path.name} can be used", f"left out: {dict(left_out)}", "check data.images")
    for reason, count in left_out.most_common():
        print(f"{path.name}: left out {count} x {reason}", file=sys.stderr)
    return items, judgements


def _records(path: Path) -> Iterator[Any]:
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}", str(error), "give t2i-eval-distill-gpt-4o.json as data.path") from error
    if not isinstance(records, list):
        raise UserError(f"{path.name} holds no list", "the published file does", "give t2i-eval-distill-gpt-4o.json")
    yield from records


def _item(position: int, record: Any, images: Path, folder: Path, held_out: float) -> Item | str:
    """The item of a record, or why there is none."""
    if not isinstance(record, Mapping):
        return "record that is no object"
    prompt, image, reference = (record.get(key) for key in ("image_caption", "gt_image", "ref_image"))
    if not prompt or not image:
        return "record without image_caption or gt_image"
    if not (images / str(image)).is_file():
        return "image that is not in data.images"
    shown = [images / str(name) for name in (image, reference) if name and (images / str(name)).is_file()]
    paths = [os.path.relpath(path, folder) for path in shown]
    return Item(
        id=str(record.get("id", position)),
        prompt=str(prompt),
        image=paths[0],
        generator=record.get("model_name"),
        split=split_of(str(prompt), held_out),
        source="T2I-Eval-Distill-GPT-4o",
        reference_image=paths[1] if len(paths) > 1 else None,
    )


def read_record(item: Item, labels: Any) -> Judgement:
    """The judgement in a record's `data`; an answer without a usable score has its status and reason."""
    labels = _mapping(labels)
    asked, evaluated = _mapping(labels.get("Questions")), _mapping(labels.get("Evaluation"))
    questions: list[Question] = []
    answers: list[Answer] = []
    for aspect, (question_section, answer_section) in SECTIONS.items():
        values = {(entity, text): value for entity, text, value in _entries(evaluated.get(answer_section))}
        for entity, text, value in _entries(asked.get(question_section)):
            names = str(entity or _mapping(value).get("entities", ""))
            entities = tuple(name.strip() for name in names.split(",") if name.strip())
            questions.append(Question(f"q{len(questions) + 1}", aspect, entities, text))
            answers.append(_answer(questions[-1].id, values.get((entity, text))))
    summaries = _mapping(evaluated.get("Overall Evaluation"))
    written = {aspect: _mapping(summaries.get(name)) for aspect, name in SUMMARIES.items()}
    return Judgement(
        item.id,
        item.prompt,
        GPT_4O,
        status=Status.OK if questions else Status.UNPARSABLE,
        reason=None if questions else "the record has no questions",
        scores=aspect_scores(questions, answers) if questions else {},
        summary_scores={aspect: score for aspect, one in written.items() if (score := _score(one)) is not None},
        summary_texts={aspect: words for aspect, one in written.items() if (words := _text(one.get("explanation")))},
        questions=tuple(questions),
        answers=tuple(answers),
        rationale=_text(written[OVERALL].get("explanation")),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _entries(section: Any) -> Iterator[tuple[str | None, str, Any]]:
    """(entity, question, value) of a section: a list of {question, value}, or such lists by entity."""
    by_entity = section if isinstance(section, Mapping) else {None: section}
    for entity, entries in by_entity.items():
        for entry in entries if isinstance(entries, list) else ():
            text = entry.get("question") if isinstance(entry, Mapping) else entry
            if isinstance(text, str) and text.strip():
                yield entity, " ".join(text.split()), entry.get("value") if isinstance(entry, Mapping) else None


def _answer(question_id: str, value: Any) -> Answer:
    if not isinstance(value, Mapping):
        return Answer(question_id, status=Status.UNPARSABLE, reason="no evaluation")
    answer = Answer(question_id, _text(value.get("answer")), explanation=_text(value.get("explanation")))
    score = _number(value.get("score"))
    if score is None:
        return replace(answer, status=Status.UNPARSABLE, reason="no score")
    if not 0 <= score <= 10:
        return replace(answer, status=Status.OUT_OF_RANGE, reason="score outside 0 to 10")
    return replace(answer, score=score)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _number(value: Any) -> float | None:
    """A finite number, also written as text ("8.0"); None for "N/A" and the like."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and not isinstance(value, bool) else None


def _score(summary: Mapping[str, Any]) -> float | None:
    score = _number(summary.get("score"))
    return score if score is not None and 0 <= score <= 10 else None
