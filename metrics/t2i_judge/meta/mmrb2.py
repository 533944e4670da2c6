"""Multimodal RewardBench 2 (arXiv 2512.16899): people's choices on pairs and a judge's verdicts in both orders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..files import read_bytes

Files = Mapping[str, Path]  # path in the repository -> the file here
Columns = dict[str, list[Any]]

_BENCHMARK = "_response_only"
_TASKS = {"t2i": "image", "edit": "edit", "interleaved": "interleaved", "reasoning": "reasoning"}
_FLIPPED = {"A": "B", "B": "A"}


def mmrb2_judgements(files: Files) -> Columns:
    """judge, task, pair, order and correct: 100 where a verdict is people's choice, 0 where not, None without one.

    Files: TASK_response_only.json (pairs with `chosen`, A or B) and JUDGE_taskN_TASK.json, pair -> {forward, reverse},
    each a list whose first entry holds the `judgement`; in reverse, B is the pair's A. A row per pair and order.
    """
    read = {PurePosixPath(name).stem: json.loads(read_bytes(path)) for name, path in files.items()}
    choices = {
        _TASKS[stem.removesuffix(_BENCHMARK)]: {pair["id"]: pair["chosen"] for pair in content["pairs"]}
        for stem, content in read.items()
        if stem.endswith(_BENCHMARK)
    }
    columns: Columns = {"judge": [], "task": [], "pair": [], "order": [], "correct": []}
    for stem, content in read.items():
        if not stem.endswith(_BENCHMARK):
            judge, _, task = stem.rpartition("_task")
            task = task.partition("_")[2]
            for pair, chosen in choices[task].items():
                for order in ("forward", "reverse"):
                    verdict = _verdict(content.get(pair, {}).get(order), order)
                    correct = None if verdict is None else 100.0 * (verdict == chosen)
                    for name, value in zip(columns, (judge, task, pair, order, correct), strict=True):
                        columns[name].append(value)
    return columns


def _verdict(answers: Any, order: str) -> str | None:
    """A or B of the pair as it stands in the benchmark; other words are a verdict that is wrong."""
    said = answers[0].get("judgement") if answers else None
    return _FLIPPED.get(said, said) if said and order == "reverse" else said or None
