"""Decompositions that are written with drafts, over the same ones written token by token, by the embedded judge."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

from recipes.scenes.render import make_scenes
from t2i_judge.judges.distilled import OneForwardJudge
from t2i_judge.judges.loading import load_judge
from t2i_judge.wording import counted

_BEFORE, _NUMBER = 48, 48  # prompts that the judge has broken up already, and of those that are timed
_GOALS = {12: 1.5, 1: 2.5}  # by the number of prompts at a time
Line = dict[str, Any]


def bench() -> list[Line]:
    """Twelve prompts at a time, and one alone: CPU time of prompts that neither judge has seen."""
    import torch

    with_drafts, without = _judge(), _judge()
    without.model.longest_draft = 0
    new = iter(dict.fromkeys(prompt.text for prompt, *_ in make_scenes(1000, 11, "new_prompts")))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with_drafts.decompose(list(islice(new, _BEFORE)))
        lines = []
        for together, goal in _GOALS.items():
            batches = [list(islice(new, together)) for _ in range(_NUMBER // together)]
            value = sum(_seconds(without, each) for each in batches) / sum(
                _seconds(with_drafts, each) for each in batches
            )
            name = f"drafts_speedup_{counted(together, 'prompt').replace(' ', '_')}"
            lines.append({"name": name, "value": value, "unit": "x", "goal": goal, "limit": None, "n": _NUMBER})
        return lines
    finally:
        torch.set_num_threads(threads)


def _judge() -> OneForwardJudge:
    judge = load_judge("tiny")
    assert isinstance(judge, OneForwardJudge)
    return judge


def _seconds(judge: OneForwardJudge, prompts: Sequence[str]) -> float:
    start = time.process_time()
    judge.decompose(prompts)
    return time.process_time() - start
