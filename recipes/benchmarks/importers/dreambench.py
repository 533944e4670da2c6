"""DreamBench++ (arXiv 2406.16855): samples/, data_human_rating/, data_gpt_rating/ in one folder.

`dreambench_files` reads them; here their rows become the benchmark's. Scores are on 0 to 4.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes.benchmarks.importers.common import Imported, judged, new_row, rated
from recipes.benchmarks.importers.dreambench_files import read_gpt_ratings, read_human_ratings, read_samples

NAME = "dreambench++"
ATTRIBUTES = ("family", "category", "difficulty")


def read(source: Path, images: Path | None) -> Imported:
    """Rows of DreamBench++. `images` is the folder `samples` where it lies elsewhere."""
    items, missing = read_samples(images or source / "samples")
    imported = Imported()
    imported.left_out["prompts that a method made no image for"] += len(missing)
    rows = {item["id"]: _row(item) for item in items}
    raw = source / "data_human_rating" / "raw_data"
    for rating in read_human_ratings(raw if raw.is_dir() else raw.parent):
        score = rated(rating["annotator"], rating["score"], rating["aspect"])
        _add(rows, rating["id"], "human_scores", score, imported)
    for rating in read_gpt_ratings(source / "data_gpt_rating"):
        score = judged(rating["judge"], rating["score"], rating["aspect"], f"run {rating['run']}")
        _add(rows, rating["item"], "baselines", score, imported)
    imported.rows = list(rows.values())
    return imported


def _row(item: dict[str, Any]) -> dict[str, Any]:
    return new_row(
        item["id"],
        item["prompt"],
        NAME,
        image=Path(item["image"]),
        reference_image=Path(item["reference_image"]),
        generator=item["generator"],
        attributes={name: item[name] for name in ATTRIBUTES if item[name]},
    )


def _add(rows: dict[str, dict[str, Any]], item: str, column: str, score: dict[str, Any], imported: Imported) -> None:
    if item in rows:
        rows[item][column].append(score)
    else:
        imported.left_out[f"{column} of an image that is not there"] += 1
