"""Intervals and paired tests for coefficients: bootstrap by item or by cluster, permutation between judges, Holm.

A resample is a column of weights: how often each item was drawn. Every coefficient is computed from the weights of a
block of resamples at once (`weighted`), so that there is no Python loop over resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .coefficients import COEFFICIENTS, Floats, as_floats
from .weighted import Draws, WeightedPair, Weights, standardised, weight_type

Interval = tuple[float, float]

ONE_CLUSTER = "no interval and no p: all items are in one cluster"

_COUNTED = 1 << 12  # units of resamples that are drawn and counted at once: small groups have many resamples
_BLOCK_CELLS = 1 << 19  # weights held at a time (float32: 2 MiB), so that a block stays in cache
_MOST_DRAWS = 10_000_000


def check_draws(draws: int) -> None:
    """Raise for a number of resamples that is none, or that no machine draws."""
    if not 0 <= draws <= _MOST_DRAWS:
        few = "few" if draws < 0 else "many"
        raise UserError(f"{draws} bootstrap resamples are too {few}", "", "Give 0 for no intervals, or 2000")


def check_seed(seed: int) -> None:
    """Raise for a seed that no random generator takes."""
    if seed < 0:
        raise UserError(f"The seed is {seed}", "A seed cannot be negative", "Give 0 or more")


def bootstrap_weights(
    n: int, draws: int, seed: int | Sequence[int], clusters: Sequence[Hashable] | None = None
) -> Iterator[Weights]:
    """Blocks of bootstrap weights (n items x resamples), `draws` resamples in all, the same for the same seed.

    With `clusters` (one label per item), whole clusters are drawn with replacement and all items of one come along
    (Field & Welsh 2007): five images of one prompt are not five independent observations. One item, or one cluster,
    drawn again and again tells nothing of chance: its weights are nan, and so is what is made of them.
    """
    codes = np.arange(n) if clusters is None else _codes(clusters)
    units = int(codes.max()) + 1 if n else 0
    rng = np.random.default_rng(seed)
    block = max(16, _BLOCK_CELLS // max(n, 1))
    for start in range(0, draws if n else 0, block):
        size = min(block, draws - start)
        weights = np.full((units, size), np.nan, dtype=weight_type(n))
        few = max(1, _COUNTED // units)  # at once: of all, the counts would not stay in cache
        for first in range(0, size if units > 1 else 0, few):
            drawn = rng.integers(0, units, size=(min(few, size - first), units))
            drawn += np.arange(len(drawn))[:, None] * units
            counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
            weights[:, first : first + len(drawn)] = counts.T
        yield weights if clusters is None else weights.take(codes, axis=0)


def _codes(labels: Sequence[Hashable]) -> NDArray[np.intp]:
    known: dict[Hashable, int] = {}
    return np.asarray([known.setdefault(label, len(known)) for label in labels], dtype=np.intp)


def bootstrap(
    columns: Sequence[tuple[ArrayLike, ArrayLike]],
    draws: int,
    seed: int | Sequence[int] = 0,
    clusters: Sequence[Hashable] | None = None,
    rows: Sequence[NDArray[np.intp]] | None = None,
) -> list[Draws]:
    """Bootstrap draws of the three coefficients for each (x, y), all on the same resamples; nan where undefined.

    Every column has the same n items. nan is a gap: an item weighs nothing in a pair where it has one. Columns of a
    part of the items say with `rows` which items they hold; `clusters` then has a label for every item there is. A draw
    lies in the coefficient's range, counts ties as it does, and is nan where the resample is constant or has fewer than
    three items; all are nan for a pair whose items lie in one cluster. Source: Efron 1979; for clusters Field & Welsh
    2007.
    """
    from ..progress import Progress

    pairs = [_with_gaps(x, y) for x, y in columns]
    n = len(columns[0][0]) if columns else 0  # type: ignore[arg-type]
    if rows is not None and clusters is not None:
        pairs = [(items[present], pair) for items, (present, pair) in zip(rows, pairs, strict=True)]
        n = len(clusters)
    units = np.arange(n) if clusters is None else _codes(clusters)
    varying = [i for i, (present, _) in enumerate(pairs) if _vary(units[present])]
    found: list[Draws] = [dict.fromkeys(COEFFICIENTS, np.broadcast_to(np.nan, draws)) for _ in pairs]
    blocks = []
    with Progress(total=draws, unit="resample", delay=3, leave=False) as progress:
        for weights in bootstrap_weights(n, draws if varying else 0, seed, clusters):
            blocks.append([pairs[i][1].coefficients(weights.take(pairs[i][0], axis=0)) for i in varying])
            progress.update(weights.shape[1])
    for place, i in enumerate(varying if blocks else ()):
        found[i] = {name: np.concatenate([block[place][name] for block in blocks]) for name in COEFFICIENTS}
    return found


def _vary(units: NDArray[np.intp]) -> bool:
    """Whether there are two units to draw from."""
    return bool((units[1:] != units[:-1]).any())


def _with_gaps(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.intp], WeightedPair]:
    x, y = as_floats(x), as_floats(y)
    present = np.flatnonzero(~(np.isnan(x) | np.isnan(y)))
    return present, WeightedPair(x[present], y[present])


def percentile_interval(draws: ArrayLike, level: float = 0.95) -> Interval | None:
    """The central `level` of the draws, from their (1 - level) / 2 to their (1 + level) / 2 quantile.

    Undefined draws (nan) are left out, None if all are. It stays inside the coefficient's range, and is one point where
    all draws are equal. Source: the percentile interval of Efron & Tibshirani 1993, chapter 13.
    """
    values = np.asarray(draws, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Comparison:
    """Judge a minus judge b on the same items: the difference of a coefficient, its interval and two-sided p-value.

    undefined: why there is no difference, or neither interval nor p.
    """

    coefficient: str
    n: int
    difference: float | None
    ci: Interval | None
    p: float | None
    undefined: str | None = None


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    ratings: ArrayLike,
    draws: int = 10_000,
    seed: int = 0,
    clusters: Sequence[Hashable] | None = None,
) -> dict[str, Comparison]:
    """Compare two judges on the items that both scored: coefficient -> difference (in [-2, 2]) with an interval.

    Each resample draws the same items (or clusters) for both judges; the interval is `percentile_interval`. p is twice
    the smaller share of resampled differences on one side of 0, counted with the observed one ((k + 1) / (draws + 1));
    differences of exactly 0 count on both sides. Items with a gap in a, b or the ratings are left out. Undefined when
    one of the two coefficients is (constants, too few items); without interval and p where all items are in one
    cluster. Source: Efron & Tibshirani 1993, chapters 13 and 16.4.
    """
    a, b, ratings, clusters = _common(a, b, ratings, clusters)
    draws_a, draws_b = bootstrap([(a, ratings), (b, ratings)], draws, seed, clusters)

    def compare(name: str, difference: float) -> tuple[Interval | None, float | None]:
        resampled = draws_a[name] - draws_b[name]
        resampled = resampled[~np.isnan(resampled)]
        tail = min((resampled <= 0).sum(), (resampled >= 0).sum())
        p = min(1.0, float(2 * (tail + 1) / (len(resampled) + 1))) if len(resampled) else None
        return percentile_interval(resampled), p

    return {name: _comparison(name, a, b, ratings, clusters, compare) for name in COEFFICIENTS}


def permutation_test(
    a: ArrayLike,
    b: ArrayLike,
    ratings: ArrayLike,
    draws: int = 10_000,
    seed: int = 0,
    clusters: Sequence[Hashable] | None = None,
) -> dict[str, Comparison]:
    """Compare two judges by exchanging their scores at random: coefficient -> difference and two-sided p, no interval.

    If the judges are equally good, which of the two scored an item is arbitrary. Scores are standardised first, because
    judges may use different scales; items (or whole clusters) are exchanged with probability 1/2. p = (k + 1) / (draws
    + 1), k the exchanges with at least the observed absolute difference, equal ones included. Items with a gap in a, b
    or the ratings are left out. Undefined when one of the two coefficients is (constants, too few items); without p
    where all items are in one cluster. Source: Deutsch, Dror & Roth 2021, TACL 9, arXiv 2104.00054 (PERM-INPUTS).
    """
    a, b, ratings, clusters = _common(a, b, ratings, clusters)
    pool = WeightedPair(np.concatenate([standardised(a), standardised(b)]), np.tile(ratings, 2))
    codes = np.arange(len(a)) if clusters is None else _codes(clusters)
    rng = np.random.default_rng(seed)
    observed = np.concatenate([np.ones(len(a)), np.zeros(len(a))])[:, None]
    differences: dict[str, list[Floats]] = {name: [] for name in COEFFICIENTS}
    block = max(16, _BLOCK_CELLS // max(2 * len(a), 1))
    for start in range(0, draws, block):
        kept = rng.integers(0, 2, size=(min(block, draws - start), int(codes.max(initial=-1)) + 1)).T[codes]
        weights = np.concatenate([kept, 1 - kept]).astype(weight_type(len(a)))
        for name, difference in _exchange(pool, weights).items():
            differences[name].append(difference)
    reference = _exchange(pool, observed)

    def compare(name: str, difference: float) -> tuple[Interval | None, float | None]:
        if not draws:
            return None, None
        statistics = np.abs(np.concatenate(differences[name]))
        # an undefined exchange counts: p errs upwards
        extreme = (~(statistics < abs(reference[name][0]) - 1e-12)).sum()
        return None, float((extreme + 1) / (draws + 1))

    return {name: _comparison(name, a, b, ratings, clusters, compare) for name in COEFFICIENTS}


def _exchange(pool: WeightedPair, weights: Weights) -> Draws:
    first, second = pool.coefficients(weights), pool.coefficients(1 - weights)
    return {name: first[name] - second[name] for name in COEFFICIENTS}


def _common(
    a: ArrayLike, b: ArrayLike, ratings: ArrayLike, clusters: Sequence[Hashable] | None
) -> tuple[Floats, Floats, Floats, list[Hashable] | None]:
    a, b, ratings = as_floats(a), as_floats(b), as_floats(ratings)
    if not (a.shape == b.shape == ratings.shape):
        raise UserError("The columns differ in length", "A paired test needs the same items", "Align them by item")
    keep = ~(np.isnan(a) | np.isnan(b) | np.isnan(ratings))
    kept = None if clusters is None else [label for label, use in zip(clusters, keep, strict=True) if use]
    return a[keep], b[keep], ratings[keep], kept


def _comparison(
    name: str,
    a: Floats,
    b: Floats,
    ratings: Floats,
    clusters: Sequence[Hashable] | None,
    compare: Callable[[str, float], tuple[Interval | None, float | None]],
) -> Comparison:
    first, second = COEFFICIENTS[name](a, ratings), COEFFICIENTS[name](b, ratings)
    if first.value is None or second.value is None:
        return Comparison(name, first.n, None, None, None, first.undefined or second.undefined)
    difference = first.value - second.value
    if clusters is not None and not _vary(_codes(clusters)):
        return Comparison(name, first.n, difference, None, None, ONE_CLUSTER)
    interval, p = compare(name, difference)
    return Comparison(name, first.n, difference, interval, p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjusted p-values, in the order given; None stays None and does not count as a test.

    adjusted p_(i) = max over j <= i of min(1, (m - j + 1) p_(j)), p sorted upwards, in [0, 1]; equal p-values stay
    equal. Source: Holm 1979.
    """
    tests = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, position) in enumerate(tests):
        if math.isnan(p) or not 0 <= p <= 1:
            raise UserError(f"The p-value is {p}", "A p-value is between 0 and 1", "Give None for an undefined one")
        largest = max(largest, min(1.0, (len(tests) - rank) * p))
        adjusted[position] = largest
    return adjusted
