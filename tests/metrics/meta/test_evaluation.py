"""meta_evaluate: who is compared with whom, on which items, with what left out, and how averages and gaps are told."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from t2i_judge import meta_evaluate
from t2i_judge.errors import UserError

RNG = np.random.default_rng(0)
TRUTH = RNG.normal(size=120)
RATERS = {f"r{k}": np.clip(np.round(TRUTH + RNG.normal(size=120) + 3), 1, 5).tolist() for k in range(3)}
JUDGE = (TRUTH + RNG.normal(size=120)).tolist()


def row(result, prediction, against, **by):
    (found,) = [r for r in result.rows if (r.prediction, r.against, r.by) == (prediction, against, by)]
    return found


def test_every_judge_against_every_rater_their_mean_and_the_ceiling():
    result = meta_evaluate({"a": JUDGE, "b": RATERS["r0"]}, RATERS, draws=50)
    assert [(r.prediction, r.against) for r in result.rows] == [
        *(("a", against) for against in ("mean", "r0", "r1", "r2")),
        *(("b", against) for against in ("mean", "r0", "r1", "r2")),
        (None, "ceiling"),
    ]
    found, mean = row(result, "a", "mean"), np.mean(list(RATERS.values()), axis=0)
    for name, scipys in (
        ("spearman", stats.spearmanr),
        ("kendall_tau_b", stats.kendalltau),
        ("pearson", stats.pearsonr),
    ):
        figure = found.figures[name]
        assert (figure.value, figure.p) == pytest.approx(tuple(scipys(JUDGE, mean)), abs=1e-12)
        assert figure.ci[0] < figure.value < figure.ci[1]
    assert found.n == 120 and found.coverage == 1 and found.undefined is None and not result.warnings
    ceiling = row(result, None, "ceiling").figures["spearman"]
    assert ceiling.p is None and ceiling.ci[0] < ceiling.value < ceiling.ci[1]
    assert row(result, "b", "r0").figures["spearman"].value == pytest.approx(1)


def test_failures_are_left_out_and_counted_by_status_never_filled():
    scores, statuses = list(JUDGE), ["ok"] * 120
    scores[0], scores[1] = None, math.nan
    statuses[1], statuses[2] = "refused", "unparsable"  # item 2 has a number that must not count
    found = row(meta_evaluate({"a": scores}, RATERS, statuses={"a": statuses}, draws=0), "a", "mean")
    assert (found.n, found.n_missing, found.coverage) == (117, 3, 117 / 120)
    assert found.n_failed == {"missing": 1, "refused": 1, "unparsable": 1}
    mean = np.mean(list(RATERS.values()), axis=0)
    assert found.figures["spearman"].value == pytest.approx(stats.spearmanr(JUDGE[3:], mean[3:])[0], abs=1e-12)
    assert found.figures["spearman"].ci is None


@pytest.mark.parametrize("share", [0.0, 0.05, 0.10, 0.20])
def test_fill_policy_regression(share):
    """Integer scores, n = 301, true rho about .59: leaving failures out stays inside the complete row's interval, while
    the published habit of mean-filling drifts down."""
    rng = np.random.default_rng(7)
    quality = rng.normal(size=301)
    people = np.clip(np.round(5 + 2 * quality + rng.normal(size=301)), 0, 10)
    scores = np.clip(np.round(5 + 2 * quality + 2.2 * rng.normal(size=301)), 0, 10)
    complete = row(meta_evaluate(scores, people, draws=2000), "prediction", "mean").figures["spearman"]
    excluded, filled = [], []
    for _ in range(20):
        failing = rng.choice(301, round(share * 301), replace=False)
        broken = scores.copy()
        broken[failing] = np.nan
        found = row(meta_evaluate(broken, people, draws=0), "prediction", "mean")
        assert found.n == 301 - len(failing) and found.n_failed == ({"missing": len(failing)} if share else {})
        excluded.append(found.figures["spearman"].value)
        broken[failing] = np.nanmean(broken)
        filled.append(stats.spearmanr(broken, people)[0])
    assert all(complete.ci[0] <= value <= complete.ci[1] for value in excluded)
    assert np.mean(excluded) == pytest.approx(complete.value, abs=0.015)
    if share >= 0.10:
        assert np.mean(filled) < np.mean(excluded) - 0.02


def test_judges_on_different_items_are_warned_of_and_intersected():
    a, b = list(JUDGE), list(JUDGE)
    a[:10], b[5:20] = [None] * 10, [None] * 15
    apart = meta_evaluate({"a": a, "b": b}, RATERS, draws=0)
    assert "a 110, b 105" in apart.warnings[0] and "100 that all scored" in apart.warnings[0]
    together = meta_evaluate({"a": a, "b": b}, RATERS, intersect=True, draws=0)
    assert not together.warnings
    assert {r.n for r in together.rows} == {100} and row(together, "a", "mean").n_missing == 20
    assert row(together, "a", "mean").figures == row(together, "b", "mean").figures


def test_groups_blank_ones_too_and_their_average():
    model = ["x", "y", None] * 40
    result = meta_evaluate({"a": JUDGE}, RATERS, by={"model": model}, average="fisher_z", draws=200)
    groups = [row(result, "a", "mean", model=m) for m in ("x", "y", None)]
    assert [g.n for g in groups] == [40, 40, 40]
    values = [g.figures["pearson"].value for g in groups]
    averaged = row(result, "a", "mean", model="average:fisher_z")
    assert averaged.figures["pearson"].value == pytest.approx(math.tanh(np.mean(np.arctanh(values))))
    assert averaged.n == 120 and averaged.figures["pearson"].p is None
    low, high = averaged.figures["pearson"].ci
    assert low < averaged.figures["pearson"].value < high
    assert high - low < min(g.figures["pearson"].ci[1] - g.figures["pearson"].ci[0] for g in groups)
    assert len(result.agreement) == 3 and result.agreement[2].by == {"model": None}


def test_undefined_groups_are_left_out_of_an_average_and_said_so():
    scores = np.where(np.arange(120) < 60, 1.0, JUDGE)
    half = ["first"] * 60 + ["second"] * 60
    result = meta_evaluate({"a": scores}, RATERS, by={"half": half}, average="mean", draws=50)
    assert row(result, "a", "mean", half="first").undefined == "predictions are constant (1)"
    assert row(result, "a", "mean", half="first").figures["spearman"].ci is None
    assert row(result, "a", "mean", half="average:mean").figures == {
        name: pytest.approx(figure) if figure.p is None else type(figure)(figure.value, None, figure.ci)
        for name, figure in row(result, "a", "mean", half="second").figures.items()
    }
    assert any("left out of an average: first (a against mean" in warning for warning in result.warnings)
    assert row(result, "a", "mean", half="average:mean").n == 60
    assert "nothing to average" in meta_evaluate({"a": JUDGE}, RATERS, average="mean", draws=0).warnings[0]


def test_clusters_widen_the_interval_and_blank_ones_stand_alone():
    prompts = np.repeat(np.arange(24), 5)
    shared = RNG.normal(size=24)[prompts]
    x, y = shared + 0.2 * RNG.normal(size=(2, 120))
    width = {}
    for name, clusters in (("items", None), ("prompts", prompts.tolist()), ("blank", [None] * 120)):
        ci = row(meta_evaluate(x, y, clusters=clusters, draws=1000), "prediction", "mean").figures["pearson"].ci
        width[name] = ci[1] - ci[0]
    assert width["prompts"] > 1.3 * width["items"] and width["blank"] == pytest.approx(width["items"], rel=0.15)


def test_a_groups_interval_is_that_of_the_group_alone():
    half, first = ["a"] * 60 + ["b"] * 60, {name: ratings[:60] for name, ratings in RATERS.items()}
    grouped = meta_evaluate({"j": JUDGE}, RATERS, by={"half": half}, draws=300, seed=4)
    alone = meta_evaluate({"j": JUDGE[:60]}, first, draws=300, seed=4)
    for against in ("mean", "r0"):
        assert row(grouped, "j", against, half="a").figures == row(alone, "j", against).figures
    assert row(grouped, None, "ceiling", half="a").figures == row(alone, None, "ceiling").figures


def test_an_average_over_resampled_prompts_varies_as_their_mean_does():
    """Prompts are the clusters: one that is drawn twice counts twice, so the spread is that of a mean of prompts."""
    rng = np.random.default_rng(21)
    prompts, images = 40, 6
    r = rng.uniform(0.1, 0.9, prompts)[:, None]
    x, noise = rng.normal(size=(2, prompts, images))
    y = r * x + np.sqrt(1 - r**2) * noise
    labels = np.repeat(np.arange(prompts), images).tolist()
    found = meta_evaluate(x.ravel(), y.ravel(), by={"p": labels}, clusters=labels, average="mean", draws=2000)
    values = [row(found, "prediction", "mean", p=label).figures["pearson"].value for label in range(prompts)]
    low, high = row(found, "prediction", "mean", p="average:mean").figures["pearson"].ci
    assert (high - low) / (2 * 1.96) == pytest.approx(np.std(values) / math.sqrt(prompts), rel=0.1)


def test_one_cluster_has_no_interval():
    prompts = np.repeat(np.arange(24), 5).tolist()
    found = meta_evaluate(JUDGE, RATERS, by={"prompt": prompts}, clusters=prompts, draws=20)
    assert all(r.figures["spearman"].ci is None and r.figures["spearman"].p is None for r in found.rows)
    assert "rows have no interval: all their items are in one cluster" in found.warnings[0]


def test_ratings_as_lists_of_annotators_numbers_with_gaps():
    ratings = [[1, 2], [2], [3, None, 3], [4, 5, 4], 5]
    result = meta_evaluate([1, 2, 3, 4, None], ratings, draws=0)
    assert [r.against for r in result.rows] == ["mean", "annotator_1", "annotator_2", "annotator_3", "ceiling"]
    assert row(result, "prediction", "mean").n == 4
    assert row(result, "prediction", "annotator_3").undefined == "fewer than 3 items have both values (2)"
    assert result.agreement[0].n_items == 3 and result.agreement[0].n_items_complete == 1


def test_rounding_makes_ties():
    x = [math.sqrt(0.2 * 0.9), math.sqrt(0.3 * 0.6), 0.1, 0.9]
    exact = row(meta_evaluate(x, [1, 2, 0, 3], draws=0), "prediction", "mean")
    rounded = row(meta_evaluate(x, [1, 2, 0, 3], draws=0, digits=6), "prediction", "mean")
    assert exact.figures["kendall_tau_b"].value != rounded.figures["kendall_tau_b"].value
    huge = meta_evaluate([1e300, 2e300, 3e299], [1, 2, 0], draws=0, digits=15)
    assert row(huge, "prediction", "mean").figures["spearman"].value == 1
    with pytest.raises(UserError, match="400 decimals"):
        meta_evaluate(x, [1, 2, 0, 3], digits=400)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("clusters", [None, [f"p{n // 3}" for n in range(18)]], ids=["items", "prompts"])
def test_systems_are_ranked_whatever_the_scale_of_their_scores(clusters):
    rng = np.random.default_rng(0)
    people, judge = (np.round(rng.normal(size=18) + np.tile([0, 0.5, 1], 6), 1) for _ in range(2))
    options = {"systems": ["a", "b", "c"] * 6, "clusters": clusters, "draws": 20}
    found = [meta_evaluate(list(judge * scale), list(people * scale), **options).systems for scale in (1.0, 2.0**1021)]
    for plain, huge in zip(*found, strict=True):
        for name, figure in plain.figures.items():
            assert huge.figures[name].value == pytest.approx(figure.value)
            assert huge.figures[name].ci == (figure.ci and pytest.approx(figure.ci))
        assert huge.soft_pairwise_accuracy == plain.soft_pairwise_accuracy
        soft = plain.soft_pairwise_accuracy_ci
        assert huge.soft_pairwise_accuracy_ci == (soft and pytest.approx(soft))


def test_agreement_only_and_votes_only():
    agreement = meta_evaluate(None, RATERS)
    assert agreement.rows == [] and agreement.agreement[0].n_raters == 3 and agreement.votes == []
    votes = meta_evaluate(None, None, verdicts={"j": ["A>B", None, "B>A"]}, votes=["leftvote", "tievote", None])
    (only,) = votes.votes
    assert (only.n, only.four_class_accuracy, only.n_decided) == (2, 0.5, 1) and votes.rows == [] == votes.agreement


def test_one_rater_has_no_ceiling_and_no_agreement():
    result = meta_evaluate({"a": JUDGE}, {"only": RATERS["r0"]}, draws=10)
    assert row(result, None, "ceiling").undefined == "one rater"
    assert result.agreement[0].undefined and result.agreement[0].krippendorff_alpha["ordinal"] is None


def test_ratio_alpha_alone_can_be_undefined():
    (found,) = meta_evaluate(None, {"a": [-1, 0, 2], "b": [-1, 1, 2]}).agreement
    assert found.krippendorff_alpha["interval"] is not None and found.krippendorff_alpha["ratio"] is None
    assert found.undefined == "alpha ratio: ratio level needs values that are never negative"


def test_markdown_and_text_show_every_row_and_no_markup():
    result = meta_evaluate({"a|b[red]": JUDGE}, RATERS, draws=10)
    markdown, text = result.to_markdown(), str(result)
    assert "a\\|b[red]" in markdown and "a|b[red]" in text
    assert markdown.count("\n| ") == len(result.rows) + 2 + len(result.agreement) + 2
    assert "nan" not in text


def test_no_control_character_of_a_name_reaches_the_terminal():
    result = meta_evaluate({"a\x1b[31m\r\nb": JUDGE}, RATERS, draws=0)
    for text in (str(result), result.to_markdown()):
        assert "\x1b" not in text and "\r" not in text and "a\ufffd[31m b" in text


def test_wrong_input_is_told():
    with pytest.raises(UserError, match="differ in length"):
        meta_evaluate({"a": [1, 2]}, {"r": [1, 2, 3]})
    with pytest.raises(UserError, match="no items"):
        meta_evaluate([], [])
    with pytest.raises(UserError, match="fisher_z"):
        meta_evaluate([1], [1], average="fisher")
    with pytest.raises(UserError, match='the name "mean"'):
        meta_evaluate([1], {"mean": [1], "r": [1]})
    with pytest.raises(UserError, match="statuses"):
        meta_evaluate({"a": [1, 2]}, [1, 2], statuses={"a": ["ok"]})
    with pytest.raises(UserError, match="resamples"):
        meta_evaluate([1], [1], draws=-1)
    with pytest.raises(UserError, match="not a number"):
        meta_evaluate(["one"], [1])
