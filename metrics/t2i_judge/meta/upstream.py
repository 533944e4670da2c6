"""Reads published tables in the formats of their own repositories, as the columns from which figures are computed.

Only the form is changed: prompts and texts that no figure needs are left out, and raters are numbered.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import UserError
from ..files import read_bytes
from ..inputs.readers import Row, iter_rows
from ..inputs.tables import Table
from .evalmi import evalmi_ratings
from .geneval import geneval_annotations
from .imagenhub import imagenhub_ratings, viescore_answers
from .mmrb2 import mmrb2_judgements

Files = Mapping[str, Path]  # path in the repository -> the file here
Columns = dict[str, list[Any]]

_TIFA_TEXTS = {"text_id", "image_path", "text", "human_scores", "human_avg"}
_TIFA_SPLIT = "tifa160"
# DSG's names of TIFA's generators -> TIFA's own, which stand in its item ids.
_TIFA_MODELS = {
    "mini-dalle": "mini_dalle",
    "vq-diffusion": "vq_diffusion",
    "sd1dot1": "stable_diffusion_v1_1",
    "sd1dot5": "stable_diffusion_v1_5",
    "sd2dot1": "stable_diffusion_v2_1",
}


def read_upstream(layout: str, files: Files) -> Table:
    """Read a table out of its published files.

    Args:
        layout: a key of `LAYOUTS`.

    Raises:
        UserError: a file cannot be read or is not of this layout.
    """
    names = ", ".join(str(path) for path in files.values())
    try:
        columns = LAYOUTS[layout](files)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{names} does not have the layout {layout}", reason, "Name its layout in sources.json"
        ) from error
    rows = len(next(iter(columns.values())))
    if not rows:
        raise UserError(f"{names} has no rows", "There is nothing to measure", "Use the published file")
    digest = hashlib.sha256(b"".join(read_bytes(path) for path in files.values())).hexdigest()
    return Table(names, digest, rows, dict(columns))


def _tifa_scores(files: Files) -> Columns:
    """item_id, text_id, human_1, human_2 ..., human_avg and metric_* of TIFA's one object of images."""
    (path,) = files.values()
    images: dict[str, dict[str, Any]] = json.loads(read_bytes(path))
    rows = list(images.values())
    raters = len(rows[0]["human_scores"]) if rows else 0
    if uneven := [item for item, row in images.items() if len(row["human_scores"]) != raters]:
        raise ValueError(f"{uneven[0]} has not {raters} human_scores")
    columns: Columns = {"item_id": list(images), "text_id": [row["text_id"] for row in rows]}
    columns |= {f"human_{n}": [row["human_scores"][n - 1] for row in rows] for n in range(1, raters + 1)}
    columns["human_avg"] = [row["human_avg"] for row in rows]
    metrics = [key for key in rows[0] if key not in _TIFA_TEXTS] if rows else []
    return columns | {f"metric_{name}": [row[name] for row in rows] for name in metrics}


def _dsg_ratings(files: Files) -> Columns:
    """item_id (TIFA's), prompt_id, prompt_source, model and w1, w2 ...: the workers, in the order of their numbers.

    Images are ordered by model and prompt: bootstrap draws follow the order of the rows.
    """
    (path,) = files.values()
    lines = list(iter_rows(path))
    workers = sorted({line["worker_id"] for line in lines})
    ratings: dict[tuple[str, str], dict[str, Any]] = {}
    sources: dict[str, str] = {}
    for line in lines:
        sources[line["item_id"]] = line["source_id"]
        own = ratings.setdefault((line["t2i_model"], line["item_id"]), {})
        if line["worker_id"] in own:
            raise ValueError(f"{line['t2i_model']}, {line['item_id']} was rated twice by one worker")
        own[line["worker_id"]] = line["answer"]
    keys = sorted(ratings, key=lambda key: (key[0], int(key[1].rpartition("_")[2])))
    columns: Columns = {
        "item_id": [f"{sources[prompt]}_{_TIFA_MODELS.get(model, model)}" for model, prompt in keys],
        "prompt_id": [prompt for _, prompt in keys],
        "prompt_source": [sources[prompt].split("_")[0] for _, prompt in keys],
        "model": [model for model, _ in keys],
    }
    return columns | {f"w{n}": [ratings[key].get(worker) for key in keys] for n, worker in enumerate(workers, 1)}


def _dsg_answers(files: Files) -> Columns:
    """The columns that `answers.read_answers` wants, out of JUDGE_SET.csv files; qg is the question set.

    Only questions about TIFA's prompts are kept: DSG's other prompts were rated elsewhere. VQ2A's questions have no id
    and no parents: they are numbered by their order.
    """
    questions: dict[tuple[str, ...], dict[str, Any]] = {}
    judges: dict[str, set[tuple[str, ...]]] = {}
    for name, path in files.items():
        judge, _, qg = PurePosixPath(name).stem.rpartition("_")
        counts: dict[tuple[str, str], int] = {}
        for line in iter_rows(path):
            if line["dsg_prompt_split"] != _TIFA_SPLIT:
                continue
            image = line["t2i_model"], line["item_id"]
            counts[image] = counts.get(image, 0) + 1
            key = (qg, *image, line.get("question_id") or str(counts[image]))
            row = questions.setdefault(key, {"parents": line.get("dependency_id", "0")})
            if f"{judge}_yes" in row:
                raise ValueError(f"{name} has question {key[-1]} of {image[0]}, {image[1]} twice")
            row |= {f"{judge}_yes": int(line["answer"] == "yes")}
            row |= {f"{judge}_answered": int(line["answer"] in ("yes", "no"))}
            judges.setdefault(judge, set()).add(key)
    if uneven := [judge for judge, keys in judges.items() if keys != questions.keys()]:
        raise ValueError(f"{uneven[0]} was not asked all questions of the others")
    columns: Columns = {name: [key[place] for key in questions] for place, name in enumerate(_QUESTION)}
    names = ["parents", *(f"{judge}_{what}" for judge in judges for what in ("yes", "answered"))]
    return columns | {name: [row[name] for row in questions.values()] for name in names}


_QUESTION = ("qg", "model", "prompt_id", "question_id")


def _genai_bench_votes(files: Files) -> Columns:
    """human_vote, and judge_* with each judge's verdict (the text within [[ ]]), out of JUDGE/pairwise.json files."""
    columns: Columns = {}
    for name, path in files.items():
        lines = list(iter_rows(path))
        votes = [line["human_vote"] for line in lines]
        if columns.setdefault("human_vote", votes) != votes:
            raise ValueError(f"{name} uses other votes than the files before it")
        columns[f"judge_{PurePosixPath(name).parent.name}"] = [_verdict(line) for line in lines]
    return columns


def _verdict(line: Row) -> str | None:
    """A vote that does not stand in brackets is none: upstream's own count goes by the brackets."""
    vote = re.fullmatch(r"\[\[(.*)\]\]", line["model_vote"] or "", re.DOTALL)
    return vote and vote[1]


LAYOUTS: dict[str, Callable[[Files], Columns]] = {
    "tifa_scores": _tifa_scores,
    "dsg_ratings": _dsg_ratings,
    "dsg_answers": _dsg_answers,
    "genai_bench_votes": _genai_bench_votes,
    "imagenhub_ratings": imagenhub_ratings,
    "viescore_answers": viescore_answers,
    "mmrb2_judgements": mmrb2_judgements,
    "geneval_annotations": geneval_annotations,
    "evalmi_ratings": evalmi_ratings,
}
