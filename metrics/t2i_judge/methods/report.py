"""DreamBench++'s report on personalised generators: agreement among people and of a judge with them, and a leaderboard.

Everything is joined by item, never by the order of rows. Gaps stay gaps and are counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..records import PERSONALISED_ASPECTS
from ..stats.agreement import krippendorff_alpha
from ..stats.resampling import Interval, bootstrap_weights, percentile_interval

CONCEPT_PRESERVATION, PROMPT_FOLLOWING = PERSONALISED_ASPECTS
PRODUCT = "concept_preservation*prompt_following"
COLUMNS = (*PERSONALISED_ASPECTS, PRODUCT)
PARTS = ("category", "difficulty", "subject")
RANDOM_SEED = 0
Scores = Mapping[str, float | None]  # item -> score


class Rating(NamedTuple):
    """One person's score of one aspect of an item."""

    item: str
    annotator: str
    aspect: str
    score: float | None


@dataclass(frozen=True)
class MethodItem:
    """An item of the benchmark: who made the image, for which prompt, and what kind of task it is."""

    method: str
    prompt: str
    family: str | None = None
    category: str | None = None
    difficulty: str | None = None
    subject: str | None = None


@dataclass(frozen=True)
class MethodAgreement:
    """Agreement on one aspect of one method's images.

    Attributes:
        method, aspect: what was rated; method None is all methods together.
        human_human: Krippendorff's alpha (interval) of every two annotators, averaged over the pairs (ours).
        human_human_joint: one alpha of all annotators together, which DreamBench++'s own code calls H-H.
        judge_human: alpha of the judge with every annotator, averaged over annotators, then over the judge's runs.
        ratio: judge_human / human_human_joint, the paper's G-H / H-H; None where H-H is not above 0.
        judge_human_sd: sample standard deviation over the runs; None for a single run.
        n, n_failed: items of the method, and scores that the judge did not give, over all runs.
        undefined: why a figure is None.
    """

    method: str | None
    aspect: str
    human_human: float | None
    judge_human: float | None
    judge_human_sd: float | None
    n: int
    n_failed: int
    undefined: str | None = None
    human_human_joint: float | None = None
    ratio: float | None = None


def agreement_report(
    items: Mapping[str, MethodItem], ratings: Iterable[Rating], runs: Sequence[Mapping[str, Scores]]
) -> list[MethodAgreement]:
    """H-H and G-H of DreamBench++ (arXiv 2406.16855, section 4): alpha at interval level, per method and for all.

    Args:
        items: item -> its method and prompt.
        ratings: people's scores; an annotator may be a group, and need not have rated every item.
        runs: a mapping aspect -> item -> score for each run of the judge, on the people's scale; None is a failure.

    Returns:
        A row for each method and aspect that the judge is about, and one with method None for all items of an aspect.
    """
    rated: dict[tuple[str, str | None], dict[str, dict[str, float]]] = {}  # (aspect, method) -> annotator -> item
    for rating in ratings:
        if rating.score is not None and rating.item in items:
            for method in (items[rating.item].method, None):
                people = rated.setdefault((rating.aspect, method), {})
                people.setdefault(rating.annotator, {})[rating.item] = float(rating.score)
    names: dict[str | None, list[str]] = {}
    for name, item in items.items():
        names.setdefault(item.method, []).append(name)
    names[None] = list(items)
    return [
        _method_agreement(
            method, aspect, names[method], rated.get((aspect, method), {}), [run.get(aspect, {}) for run in runs]
        )
        for aspect in scored_aspects(runs)
        if (aspect, None) in rated
        for method in names
    ]


def scored_aspects(runs: Sequence[Mapping[str, Scores]]) -> tuple[str, ...]:
    """The axes that a scorer is about: those it has any score of (DINO-I has one), both where it has none at all."""
    known = {aspect for run in runs for aspect, scores in run.items() if any(s is not None for s in scores.values())}
    return tuple(aspect for aspect in PERSONALISED_ASPECTS if aspect in known) or PERSONALISED_ASPECTS


def _method_agreement(
    method: str | None,
    aspect: str,
    names: Sequence[str],
    people: Mapping[str, Mapping[str, float]],
    runs: Sequence[Scores],
) -> MethodAgreement:
    human_human, why_humans = _mean_alpha(combinations(people.values(), 2), names)
    agreements = [_mean_alpha(((run, scores) for scores in people.values()), names) for run in runs]
    judged = [alpha for alpha, _ in agreements if alpha is not None]
    whys = [why_humans, *(why for _, why in agreements)]
    given = [[scores[name] for scores in people.values() if name in scores] for name in names]
    most = max(map(len, given), default=0)  # alpha asks which ratings an item has, not whose they are
    table = np.array([[*own, *[float("nan")] * (most - len(own))] for own in given], dtype=float)
    joint = krippendorff_alpha(table.reshape(-1, most), "interval").value if most else None
    judge_human = fmean(judged) if judged and len(judged) == len(runs) else None
    return MethodAgreement(
        method,
        aspect,
        human_human,
        judge_human,
        stdev(judged) if len(judged) > 1 and len(judged) == len(runs) else None,
        n=len(names),
        n_failed=sum(run.get(name) is None for run in runs for name in names),
        undefined=next((why for why in whys if why), None),
        human_human_joint=joint,
        ratio=judge_human / joint if judge_human is not None and joint is not None and joint > 0 else None,
    )


