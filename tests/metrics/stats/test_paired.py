"""Paired differences against scipy, power against simulation, and the error rate of a whole board."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from t2i_judge.stats.paired import (
    ALPHA,
    TIED,
    detectable,
    levelled,
    mean_interval,
    paired_difference,
    power,
    sign_flip_p,
    units_needed,
)
from t2i_judge.stats.resampling import holm


def test_difference_interval_and_p_are_scipy_s() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(5, 1, 40), rng.normal(5.3, 1, 40)
    b[3] = np.nan
    result = paired_difference(a, b)
    keep = ~np.isnan(b)
    reference = stats.ttest_rel(a[keep], b[keep])
    assert result.n == 39 and result.p == pytest.approx(reference.pvalue, rel=1e-12)
    assert result.difference == pytest.approx((a - b)[keep].mean())
    assert result.ci == pytest.approx(tuple(reference.confidence_interval(0.95)), rel=1e-12)
    assert result.wins + result.ties + result.losses == 39 and result.wins == ((a - b)[keep] > 0).sum()


def test_degenerate_differences_have_a_p_that_can_be_defended() -> None:
    assert paired_difference([1.0] * 12, [1.0] * 12).p == 1.0
    assert paired_difference([2.0] * 12, [1.0] * 12).p == pytest.approx(2.0**-11)
    single = paired_difference([2.0], [1.0])
    assert (single.n, single.difference, single.ci, single.p) == (1, 1.0, None, None)
    assert paired_difference([None], [1.0]).difference is None
    assert mean_interval(np.array([3.0, 3.0])) == (3.0, 3.0)


def test_sign_flips_are_the_exact_test_within_their_chance() -> None:
    rng = np.random.default_rng(1)
    d = rng.normal(0.4, 1, (10, 3))
    d[0, 1] = np.nan
    exact = []
    for column in np.nan_to_num(d).T:
        sums = [abs(np.dot(signs, column)) for signs in itertools.product((-1, 1), repeat=10)]
        exact.append(np.mean(np.asarray(sums) >= abs(column.sum()) - 1e-9))
    assert sign_flip_p(d) == pytest.approx(exact, abs=4 * 0.5 / np.sqrt(9_999))


def test_power_and_its_inverses_agree_with_simulation() -> None:
    n, sd = 50, 1.3
    smallest = detectable(sd, n)
    assert smallest is not None and power(smallest, sd, n) == pytest.approx(0.8, abs=1e-9)
    drawn = np.random.default_rng(2).normal(smallest, sd, (20_000, n))
    p = stats.ttest_1samp(drawn, 0, axis=1).pvalue
    assert (p < ALPHA).mean() == pytest.approx(0.8, abs=3 * np.sqrt(0.16 / 20_000))
    assert units_needed(smallest, sd) == n and units_needed(smallest * 0.999, sd) == n + 1
    assert detectable(0.0, 20) == 0.0 and detectable(1.0, 1) is None


def test_tied_values_are_made_equal_and_no_chain_of_them_drifts_away() -> None:
    values = [3.0, 1.0, 1.0 + 0.6 * TIED, 1.0 + 1.2 * TIED, 1.0 + 1.8 * TIED, -2.0]
    assert levelled(values).tolist() == [3.0, 1.0, 1.0, values[3], values[3], -2.0]
    assert levelled([]).tolist() == [] and levelled([5.0]).tolist() == [5.0]


def skewed_tied(rng: np.random.Generator, systems: int, prompts: int) -> np.ndarray:
    """Scores as judges give them: skewed towards 10, in halves, with difficult prompts; all systems equal."""
    difficulty = rng.beta(4, 2, (prompts, 1))
    return np.round(20 * np.clip(difficulty + rng.gamma(1.0, 0.15, (prompts, systems)) - 0.15, 0, 1)) / 2


@pytest.mark.parametrize("prompts", [20, 100, 500])
def test_equal_generators_are_separated_in_at_most_five_in_a_hundred_boards(prompts: int) -> None:
    rng, boards, wrong = np.random.default_rng(prompts), 1000, 0
    for _ in range(boards):
        scores = skewed_tied(rng, 5, prompts)
        pairs = [scores[:, i] - scores[:, j] for i, j in itertools.combinations(range(5), 2)]
        d = np.stack(pairs)
        sd = d.std(axis=1, ddof=1)
        t = np.divide(d.mean(axis=1) * np.sqrt(prompts), sd, out=np.zeros(len(sd)), where=sd > 0)
        adjusted = holm(list(2 * stats.t.sf(np.abs(t), prompts - 1)))
        wrong += min(p for p in adjusted if p is not None) < ALPHA
    assert wrong / boards <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / boards)
