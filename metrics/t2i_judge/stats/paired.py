"""Two systems on the same units: the mean of paired differences, its test, and the power of the test.

A unit is a prompt; a system's value for it is the mean over its images. nan is a gap: a unit that one of two systems
lacks does not count for the pair.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .coefficients import Floats, as_floats

Interval = tuple[float, float]
LEVEL = 0.95
ALPHA, POWER = 0.05, 0.8
TIED = 1e-9  # differences up to this are none: sums of the same scores in another order
MOST_UNITS = 1_000_000_000  # that anybody is told to collect
_SIGN_DRAWS = 9_999
_CERTAIN = 8.0  # standard errors beyond the critical value
_BLOCK_CELLS = 4_000_000


def levelled(values: Sequence[float]) -> Floats:
    """The values, with those that are tied made equal, so that they can be ranked. Shape (n,)."""
    level = as_floats(values).copy()
    order = np.argsort(level, kind="stable")
    for lower, upper in pairwise(order):
        if level[upper] - level[lower] <= TIED:
            level[upper] = level[lower]
    return level


@dataclass(frozen=True)
class PairedDifference:
    """Mean of a - b over the units that both have.

    Attributes:
        n: such units.
        difference, sd: mean and standard deviation of the differences; None without (two) units.
        ci: Student's 95% interval of the mean, unadjusted; None with fewer than two units.
        p: two-sided paired t-test; None where it cannot be computed.
        wins, ties, losses: units in which a is better than, equal to, worse than b.
    """

    n: int
    difference: float | None
    sd: float | None
    ci: Interval | None
    p: float | None
    wins: int
    ties: int
    losses: int


def mean_interval(values: Floats, level: float = LEVEL) -> Interval | None:
    """Student's interval of a mean; None with fewer than two values, a point where all are equal."""
    from scipy import special

    if len(values) < 2:
        return None
    mean, half = float(values.mean()), 0.0
    if (sd := float(values.std(ddof=1))) > 0:
        half = float(special.stdtrit(len(values) - 1, (1 + level) / 2)) * sd / math.sqrt(len(values))
    return mean - half, mean + half


def lower_bound_of_size(values: Floats, alpha: float = ALPHA) -> float | None:
    """The largest size that the mean's true value surely exceeds, whatever its sign; 0 where none can be said.

    The test of "the true mean is no larger than d" that goes with it rejects at d itself in `alpha` of samples, also
    where d is 0: P(T > (|m| - d) / se) + P(T > (|m| + d) / se) = alpha. None with fewer than two values.
    """
    from scipy import stats
    from scipy.optimize import brentq

    if len(values) < 2:
        return None
    mean, error, freedom = (
        abs(float(values.mean())),
        float(values.std(ddof=1)) / math.sqrt(len(values)),
        len(values) - 1,
    )
    if error <= TIED:
        return mean

    def excess(size: float) -> float:
        tails = stats.t.sf([(mean - size) / error, (mean + size) / error], freedom)
        return float(tails.sum()) - alpha

    return 0.0 if excess(0.0) >= 0 else float(brentq(excess, 0.0, mean))


