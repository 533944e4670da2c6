"""Means for each value of a column, each with n, failures and interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..records import ALL_ASPECTS, Status
from ..stats.paired import clustered_mean_interval

Row = dict[str, Any]


@dataclass
class _Group:
    """Items with the same values: their statuses, and aspect -> (prompt, score) of those that are OK."""

    statuses: Counter[str] = field(default_factory=Counter)
    scores: dict[str, list[tuple[str, float]]] = field(default_factory=dict)


def grouped(lines: Iterable[Row], columns: Sequence[str]) -> list[Row]:
    """One {values, n, n_failed, coverage, means} per group, in order of appearance.

    `n` counts the items that are OK. Each mean over them has `n` and `ci`, a 95% interval whose unit is the prompt;
    None for fewer than two prompts.

    Args:
        lines: judgements with the columns kept as `row`.
        columns: columns whose values make a group. A blank is a value, too.
    """
    groups: dict[tuple[str, ...], _Group] = {}
    for line in lines:
        values = tuple("" if (value := line["row"].get(name)) is None else str(value) for name in columns)
        group = groups.setdefault(values, _Group())
        group.statuses[line["status"]] += 1
        if line["status"] == Status.OK.value:
            for aspect, score in line["scores"].items():
                if score is not None:
                    group.scores.setdefault(aspect, []).append((line["prompt"], score))
    return [_summary(values, group) for values, group in groups.items()]


def _summary(values: tuple[str, ...], group: _Group) -> Row:
    ok, total = group.statuses[Status.OK.value], sum(group.statuses.values())
    means = {}
    for aspect in (aspect for aspect in ALL_ASPECTS if aspect in group.scores):
        prompts, scores = zip(*group.scores[aspect])
        interval = clustered_mean_interval(np.asarray(scores), prompts)
        means[aspect] = {"mean": float(np.mean(scores)), "n": len(scores), "ci": interval}
    return {
        "values": list(values),
        "n": ok,
        "n_failed": {name: count for name, count in group.statuses.items() if name != Status.OK.value},
        "coverage": ok / total,
        "means": means,
    }
