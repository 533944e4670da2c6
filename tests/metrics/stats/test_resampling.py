"""Bootstrap and permutation: exact against scipy resample by resample, right coverage, seeds, clusters, Holm."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from t2i_judge.errors import UserError
from t2i_judge.stats.coefficients import COEFFICIENTS
from t2i_judge.stats.resampling import (
    bootstrap,
    bootstrap_weights,
    holm,
    paired_bootstrap,
    percentile_interval,
    permutation_test,
)
from t2i_judge.stats.weighted import WeightedPair

number = st.one_of(st.integers(0, 4).map(float), st.floats(-10, 10).map(lambda v: round(v, 3)))


@given(st.lists(st.tuples(number, number, st.integers(0, 4)), min_size=1, max_size=25))
def test_weighted_coefficients_are_those_of_the_repeated_items(rows):
    x, y, weights = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = WeightedPair(x, y).coefficients(weights[:, None])
    repeated = np.repeat(x, weights.astype(int)), np.repeat(y, weights.astype(int))
    for name, function in COEFFICIENTS.items():
        expected = function(*repeated).value
        if expected is None:
            assert np.isnan(found[name][0])
        else:
            assert found[name][0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("n", [2, 7, 300, 1500])
def test_resamples_draw_n_items_with_replacement_the_same_for_a_seed(n):
    weights = np.hstack(list(bootstrap_weights(n, 700, seed=5)))
    assert weights.shape == (n, 700) and (weights.sum(axis=0) == n).all()
    assert (weights == np.hstack(list(bootstrap_weights(n, 700, seed=5)))).all()
    assert abs(weights.var() - (1 - 1 / n)) < 0.15
    if n > 2:
        assert (weights != np.hstack(list(bootstrap_weights(n, 700, seed=6)))).any()


def test_resamples_are_the_same_however_many_are_counted_at_once():
    """Column by column, as one call of the generator for all of a block would have it."""
    n, draws = 37, 101
    drawn = np.random.default_rng(3).integers(0, n, size=(draws, n))
    expected = np.stack([np.bincount(row, minlength=n) for row in drawn], axis=1)
    assert (np.hstack(list(bootstrap_weights(n, draws, 3))) == expected).all()


def test_single_precision_counts_a_large_table_exactly():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=300_000), rng.integers(0, 5, 300_000).astype(float)
    weights = next(bootstrap_weights(300_000, 1, 0))
    assert weights.dtype == np.float32
    found = WeightedPair(x, y).coefficients(weights)
    for name, values in WeightedPair(x, y).coefficients(weights.astype(np.float64)).items():
        assert found[name] == pytest.approx(values, abs=1e-12)


def test_clusters_are_drawn_whole():
    clusters = np.repeat(list("abcdef"), [1, 2, 3, 4, 5, 5]).tolist()
    weights = np.hstack(list(bootstrap_weights(20, 400, 0, clusters)))
    for label in "abcdef":
        rows = [i for i, c in enumerate(clusters) if c == label]
        assert (weights[rows] == weights[rows[0]]).all()
    assert (np.stack([weights[clusters.index(c)] for c in "abcdef"]).sum(axis=0) == 6).all()


def test_one_unit_tells_nothing_of_chance():
    """Neither one item, nor one cluster, nor a pair of columns whose complete items lie in one of several clusters."""
    for n, clusters in ((1, None), (4, ["p"] * 4)):
        assert np.isnan(np.hstack(list(bootstrap_weights(n, 30, 0, clusters)))).all()
    x, y = [1.0, 2.0, 4.0, 3.0, np.nan, 5.0, 6.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, np.nan]
    one, several = ["p"] * 4 + ["q", "p", "r"], list("aabbccd")
    alone, both = (bootstrap([(x, y)], 50, 0, labels)[0] for labels in (one, several))
    assert all(len(alone[name]) == 50 and percentile_interval(alone[name]) is None for name in COEFFICIENTS)
    assert all(percentile_interval(both[name]) for name in COEFFICIENTS)
    beside = bootstrap([(x, y), (y, x), (y, y)], 50, 0, one)
    assert [percentile_interval(draws["spearman"]) is None for draws in beside] == [True, True, False]


@pytest.mark.parametrize("test", [paired_bootstrap, permutation_test])
def test_judges_are_not_told_apart_by_one_cluster(test):
    a, b, people = [1.0, 2.0, 3.0, 4.0, 9.0], [1.0, 3.0, 2.0, 4.0, np.nan], [1.0, 2.0, 3.0, 4.0, 5.0]
    for found in test(a, b, people, 999, clusters=["p"] * 4 + ["q"]).values():
        assert found.difference == pytest.approx(0.2, abs=0.2) and found.difference > 0
        assert (found.ci, found.p) == (None, None) and "one cluster" in found.undefined
    assert all(found.p for found in test(a, b, people, 999, clusters=list("ppqqq")).values())


def test_gaps_weigh_nothing():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 60))
    holes = x.copy()
    holes[::7] = np.nan
    (with_gaps,) = bootstrap([(holes, y)], 50, seed=1)
    weights = np.hstack(list(bootstrap_weights(60, 50, 1)))
    kept = ~np.isnan(holes)
    direct = WeightedPair(x[kept], y[kept]).coefficients(weights[kept])
    assert all((with_gaps[name] == direct[name]).all() for name in COEFFICIENTS)


@pytest.mark.parametrize("name", list(COEFFICIENTS))
def test_percentile_interval_covers_the_true_coefficient(name):
    """Bivariate normal, r = .6: rho = 6/pi asin(r/2), tau = 2/pi asin(r); nominal 95% over 400 samples of 80."""
    rng = np.random.default_rng(11)
    r = 0.6
    truth = {"pearson": r, "spearman": 6 / np.pi * np.arcsin(r / 2), "kendall_tau_b": 2 / np.pi * np.arcsin(r)}[name]
    covered = 0
    for trial in range(400):
        x, y = rng.multivariate_normal([0, 0], [[1, r], [r, 1]], size=80).T
        low, high = percentile_interval(bootstrap([(x, y)], 300, seed=trial)[0][name])
        covered += low <= truth <= high
    assert 0.90 <= covered / 400 <= 0.98


def test_clustered_interval_covers_where_the_unclustered_one_does_not():
    """Five images share each prompt's effect on judge and people: items are not independent."""
    rng = np.random.default_rng(12)
    prompts = np.repeat(np.arange(40), 5)
    covered = {"items": 0, "prompts": 0}
    for trial in range(200):
        shared = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=40)[prompts]
        x, y = (shared + 0.3 * rng.normal(size=(200, 2))).T
        truth = 0.6 / 1.09
        for name, clusters in (("items", None), ("prompts", prompts.tolist())):
            low, high = percentile_interval(bootstrap([(x, y)], 200, trial, clusters)[0]["pearson"])
            covered[name] += low <= truth <= high
    assert covered["items"] < 0.75 * 200
    assert covered["prompts"] >= 0.88 * 200


