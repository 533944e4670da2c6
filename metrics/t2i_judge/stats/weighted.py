"""Spearman, tau-b and Pearson of two columns under many weightings of their items at once.

Without a Python loop over weightings:

* midranks of a weighted sample are sums of cumulative weights along the sorted items;
* concordant minus discordant pairs are counted by merging, as in Knight 1966 (JASA 61:436): at each of log2(levels)
  steps the pairs split between the lower and the upper half of a run of y values are counted along x. Which items meet
  in which step depends on the data only, so that it is worked out once for all weightings.

Ties, including those that resampling makes by drawing an item twice, count exactly as scipy counts them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .coefficients import MINIMUM_PAIRS, Floats, as_floats, scaled

Draws = dict[str, Floats]
Weights = NDArray[np.floating]

_EXACT_ITEMS = 1 << 22  # float32 holds every count exactly up to here: twice a sum of weights stays below 2**24


def weight_type(n: int) -> type[np.floating]:
    """The smallest floats that hold every count of n items, and of twice as many, exactly."""
    return np.float32 if n <= _EXACT_ITEMS else np.float64


class WeightedPair:
    """Two complete columns of n numbers, prepared for their coefficients under many weightings of the items.

    Items with equal (x, y) are merged into one cell first: ratings and judges on coarse scales have few cells.
    """

    def __init__(self, x: ArrayLike, y: ArrayLike) -> None:
        cells, cell_of_item = np.unique(np.column_stack([as_floats(x), as_floats(y)]), axis=0, return_inverse=True)
        self._items = _Runs(cell_of_item.reshape(-1))
        columns = [np.unique(cells[:, i], return_inverse=True)[1].reshape(-1) for i in (0, 1)]
        self._x, self._y = _Runs(columns[0]), _Runs(columns[1])
        few, many = sorted(columns, key=lambda codes: int(codes.max(initial=0)))
        self._merges = list(_merges(many, few))
        x, y = standardised(cells[:, 0]), standardised(cells[:, 1])
        self._moments = np.stack([x, y, x * x, y * y, x * y])

    def coefficients(self, weights: Weights) -> Draws:
        """Spearman, tau-b and Pearson for each column of `weights` (items x resamples); nan where one is undefined."""
        cells = self._items.sums(weights)
        total = cells.sum(axis=0, dtype=np.float64)
        x_ranks, x_ties, x_spread = self._x.ranks(cells, total)
        y_ranks, y_ties, y_spread = self._y.ranks(cells, total)
        defined = (x_ties < total**2) & (y_ties < total**2) & (total >= MINIMUM_PAIRS)
        covariance = np.einsum("cb,cb,cb->b", cells, x_ranks, y_ranks, dtype=np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            figures = {
                "spearman": covariance / np.sqrt(x_spread * y_spread),
                "kendall_tau_b": self._concordance(cells) / np.sqrt((total**2 - x_ties) * (total**2 - y_ties)),
                "pearson": self._pearson(cells, total),
            }
        return {name: np.where(defined, np.clip(values, -1, 1), np.nan) for name, values in figures.items()}

    def _concordance(self, cells: Weights) -> Floats:
        """Twice concordant minus discordant pairs of each resample."""
        total = np.zeros(cells.shape[1])
        for merge in self._merges:
            total += merge.concordance(cells)
        return 2 * total

    def _pearson(self, cells: Weights, total: Floats) -> Floats:
        mean_x, mean_y, xx, yy, xy = np.einsum("mc,cb->mb", self._moments, cells, dtype=np.float64) / total
        pearson: Floats = (xy - mean_x * mean_y) / np.sqrt((xx - mean_x**2) * (yy - mean_y**2))
        return pearson


class _Runs:
    """Rows sorted by an integer code, and where the run of each row's equals begins and ends."""

    def __init__(self, codes: NDArray[np.intp]) -> None:
        self._order = np.argsort(codes, kind="stable")
        self._is_sorted = bool((codes[1:] >= codes[:-1]).all())
        ordered = codes[self._order]
        self._start, self._end = np.searchsorted(ordered, codes, "left"), np.searchsorted(ordered, codes, "right")
        self._first = self._order[np.unique(ordered, return_index=True)[1]]  # one row of each run
        self._has_ties = len(self._first) < len(codes)

    def sums(self, weights: Weights) -> Weights:
        """The weight of each run."""
        if not self._has_ties:
            return self._ordered(weights)
        running = _running_sums(self._ordered(weights))
        return running.take(self._end[self._first], axis=0) - running.take(self._start[self._first], axis=0)

    def _ordered(self, weights: Weights) -> Weights:
        return weights if self._is_sorted else weights.take(self._order, axis=0)

    def ranks(self, weights: Weights, total: Floats) -> tuple[Weights, Floats, Floats]:
        """Twice the centred midrank of each row; per resample, the sums of squared run weights and of squared ranks."""
        # A resample is a weight an item, so an item's midrank is the weight below its run plus half of its run's: half
        # of (weight before the run's start + weight before its end). Twice that, minus the total, is centred and stays
        # an integer, so the products below are exact however many items tie; Spearman does not mind the factor of two.
        running = _running_sums(self._ordered(weights))
        ranks = running.take(self._start, axis=0)
        ranks += running.take(self._end, axis=0)
        ranks -= total.astype(weights.dtype)
        # The sums of squares go by run, not by item: equals share a rank, and where people rate there are few runs.
        runs = self.sums(weights) if self._has_ties else weights
        run_ranks = ranks.take(self._first, axis=0) if self._has_ties else ranks
        ties = np.einsum("rb,rb->b", runs, runs, dtype=np.float64)
        return ranks, ties, np.einsum("rb,rb,rb->b", runs, run_ranks, run_ranks, dtype=np.float64)


