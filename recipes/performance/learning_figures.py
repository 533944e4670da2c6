"""Figures of trainings that were judged: Spearman by split as the mean over seeds, intervals, differences; tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from recipes.performance.trials import HELD_OUT, Study, Trial
from t2i_judge.records import OVERALL
from t2i_judge.stats.agreement import COEFFICIENTS, bootstrap, percentile_interval
from t2i_judge.stats.coefficients import as_floats

Row = dict[str, Any]


def figures(study: Study, groups: Mapping[str, Sequence[Trial]]) -> tuple[list[Row], list[Row]]:
    """A row per split and group, and one for each difference of two groups.

    A figure is the mean over a group's trainings, which differ by seed; its 95% interval is that of the mean, over
    resamples of the prompts that all groups share. The trainings' own figures stand beside it, in their order.
    """
    rows, differences = [], []
    against, reference = next(iter(study.ratings.references.items()))
    for split, items in study.splits.items():
        wanted = as_floats([reference[OVERALL].get(item.id) for item in items])
        flat = [(name, trial) for name, trials in groups.items() for trial in trials]
        columns = []
        for _, trial in flat:
            found = study.scores(trial, HELD_OUT, study.items)
            columns.append(as_floats([found[item.id] for item in items]))
        options = study.recipe.evaluation.resamples, study.recipe.seeds.evaluation
        draws = bootstrap([(column, wanted) for column in columns], *options, [item.prompt for item in items])
        means: dict[str, Any] = {}
        for name, trials in groups.items():
            mine = [number for number, (group, _) in enumerate(flat) if group == name]
            rhos = [COEFFICIENTS["spearman"](columns[number], wanted).value for number in mine]
            means[name] = np.mean([draws[number]["spearman"] for number in mine], axis=0)
            known = [rho for rho in rhos if rho is not None]
            rows.append(
                {
                    "group": name,
                    "split": split,
                    "against": against,
                    "spearman": float(np.mean(known)) if len(known) == len(rhos) else None,
                    "ci": _interval(means[name]) if len(known) == len(rhos) else None,
                    "by_seed": rhos,
                    "n": len(items),
                    "n_failed": [int(np.isnan(columns[number]).sum()) for number in mine],
                    **_took(study, trials),
                }
            )
        differences += [
            {
                "a": a,
                "b": b,
                "split": split,
                "difference": _mean(means[a] - means[b]),
                "ci": _interval(means[a] - means[b]),
            }
            for a, b in combinations(groups, 2)
        ]
    return rows, differences


def _took(study: Study, trials: Sequence[Trial]) -> Row:
    """What a group's trainings were given."""
    logs = [study.train(trial) for trial in trials]
    first = trials[0]
    return {
        "side": first.side,
        "images": logs[0]["images"],
        "labels": round(float(np.mean([log["labels"] for log in logs]))),
        "steps": first.steps,
        "learning_rate": first.learning_rate,
        "batch": first.batch,
        "cpu_seconds": [log["cpu_seconds"] for log in logs],
    }


def _interval(draws: Any) -> list[float] | None:
    interval = percentile_interval(draws)
    return list(interval) if interval else None


def _mean(draws: Any) -> float | None:
    return float(np.nanmean(draws)) if np.isfinite(draws).any() else None


def table(rows: Sequence[Row], differences: Sequence[Row] = ()) -> str:
    """Markdown for a card: a line per row, then the differences."""
    lines = [
        "| learnt | split | images | labels | steps | rate | rows/step | CPU | Spearman [95% CI] | seeds | failed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        seeds, lost = ", ".join(map(_number, row["by_seed"])), ", ".join(map(str, row["n_failed"]))
        lines.append(
            f"| {row['group']} | {row['split']} | {row['images']:,} | {row['labels']:,} | {row['steps']:,} | "
            f"{row['learning_rate']:g} | {row['batch']} | {np.mean(row['cpu_seconds']):,.0f} s | "
            f"{_with_interval(row['spearman'], row['ci'])} | {seeds} | {lost} of {row['n']} |"
        )
    if differences:
        lines += ["", "| difference | split | Spearman [95% CI] |", "| --- | --- | --- |"]
    lines += [
        f"| {row['a']} - {row['b']} | {row['split']} | {_with_interval(row['difference'], row['ci'])} |"
        for row in differences
    ]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    return _number(value) + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
