"""ImagenHub's ratings and VIEScore's answers about the same images, in the formats of their repositories."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ..files import read_bytes
from ..inputs.readers import iter_rows

Files = Mapping[str, Path]  # path in the repository -> the file here
Columns = dict[str, list[Any]]

# ImagenHub's folders and columns -> the names that its notebook and VIEScore's files use.
_IMAGENHUB_TASKS = {"Text-To-Image": "Text-Guided_IG", "Multi-Subject_IG": "Multi-Concept_IC"}
_IMAGENHUB_MODELS = {"DALLE": "DALLE2"}
_IMAGENHUB_SCALES = ("SC", "PQ")


def imagenhub_ratings(files: Files) -> Columns:
    """task, model, group (task/model), item_id and rN_SC, rN_PQ, rN_O out of TASK_raterN.tsv files.

    A file has a row per image and a column per model; a cell is [SC, PQ]. O is ImagenHub's overall: sqrt(SC PQ).
    """
    ratings: dict[tuple[str, str, str], dict[str, float]] = {}
    raters: dict[str, None] = {}
    for name, path in files.items():
        folder, _, rater = PurePosixPath(name).stem.rpartition("_rater")
        task = _IMAGENHUB_TASKS.get(folder, folder)
        raters[rater] = None
        for line in iter_rows(path):
            for model, cell in line.items():
                if model == "uid" or not cell:
                    continue
                own = ratings.setdefault((task, _IMAGENHUB_MODELS.get(model, model), line["uid"]), {})
                scores = dict(zip(_IMAGENHUB_SCALES, json.loads(cell), strict=True))
                scores["O"] = math.sqrt(scores["SC"] * scores["PQ"])
                own |= {f"r{rater}_{scale}": score for scale, score in scores.items()}
    columns: Columns = {"task": [], "model": [], "group": [], "item_id": []}
    for task, model, item in ratings:
        for key, value in zip(columns, (task, model, f"{task}/{model}", item), strict=True):
            columns[key].append(value)
    names = [f"r{rater}_{scale}" for scale in (*_IMAGENHUB_SCALES, "O") for rater in sorted(raters)]
    return columns | {name: [own.get(name) for own in ratings.values()] for name in names}


_DISTANCE = "LPIPS"
_ANSWERS, _METRICS, _DATASET = "results_", "results_autometrics", "ImagenHub_"


def viescore_answers(files: Files) -> Columns:
    """ImagenHub's columns of the judged models, mean_SC, mean_PQ, mean_O, JUDGE_SC, JUDGE_PQ, JUDGE_O, auto_METRIC.

    Files: TASK_raterN.tsv as in `imagenhub_ratings`; results_JUDGE/ImagenHub_TASK/MODEL/SC.json and PQ.json, an object
    an image whose `score` is a number, or a list of which the lowest counts, cut to a whole number; within 0 and 10;
    an image that only one of the two files has counts in neither. results_autometrics/ImagenHub_TASK/MODEL.json.
    O is sqrt(SC PQ). LPIPS is a distance: minus_LPIPS.
    """
    columns = imagenhub_ratings({name: path for name, path in files.items() if name.endswith(".tsv")})
    scores: dict[tuple[str, str], dict[str, float]] = {}
    for name, path in files.items():
        if not name.endswith(".tsv"):
            _add_answers(PurePosixPath(name), json.loads(read_bytes(path)), scores)
    judged = {group for group, _ in scores}
    kept = [row for row, group in enumerate(columns["group"]) if group in judged]
    columns = {name: [cells[row] for row in kept] for name, cells in columns.items()}
    of = [scores.get(key, {}) for key in zip(columns["group"], columns["item_id"], strict=True)]
    names = dict.fromkeys(name for own in of for name in own)
    for judge in dict.fromkeys(name.removesuffix("_SC") for name in names if name.endswith("_SC")):
        for own in of:
            semantic, quality = own.pop(f"{judge}_SC", None), own.pop(f"{judge}_PQ", None)
            if semantic is not None and quality is not None:
                overall = math.sqrt(semantic / 10 * (quality / 10))  # tenths, as there: ties of products hang on it
                own |= {f"{judge}_SC": semantic, f"{judge}_PQ": quality, f"{judge}_O": overall}
        names |= {f"{judge}_O": None}
    for scale in (*_IMAGENHUB_SCALES, "O"):
        raters = [columns[name] for name in columns if re.fullmatch(rf"r\w+_{scale}", name)]
        columns[f"mean_{scale}"] = [_mean(ratings) for ratings in zip(*raters, strict=True)]
    return columns | {name: [own.get(name) for own in of] for name in names}


def _mean(ratings: Sequence[float | None]) -> float | None:
    """Summed as it comes: where people's O are equal, upstream's order hangs on the last bits of such sums."""
    known = [rating for rating in ratings if rating is not None]
    return sum(known) / len(known) if known else None


def _add_answers(path: PurePosixPath, answers: dict[str, Any], scores: dict[tuple[str, str], dict[str, float]]) -> None:
    """The scores of one file; an answer without numbers is none."""
    parts = path.parts
    place = next(number for number, part in enumerate(parts) if part.startswith(_ANSWERS))
    judge, task, model = parts[place], parts[place + 1].removeprefix(_DATASET), PurePosixPath(parts[place + 2]).stem
    for item, answer in answers.items():
        own = scores.setdefault((f"{task}/{model}", item), {})
        if judge == _METRICS:
            own |= {f"auto_{name}": float(value) for name, value in answer.items() if name != _DISTANCE}
            own |= {f"minus_{_DISTANCE}": -float(answer[_DISTANCE])} if _DISTANCE in answer else {}
        elif (score := _score(answer.get("score"))) is not None:
            own[f"{judge.removeprefix(_ANSWERS)}_{path.stem}"] = score


def _score(cell: Any) -> float | None:
    """A judge's score as its authors' notebook takes it; None where the cell is not a number, or not all of its are."""
    cells = [int(value) if _is_whole(value) else value for value in (cell if isinstance(cell, list) else [cell])]
    if not cells or not all(isinstance(value, int | float) and not isinstance(value, bool) for value in cells):
        return None
    lowest = float(int(min(cells)) if isinstance(cell, list) else cells[0])
    return min(max(lowest, 0.0), 10.0)


def _is_whole(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,3}\s*", value, re.ASCII) is not None
