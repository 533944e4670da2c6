"""Coefficients and agreement: parity with scipy, krippendorff and scikit-learn; gaps, ties, constants, averages."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from t2i_judge.errors import UserError
from t2i_judge.stats.agreement import (
    ALPHA_LEVELS,
    COEFFICIENTS,
    Coefficient,
    average,
    by_group,
    cohen_kappa,
    exact_means,
    fleiss_kappa,
    human_ceiling,
    kendall_tau_b,
    krippendorff_alpha,
    leave_one_out,
    paired_bootstrap,
    pairwise_accuracy,
    pearson,
    percent_agreement,
    rater_mean,
    spearman,
    system_level,
    t2i_eval_legacy,
    tie_calibrated_accuracy,
    vote_accuracy,
)
from tests.bounded import part

SCIPY = {"spearman": stats.spearmanr, "kendall_tau_b": stats.kendalltau, "pearson": stats.pearsonr}

# Coarse values make ties; fine ones make none; None makes gaps.
cell = st.one_of(st.none(), st.integers(0, 4), st.floats(-1e6, 1e6, width=64).filter(lambda v: v == 0 or abs(v) > 1e-6))
column_pair = st.lists(st.tuples(cell, cell), min_size=0, max_size=40)


@settings(max_examples=part(1500))
@given(column_pair)
def test_coefficients_and_p_values_are_scipys_on_complete_pairs(pairs):
    complete = [(x, y) for x, y in pairs if x is not None and y is not None]
    for name, function in COEFFICIENTS.items():
        ours = function([x for x, _ in pairs], [y for _, y in pairs])
        assert ours.n == len(complete)
        if len(complete) < 3 or any(len(set(column)) == 1 for column in zip(*complete, strict=True)):
            assert ours.value is None and ours.p is None and ours.undefined
            continue
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            theirs = SCIPY[name](*np.asarray(complete, dtype=float).T)
        if ours.value is None:  # columns that differ by rounding alone, of which scipy warns and gives a figure
            assert str(ours.undefined).endswith("but for rounding")
            assert any("nearly constant" in str(each.message) for each in warned)
            continue
        assert (ours.value, ours.p, ours.undefined) == (theirs.statistic, theirs.pvalue, None)


def test_columns_that_differ_by_rounding_alone_have_no_pearson():
    """Found by the property above."""
    assert COEFFICIENTS["pearson"]([1e6, 1e6, 999999.9999999999], [0, 1, 0]).value is None


def test_undefined_is_none_with_the_reason_never_zero_or_nan():
    assert spearman([1, 1, 1], [1, 2, 3]) == Coefficient(None, 3, undefined="predictions are constant (1)")
    assert kendall_tau_b([1, 2, 3], [2, 2, 2]).undefined == "ratings are constant (2)"
    assert pearson([1, 2, None], [1, 2, 3]).undefined == "fewer than 3 items have both values (2)"
    assert pearson([0.1 + 0.2, 0.3, 0.3], [1, 2, 3]).undefined.endswith("but for rounding")
    assert spearman([], []).value is None
    with pytest.raises(UserError, match="infinite"):
        spearman([1, math.inf, 2], [1, 2, 3])
    with pytest.raises(UserError, match="equal length"):
        spearman([1, 2], [1, 2, 3])


def test_ranks_are_exact_on_floats_until_rounded():
    x = np.array([math.sqrt(0.2 * 0.9), math.sqrt(0.3 * 0.6), 0.1, 0.9])
    y = [1, 2, 0, 3]
    assert x[0] != x[1]
    assert spearman(np.round(x, 6), y).value == stats.spearmanr([2, 2, 1, 3], y)[0]
    assert spearman(x, y).value != spearman(np.round(x, 6), y).value


rating_table = st.integers(2, 5).flatmap(
    lambda raters: st.lists(
        st.lists(st.one_of(st.none(), st.integers(0, 5), st.just(2.5)), min_size=raters, max_size=raters),
        min_size=1,
        max_size=15,
    )
)


@settings(max_examples=part(1500))
@given(rating_table)
def test_alpha_is_the_krippendorff_packages(rows):
    table = np.array(rows, dtype=float)
    pairable = table[(~np.isnan(table)).sum(axis=1) >= 2]
    if len(pairable) == 0 or len(np.unique(pairable[~np.isnan(pairable)])) == 1:
        assert all(krippendorff_alpha(table, level).value is None for level in ALPHA_LEVELS)
        return
    for level in ALPHA_LEVELS:
        theirs = krippendorff.alpha(reliability_data=pairable.T, level_of_measurement=level)
        assert krippendorff_alpha(table, level).value == pytest.approx(theirs, abs=1e-9)


def test_alpha_of_continuous_ratings_stays_within_memory_and_ratio_refuses_negative_values():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(5000, 1)) + rng.normal(size=(5000, 3))
    assert 0.4 < krippendorff_alpha(table, "interval").value < 0.6
    assert krippendorff_alpha(table, "ratio").undefined == "ratio level needs values that are never negative"
    positive = np.abs(table) + 10
    assert krippendorff_alpha(positive, "ratio").value is not None
    few = positive[:60]
    theirs = krippendorff.alpha(reliability_data=few.T, level_of_measurement="ratio")
    assert krippendorff_alpha(few, "ratio").value == pytest.approx(theirs, abs=1e-9)
    with pytest.raises(UserError, match="level of measurement"):
        krippendorff_alpha(table, "cardinal")


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=2, max_size=30),
    st.sampled_from([None, "linear", "quadratic"]),
)
def test_cohen_kappa_is_scikit_learns(pairs, weights):
    a, b = zip(*pairs, strict=True)
    assume(len(set(a) | set(b)) > 1)
    assert cohen_kappa(a, b, weights).value == pytest.approx(cohen_kappa_score(a, b, weights=weights), abs=1e-12)


def test_cohen_kappa_gaps_constants_and_unused_categories():
    assert cohen_kappa([1, 1, None], [1, 1, 2]).undefined == "both raters always say 1"
    a, b = [1, 1, 5, 5], [1, 5, 5, 1]
    near, far = [1, 2, 5], [1, 5, 5]
    assert cohen_kappa(near, far, "linear").value != cohen_kappa(near, far, "linear", range(1, 6)).value
    assert cohen_kappa([*a, None], [*b, 1]).n == 4
    with pytest.raises(UserError, match="categories"):
        cohen_kappa(a, b, categories=[1, 2])


def test_fleiss_kappa_reproduces_the_standard_example():
    """The table of Fleiss 1971's successor texts: 10 items, 14 raters, 5 categories, kappa .210."""
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    table = np.array([np.repeat(np.arange(5), row) for row in counts], dtype=float)
    assert fleiss_kappa(table).value == pytest.approx(0.210, abs=5e-4)
    assert percent_agreement(table).value == pytest.approx(0.378, abs=5e-4)
    gappy = np.vstack([table, np.full((1, 14), np.nan)])
    gappy[-1, :3] = 2
    assert fleiss_kappa(gappy) == fleiss_kappa(table)
    assert percent_agreement(gappy).n == 11


