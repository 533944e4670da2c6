"""The labels that T2I-Eval published (T2I-Eval-Distill-GPT-4o, arXiv 2411.15488) as items and teacher's judgements.

A recipe with `data: {source: t2i_eval, path: t2i-eval-distill-gpt-4o.json, images: FOLDER}` trains on them without a
teacher: `recipes.build_dataset` calls `read_labels` where it would otherwise ask one. What the file does not say (an
expected answer, which question depends on which, a score) stays unsaid; what cannot be read is counted, never guessed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from recipes.distillation.image_check import Picture, copies_among, hashes_of, inspect
from recipes.distillation.splits import Candidate, split_by_share
from recipes.distillation.table_source import item_id
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import resolve
from recipes.recipe.items import Item, path_below
from recipes.recipe.markers import sha256
from recipes.recipe.sections import T2IEvalData
from t2i_judge.errors import UserError
from t2i_judge.files import read_json
from t2i_judge.inputs.places import is_below
from t2i_judge.records import OVERALL, Answer, JudgeInfo, Judgement, Question, Status
from t2i_judge.scoring import aspect_scores
from t2i_judge.terminal import say

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


def labels_digest(data: T2IEvalData) -> str:
    """Of all that items and judgements are made from: the bytes of the file and of every image that it names."""
    path, images = resolve(data.path), resolve(data.images)
    named = sorted({path for record in _records(path) for path in _files(record, images)})
    hashes = [[path_below(path, images), digest] for path, digest in hashes_of(named).items()]
    return hashlib.sha256(json.dumps([sha256(path), hashes]).encode()).hexdigest()


def read_labels(build: BuildFolder, data: T2IEvalData) -> tuple[list[Item], dict[str, Judgement]]:
    """Items (image paths relative to the build folder) and the teacher's judgements by item id; says what was left out.

    Raises:
        UserError: the file cannot be read, or nothing in it can be used.
    """
    path, images = resolve(data.path), resolve(data.images)
    records = list(islice(_records(path), data.limit))
    pictures = inspect(hashes_of(p for record in records for p in _files(record, images)), build.inspected)
    left_out: Counter[str] = Counter()
    usable: dict[str, tuple[Mapping[str, Any], list[Picture]]] = {}
    for record in records:
        shown = [pictures[path] for path in _files(record, images)]
        if (reason := _unusable(record, images, shown)) is not None:
            left_out[reason] += 1
        elif (identity := _id_of(record, images, shown[0])) in usable:
            left_out["record with the id of another one"] += 1
        else:
            usable[identity] = record, shown
    if not usable:
        raise UserError(f"No record of {path.name} can be used", f"Left out: {dict(left_out)}", "Check data.images")
    items = _items(usable, build, data)
    judgements = {item.id: read_record(item, usable[item.id][0].get("data")) for item in items}
    for judgement in judgements.values():
        left_out.update(f"answers: {a.reason}" for a in judgement.answers if a.status is not Status.OK)
    for reason, count in left_out.most_common():
        say(f"{path.name}: left out {count} x {reason}", file=sys.stderr)
    return items, judgements


def _records(path: Path) -> Iterator[Any]:
    records = read_json(path, "Give t2i-eval-distill-gpt-4o.json as data.path")
    if not isinstance(records, list):
        raise UserError(
            f"{path.name} is not a list", "The published file is a list", "Give t2i-eval-distill-gpt-4o.json"
        )
    yield from records


def _files(record: Any, images: Path) -> list[Path]:
    """The files of image and reference image, as far as they are there."""
    record = _mapping(record)
    named = [record.get(key) for key in ("gt_image", "ref_image")]
    return [path for name in named if name and _is_there(path := images / str(name), images)]


def _is_there(path: Path, images: Path) -> bool:
    return path.is_file() and is_below(path, images)


def _unusable(record: Any, images: Path, shown: Sequence[Picture]) -> str | None:
    """Why there is no item of a record; None where there is one."""
    if not isinstance(record, Mapping):
        return "record that is not an object"
    if not record.get("image_caption") or not record.get("gt_image"):
        return "record without image_caption or gt_image"
    if not _is_there(images / str(record["gt_image"]), images):
        return "image that is not in data.images"
    return f"image: {shown[0].broken}" if shown[0].broken else None


def _id_of(record: Mapping[str, Any], images: Path, picture: Picture) -> str:
    return str(record["id"]) if "id" in record else item_id(picture.path, images, picture.sha256)


def _items(
    usable: Mapping[str, tuple[Mapping[str, Any], list[Picture]]], build: BuildFolder, data: T2IEvalData
) -> list[Item]:
    """Items of the records that can be used; a reference that is broken counts as not there."""
    references = {name: next((p for p in shown[1:] if not p.broken), None) for name, (_, shown) in usable.items()}
    candidates = [
        Candidate(str(record["image_caption"]), reference.sha256 if (reference := references[name]) else None, shown[0])
        for name, (record, shown) in usable.items()
    ]
    torn = data.held_out or data.held_out_min  # else all is learnt from
    copies = copies_among((one.picture for one in candidates), build.copies) if torn else ()
    splits = split_by_share(candidates, data.held_out, data.held_out_min, copies)
    return [
        Item(
            id=name,
            prompt=candidate.prompt,
            image=os.path.relpath(candidate.picture.path, build.root),
            generator=record.get("model_name"),
            split=split,
            source="T2I-Eval-Distill-GPT-4o",
            reference_image=os.path.relpath(reference.path, build.root) if (reference := references[name]) else None,
            sha256=candidate.picture.sha256,
            reference_sha256=candidate.reference_sha256,
        )
        for (name, (record, _)), candidate, split in zip(usable.items(), candidates, splits, strict=True)
    ]


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
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and not isinstance(value, bool) else None


def _score(summary: Mapping[str, Any]) -> float | None:
    score = _number(summary.get("score"))
    return score if score is not None and 0 <= score <= 10 else None
