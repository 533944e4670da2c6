"""TIFA v1.0's human annotations (arXiv 2303.11897): human_annotations[_with_scores].json, images by `image_path`.

Two people rated faithfulness from 1 to 5. Every other number of a record is a metric's score, a baseline.
"""

from __future__ import annotations

from pathlib import Path

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

NAME = "tifa160"
FILES = ("human_annotations_with_scores.json", "human_annotations.json")
_DESCRIPTION = ("text_id", "image_path", "text", "human_scores", "human_avg")


def read(source: Path, images: Path | None) -> Imported:
    """Rows of TIFA's annotated images; `source` is the file or its folder."""
    candidates = [source / name for name in FILES] if source.is_dir() else [source]
    path = next((path for path in candidates if path.is_file()), candidates[0])
    imported = Imported()
    for identity, record in read_json(path, dict, NAME).items():
        where = f"{path.name}, {identity}"
        prompt = text_of(as_record(record, where), "text", where)
        metrics = {name: value for name, value in record.items() if name not in _DESCRIPTION}
        imported.rows.append(
            new_row(
                identity,
                prompt,
                NAME,
                image=find_image(images, [field(record, "image_path", str, where, "") or identity]),
                generator=identity.removeprefix(f"{record.get('text_id')}_"),
                human_scores=[
                    rated(f"human_{number}", as_score(score))
                    for number, score in enumerate(field(record, "human_scores", list, where), 1)
                ],
                baselines=[judged(name, as_score(value)) for name, value in metrics.items()],
            )
        )
    return imported
