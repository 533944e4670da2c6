"""How well two columns of numbers agree: Spearman, Kendall tau-b, Pearson, and how to average them over groups.

Missing values are `nan` (or None): a pair counts only when both values are there. Nothing is filled or clipped, and
what is undefined is `None` with the reason. Ranks are those of the float64 values exactly as given: round first where
two values should tie (`sqrt(.2 * .9)` and `sqrt(.3 * .6)` differ in the last bit).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError

MINIMUM_PAIRS = 3
LARGE = 1e100  # no score is larger; a hundred million squares of such numbers add up to less than float64's largest
_NOISE = 1e-13  # a spread below this part of the mean is float64 rounding, not variation

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coefficient:
    """One figure: its value, how many items (or groups) it stands on, its two-sided p-value, or why it is undefined."""

    value: float | None
    n: int
    p: float | None = None
    undefined: str | None = None


CoefficientFunction = Callable[[ArrayLike, ArrayLike], Coefficient]


def as_floats(values: ArrayLike | Sequence[float | None]) -> Floats:
    """A float64 array with None read as nan; infinite values are an error, because no rank can mend them."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError("A value is not a number", str(error), "Give numbers, and None for a gap") from error
    if np.isinf(array).any():
        raise UserError("A value is infinite", "Coefficients need finite numbers", "Leave the cell empty instead")
    return array


def scaled(values: Floats) -> Floats:
    """Values over a power of two, so that the largest lies in [.5, 1): exact, and their squares stay inside float64."""
    largest = np.abs(values[~np.isnan(values)]).max(initial=0.0)
    return np.ldexp(values, -math.frexp(largest)[1])


def tame(values: Floats) -> Floats:
    """Values as they are, or `scaled` where sums of their squares could lie beyond float64."""
    return scaled(values) if np.abs(values[~np.isnan(values)]).max(initial=0.0) > LARGE else values


