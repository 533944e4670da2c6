"""Strengths from comparisons of two: the Bradley-Terry model, ties as half wins, intervals that follow the prompts.

P(a beats b) = 1 / (1 + exp(s_b - s_a)) (Bradley & Terry 1952). A tie counts half for each side, which makes this a
quasi-likelihood: its estimates are right on average, its own curvature is not their variance. So intervals come from
the sandwich over prompts (Liang & Zeger 1986): comparisons of one prompt are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .coefficients import Floats

_STEPS, _CLOSE = 100, 1e-12


@dataclass(frozen=True)
class Strengths:
    """Strength of each system, summing to 0, with its 95% interval; None, with a reason, where there is no estimate."""

    strengths: Floats | None
    ci: NDArray[np.float64] | None  # (systems, 2)
    reason: str | None = None


def bradley_terry(
    a: Sequence[int], b: Sequence[int], outcomes: Sequence[float], prompts: Sequence[Hashable], systems: int
) -> Strengths:
    """Fit comparisons of systems numbered 0 to `systems` - 1.

    Args:
        a, b: the two systems of each comparison.
        outcomes: 1 where a won, 0 where b did, 0.5 for a tie.
        prompts: what each comparison was about; the unit of the intervals.
        systems: how many there are.

    Returns:
        None as strengths where some systems were never compared, not even through others, or where one group of them
        never lost a point to the rest: the likelihood then has no maximum (Ford 1957).
    """
    first, second, y = np.asarray(a, np.intp), np.asarray(b, np.intp), np.asarray(outcomes, np.float64)
    if reason := _no_maximum(first, second, y, systems):
        return Strengths(None, None, reason)
    s = _maximum(first, second, y, systems)
    information = _information(first, second, s, systems)
    codes = np.unique(np.asarray([repr(prompt) for prompt in prompts]), return_inverse=True)[1]
    units = int(codes.max()) + 1
    if units < 2:
        return Strengths(s, None, "one prompt gives no interval")
    residuals = y - _expected(first, second, s)
    scores = np.zeros((units, systems))
    np.add.at(scores, (codes, first), residuals)
    np.add.at(scores, (codes, second), -residuals)
    bread = np.linalg.inv(_anchored(information)) - 1 / systems
    covariance = bread @ (scores.T @ scores * (units / (units - 1))) @ bread
    return Strengths(s, _intervals(s, covariance, units))


def _intervals(s: Floats, covariance: Floats, units: int) -> NDArray[np.float64]:
    from scipy import stats

    half = stats.t.ppf(0.975, units - 1) * np.sqrt(np.diag(covariance))
    return np.stack([s - half, s + half], axis=1)


def _expected(a: NDArray[np.intp], b: NDArray[np.intp], s: Floats) -> Floats:
    """Probability that a wins each comparison."""
    from scipy.special import expit

    won: Floats = expit(s[a] - s[b])
    return won


def _information(a: NDArray[np.intp], b: NDArray[np.intp], s: Floats, systems: int) -> Floats:
    """Minus the second derivative of the log-likelihood, (systems, systems); adding a constant to all changes none."""
    won = _expected(a, b, s)
    weights = won * (1 - won)
    matrix = np.zeros((systems, systems))
    for rows, columns, sign in ((a, a, 1), (b, b, 1), (a, b, -1), (b, a, -1)):
        np.add.at(matrix, (rows, columns), sign * weights)
    return matrix


def _anchored(information: Floats) -> Floats:
    """The information with a 1 for constants, which it knows nothing about; strengths sum to 0 in any case."""
    return information + 1 / len(information)


def _maximum(a: NDArray[np.intp], b: NDArray[np.intp], y: Floats, systems: int) -> Floats:
    """Newton's method with steps halved where one would overshoot; the log-likelihood is concave."""
    s = np.zeros(systems)
    best = _log_likelihood(a, b, y, s)
    for _ in range(_STEPS):
        residuals = y - _expected(a, b, s)
        gradient = np.bincount(a, residuals, systems) - np.bincount(b, residuals, systems)
        step = np.linalg.solve(_anchored(_information(a, b, s, systems)), gradient)
        while (reached := _log_likelihood(a, b, y, s + step)) < best - 1e-9 * abs(best):
            step /= 2
        s, best = s + step, reached
        if np.abs(step).max() < _CLOSE:
            break
    centred: Floats = s - s.mean()
    return centred


def _log_likelihood(a: NDArray[np.intp], b: NDArray[np.intp], y: Floats, s: Floats) -> float:
    margin = s[a] - s[b]
    return float((y * margin - np.logaddexp(0, margin)).sum())


def _no_maximum(a: NDArray[np.intp], b: NDArray[np.intp], y: Floats, systems: int) -> str | None:
    """Why there is no estimate, None where there is one: points must lead from every system to every other."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if systems < 2:
        return "there is nothing to compare"
    winners, losers = np.concatenate([a[y > 0], b[y < 1]]), np.concatenate([b[y > 0], a[y < 1]])
    graph = coo_array((np.ones(len(winners)), (winners, losers)), shape=(systems, systems))
    if connected_components(graph, directed=False)[0] > 1:
        return "some generators are not connected with the others by any chain of comparisons"
    if connected_components(graph, directed=True, connection="strong")[0] > 1:
        return "some generators won every comparison with the rest, so no finite strength fits"
    return None
