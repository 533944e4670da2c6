"""Figures of trainings that were judged: Spearman by split as the mean over seeds, intervals, differences; tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from recipes.performance.trials import HELD_OUT, Study, Trial
from t2i_judge.records import OVERALL
from t2i_judge.stats.agreement import COEFFICIENTS, bootstrap, percentile_interval
from t2i_judge.stats.coefficients import Floats, as_floats

Row = dict[str, Any]


def figures(study: Study, groups: Mapping[str, Sequence[Trial]]) -> tuple[list[Row], list[Row]]:
    """A row per split and group, and one for each difference of two groups.

    A figure is the mean over a group's trainings, which differ by seed; its 95% interval is that of the mean, over
    resamples of the prompts that all groups share. The trainings' own figures stand beside it, in their order. A
    difference is on the images that every training of both groups scored (`n`): failing at hard ones wins nothing.
    """
    rows, differences = [], []
    against, reference = next(iter(study.ratings.references.items()))
    for split, items in study.splits.items():
        wanted = as_floats([reference[OVERALL].get(item.id) for item in items])
        options = study.recipe.evaluation.resamples, study.recipe.seeds.evaluation, [item.prompt for item in items]
        columns = {}
        for name, trials in groups.items():
            scores = [study.scores(trial, HELD_OUT, study.items) for trial in trials]
            columns[name] = [as_floats([found[item.id] for item in items]) for found in scores]
        for name, trials in groups.items():
            rhos, mean, draws = _spearman(columns[name], wanted, *options)
            rows.append(
                {
                    "group": name,
                    "split": split,
                    "against": against,
                    "spearman": mean,
                    "ci": _interval(draws) if mean is not None else None,
                    "by_seed": rhos,
                    "n": len(items),
                    "n_failed": [int(np.isnan(column).sum()) for column in columns[name]],
                    **_took(study, trials),
                }
            )
        for a, b in combinations(groups, 2):
            shared = ~np.isnan([*columns[a], *columns[b], wanted]).any(axis=0)
            sides = [_spearman(columns[side], np.where(shared, wanted, np.nan), *options) for side in (a, b)]
            (_, first, draws), (_, second, others) = sides
            difference = None if first is None or second is None else first - second
            differences.append(
                {
                    "a": a,
                    "b": b,
                    "split": split,
                    "n": int(shared.sum()),
                    "difference": difference,
                    "ci": None if difference is None else _interval(draws - others),
                }
            )
    return rows, differences


def _spearman(
    columns: Sequence[Floats], wanted: Floats, resamples: int, seed: int, prompts: Sequence[str]
) -> tuple[list[float | None], float | None, Floats]:
    """Of each training, their mean (None where one is undefined), and draws of the mean."""
    draws = bootstrap([(column, wanted) for column in columns], resamples, seed, prompts)
    rhos = [COEFFICIENTS["spearman"](column, wanted).value for column in columns]
    known = [rho for rho in rhos if rho is not None]
    mean = float(np.mean(known)) if len(known) == len(rhos) else None
    return rhos, mean, np.mean([each["spearman"] for each in draws], axis=0)


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
        lines += ["", "| difference | split | images | Spearman [95% CI] |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {row['a']} - {row['b']} | {row['split']} | {row['n']} | {_with_interval(row['difference'], row['ci'])} |"
        for row in differences
    ]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    return _number(value) + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
