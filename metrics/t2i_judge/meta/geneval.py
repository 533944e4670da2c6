"""GenEval's human study (arXiv 2310.11513): five annotators' answers about each image, as whether its prompt is met."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..files import read_bytes

Files = Mapping[str, Path]  # path in the repository -> the file here
Columns = dict[str, list[Any]]

_ANNOTATIONS = "annotations_"
_COUNTED = "counting"  # the task in which there may be no more than is asked for
_FIVE = 5  # the answer "5 or more"


def geneval_annotations(files: Files) -> Columns:
    """model, task, item_id, annotators (how many), and for each of them, as the file has them, r1, r2 ..., fit_1 ...

    Files: annotations_MODEL.csv, a row per annotator and image; evaluation_metadata.jsonl, what each prompt asks for.
    rN is 1 where the annotator saw what the prompt asks for, by the rules of GenEval's own program: at least as many
    of each object (as many, where the task is counting), the colour among those named, and so the position, else 0.
    fit_N is the annotator's own word on how well the image fits its caption, 1 to 4.
    """
    prompts: dict[str, dict[str, Any]] = {}
    answers: dict[tuple[str, str], list[dict[str, str]]] = {}
    for name, path in files.items():
        stem = PurePosixPath(name).stem
        if stem.startswith(_ANNOTATIONS):
            for row in _rows(path):
                answers.setdefault((stem.removeprefix(_ANNOTATIONS), row["Input.index"]), []).append(row)
        else:
            prompts |= {asked["prompt"]: asked for asked in map(json.loads, _lines(path))}
    asked = [prompts[rows[0]["Input.caption"]] for rows in answers.values()]
    columns: Columns = {
        "model": [model for model, _ in answers],
        "task": [prompt["tag"] for prompt in asked],
        "item_id": [item for _, item in answers],
        "annotators": [len(rows) for rows in answers.values()],
    }
    for number in range(max(map(len, answers.values()), default=0)):
        own = [rows[number] if number < len(rows) else None for rows in answers.values()]
        columns[f"r{number + 1}"] = [row and int(is_met(prompt, row)) for prompt, row in zip(asked, own, strict=True)]
        columns[f"fit_{number + 1}"] = [row and float(row["Answer.task-quality"]) for row in own]
    return columns


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a CSV file that ends its lines with a line feed: a carriage return stands inside cells there."""
    yield from csv.DictReader(line.replace("\r", " ") for line in _lines(path))


def _lines(path: Path) -> list[str]:
    return [line for line in read_bytes(path).decode("utf-8").split("\n") if line]


def is_met(prompt: Mapping[str, Any], row: Mapping[str, str]) -> bool:
    """Whether an annotator saw what a prompt asks for: {tag, include: [{class, count, color, position}]}."""
    wanted = {thing["class"]: thing for thing in prompt["include"]}
    shown = {number: row[f"Input.object_{number}_name"] for number in (0, 1)}
    return all(_is_seen(wanted[name], number, prompt["tag"], row) for number, name in shown.items() if name)


def _is_seen(thing: Mapping[str, Any], number: int, task: str, row: Mapping[str, str]) -> bool:
    count = int(float(row[f"Answer.task-count-{number}"] or 0))
    asked = int(thing["count"])
    enough = count == asked if task == _COUNTED else count >= min(asked, _FIVE)
    if "color" in thing and thing["color"] not in row[f"Answer.task-color-{number}"].split("|"):
        return False
    if "position" in thing:  # people were asked where the second object is, seen from the first
        side = thing["position"][0].split()[0]
        return enough and side in (row["Answer.task-position-x"], row["Answer.task-position-y"])
    return enough