def _running_sums(weights: Weights) -> Weights:
    """Sums of the first 0, 1, ... n rows, in strips of about sqrt(n) rows: numpy adds whole rows far faster than it
    accumulates along them."""
    n, width = weights.shape
    strip = max(1, math.isqrt(n))
    strips = -(-n // strip)
    sums = np.empty((strips * strip + 1, width), dtype=weights.dtype)
    sums[0], sums[1 : n + 1], sums[n + 1 :] = 0, weights, 0
    grid = sums[1:].reshape(strips, strip, width)
    for row in range(1, strip):
        grid[:, row] += grid[:, row - 1]
    for row in range(1, strips):
        grid[row] += grid[row - 1, -1]
    return sums[: n + 1]


@dataclass(frozen=True)
class _Merge:
    """One merging step: pairs of a lower and an upper item of the same run of y values.

    `start` and `end` bound, for each upper item, the lower items of its run that tie with it in x; `first` and `last`
    bound all lower items of its run. Positions count along the lower items, sorted by run and x.
    """

    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    start: NDArray[np.intp]
    end: NDArray[np.intp]
    first: NDArray[np.intp]
    last: NDArray[np.intp]
    has_ties: bool

    def concordance(self, cells: Weights) -> Floats:
        """Concordant minus discordant weight of this step's pairs, one number per resample."""
        # An upper item is concordant with the lower ones before it in x, discordant with those behind it, and tied with
        # those in between: [first, start) minus [end, last), both read off one running sum as
        # (R[start] - R[first]) - (R[last] - R[end]). Without ties start is end, and one array serves for both.
        running = _running_sums(cells.take(self.lower, axis=0))
        excess = running.take(self.start, axis=0)
        excess += running.take(self.end, axis=0) if self.has_ties else excess
        excess -= running.take(self.first, axis=0)
        excess -= running.take(self.last, axis=0)
        total: Floats = np.einsum("ub,ub->b", excess, cells.take(self.upper, axis=0), dtype=np.float64)
        return total


def _merges(x: NDArray[np.intp], y: NDArray[np.intp]) -> Iterator[_Merge]:
    """The merging steps for integer codes x and y: one per bit of y; the values that share the bits above are a run."""
    width = int(x.max(initial=0)) + 1
    for bit in range(int(y.max(initial=0)).bit_length()):
        run, is_upper = y >> (bit + 1), (y >> bit) & 1 == 1
        lower, upper = np.flatnonzero(~is_upper), np.flatnonzero(is_upper)
        key = run * width + x
        lower = lower[np.argsort(key[lower], kind="stable")]
        keys = key[lower]
        start, end = np.searchsorted(keys, key[upper], "left"), np.searchsorted(keys, key[upper], "right")
        first, last = (np.searchsorted(keys, (run[upper] + step) * width) for step in (0, 1))
        yield _Merge(lower, upper, start, end, first, last, bool((start != end).any()))


def standardised(values: Floats) -> Floats:
    """Values minus their mean, over their standard deviation; zeros where they are constant."""
    values = scaled(values)
    spread = values.std() if len(values) else 0.0
    return (values - values.mean()) / spread if spread else np.zeros_like(values)
