"""Agreement among people: percent agreement, kappas, alpha, ceiling; and pairs of items that two columns order alike.

Together with the coefficients (`coefficients`), their intervals (`resampling`) and votes (`preferences`), whose names
are offered here too, these are pure functions over arrays. Ratings are an items x raters array, `nan` (or None) where a
rater gave none. What is undefined is a `Coefficient` with value None and the reason.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .coefficients import (
    AVERAGES,
    COEFFICIENTS,
    Coefficient,
    CoefficientFunction,
    Floats,
    as_floats,
    average,
    by_group,
    complete_pairs,
    exact_means,
    kendall_tau_b,
    pearson,
    rows_by_group,
    scaled,
    spearman,
    system_level,
    t2i_eval_legacy,
)
from .preferences import HUMAN_VOTES, VERDICTS, VoteAccuracy, vote_accuracy
from .resampling import bootstrap, holm, paired_bootstrap, percentile_interval, permutation_test

__all__ = [
    "ALPHA_LEVELS",
    "AVERAGES",
    "COEFFICIENTS",
    "HUMAN_VOTES",
    "VERDICTS",
    "Coefficient",
    "TieCalibration",
    "VoteAccuracy",
    "average",
    "bootstrap",
    "by_group",
    "cohen_kappa",
    "exact_means",
    "fleiss_kappa",
    "holm",
    "human_ceiling",
    "kendall_tau_b",
    "krippendorff_alpha",
    "leave_one_out",
    "paired_bootstrap",
    "pairwise_accuracy",
    "pearson",
    "percent_agreement",
    "percentile_interval",
    "permutation_test",
    "rater_mean",
    "spearman",
    "system_level",
    "t2i_eval_legacy",
    "tie_calibrated_accuracy",
    "vote_accuracy",
]

ALPHA_LEVELS = ("nominal", "ordinal", "interval", "ratio")
_RATIO_VALUES, _RATIO_BLOCK = 20_000, 64  # of the value x value table: its size, and rows held at a time


def as_ratings(ratings: ArrayLike) -> Floats:
    """Ratings as an items x raters float64 array."""
    array = as_floats(ratings)
    if array.ndim != 2:
        raise UserError(
            f"The ratings have the shape {array.shape}", "Ratings are items x raters", "Give one column per rater"
        )
    return array


def rater_mean(ratings: ArrayLike) -> Floats:
    """Mean of the ratings each item has, nan where it has none; means equal as decimals are equal (`exact_means`)."""
    rows, row_of_item = _distinct_rows(as_ratings(ratings))
    return exact_means(rows.tolist())[row_of_item]


def _distinct_rows(table: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """The different rows, and which of them each item has: a million items on a scale of five have few."""
    keys, places = np.zeros(len(table), dtype=np.int64), 1
    for column in table.T:
        values, codes = np.unique(column, return_inverse=True)  # nan equals nan here
        places *= len(values)
        if places > np.iinfo(np.int64).max:  # of Python's whole numbers: it cannot wrap
            return table, np.arange(len(table))
        keys = keys * len(values) + codes
    _, first, row_of_item = np.unique(keys, return_index=True, return_inverse=True)
    return table[first], row_of_item


def percent_agreement(ratings: ArrayLike) -> Coefficient:
    """Share of equal pairs of ratings within an item, averaged over the items with two or more, in [0, 1].

    Equal means equal as numbers. With gaps, an item's pairs are those of the ratings it has; with two raters this is
    the share of items on which both say the same. Constant ratings agree: 1. Undefined when no item has two ratings.
    Source: Fleiss 1971 (P-bar).
    """
    units = _pairable(as_ratings(ratings))
    if not len(units):
        return _no_pairs()
    rows, row_of_item = _distinct_rows(units)
    sizes = (~np.isnan(rows)).sum(axis=1)
    per_row = (_squares(rows) - sizes) / (sizes * (sizes - 1))
    return Coefficient(float(per_row[row_of_item].mean()), len(units))


def cohen_kappa(
    a: ArrayLike, b: ArrayLike, weights: str | None = None, categories: Sequence[float] | None = None
) -> Coefficient:
    """Cohen's kappa of two raters: 1 - (weighted observed / weighted expected disagreement), in [-1, 1].

    `weights`: None (nominal), "linear" or "quadratic" in the distance between positions in the sorted `categories`
    (default: the values that occur; name all of them where some never occur). Items missing either rating are left
    out. Undefined without items and when expected disagreement is 0: both raters always use the same one value.
    Source: Cohen 1960, 1968.
    """
    a, b = complete_pairs(a, b)
    if not len(a):
        return Coefficient(None, 0, undefined="no item has both ratings")
    values = np.unique(np.concatenate([a, b])) if categories is None else np.unique(as_floats(categories))
    if not (np.isin(a, values).all() and np.isin(b, values).all()):
        raise UserError("A rating is not among the categories", "", "List every value that raters use")
    i, j = np.searchsorted(values, a), np.searchsorted(values, b)
    distance = _category_distance(len(values), weights)
    expected = np.bincount(i, minlength=len(values)) @ distance @ np.bincount(j, minlength=len(values)) / len(a) ** 2
    if expected == 0:
        return Coefficient(None, len(a), undefined=f"both raters always say {a[0]:g}")
    return Coefficient(float(1 - distance[i, j].mean() / expected), len(a))


def _category_distance(size: int, weights: str | None) -> Floats:
    steps = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(np.float64)
    if weights is None:
        return (steps > 0).astype(np.float64)
    if weights not in ("linear", "quadratic"):
        raise UserError(f"There are no kappa weights '{weights}'", "", "Use None, linear or quadratic")
    return steps if weights == "linear" else steps**2


def fleiss_kappa(ratings: ArrayLike) -> Coefficient:
    """Fleiss' kappa: (P - Pe) / (1 - Pe), in [-1 / (raters - 1), 1], categories being the values that occur.

    P is the mean share of agreeing pairs within an item, Pe the chance of agreement from the pooled category shares. It
    is defined for one number of ratings on every item, so with gaps it stands on the items that all raters rated (`n`);
    Krippendorff's alpha uses the others too. Values are categories without order: a near miss counts as a miss.
    Undefined with fewer than two raters, without such an item, and when only one value occurs. Source: Fleiss 1971.
    """
    table = as_ratings(ratings)
    complete = table[~np.isnan(table).any(axis=1)]
    if table.shape[1] < 2 or not len(complete):
        return Coefficient(None, 0, undefined="no item was rated by every one of two or more raters")
    rows, row_of_item = _distinct_rows(complete)
    raters, items = table.shape[1], np.bincount(row_of_item)
    observed = (_squares(rows) - raters)[row_of_item].mean() / (raters * (raters - 1))
    values, codes = np.unique(rows, return_inverse=True)
    total = np.bincount(codes.reshape(-1), weights=np.repeat(items, raters))
    expected = ((total / (raters * len(complete))) ** 2).sum()
    if len(values) == 1:
        return Coefficient(None, len(complete), undefined=f"all ratings are {complete[0, 0]:g}")
    return Coefficient(float((observed - expected) / (1 - expected)), len(complete))


def krippendorff_alpha(ratings: ArrayLike, level: str = "nominal") -> Coefficient:
    """Krippendorff's alpha: 1 - observed / expected disagreement, at most 1, 0 at chance; any raters, any gaps.

    `level` sets the squared difference of two values: nominal (0 or 1), ordinal (their midranks among all pairable
    values, squared), interval ((c - k)^2), ratio (((c - k) / (c + k))^2, for values that are never negative). Items
    with one rating are left out; `n` is the number of the others. Undefined when there are none, when only one value
    occurs, and at ratio level for more than 20,000 different ones. Source: Krippendorff, Content Analysis (2004),
    chapter 11; ordinal as interval on midranks follows from its sum over the counts between two values.
    """
    if level not in ALPHA_LEVELS:
        raise UserError(f"There is no level of measurement '{level}'", "", f"Use one of {', '.join(ALPHA_LEVELS)}")
    units = _pairable(as_ratings(ratings))
    if not len(units):
        return _no_pairs()
    rows, row_of_item = _distinct_rows(units)
    values, value_of_cell = np.unique(rows[~np.isnan(rows)], return_inverse=True)
    items = np.broadcast_to(np.bincount(row_of_item)[:, None], rows.shape)[~np.isnan(rows)]
    counts = np.bincount(value_of_cell, weights=items).astype(np.int64)
    if len(values) == 1:
        return Coefficient(None, len(units), undefined=f"all ratings are {values[0]:g}")
    if level == "ratio" and values[0] < 0:
        return Coefficient(None, len(units), undefined="ratio level needs values that are never negative")
    if level == "ratio" and len(values) > _RATIO_VALUES:
        return Coefficient(None, len(units), undefined=f"ratio level compares at most {_RATIO_VALUES:,} values")
    if level == "ordinal":
        midranks = np.cumsum(counts) - (counts - 1) / 2
        rows[~np.isnan(rows)] = midranks[value_of_cell]
        values, level = midranks, "interval"
    elif level != "nominal":
        values, rows = scaled(values), scaled(rows)
    observed = _observed(rows, level)[row_of_item].sum()
    return Coefficient(float(1 - observed / _expected(values, counts, level)), len(units))


def _observed(rows: Floats, level: str) -> Floats:
    """Each row's sum of squared differences over ordered pairs of its ratings, over their number minus 1."""
    pairs = np.zeros(len(rows))
    for step in range(1, rows.shape[1]):
        pairs += np.nansum(_squared_difference(rows[:, step:], rows[:, :-step], level), axis=1)
    values: Floats = 2 * pairs / ((~np.isnan(rows)).sum(axis=1) - 1)
    return values


