"""Figures of the Explore tab: each judge against people, and generators against each other, with 95% intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark import BenchItem
from plots import Estimate
from t2i_judge.records import Status
from t2i_judge.stats.coefficients import kendall_tau_b, spearman
from t2i_judge.stats.resampling import bootstrap, bootstrap_weights, percentile_interval

DRAWS, SEED = 1000, 0
PEOPLE = "people (mean)"  # stands beside the judges' names where a scorer is chosen


@dataclass(frozen=True)
class JudgeRow:
    """A judge against the mean of the annotators; intervals are clustered by prompt."""

    judge: str
    n: int
    n_failed: int
    spearman: Estimate
    kendall_tau_b: Estimate


def judge_table(items: Sequence[BenchItem], judges: Sequence[str], aspect: str) -> list[JudgeRow]:
    """Every judge that was asked for the aspect, best Spearman first; failures are counted, never filled in."""
    asked = {each["judge"] for item in items for each in item.baselines if each["aspect"] == aspect}
    rows = [_judge_row(items, judge, aspect) for judge in judges if judge in asked]
    return sorted(rows, key=lambda row: -2 if row.spearman.value is None else row.spearman.value, reverse=True)


def _judge_row(items: Sequence[BenchItem], judge: str, aspect: str) -> JudgeRow:
    scores = np.array([score_of(item, judge, aspect) for item in items], dtype=np.float64)
    means = np.array([item.human_mean(aspect) for item in items], dtype=np.float64)
    records = [item.baseline(judge, aspect) for item in items]
    failed = sum(record is not None and record["status"] != Status.OK for record in records)
    n = int((~np.isnan(scores) & ~np.isnan(means)).sum())
    [draws] = bootstrap([(scores, means)], DRAWS, SEED, [item.prompt for item in items]) if items else [{}]
    cells = []
    for name, coefficient in (("spearman", spearman), ("kendall_tau_b", kendall_tau_b)):
        value = coefficient(scores, means).value
        low, high = (percentile_interval(draws[name]) if value is not None else None) or (None, None)
        cells.append(Estimate(judge, value, low, high))
    return JudgeRow(judge, n, failed, *cells)


def score_of(item: BenchItem, scorer: str, aspect: str) -> float | None:
    """The score by a judge, or the mean of the annotators when `scorer` is `PEOPLE`."""
    return item.human_mean(aspect) if scorer == PEOPLE else item.judge_score(scorer, aspect)


def leaderboard(items: Sequence[BenchItem], scorer: str, aspect: str) -> list[Estimate]:
    """Mean score of each generator, best first, with an interval clustered by prompt."""
    rows = []
    for generator in sorted({item.generator for item in items}):
        own = [item for item in items if item.generator == generator]
        scored = [(score, item.prompt) for item in own if (score := score_of(item, scorer, aspect)) is not None]
        rows.append(_mean(generator, [score for score, _ in scored], [prompt for _, prompt in scored]))
    return sorted(rows, key=lambda row: -np.inf if row.value is None else row.value, reverse=True)


def _mean(label: str, scores: Sequence[float], prompts: Sequence[str]) -> Estimate:
    note = f"n={len(scores)}"
    if not scores:
        return Estimate(label, None, None, None, note)
    values = np.asarray(scores, dtype=np.float64)
    draws = [(values @ block) / block.sum(axis=0) for block in bootstrap_weights(len(values), DRAWS, SEED, prompts)]
    low, high = percentile_interval(np.concatenate(draws)) or (None, None)
    return Estimate(label, float(values.mean()), low, high, note)