def complete_pairs(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Both columns on the items where both have a value."""
    x, y = as_floats(x), as_floats(y)
    if x.shape != y.shape or x.ndim != 1:
        raise UserError(
            f"The columns have the shapes {x.shape} and {y.shape}",
            "Pairs need columns of equal length",
            "Align them by item",
        )
    both = ~(np.isnan(x) | np.isnan(y))
    return x[both], y[both]


def spearman(x: ArrayLike, y: ArrayLike) -> Coefficient:
    """Spearman's rho: Pearson's r of the midranks, in [-1, 1].

    Ties get their mean rank; pairs with a gap are left out. p: Student's t with n - 2 degrees of freedom, as
    `scipy.stats.spearmanr`. Undefined below three pairs (two points always give +-1) and for a constant column.
    Source: Spearman 1904; scipy.stats.spearmanr.
    """

    def compute(x: Floats, y: Floats) -> Any:
        from scipy import stats

        return stats.spearmanr(x, y)

    return _coefficient(x, y, compute)


def kendall_tau_b(x: ArrayLike, y: ArrayLike) -> Coefficient:
    """Kendall's tau-b: (C - D) / sqrt((P - Tx)(P - Ty)), in [-1, 1], over the P = n(n-1)/2 pairs of items.

    C and D are concordant and discordant pairs, Tx and Ty the pairs tied in x and in y; items with a gap are left out.
    p as `scipy.stats.kendalltau`: exact for small samples without ties, else asymptotic with the tie correction.
    Undefined below three items and for a constant column. Source: Kendall 1945, "The treatment of ties in ranking
    problems"; scipy.stats.kendalltau.
    """

    def compute(x: Floats, y: Floats) -> Any:
        from scipy import stats

        return stats.kendalltau(x, y)

    return _coefficient(x, y, compute)


def pearson(x: ArrayLike, y: ArrayLike) -> Coefficient:
    """Pearson's r: covariance over the product of standard deviations, in [-1, 1].

    Ties are ordinary values; pairs with a gap are left out. p: beta distribution of r for normal data, as
    `scipy.stats.pearsonr`. Undefined below three pairs, for a constant column, and for one that varies by no more than
    rounding (1e-13 of its mean). Source: Pearson 1895; scipy.stats.pearsonr.
    """

    def compute(x: Floats, y: Floats) -> Any:
        from scipy import stats

        return stats.pearsonr(scaled(x), scaled(y))

    return _coefficient(x, y, compute, lambda x, y: why_undefined(x, y) or _noise_only(x, y))


COEFFICIENTS: dict[str, CoefficientFunction] = {
    "spearman": spearman,
    "kendall_tau_b": kendall_tau_b,
    "pearson": pearson,
}


def _coefficient(
    x: ArrayLike,
    y: ArrayLike,
    compute: Callable[[Floats, Floats], Any],
    reason: Callable[[Floats, Floats], str | None] | None = None,
) -> Coefficient:
    x, y = complete_pairs(x, y)
    undefined = (reason or why_undefined)(x, y)
    if undefined:
        return Coefficient(None, len(x), undefined=undefined)
    result = compute(x, y)
    if not math.isfinite(result.statistic):
        return Coefficient(None, len(x), undefined="the values overflow float64")
    return Coefficient(float(result.statistic), len(x), float(result.pvalue))


def why_undefined(x: Floats, y: Floats) -> str | None:
    """The reason why no coefficient exists for these complete pairs, or None when one does."""
    if len(x) < MINIMUM_PAIRS:
        return f"fewer than {MINIMUM_PAIRS} items have both values ({len(x)})"
    for name, column in (("predictions", x), ("ratings", y)):
        if column.min() == column.max():
            return f"{name} are constant ({column[0]:g})"
    return None


def _noise_only(x: Floats, y: Floats) -> str | None:
    for name, column in (("predictions", x), ("ratings", y)):
        own = scaled(column)
        if len(own) and 0 < np.linalg.norm(own - own.mean()) < _NOISE * abs(own.mean()):
            return f"{name} are constant ({column[0]:g}) but for rounding"
    return None


def by_group(
    x: ArrayLike, y: ArrayLike, groups: Sequence[Any], coefficient: CoefficientFunction
) -> dict[Any, Coefficient]:
    """The coefficient inside each group, in order of first appearance ("group-by-prompt" when groups are prompts).

    Ties and gaps are the coefficient's matter, and so is the range. Average them with `average`; groups that are too
    small or constant are there as undefined, never left out unseen. Source of the grouping vocabulary: Deutsch, Foster
    & Freitag 2023, arXiv 2305.14324.
    """
    x, y = as_floats(x), as_floats(y)
    return {group: coefficient(x[rows], y[rows]) for group, rows in rows_by_group(groups).items()}


def rows_by_group(groups: Sequence[Any]) -> dict[Any, NDArray[np.intp]]:
    """Group -> its row numbers, groups in order of first appearance."""
    rows: dict[Any, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    return {group: np.asarray(members, dtype=np.intp) for group, members in rows.items()}


def system_level(x: ArrayLike, y: ArrayLike, systems: Sequence[Any], coefficient: CoefficientFunction) -> Coefficient:
    """The coefficient over systems (image generators) of their mean x and mean y; `n` is the number of systems.

    Means are taken over the items that have both values, so that both stand on the same items; means that are equal as
    decimals tie (`exact_means`). A system without such an item is left out. Range and what is undefined are the
    coefficient's: fewer than three systems, or all with one mean. Source: system-level correlation of the WMT metrics
    shared tasks, in the vocabulary of Deutsch, Foster & Freitag 2023, arXiv 2305.14324.
    """
    x, y = as_floats(x), as_floats(y)
    both = ~(np.isnan(x) | np.isnan(y))
    members = [rows[both[rows]] for rows in rows_by_group(systems).values()]
    members = [rows for rows in members if len(rows)]
    return coefficient(exact_means([x[rows] for rows in members]), exact_means([y[rows] for rows in members]))


def exact_means(samples: Iterable[Iterable[float]]) -> Floats:
    """Mean of each sample's present values (nan where there are none), to 12 significant digits.

    A correctly rounded sum (`math.fsum`) and the last rounding make means equal when they are equal as decimals:
    .1 + .2 + .3 and .3 + .2 + .1 differ in their last bit as float sums, and would break a tie at random. For the same
    reason a mean below 1e-13 of the sample's largest value is 0: .1 + .2 - .3 is 0 as decimals, 3e-17 as floats.
    """
    present = [[value for value in sample if not math.isnan(value)] for sample in samples]
    return np.asarray([_exact_mean(values) if values else math.nan for values in present], dtype=np.float64)


def _exact_mean(values: Sequence[float]) -> float:
    try:
        mean = math.fsum(values) / len(values)
    except OverflowError:  # the sum, not the mean, lies beyond float64
        mean = math.fsum(value / len(values) for value in values)
    return 0.0 if abs(mean) < _NOISE * max(map(abs, values)) else float(f"{mean:.12g}")


def _same(values: Floats) -> Floats:
    return values


# An average is after(mean(before(values))).
AVERAGES: dict[str, tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]] = {
    "mean": (_same, _same),
    "fisher_z": (np.arctanh, np.tanh),
    "tanh_of_mean": (_same, np.tanh),
}


def average(coefficients: Iterable[Coefficient] | Mapping[Any, Coefficient], rule: str = "mean") -> Coefficient:
    """One coefficient for several groups, each counting once, in [-1, 1]; `n` is the number of groups that it averages.

    Rules: `mean`; `fisher_z`, tanh(mean(atanh(r))), Fisher 1921, which a single |r| = 1 drives to +-1; `tanh_of_mean`,
    tanh(mean(r)), which some published code calls a Fisher z average: it skips atanh, shrinks large values most (1
    becomes .76), and is here only to regenerate such figures. Undefined groups (too few items, constants) are left out;
    undefined when none is defined, or when fisher_z meets both +1 and -1.
    """
    check_rule(rule)
    groups = list(coefficients.values() if isinstance(coefficients, Mapping) else coefficients)
    values = np.asarray([c.value for c in groups if c.value is not None], dtype=np.float64)
    if not len(values):
        return Coefficient(None, 0, undefined="no group has a defined coefficient")
    value = float(average_rows(values[:, None], rule)[0])
    if math.isnan(value):
        return Coefficient(None, len(values), undefined="fisher_z of both +1 and -1")
    return Coefficient(value, len(values))


def average_rows(values: Floats, rule: str, shares: Floats | None = None) -> Floats:
    """The average of each column of groups x columns by a rule of `average`, nan (undefined) groups left out.

    `shares`: weight of each group in each column; a resample that drew a group twice counts it twice.
    """
    before, after = AVERAGES[rule]
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(np.isnan(values), 0, 1.0 if shares is None else shares)
        return after(np.where(weights > 0, before(values) * weights, 0).sum(axis=0) / weights.sum(axis=0))


def check_rule(rule: str) -> None:
    """Raise when no averaging rule has this name."""
    if rule not in AVERAGES:
        raise UserError(f"There is no averaging rule '{rule}'", "", f"Use one of {', '.join(AVERAGES)}")


def t2i_eval_legacy(columns: Mapping[str, Sequence[Any]]) -> dict[tuple[str, str], dict[str, Coefficient]]:
    """T2I-Eval's published arithmetic (arXiv 2411.15488), only to regenerate its table from its own result files.

    Every entry that is not a number becomes the mean of its column's numbers, judges and people alike, then Spearman
    and tau-b of all pairs of columns (a pair's first column stands later, as in a lower triangle), with their ranges,
    ties and reasons. Filled entries tie with each other, and a column without a number stays without one. Mean-filling
    biases the coefficients; for anything else use `spearman` and `kendall_tau_b`, which drop and count what is missing.
    """
    filled = {name: _mean_filled(values) for name, values in columns.items()}
    names = list(filled)
    return {
        (later, earlier): {
            "spearman": spearman(filled[later], filled[earlier]),
            "kendall_tau_b": kendall_tau_b(filled[later], filled[earlier]),
        }
        for position, later in enumerate(names)
        for earlier in names[:position]
    }


def _mean_filled(values: Sequence[Any]) -> Floats:
    numbers = [float(v) if isinstance(v, Real) else math.nan for v in values]
    present = [v for v in numbers if not math.isnan(v)]
    fill = float(np.mean(present)) if present else math.nan
    return np.asarray([fill if math.isnan(v) else v for v in numbers], dtype=np.float64)