def clustered_mean_interval(values: Floats, clusters: Sequence[Hashable], level: float = LEVEL) -> Interval | None:
    """Interval of a mean of values that hang together within clusters; None with fewer than two clusters.

    Student's, with the clusters' summed residuals for the error and one degree of freedom less than there are of them:
    `mean_interval` of the clusters' means where all are equally large (Liang & Zeger 1986).
    """
    from scipy import stats

    if (count := len(set(clusters))) < 2:
        return None
    mean = float(values.mean())
    sums: dict[Hashable, float] = {}
    for cluster, residual in zip(clusters, (values - mean).tolist(), strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + residual
    error = math.sqrt(count / (count - 1) * math.fsum(total * total for total in sums.values())) / len(values)
    half = float(stats.t.ppf((1 + level) / 2, count - 1)) * error
    return mean - half, mean + half


def paired_difference(a: Sequence[float | None] | Floats, b: Sequence[float | None] | Floats) -> PairedDifference:
    """Compare two systems, one value per unit each, in the same order.

    Where all differences are equal and not 0, no t can be computed; p is then that of the sign test, 2^(1 - n): chance
    would have to give n units the same sign. Where all are 0, p is 1.
    """
    from scipy import special  # Student's distribution without the checks of `stats.t`, which take most of a board

    differences = as_floats(a) - as_floats(b)
    d = differences[~np.isnan(differences)]
    n = len(d)
    wins, losses = int((d > TIED).sum()), int((d < -TIED).sum())
    if not n:
        return PairedDifference(0, None, None, None, None, 0, 0, 0)
    mean, sd, p = float(d.mean()), None, None
    if n > 1:
        sd = float(d.std(ddof=1))
        if sd > TIED:
            p = float(2 * special.stdtr(n - 1, -abs(mean) * math.sqrt(n) / sd))
        else:
            p = 1.0 if abs(mean) <= TIED else 2.0 ** (1 - n)
    return PairedDifference(n, mean, sd, mean_interval(d), p, wins, n - wins - losses, losses)


def sign_flip_p(differences: Floats, seed: int = 0) -> Floats:
    """Two-sided p of each column's mean under random signs, (units, pairs) -> (pairs,); nan is a gap.

    If neither of two systems is better, the sign of each unit's difference is arbitrary. All columns share the same
    9,999 draws; the observed signs count as one more. Source: Fisher 1935, chapter 21; Good 2005, chapter 3.
    """
    d = np.nan_to_num(differences, nan=0.0)
    observed = np.abs(d.sum(axis=0)) - 1e-9
    extreme = np.ones(d.shape[1])
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_CELLS // max(1, sum(d.shape)))
    for start in range(0, _SIGN_DRAWS, block):
        signs = rng.integers(0, 2, (min(block, _SIGN_DRAWS - start), d.shape[0]), dtype=np.int8) * 2.0 - 1.0
        extreme += (np.abs(signs @ d) >= observed).sum(axis=0)
    return extreme / (_SIGN_DRAWS + 1)


def power(difference: float, sd: float, n: int, alpha: float = ALPHA) -> float:
    """Probability that a two-sided paired t-test at `alpha` finds a true difference, from the noncentral t.

    Source: Cohen 1988, chapter 2.
    """
    from scipy import stats

    if n < 2:
        return 0.0
    critical, shift = stats.t.ppf(1 - alpha / 2, n - 1), abs(difference) / sd * math.sqrt(n)
    if shift > critical + _CERTAIN:
        return 1.0  # scipy's tails are undefined far out
    wrong_sign = np.nan_to_num(stats.nct.sf(critical, n - 1, -shift))
    return float(stats.nct.sf(critical, n - 1, shift) + wrong_sign)


def detectable(sd: float, n: int, alpha: float = ALPHA, wanted: float = POWER) -> float | None:
    """The smallest true difference that n units show with the wanted power; None with fewer than two units."""
    from scipy.optimize import brentq

    if n < 2:
        return None
    if sd <= 0:
        return 0.0
    scale = sd / math.sqrt(n)
    highest = scale * 10.0
    while power(highest, sd, n, alpha) < wanted:
        highest *= 2
    return float(brentq(lambda difference: power(difference, sd, n, alpha) - wanted, 0.0, highest))


def units_needed(difference: float, sd: float, alpha: float = ALPHA, wanted: float = POWER) -> int | None:
    """The fewest units that show a true difference with the wanted power; None for more than `MOST_UNITS`."""
    if power(difference, sd, MOST_UNITS, alpha) < wanted:
        return None
    lowest, highest = 1, 2
    while power(difference, sd, highest, alpha) < wanted:
        lowest, highest = highest, highest * 2
    while highest - lowest > 1:
        middle = (lowest + highest) // 2
        lowest, highest = (lowest, middle) if power(difference, sd, middle, alpha) >= wanted else (middle, highest)
    return highest
