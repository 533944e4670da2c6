"""Columns prepared once for many coefficients: distinct values, and for each item which of them it has.

A judge stands against several raters, and a rater against several judges. Sorting a column is what costs, so each is
sorted once (`Column`); ranks, ties and discordant pairs of any part of the items are counted from the codes. Values and
p-values are those of `coefficients`, to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .coefficients import Coefficient, Floats, as_floats, kendall_tau_b, pearson, spearman, why_undefined

Codes = NDArray[np.int32]
Items = NDArray[np.intp] | slice

_FEW = 1000  # items up to which scipy's own functions are as fast
_LEVELS = 256  # distinct values up to which counting level by level beats a sort


@dataclass(frozen=True)
class Column:
    """n numbers, nan for a gap; `codes` numbers the distinct values upwards from 0 and is -1 in a gap."""

    values: Floats
    codes: Codes
    size: int  # of distinct values

    @classmethod
    def of(cls, values: ArrayLike) -> Column:
        """Prepare a column. Raises `UserError` for what is no finite number."""
        array = as_floats(values)
        present = ~np.isnan(array)
        codes = np.full(len(array), -1, dtype=np.int32)
        levels, inverse = np.unique(array[present], return_inverse=True)
        codes[present] = inverse
        return cls(array, codes, len(levels))

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """Whether an item has a value."""
        return self.codes >= 0

    def without(self, left_out: NDArray[np.bool_]) -> Column:
        """The column with gaps where `left_out`."""
        values, codes = self.values.copy(), self.codes.copy()
        values[left_out], codes[left_out] = np.nan, -1
        return Column(values, codes, self.size)


def coefficients(x: Column, y: Column, items: Items = slice(None)) -> dict[str, Coefficient]:
    """Spearman, Kendall tau-b and Pearson of the items where both columns have a value.

    Equal to `coefficients.spearman`, `kendall_tau_b` and `pearson` (statistic, p-value, n and reason). Time grows with
    the number of items, and with that of the distinct values of the coarser column.
    """
    both = np.flatnonzero(x.present[items] & y.present[items])
    if not isinstance(items, slice):
        both = items[both]
    first, second = x.values[both], y.values[both]
    linear = pearson(first, second)
    if len(both) <= _FEW or why_undefined(first, second):
        return {"spearman": spearman(first, second), "kendall_tau_b": kendall_tau_b(first, second), "pearson": linear}
    ranked = _Ranked.of(x, both), _Ranked.of(y, both)
    return {"spearman": _spearman(*ranked), "kendall_tau_b": _kendall(*ranked), "pearson": linear}


@dataclass(frozen=True)
class _Ranked:
    """The codes of some items, and how often each occurs."""

    codes: NDArray[np.integer[Any]]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, column: Column, items: NDArray[np.intp]) -> _Ranked:
        codes = column.codes[items]
        counts = np.bincount(codes, minlength=column.size)
        return cls(codes, counts)

    @property
    def midranks(self) -> Floats:
        ranks: Floats = (np.cumsum(self.counts) - (self.counts - 1) / 2)[self.codes]
        return ranks

    @property
    def levels(self) -> int:
        return int(np.count_nonzero(self.counts))

    def ties(self) -> tuple[int, int, int]:
        """Tied pairs, and the two sums over runs of ties that the variance of tau wants (Kendall 1970)."""
        runs = self.counts[self.counts > 1]
        pairs = int((runs * (runs - 1) // 2).sum())
        return pairs, int((runs * (runs - 1.0) * (runs - 2)).sum()), int((runs * (runs - 1.0) * (2 * runs + 5)).sum())


def _spearman(x: _Ranked, y: _Ranked) -> Coefficient:
    """As `scipy.stats.spearmanr`: Pearson's r of the midranks, p by Student's t."""
    from scipy import special

    n = len(x.codes)
    table: Floats = np.corrcoef(np.column_stack((x.midranks, y.midranks)), rowvar=False)
    rho = table[1, 0]
    with np.errstate(divide="ignore"):
        t = rho * np.sqrt(np.clip((n - 2) / ((rho + 1.0) * (1.0 - rho)), 0, None))
    return Coefficient(float(rho), n, float(2 * special.stdtr(n - 2, -np.abs(t))))


def _kendall(x: _Ranked, y: _Ranked) -> Coefficient:
    """As `scipy.stats.kendalltau`, p asymptotic; discordant pairs are counted level by level of the coarser column."""
    from scipy import special

    coarse, fine = sorted((x, y), key=lambda column: column.levels)
    if coarse.levels > _LEVELS:
        return kendall_tau_b(x.codes, y.codes)
    n = len(x.codes)
    (x_ties, x0, x1), (y_ties, y0, y1) = x.ties(), y.ties()
    discordant, joint = _discordant(coarse, fine)
    pairs = n * (n - 1) // 2
    excess = pairs - x_ties - y_ties + joint - 2 * discordant
    tau = excess / np.sqrt(pairs - x_ties) / np.sqrt(pairs - y_ties)
    m = n * (n - 1.0)
    variance = (m * (2 * n + 5) - x1 - y1) / 18 + (2 * x_ties * y_ties) / m + x0 * y0 / (9 * m * (n - 2))
    p = 2 * special.ndtr(-abs(excess / math.sqrt(variance)))
    return Coefficient(float(min(1.0, max(-1.0, tau))), n, float(p))


def _discordant(coarse: _Ranked, fine: _Ranked) -> tuple[int, int]:
    """Discordant pairs, and pairs that tie in both columns."""
    below = np.zeros(len(fine.counts), dtype=np.int64)  # items of lower coarse levels, by fine level
    discordant = joint = 0
    order = np.argsort(coarse.codes.astype(np.int16), kind="stable")  # a radix sort: there are few levels
    for members in np.split(fine.codes[order], np.cumsum(coarse.counts)[:-1]):
        if not len(members):
            continue
        own = np.bincount(members, minlength=len(fine.counts))
        at_or_below = np.cumsum(below)
        discordant += int(own @ (at_or_below[-1] - at_or_below))
        joint += int(own @ (own - 1)) // 2
        below += own
    return discordant, joint