def _expected(values: Floats, counts: NDArray[np.intp], level: str) -> float:
    """Sum of squared differences over all ordered pairs of pairable values, over their number minus 1."""
    n = int(counts.sum())
    if level == "nominal":
        return float(n**2 - (counts**2).sum()) / (n - 1)
    if level == "interval":
        return 2 * n * float(counts @ (values - counts @ values / n) ** 2) / (n - 1)
    total = 0.0
    for start in range(0, len(values), _RATIO_BLOCK):
        rows = slice(start, start + _RATIO_BLOCK)
        total += float(counts[rows] @ _squared_difference(values[rows, None], values, level) @ counts)
    return total / (n - 1)


def _squared_difference(c: Floats, k: Floats, level: str) -> Floats:
    if level == "nominal":
        return np.where(np.isnan(c) | np.isnan(k), np.nan, c != k)
    if level == "interval":
        return (c - k) ** 2
    total = c + k
    return np.divide(c - k, total, out=np.zeros_like(total), where=total != 0) ** 2


def _pairable(ratings: Floats) -> Floats:
    pairable: NDArray[np.bool_] = (~np.isnan(ratings)).sum(axis=1) >= 2
    return ratings[pairable]


def _squares(units: Floats) -> NDArray[np.int64]:
    """Each unit's sum of squares of how often a value occurs in it. Units x values would not fit into memory."""
    present = ~np.isnan(units)
    values, codes = np.unique(units[present], return_inverse=True)
    cells, counts = np.unique(np.nonzero(present)[0] * len(values) + codes.reshape(-1), return_counts=True)
    squares = np.zeros(len(units), dtype=np.int64)
    np.add.at(squares, cells // max(1, len(values)), counts**2)
    return squares


def _no_pairs() -> Coefficient:
    return Coefficient(None, 0, undefined="no item has two ratings")


def leave_one_out(ratings: ArrayLike) -> list[tuple[Floats, Floats]]:
    """For each rater: that rater's ratings and the mean of all others' on each item (nan where either is missing)."""
    table = as_ratings(ratings)
    rows, row_of_item = _distinct_rows(table)
    means = np.full(rows.shape, np.nan)
    for row, found in zip(rows.tolist(), means):
        present = [rater for rater, value in enumerate(row) if value == value]  # is no nan
        values = [row[rater] for rater in present]
        known: dict[float, float] = {}  # whoever gives the same rating leaves the same ones
        for place, rater in enumerate(present if len(present) > 1 else ()):
            if (value := row[rater]) not in known:
                [known[value]] = exact_means([values[:place] + values[place + 1 :]])
            found[rater] = known[value]
    means = means[row_of_item]
    return [(table[:, k], means[:, k]) for k in range(table.shape[1])]


def human_ceiling(ratings: ArrayLike, coefficient: CoefficientFunction = spearman) -> Coefficient:
    """How well one person predicts the others: mean over raters of coefficient(rater, mean of all other raters).

    The rater is kept out of the mean that he is held against; the published habit of correlating each annotator with an
    average that contains him overstates the ceiling. Range and ties are the coefficient's. With gaps the others' mean
    is of the ratings an item has; `n` is the number of items with two or more. Raters whose coefficient is undefined
    (constants, too few items) are left out of the mean; undefined when all are. No p-value: it is a mean of
    coefficients. Source: the lower bound of the noise ceiling of Nili et al. 2014, PLoS Comput. Biol. 10(4).
    """
    return ceiling_of(leave_one_out(ratings), coefficient)


def ceiling_of(held_out: Sequence[tuple[Floats, Floats]], coefficient: CoefficientFunction) -> Coefficient:
    """The `human_ceiling` of pairs as `leave_one_out` gives them."""
    items = int(np.any([~np.isnan(one) & ~np.isnan(others) for one, others in held_out], axis=0).sum())
    mean = average([coefficient(one, others) for one, others in held_out])
    if mean.value is None:
        reason = "one rater" if len(held_out) < 2 else "no rater's coefficient with the others is defined"
        return Coefficient(None, items, undefined=reason)
    return Coefficient(mean.value, items)


def pairwise_accuracy(x: ArrayLike, y: ArrayLike, epsilon: float = 0.0) -> Coefficient:
    """Share of pairs of items that x orders as y does, ties included: (C + T_both) / all pairs, in [0, 1].

    x ties where two scores differ by at most `epsilon`, y where they are equal. Unlike tau-b it gives credit for
    predicted ties and takes it from both kinds of false tie. Items with a gap are left out. Undefined below two items;
    constants are no obstacle. Memory and time grow with the square of the number of items. Source: acc_eq of Deutsch,
    Foster & Freitag 2023, arXiv 2305.14324.
    """
    x, y = complete_pairs(x, y)
    if len(x) < 2:
        return Coefficient(None, len(x), undefined="fewer than two items have both values")
    gaps, gain, concordant = _pair_table(x, y)
    return Coefficient(float((concordant.sum() + gain[gaps <= epsilon].sum()) / len(gaps)), len(x))


@dataclass(frozen=True)
class TieCalibration:
    """Best pairwise accuracy, in [0, 1], over all thresholds up to which x is said to tie, and that threshold.

    `epsilon` is in units of x. Both are None where `undefined` says why.
    """

    accuracy: float | None
    epsilon: float | None
    n_pairs: int
    undefined: str | None = None


def tie_calibrated_accuracy(x: ArrayLike, y: ArrayLike, groups: Sequence[Hashable] | None = None) -> TieCalibration:
    """Pairwise accuracy at the epsilon >= 0 that maximises it: continuous scores are not punished for never tying.

    With `groups` (prompts) only pairs within a group count, one epsilon serves all groups, and the accuracy is the mean
    of the groups' accuracies. The smallest best epsilon is taken. It is fitted on these very pairs: calibrate on other
    data before comparing with a judge whose scores are discrete. Items with a gap are left out; constants are no
    obstacle; undefined when no group has two items. Source: Deutsch, Foster & Freitag 2023, arXiv 2305.14324, tie
    calibration; google-research/mt-metrics-eval, tau_optimization.py.
    """
    x, y = as_floats(x), as_floats(y)
    both = ~(np.isnan(x) | np.isnan(y))
    labels = [None] * len(x) if groups is None else list(groups)
    members = [rows[both[rows]] for rows in rows_by_group(labels).values()]
    tables = [_pair_table(x[rows], y[rows]) for rows in members if len(rows) > 1]
    if not tables:
        return TieCalibration(None, None, 0, "no two items with both values to compare")
    weights = np.repeat([1 / (len(table[0]) * len(tables)) for table in tables], [len(table[0]) for table in tables])
    gaps, gain, concordant = (np.concatenate(column) for column in zip(*tables, strict=True))
    order = np.argsort(gaps, kind="stable")
    gaps = np.concatenate([[0.0], gaps[order]])
    accuracy = concordant @ weights + np.concatenate([[0.0], np.cumsum((gain * weights)[order])])
    last_of_run = np.append(gaps[1:] != gaps[:-1], True)
    best = int(np.argmax(np.where(last_of_run, accuracy.round(12), -1)))  # rounded: equal sums in any order are equal
    return TieCalibration(float(accuracy[best]), float(gaps[best]), len(order))


def _pair_table(x: Floats, y: Floats) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """For every pair: |x_i - x_j|, what calling it a tie gains (+1, 0, -1), and whether x orders it as y does."""
    i, j = np.triu_indices(len(x), 1)
    with np.errstate(over="ignore"):  # beyond float64 the sign is right still
        dx, dy = x[i] - x[j], y[i] - y[j]
    concordant = ((np.sign(dx) == np.sign(dy)) & (dy != 0)).astype(np.int64)
    return np.abs(dx), (dy == 0).astype(np.int64) - concordant, concordant