def _mean_alpha(pairs: Iterable[tuple[Scores, Scores]], names: Sequence[str]) -> tuple[float | None, str | None]:
    """Mean of the defined alphas, or None with the reason; two raters without a common item count for nothing."""
    values, why, order = [], "no two raters of the same item", {name: place for place, name in enumerate(names)}
    for pair in pairs:
        fewer, more = sorted(pair, key=len)
        common = [n for n in fewer if n in order and fewer[n] is not None and more.get(n) is not None]
        if not common:
            continue
        table = np.array(
            [[_number(scores[name]) for scores in pair] for name in sorted(common, key=order.__getitem__)], dtype=float
        )
        alpha = krippendorff_alpha(table.reshape(-1, 2), "interval")
        if alpha.value is not None:
            values.append(alpha.value)
        else:
            why = alpha.undefined or why
    return (fmean(values), None) if values else (None, why)


def _number(score: float | None) -> float:
    return float("nan") if score is None else float(score)


@dataclass(frozen=True)
class LeaderboardRow:
    """Mean scores of a method, or of a whole family, with 95% intervals clustered by prompt.

    Attributes:
        method, family: who made the images; method None is a family as a whole.
        by: the part of the tasks: {} for all, or one of `PARTS` and its value, {"category": ...}.
        scores, intervals: by concept_preservation, prompt_following (means over items that have both) and the product
            of the two means; a scorer of one axis alone, as DINO-I is, has that mean and no product.
        n, n_failed: items with every score that the scorer gives, and items without.
    """

    method: str | None
    family: str | None
    by: Mapping[str, str | None]
    scores: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]
    n: int
    n_failed: int


def leaderboard(
    items: Mapping[str, MethodItem],
    scores: Mapping[str, Scores],
    by: str | None = None,
    *,
    draws: int = 2000,
    seed: int = RANDOM_SEED,
) -> list[LeaderboardRow]:
    """Methods by mean CP, mean PF and the product of both means, as DreamBench++ (arXiv 2406.16855) ranks them.

    The best product comes first (within a part), the best mean where there is no product.

    Args:
        items: item -> method, prompt, family, category, difficulty, subject.
        scores: aspect -> item -> score; None or missing is a failure and is left out and counted.
        by: None for a row per method, "family" for a row per family, one of `PARTS` for one per method and part.
        draws, seed: of the percentile bootstrap, which resamples prompts.
    """
    cells: dict[tuple[str | None, str | None], list[str]] = {}
    for name, item in items.items():
        key = (None, item.family) if by == "family" else (item.method, getattr(item, by) if by else None)
        cells.setdefault(key, []).append(name)
    axes = [scores.get(aspect, {}) for aspect in PERSONALISED_ASPECTS]
    scored = [scores.get(aspect, {}) for aspect in scored_aspects([scores])]
    rows = []
    for (method, part), names in cells.items():
        rated = [name for name in names if all(axis.get(name) is not None for axis in scored)]
        table = np.array([[_number(axis.get(name)) for axis in axes] for name in rated]).reshape(-1, len(axes))
        means = _with_product(table.mean(axis=0)).tolist() if rated else [math.nan] * len(COLUMNS)
        intervals = _intervals(table, [items[name].prompt for name in rated], draws, seed)
        rows.append(
            LeaderboardRow(
                method,
                items[names[0]].family,
                {by: part} if by in PARTS else {},
                {column: None if math.isnan(mean) else mean for column, mean in zip(COLUMNS, means)},
                dict(zip(COLUMNS, intervals)),
                n=len(rated),
                n_failed=len(names) - len(rated),
            )
        )
    return sorted(rows, key=lambda row: (*map(str, row.by.values()), -_rank_score(row)))


def _rank_score(row: LeaderboardRow) -> float:
    """The product, or the only mean; methods without any score come last."""
    return next((score for column in reversed(COLUMNS) if (score := row.scores[column]) is not None), -math.inf)


def _intervals(table: NDArray[np.float64], clusters: Sequence[str], draws: int, seed: int) -> Sequence[Interval | None]:
    """95% percentile interval of each of `COLUMNS` over resampled prompts; None for fewer than two, or no draws."""
    if len(set(clusters)) < 2 or not draws:
        return [None] * len(COLUMNS)
    blocks = bootstrap_weights(len(table), draws, seed, clusters)
    means = np.concatenate([table.T @ weights / weights.sum(axis=0) for weights in blocks], axis=1)
    return [percentile_interval(column) for column in _with_product(means)]


def _with_product(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """The means of both axes, shape (2, ...), and below them their product."""
    return np.concatenate([means, means.prod(axis=0, keepdims=True)])


def signed_bias(
    judge: Scores, people: Scores, judge_range: tuple[float, float], people_range: tuple[float, float]
) -> float | None:
    """Mean of judge minus people with both declared ranges mapped onto [0, 1]; above 0 the judge is too kind.

    Over items that both scored; None when there is none (DreamBench++, section 4.2, compares levels this way).
    """
    common = [name for name, score in judge.items() if score is not None and people.get(name) is not None]
    if not common:
        return None
    ours = fmean(to_unit(_number(judge[name]), judge_range) for name in common)
    return ours - fmean(to_unit(_number(people[name]), people_range) for name in common)


def to_unit(score: float, score_range: tuple[float, float]) -> float:
    """A score of a declared range on [0, 1]; nothing is clipped."""
    low, high = score_range
    return (score - low) / (high - low)