def test_raters_that_leave_nothing_to_compare():
    for figure in (fleiss_kappa, percent_agreement, krippendorff_alpha, human_ceiling):
        for table in ([[1], [2]], [[1, None], [None, 2]]):
            assert figure(table).value is None and figure(table).undefined
    assert fleiss_kappa([[3, 3], [3, 3]]).undefined == "all ratings are 3"
    assert percent_agreement([[3, 3], [3, 3]]).value == 1.0


def test_means_that_are_equal_as_decimals_tie():
    assert 0.1 + 0.2 + 0.3 != 0.3 + 0.2 + 0.1
    means = rater_mean([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.4, None, None], [None, None, None]])
    assert means[0] == means[1] == 0.2 and means[2] == 0.4 and math.isnan(means[3])


def test_means_that_are_zero_as_decimals_tie():
    assert math.fsum([0.1, 0.2, -0.3]) != 0
    assert rater_mean([[0.1, 0.2, -0.3], [-0.1, -0.2, 0.3], [0, 0, 0]]).tolist() == [0, 0, 0]
    assert rater_mean([[1e308, 1.5e308], [1e-320, 3e-320]]).tolist() == [1.25e308, 2e-320]


extreme = st.sampled_from([0.0, -0.0, 1.0, 0.1, 5e-324, -1e-320, 1e-200, 1e15, 1e15 + 1, 1e200, -1e308, 1.7e308, None])


