"""T2I-Eval-Bench (arXiv 2411.15488): t2i-eval-bench.json, scores.json, images/.

Samples are keyed by their position in the first file. `manual_score` holds three annotators and then their average,
which is left out; the pipeline's own `score` becomes a baseline of that name. Ratings of single questions stand under
one key an aspect, whatever its exact name, and are matched by the number at the end of their id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.benchmarks.importers.common import (
    Imported,
    as_record,
    as_score,
    field,
    find_image,
    judged,
    new_row,
    rated,
    read_json,
    text_of,
)
from t2i_judge.errors import UserError
from t2i_judge.records import ASPECTS, OVERALL

NAME, SAMPLES, SCORES = "t2i-eval-bench", "t2i-eval-bench.json", "scores.json"
BASELINE = "openai_score"  # what the published code calls the score beside `manual_score`


def read(source: Path, images: Path | None) -> Imported:
    """Rows of T2I-Eval-Bench. `images` is the folder that `gt_image` starts from (default: the benchmark's own)."""
    folder = source if source.is_dir() else source.parent
    samples = read_json(folder / SAMPLES if source.is_dir() else source, list, NAME)
    entries = [
        as_record(entry, f"{SCORES}, entry {n}") for n, entry in enumerate(read_json(folder / SCORES, list, NAME))
    ]
    scores = {str(entry.get("id")): entry for entry in entries}
    if unknown := scores.keys() - set(map(str, range(len(samples)))):
        raise UserError(
            f"{SCORES} has the id {min(unknown)}",
            f"{SAMPLES} ends at {len(samples) - 1}",
            "Use files of the same release",
        )
    imported = Imported()
    for position, sample in enumerate(samples):
        sample = as_record(sample, f"{SAMPLES}, sample {position}")
        imported.rows.append(_row(position, sample, scores.get(str(position), {}), images or folder, imported))
        if str(position) not in scores:
            imported.left_out["human scores of a sample that scores.json does not name"] += 1
    return imported


def _row(
    position: int, sample: Mapping[str, Any], scores: Mapping[str, Any], images: Path, imported: Imported
) -> dict[str, Any]:
    where, where_rated = f"{SAMPLES}, sample {position}", f"{SCORES}, id {position}"
    prompt, image = text_of(sample, "image_caption", where), text_of(sample, "gt_image", where)
    reference = field(sample, "ref_image", str, where, "")
    questions = [question for aspect in ASPECTS for question in _questions(sample, aspect, where)]
    overall = field(scores, "overall", dict, where_rated, {})
    entries: list[tuple[str, str | None, Mapping[str, Any]]] = [
        (aspect, None, as_record(overall[aspect], f"{where_rated}, overall, {aspect}"))
        for aspect in (*ASPECTS, OVERALL)
        if aspect in overall
    ]
    known = {question["id"] for question in questions}
    for aspect, identity, entry in _question_scores(scores, where_rated):
        if identity in known:
            entries.append((aspect, identity, entry))
        else:
            imported.left_out["ratings of a question that the sample does not have"] += 1
    return new_row(
        str(sample.get("id", position)),
        prompt,
        NAME,
        image=find_image(images, [image]),
        reference_image=find_image(images, [reference]) if reference else None,
        generator=field(sample, "model_name", str, where, "") or None,
        questions=questions,
        human_scores=[
            rated(f"annotator_{number}", as_score(score), aspect, identity)
            for aspect, identity, entry in entries
            for number, score in enumerate(_annotators(entry, where_rated), 1)
        ],
        baselines=[
            judged(BASELINE, as_score(entry["score"]), aspect)
            for aspect, identity, entry in entries
            if identity is None and "score" in entry
        ],
    )


def _questions(sample: Mapping[str, Any], aspect: str, where: str) -> Iterator[dict[str, Any]]:
    key = f"{aspect}_questions"
    for number, question in enumerate(field(sample, key, list, where, [])):
        place = f"{where}, {key} {number}"
        text = text_of(as_record(question, place), "question", place)
        entity = question.get("entity")
        entities = entity if isinstance(entity, list) else [entity] if entity else []
        yield {"id": f"{aspect}-{number}", "aspect": aspect, "entities": list(map(str, entities)), "text": text}


def _question_scores(scores: Mapping[str, Any], where: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(aspect, our question id, entry) of every rated question."""
    for key, entries in scores.items():
        aspect = next((aspect for aspect in ASPECTS if key.lower().startswith(aspect)), None)
        if aspect is None or not isinstance(entries, list):
            continue
        for place, entry in enumerate(entries):
            number = str(as_record(entry, f"{where}, {key} {place}").get("id", place)).rpartition("-")[2]
            yield aspect, f"{aspect}-{number}", entry


def _annotators(entry: Mapping[str, Any], where: str) -> Sequence[Any]:
    """The annotators' scores: all but the last, which is their average."""
    return field(entry, "manual_score", list, where, [])[:-1]