def test_paired_tests_see_a_better_judge_and_do_not_see_an_equal_one():
    rng = np.random.default_rng(17)
    truth = rng.normal(size=200)
    good, poor, equal = (truth + scale * rng.normal(size=200) for scale in (0.5, 2.0, 0.5))
    for test in (paired_bootstrap, permutation_test):
        better, same = test(good, poor, truth, 2000), test(good, equal, truth, 2000)
        for name in COEFFICIENTS:
            assert better[name].difference > 0.1 and better[name].p < 0.01
            assert same[name].p > 0.05
    interval = paired_bootstrap(good, poor, truth, 2000)["spearman"].ci
    assert interval[0] > 0


def test_permutation_ignores_the_judges_scales():
    rng = np.random.default_rng(14)
    truth = rng.normal(size=100)
    a, b = truth + rng.normal(size=100), truth + rng.normal(size=100)
    plain, scaled = permutation_test(a, b, truth, 500), permutation_test(10 * a + 3, b, truth, 500)
    assert plain["spearman"].p == scaled["spearman"].p


def test_permutation_keeps_its_level():
    """With equal judges p <= .1 comes up about one time in ten."""
    rng = np.random.default_rng(15)
    hits = 0
    for trial in range(300):
        truth = rng.normal(size=60)
        a, b = truth + rng.normal(size=(2, 60))
        hits += permutation_test(a, b, truth, 199, trial)["kendall_tau_b"].p <= 0.1
    assert 0.05 <= hits / 300 <= 0.16


def test_values_near_the_ends_of_float64_keep_their_interval():
    rng = np.random.default_rng(18)
    y = rng.normal(size=30)
    x = y + rng.normal(size=30)
    for scale in (2.0**-1000, 2.0**1000):
        plain, far = (bootstrap([(values, y)], 100, seed=2)[0] for values in (x, x * scale))
        assert all((plain[name] == far[name]).all() for name in COEFFICIENTS)


def test_paired_comparison_stands_on_common_items_and_says_what_is_undefined():
    a, b, y = [1, 2, 3, 4, None, 6], [2, 1, 4, 3, 5, None], [1, 2, 3, 4, 5, 6]
    assert paired_bootstrap(a, b, y, 100)["spearman"].n == 4
    constant = paired_bootstrap([1] * 6, y, y, 100)["pearson"]
    assert constant.difference is None and constant.ci is None and "constant" in constant.undefined
    with pytest.raises(UserError, match="length"):
        paired_bootstrap([1, 2], [1, 2, 3], [1, 2, 3])


def test_interval_of_nothing_is_none():
    assert percentile_interval([]) is None
    assert percentile_interval([np.nan, np.nan]) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_steps_down(p_values):
    adjusted = holm(p_values)
    order = np.argsort(p_values, kind="stable")
    expected, largest = {}, 0.0
    for rank, position in enumerate(order):
        largest = max(largest, min(1.0, p_values[position] * (len(p_values) - rank)))
        expected[position] = largest
    assert adjusted == [expected[i] for i in range(len(p_values))]


def test_holm_keeps_undefined_and_refuses_what_is_no_probability():
    assert holm([0.01, None, 0.04]) == [0.02, None, 0.04]
    with pytest.raises(UserError, match="p-value"):
        holm([1.5])


def test_resampling_is_far_faster_than_a_loop_over_scipy():
    rng = np.random.default_rng(16)
    ratings = rng.integers(1, 6, 1000).astype(float)
    a, b = ratings + rng.normal(size=(2, 1000))
    start = time.process_time()
    paired_bootstrap(a, b, ratings, 2000)
    ours = (time.process_time() - start) / 2000
    start = time.process_time()
    for _ in range(20):
        rows = rng.integers(0, 1000, 1000)
        for judge in (a, b):
            stats.spearmanr(judge[rows], ratings[rows])
            stats.kendalltau(judge[rows], ratings[rows])
    theirs = (time.process_time() - start) / 20
    assert theirs / ours > 10  # some 60 on an idle core: the margin is for a busy machine


@pytest.mark.parametrize("test", [paired_bootstrap, permutation_test])
def test_no_draws_give_a_difference_alone(test):
    rng = np.random.default_rng(0)
    found = test(*rng.normal(size=(3, 20)), draws=0)["kendall_tau_b"]
    assert found.difference is not None and (found.ci, found.p) == (None, None)