@given(st.lists(st.lists(extreme, min_size=3, max_size=3), min_size=1, max_size=8))
def test_no_finite_number_makes_a_warning_a_nan_or_an_error(rows):
    x, y, _ = np.array(rows, dtype=float).T
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [coefficient(x, y) for coefficient in (*COEFFICIENTS.values(), pairwise_accuracy, cohen_kappa)]
        found += [krippendorff_alpha(rows, level) for level in ALPHA_LEVELS]
        found += [human_ceiling(rows, pearson), fleiss_kappa(rows), percent_agreement(rows)]
    assert all((c.value is None and c.undefined) or (c.value <= 1 + 1e-9 and not c.undefined) for c in found)


def test_every_figure_names_its_source_and_when_it_is_undefined():
    figures = [*COEFFICIENTS.values(), percent_agreement, cohen_kappa, fleiss_kappa, krippendorff_alpha, human_ceiling]
    for figure in [*figures, pairwise_accuracy, tie_calibrated_accuracy, system_level, paired_bootstrap]:
        assert "Source:" in figure.__doc__ and "ndefined" in figure.__doc__, figure.__name__


def test_ceiling_leaves_the_rater_out_of_the_mean():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(300, 1)) + rng.normal(size=(300, 4))
    expected = [stats.spearmanr(table[:, k], np.delete(table, k, 1).mean(1))[0] for k in range(4)]
    assert human_ceiling(table).value == pytest.approx(np.mean(expected), abs=1e-12)
    including = np.mean([stats.spearmanr(table[:, k], table.mean(1))[0] for k in range(4)])
    assert human_ceiling(table).value < including - 0.05
    table[:10, :3] = np.nan
    assert human_ceiling(table).n == 290
    assert np.isnan(leave_one_out(table)[3][1][:10]).all()


def test_levels_of_grouping():
    rng = np.random.default_rng(2)
    prompts, systems = np.repeat(np.arange(20), 5), np.tile(np.arange(5), 20)
    y = rng.normal(size=100) + systems
    x = y + rng.normal(size=100) + 3 * prompts
    x[3] = np.nan
    groups = by_group(x, y, prompts.tolist(), spearman)
    assert list(groups) == list(range(20)) and groups[0].n == 4
    assert average(groups).value == pytest.approx(np.mean([groups[g].value for g in range(20)]))
    means = [(np.nanmean(x[systems == s]), y[(systems == s) & ~np.isnan(x)].mean()) for s in range(5)]
    system = system_level(x, y, systems.tolist(), pearson)
    assert system.n == 5 and system.value == pytest.approx(stats.pearsonr(*zip(*means, strict=True))[0], abs=1e-9)
    assert spearman(x, y).value < average(groups).value  # prompts differ in level, which only the pooled figure feels


def test_averages_by_name():
    coefficients = [Coefficient(0.2, 10), Coefficient(0.9, 10), Coefficient(None, 2, undefined="few")]
    assert average(coefficients) == Coefficient(pytest.approx(0.55), 2)
    assert average(coefficients, "fisher_z").value == pytest.approx(math.tanh((math.atanh(0.2) + math.atanh(0.9)) / 2))
    assert average(coefficients, "tanh_of_mean").value == pytest.approx(math.tanh(0.55))
    assert average([Coefficient(1.0, 3), Coefficient(0.2, 9)], "fisher_z").value == 1.0
    assert average([Coefficient(1.0, 3), Coefficient(-1.0, 3)], "fisher_z").undefined == "fisher_z of both +1 and -1"
    assert average([]).undefined
    with pytest.raises(UserError, match="fisher_z"):
        average(coefficients, "fisher")


