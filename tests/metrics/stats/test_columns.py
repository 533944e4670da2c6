"""Shared ranks give what each coefficient gives by itself, and influences what leaving items out gives."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from t2i_judge.stats.coefficients import COEFFICIENTS, average
from t2i_judge.stats.columns import Column, coefficients
from t2i_judge.stats.influence import influences, unit_contributions
from t2i_judge.stats.resampling import bootstrap, bootstrap_weights
from t2i_judge.stats.spread import Spread, averaged, of_sampled_groups


def columns(rng, n, decimals, gaps=0.0):
    truth = rng.normal(size=n)
    x, y = np.round(truth + rng.normal(size=n), decimals), np.clip(np.round(truth * 2 + 4 + rng.normal(size=n)), 1, 7)
    x[rng.random(n) < gaps] = np.nan
    return x, y


@pytest.mark.parametrize("n", [1, 3, 40, 1001, 3000])
@pytest.mark.parametrize(("decimals", "gaps"), [(0, 0.0), (1, 0.2), (9, 0.0), (9, 0.1)])
def test_every_bit_is_that_of_scipy(n, decimals, gaps):
    x, y = columns(np.random.default_rng([n, decimals]), n, decimals, gaps)
    some = np.flatnonzero(np.arange(n) % 7 != 3)
    shared = Column.of(x), Column.of(y)
    for found, rows in ((coefficients(*shared), slice(None)), (coefficients(*shared, some), some)):
        assert found == {name: function(x[rows], y[rows]) for name, function in COEFFICIENTS.items()}
    assert coefficients(*shared[::-1]) == {name: function(y, x) for name, function in COEFFICIENTS.items()}


def test_constants_and_two_columns_of_many_values_on_many_items():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 2000))
    flat = np.full(2000, 4.0)
    assert coefficients(Column.of(x), Column.of(y)) == {n: f(x, y) for n, f in COEFFICIENTS.items()}
    assert coefficients(Column.of(flat), Column.of(y)) == {n: f(flat, y) for n, f in COEFFICIENTS.items()}


@pytest.mark.parametrize("decimals", [0, 9])
def test_influences_are_what_leaving_one_item_out_changes(decimals):
    x, y = columns(np.random.default_rng(5), 400, decimals)
    found = influences(Column.of(x), Column.of(y), np.arange(400))
    for name, function in COEFFICIENTS.items():
        whole = function(x, y).value
        left_out = [(400 - 1) * (whole - function(np.delete(x, i), np.delete(y, i)).value) for i in range(0, 400, 25)]
        assert np.corrcoef(left_out, found[name][::25])[0, 1] > 0.999
        assert found[name].mean() == pytest.approx(0, abs=1e-9)


def test_contributions_give_the_bootstraps_standard_error_of_items_and_of_clusters():
    rng = np.random.default_rng(6)
    prompts = np.repeat(np.arange(300), 4)
    shared = rng.normal(size=(2, 300))[:, prompts]
    x, y = shared + rng.normal(size=(2, 1200))
    for units, labels in ((np.arange(1200), None), (prompts, prompts.tolist())):
        found = unit_contributions(Column.of(x), Column.of(y), np.arange(1200), units, units.max() + 1)
        draws = bootstrap([(x, y)], 1500, 1, labels)[0]
        for name in COEFFICIENTS:
            assert np.sqrt((found[name] ** 2).sum()) == pytest.approx(draws[name].std(), rel=0.08)


def test_few_units_are_left_out_one_by_one_and_in_twos():
    """The jackknife's variance less its second-order bias, both written out (Efron & Stein 1981)."""
    x, y = columns(np.random.default_rng(7), 12, 9)
    found = unit_contributions(Column.of(x), Column.of(y), np.arange(12), np.arange(12), 12)
    for name, function in COEFFICIENTS.items():

        def without(*deleted, of=function):
            return of(np.delete(x, deleted), np.delete(y, deleted)).value

        left_out = np.array([without(i) for i in range(12)])
        variance = 11 / 12 * ((left_out - left_out.mean()) ** 2).sum()
        pairs = list(combinations(range(12), 2))
        q = [12 * without() - 11 * (left_out[i] + left_out[j]) + 10 * without(i, j) for i, j in pairs]
        bias = ((np.array(q) - np.mean(q)) ** 2).sum() / (12 * 11)
        assert (found[name] ** 2).sum() == pytest.approx(max(variance - bias, variance / 4), rel=1e-4)


@pytest.mark.parametrize("size", [8, 12, 30])
def test_the_variance_in_small_groups_is_right_on_average(size):
    rng, values, variances = np.random.default_rng(size), [], []
    for _ in range(300):
        x = rng.normal(size=size)
        y = np.round(1.5 * (0.55 * x + 0.835 * rng.normal(size=size)))
        found = unit_contributions(Column.of(x), Column.of(y), np.arange(size), np.arange(size), size)
        variances.append([(found[name] ** 2).sum() for name in COEFFICIENTS])
        values.append([function(x, y).value for function in COEFFICIENTS.values()])
    assert np.mean(variances, axis=0) / np.var(values, axis=0) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("rule", ["mean", "fisher_z", "tanh_of_mean"])
def test_an_average_moves_as_its_groups_do(rule):
    """Contributions through an average, against its numeric derivative."""
    values, parts = [0.2, 0.5, None, 0.8], np.random.default_rng(8).normal(size=(4, 5)) * 1e-6

    def mean(moved):
        from t2i_judge.stats.coefficients import Coefficient

        return average([Coefficient(v, 9) for v in moved], rule).value

    spreads = [Spread(part, 4) for part in parts]
    shared = averaged(spreads, values, rule, shared=True)
    for unit in range(5):
        moved = [None if v is None else v + parts[g][unit] for g, v in enumerate(values)]
        assert shared.values[unit] == pytest.approx(mean(moved) - mean(values), rel=1e-4)
    own = averaged(spreads, values, rule, shared=False)
    assert len(own.values) == 15 and own.freedom == 12 and shared.freedom == 4


def test_sampled_groups_drawn_or_worked_out_agree():
    values = np.random.default_rng(9).uniform(-0.2, 0.9, 400)
    shares = np.concatenate(list(bootstrap_weights(400, 2000, 0)), axis=1)
    for rule in ("mean", "fisher_z"):
        known = of_sampled_groups(values, rule, None).interval(float(np.tanh(np.arctanh(values).mean()))
                                                              if rule == "fisher_z" else values.mean())  # fmt: skip
        assert known == pytest.approx(of_sampled_groups(values, rule, shares).interval(0.0), abs=0.01)
    assert of_sampled_groups(np.array([0.5]), "mean", None).interval(0.5) is None
