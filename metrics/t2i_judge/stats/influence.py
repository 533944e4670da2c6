"""How much each item moves a coefficient: what an interval is made of where resampling would take too long.

The influence of an item on a figure T is n times what T loses, to first order, when the item's share of the sample goes
to nothing. The sum of squared influences over n^2 is the variance of T (the infinitesimal jackknife: Jaeckel 1972;
Efron & Stein 1981); summed over the items of a cluster first, it is that of a cluster sample. Everything is counted
from codes, in time and memory linear in the items.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .coefficients import Floats, scaled
from .columns import Column
from .weighted import WeightedPair, standardised

_BINS = 512  # of ranks, for tau's concordance: an item's share of pairs is off by at most one part in so many
_DELETED = 100  # units up to which each is left out in turn
_DELETED_IN_TWOS = 50  # and up to which every two are
_LEAST = 0.25  # of the jackknife's variance, that a correction leaves


def influences(x: Column, y: Column, items: NDArray[np.intp]) -> dict[str, Floats]:
    """Coefficient -> influence of each of these items, which have both values; both columns vary on them."""
    first, second = x.codes[items], y.codes[items]
    return {
        "spearman": _spearman(_mid_distribution(first), _mid_distribution(second)),
        "kendall_tau_b": _kendall(first, second),
        "pearson": _pearson(x.values[items], y.values[items]),
    }


def unit_contributions(
    x: Column, y: Column, items: NDArray[np.intp], units: NDArray[np.intp], size: int
) -> dict[str, Floats]:
    """Coefficient -> what each of `size` units (items or clusters) adds to its error: squares sum to the variance.

    `units` numbers the unit of each of `items` from 0. A unit without an item adds nothing. Few units are left out one
    by one (the delete-one jackknife), which small groups need; else, and where that leaves nothing, it is by influence.
    """
    present = np.bincount(units, minlength=size) > 0
    if size <= _DELETED:
        left_out = _left_out_in_turn(WeightedPair(x.values[items], y.values[items]), units, present)
        if not any(np.isnan(values).any() for values in left_out.values()):
            return left_out
    m = int(np.count_nonzero(present))
    moved = influences(x, y, items)
    added = {name: np.bincount(units, weights=values, minlength=size) / len(items) for name, values in moved.items()}
    return {name: values * np.sqrt(m / max(m - 1, 1)) for name, values in added.items()}


def _left_out_in_turn(pair: WeightedPair, units: NDArray[np.intp], present: NDArray[np.bool_]) -> dict[str, Floats]:
    """Contributions by the delete-one jackknife; their variance is freed of its bias where the units are few.

    Terms of second order make it 1.2 (30 units) to 1.6 times (8) too large for a correlation. Leaving out every two
    units shows them: Q_ij = m T - (m - 1) (T_i + T_j) + (m - 2) T_ij; the sum of their squares about their mean, over
    m (m - 1), is taken off (Efron & Stein 1981). `_LEAST` stays: for single groups the difference may be negative.
    """
    numbers = np.flatnonzero(present)
    m = len(numbers)
    one = pair.coefficients(_without(units, numbers))
    added = {name: np.sqrt((m - 1) / m) * (values.mean() - values) for name, values in one.items()}
    if m <= _DELETED_IN_TWOS:
        i, j = np.triu_indices(m, 1)
        two = pair.coefficients(_without(units, numbers[i], numbers[j]))
        whole = pair.coefficients(np.ones((len(units), 1), dtype=np.float32))
        for name, values in added.items():
            second = m * whole[name] - (m - 1) * (one[name][i] + one[name][j]) + (m - 2) * two[name]
            variance = values @ values
            if variance > 0 and not np.isnan(second).any():
                values *= np.sqrt(max(1 - second.var() / 2 / variance, _LEAST))
    spread = {name: np.zeros(len(present)) for name in added}
    for name, values in added.items():
        spread[name][numbers] = values
    return spread


def _without(units: NDArray[np.intp], *deleted: NDArray[np.intp]) -> NDArray[np.float32]:
    """Items x resamples: weight 1, but 0 for the items of the units that a resample leaves out."""
    weights = np.ones((len(units), len(deleted[0])), dtype=np.float32)
    for one in deleted:
        weights[units[:, None] == one] = 0
    return weights


def _mid_distribution(codes: NDArray[np.int32]) -> tuple[NDArray[np.int32], Floats]:
    """The codes, and the share of items below each value plus half the share at it."""
    counts = np.bincount(codes)
    return codes, (np.cumsum(counts) - counts / 2) / len(codes)


def _spearman(x: tuple[NDArray[np.int32], Floats], y: tuple[NDArray[np.int32], Floats]) -> Floats:
    """rho = cov(F(x), G(y)) over the root of both variances, F and G being estimated from the same items."""
    (x_codes, f), (y_codes, g) = x, y
    across, x_spread, y_spread = f[x_codes] @ g[y_codes] / len(x_codes) - 0.25, _spread(*x), _spread(*y)
    rho = across / np.sqrt(x_spread * y_spread)
    of_product = f[x_codes] * g[y_codes] + _above(x_codes, g[y_codes]) + _above(y_codes, f[x_codes])
    of_product -= 3 * (across + 0.25)
    parts = [(f[x_codes], x_codes, x_spread), (g[y_codes], y_codes, y_spread)]
    of_spreads = sum((v * v + 2 * _above(codes, v) - 3 * (s + 0.25)) / s for v, codes, s in parts)
    influence: Floats = of_product / np.sqrt(x_spread * y_spread) - rho / 2 * of_spreads
    return influence


def _spread(codes: NDArray[np.int32], distribution: Floats) -> float:
    return float((distribution[codes] ** 2).mean() - 0.25)


def _above(codes: NDArray[np.int32], values: Floats) -> Floats:
    """For each item the mean over all items of their value where they lie above it, half of it where they tie."""
    sums = np.bincount(codes, weights=values)
    means: Floats = ((sums.sum() - np.cumsum(sums) + sums / 2) / len(codes))[codes]
    return means


def _kendall(x: NDArray[np.int32], y: NDArray[np.int32]) -> Floats:
    """tau-b = S / sqrt(Px Py): S the mean sign of concordance, P the share of pairs that do not tie."""
    n = len(x)
    signs = _concordance(_binned(x), _binned(y)) / n
    untied = [1 - np.bincount(codes)[codes] / n for codes in (x, y)]
    s, (p, q) = signs.mean(), (share.mean() for share in untied)
    tau = s / np.sqrt(p * q)
    influence: Floats = 2 * (signs - s) / np.sqrt(p * q) - tau * ((untied[0] - p) / p + (untied[1] - q) / q)
    return influence


def _binned(codes: NDArray[np.int32]) -> NDArray[np.intp]:
    """The codes where there are few values, else bins of equally many items."""
    counts = np.bincount(codes)
    known = np.cumsum(counts > 0) - 1
    if known[-1] < _BINS:
        return np.asarray(known[codes], dtype=np.intp)
    middles = (np.cumsum(counts) - counts / 2) / len(codes)
    return np.asarray((middles * _BINS).astype(np.intp)[codes], dtype=np.intp)


def _concordance(x: NDArray[np.intp], y: NDArray[np.intp]) -> Floats:
    """For each item, how many others it is concordant with minus how many discordant."""
    width, height = int(x.max()) + 1, int(y.max()) + 1
    table = np.bincount(x * height + y, minlength=width * height).reshape(width, height).astype(np.float64)
    by_row = np.zeros((width + 1, height))
    by_row[1:] = np.cumsum(table, axis=0)
    sides = by_row[:-1] - (by_row[-1] - by_row[1:])  # items of lower x minus items of higher x, by y
    across = np.cumsum(sides, axis=1)
    excess = (across - sides) - (across[:, -1:] - across)  # of lower y minus of higher y
    values: Floats = excess[x, y]
    return values


def _pearson(x: Floats, y: Floats) -> Floats:
    x, y = standardised(scaled(x)), standardised(scaled(y))
    products = x * y
    r = products.mean()
    influence: Floats = products - r / 2 * (x * x + y * y)
    return influence