def _brute_pairwise(x, y, epsilon):
    right = total = 0
    for i in range(len(x)):
        for j in range(i):
            dx, dy = x[i] - x[j], y[i] - y[j]
            predicted = 0 if abs(dx) <= epsilon else np.sign(dx)
            right += predicted == np.sign(dy)
            total += 1
    return right / total


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3)), min_size=2, max_size=12))
def test_tie_calibration_finds_the_best_threshold(pairs):
    x, y = np.array(pairs, dtype=float).T
    assert pairwise_accuracy(x, y).value == pytest.approx(_brute_pairwise(x, y, 0))
    calibrated = tie_calibrated_accuracy(x, y)
    every = {epsilon: _brute_pairwise(x, y, epsilon) for epsilon in range(9)}
    assert calibrated.accuracy == pytest.approx(max(every.values()))
    assert calibrated.epsilon == min(e for e in every if every[e] == pytest.approx(max(every.values())))
    assert pairwise_accuracy(x, y, calibrated.epsilon).value == pytest.approx(calibrated.accuracy)


def test_tie_calibration_within_prompts_and_without_pairs():
    x, y, prompts = [1, 2, 100, 101, None], [1, 2, 1, 1, 3], ["a", "a", "b", "b", "b"]
    assert tie_calibrated_accuracy(x, y, prompts).n_pairs == 2
    uneven = tie_calibrated_accuracy([0, 5, 0, 3, 6], [0, 0, 0, 1, 2], ["a", "a", "b", "b", "b"])
    assert (uneven.accuracy, uneven.epsilon, uneven.n_pairs) == (pytest.approx(2 / 3), 5, 4)  # 1 and 1/3: not 3/4 at 0
    assert tie_calibrated_accuracy([1], [1]).accuracy is None
    assert pairwise_accuracy([1], [1]).undefined


def test_votes_count_what_was_not_parsed_as_wrong_and_a_bare_tie_for_both_ties():
    votes = ["leftvote", "rightvote", "tievote", "bothbad_vote", "leftvote", None, ""]
    verdicts = ["A>B", "A>B", "A=B", "A=B", None, "A>B", "A>B"]
    found = vote_accuracy(verdicts, votes)
    assert (found.n, found.four_class_accuracy, found.n_unparsed) == (5, 3 / 5, 1)
    assert (found.n_decided, found.pairwise_accuracy_decided) == (3, 1 / 3)
    assert found.majority_class_accuracy == 2 / 5
    assert vote_accuracy(["A=B=Good", "?"], ["tievote", "leftvote"]).four_class_accuracy == 1 / 2
    empty = vote_accuracy([], [])
    assert empty.four_class_accuracy is None and empty.majority_class_accuracy is None and empty.n == 0
    with pytest.raises(UserError, match="leftvote"):
        vote_accuracy(["A>B"], ["left"])


def test_legacy_policy_fills_with_the_columns_mean():
    rng = np.random.default_rng(3)
    human = rng.integers(0, 11, 301).astype(float)
    judge = (human + rng.normal(0, 3, 301)).round()
    broken = [("N/A" if i % 10 == 0 else v) for i, v in enumerate(judge)]
    found = t2i_eval_legacy({"manual_avg": human, "result": broken})[("result", "manual_avg")]
    mean = np.mean([v for v in broken if v != "N/A"])
    filled = [mean if v == "N/A" else v for v in broken]
    assert found["kendall_tau_b"].value == stats.kendalltau(filled, human)[0]
    dropped = [(a, b) for a, b in zip(broken, human, strict=True) if a != "N/A"]
    assert found["spearman"].value < stats.spearmanr(*zip(*dropped, strict=True))[0]


def test_importing_the_library_or_agreement_does_not_load_scipy():
    code = "import sys, t2i_judge, t2i_judge.stats.agreement; raise SystemExit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_exact_means_of_no_values():
    assert math.isnan(exact_means([[math.nan]])[0])
