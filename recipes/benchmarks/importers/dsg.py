"""DSG (arXiv 2310.18235) on TIFA's 160 prompts: tifa160-likert-anns.csv and tifa160-dev-anns.csv (dsg/data).

The first holds the workers' ratings of consistency from 1 to 5, one per line; the second each prompt's questions with
their dependencies. Worker ids are platform accounts: they become w1, w2, ... in the order of the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recipes.benchmarks.importers.common import Imported, find_image, new_row, rated
from t2i_judge.errors import UserError, quoted
from t2i_judge.inputs.numerals import number_or_gap
from t2i_judge.inputs.readers import iter_rows

NAME, RATINGS, QUESTIONS = "dsg_tifa160", "tifa160-likert-anns.csv", "tifa160-dev-anns.csv"
# How TIFA's file names call the generators.
TIFA_NAMES = {
    "mini-dalle": "mini_dalle",
    "vq-diffusion": "vq_diffusion",
    "sd1dot1": "stable_diffusion_v1_1",
    "sd1dot5": "stable_diffusion_v1_5",
    "sd2dot1": "stable_diffusion_v2_1",
}
Line = Mapping[str, Any]


def read(source: Path, images: Path | None) -> Imported:
    """Rows of the images that DSG's workers rated; `source` is the folder of the two tables."""
    prompts = _prompts(iter_rows(source / QUESTIONS))
    lines = list(iter_rows(source / RATINGS))
    workers = {worker: f"w{n}" for n, worker in enumerate(sorted({line["worker_id"] for line in lines}), 1)}
    imported = Imported()
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        key = line["item_id"], line["t2i_model"]
        if key not in rows:
            rows[key] = _row(line, number, prompts, images)
        rows[key]["human_scores"].append(
            rated(workers[line["worker_id"]], number_or_gap(line["answer"], f"{RATINGS}, row {number}, answer"))
        )
    imported.rows = list(rows.values())
    return imported


def _row(
    line: Line, number: int, prompts: Mapping[str, tuple[str, list[dict[str, Any]]]], images: Path | None
) -> dict[str, Any]:
    item, model, source = line["item_id"], line["t2i_model"], line["source_id"]
    if source not in prompts:
        raise UserError(
            f"{RATINGS}, row {number}, source_id: {quoted(source)}",
            f"{QUESTIONS} does not have it",
            "Use files of the same release",
        )
    prompt, questions = prompts[source]
    names = [f"{source}_{TIFA_NAMES.get(model, model)}", f"{model}/{item}", f"{item}_{model}"]
    return new_row(
        f"{item}_{model}", prompt, NAME, image=find_image(images, names), generator=model, questions=questions
    )


def _prompts(lines: Iterable[Line]) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """Prompt's id -> its text and questions; relations and actions are about relationships, all else is intrinsic."""
    prompts: dict[str, tuple[str, list[dict[str, Any]]]] = {}
    for line in lines:
        _, questions = prompts.setdefault(line["item_id"], (line["text"], []))
        relates = line["category_broad"] in ("relation", "action")
        questions.append(
            {
                "id": line["proposition_id"],
                "aspect": "relationship" if relates else "intrinsic",
                "entities": [word.strip() for word in (line.get("keywords") or "").split(",") if word.strip()],
                "text": line["question_natural_language"],
                "expected": "yes",
                "depends_on": [p for p in (line["dependency"] or "").replace(" ", "").split(",") if p not in ("", "0")],
            }
        )
    return prompts
