"""What intervals resample: items, clusters or whole groups; that they hold the truth; and what stands beside them."""

from __future__ import annotations

import numpy as np
import pytest

from recipes.performance.coverage import lines, measured
from t2i_judge import meta_evaluate
from t2i_judge.errors import UserError
from t2i_judge.meta import sampling, systems
from tests.bounded import part


def tiny_groups(groups=160, items=5, seed=0):
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=(groups, items))
    people = np.clip(np.round(quality * 1.5 + rng.normal(size=quality.shape) + 4), 1, 7)
    judge = quality + rng.normal(size=quality.shape)
    return judge.ravel(), people.ravel(), np.repeat(np.arange(groups), items).tolist()


def average_of(result, rule="mean"):
    (row,) = [r for r in result.rows if r.prediction and r.against == "mean" and f"average:{rule}" in r.by.values()]
    return row


def test_sampled_groups_are_resampled_whole_and_their_items_untouched():
    judge, people, ids = tiny_groups()
    found = meta_evaluate(judge, people, by={"id": ids}, average="mean", draws=2000)
    row = average_of(found)
    figure = row.figures["kendall_tau_b"]
    assert figure.ci[0] < figure.value < figure.ci[1]
    values = [r.figures["kendall_tau_b"].value for r in found.rows[:-3] if r.prediction and r.against == "mean"]
    known = np.array([v for v in values if v is not None])
    assert (figure.ci[1] - figure.ci[0]) / 3.92 == pytest.approx(known.std() / np.sqrt(len(known)), rel=0.12)
    assert (row.unit, row.method) == ("groups", "percentile bootstrap") and row.n_units == len(known)
    assert found.sampling["groups"] == "sampled" and not found.sampling["groups_stated"]
    assert "groups sampled (by default; --groups fixed" in str(found)
    clustered = average_of(meta_evaluate(judge, people, by={"id": ids}, clusters=ids, average="mean", draws=2000))
    assert clustered.figures["kendall_tau_b"].ci == pytest.approx(figure.ci, abs=0.01)


def test_fixed_groups_too_small_to_resample_are_left_out_one_by_one():
    judge, people, ids = tiny_groups()
    found = meta_evaluate(judge, people, by={"id": ids}, average="mean", groups="fixed", draws=200)
    row = average_of(found)
    assert row.method == "jackknife" and row.n_units == 800 and "groups fixed (as asked" in found.footnote
    for figure in row.figures.values():
        assert figure.ci[0] < figure.value < figure.ci[1]


def test_few_fixed_groups_are_the_default_and_stay():
    judge, people, _ = tiny_groups(60, 5)
    models = np.tile(np.arange(5), 60).tolist()
    found = meta_evaluate(judge, people, by={"model": models}, average="mean", draws=100)
    assert (found.sampling["groups"], found.sampling["scheme"]) == ("fixed", "inside")
    prompts = np.repeat(np.arange(60), 5).tolist()
    across = meta_evaluate(judge, people, by={"model": models}, clusters=prompts, average="mean", draws=100)
    assert across.sampling["scheme"] == "across" and average_of(across).n_units == 60
    again = meta_evaluate(
        judge, people, by={"model": models}, clusters=prompts, average="mean", groups="sampled", draws=100
    )
    assert again.sampling["scheme"] == "across"  # clusters that lie in several groups are drawn for all at once
    with pytest.raises(UserError, match="sampled or fixed"):
        meta_evaluate(judge, people, groups="some")


def test_below_twenty_units_a_warning_stands_beside_the_interval():
    judge, people, _ = tiny_groups(3, 5)
    found = meta_evaluate(judge, people, draws=100)
    assert found.rows[0].note == "15 items: a rough interval" and "15 items: a rough interval" in str(found)
    assert meta_evaluate(judge, people, draws=0).rows[0].note is None


def test_large_tables_have_analytic_intervals_near_to_the_bootstraps(monkeypatch):
    judge, people, prompts = tiny_groups(400, 5)
    for clusters in (None, prompts):
        drawn = meta_evaluate(judge, people, clusters=clusters, draws=1500).rows[0]
        with monkeypatch.context() as patched:
            patched.setattr(sampling, "ANALYTIC_ITEMS", 100)
            found = meta_evaluate(judge, people, clusters=clusters, draws=1500)
        assert "analytic" in found.rows[0].method and "analytic" in found.footnote
        for name, figure in found.rows[0].figures.items():
            assert figure.value == drawn.figures[name].value
            assert figure.ci == pytest.approx(drawn.figures[name].ci, abs=0.012)


def test_systems_of_a_large_table_say_why_they_have_no_interval(monkeypatch):
    """It said that a system of thirty items had fewer than two."""
    judge, people, _ = tiny_groups(18, 5)
    monkeypatch.setattr(systems, "ANALYTIC_ITEMS", 50)
    [row] = meta_evaluate(judge, people, systems=[f"g{n % 3}" for n in range(90)], draws=20).systems
    assert "no interval: resampling more than 50 items takes too long" in row.note and "fewer" not in row.note


def test_nested_averages_average_models_inside_tasks_and_then_tasks():
    judge, people, _ = tiny_groups(60, 5)
    task, model = np.repeat(["t1", "t2", "t3"], 100).tolist(), np.tile(["a", "b", "c", "d"], 75).tolist()
    by = {"task": task, "model": model}
    found = meta_evaluate(judge, people, by=by, average="fisher_z,mean", draws=200)
    rows = {tuple(r.by.values()): r for r in found.rows if r.prediction and r.against == "mean"}
    tasks = []
    for name in ("t1", "t2", "t3"):
        values = [rows[name, m].figures["pearson"].value for m in "abcd"]
        own = rows[name, "average:fisher_z"].figures["pearson"]
        assert own.value == pytest.approx(np.tanh(np.arctanh(values).mean())) and own.ci[0] < own.value < own.ci[1]
        tasks.append(own.value)
    top = rows["average:mean", "average:fisher_z"]
    assert top.figures["pearson"].value == pytest.approx(np.mean(tasks)) and top.n == 300
    assert top.figures["pearson"].ci[0] < top.figures["pearson"].value < top.figures["pearson"].ci[1]
    shown = found.to_text(averages_only=True)
    assert shown.count("\nprediction ") == 4 and "t1" in shown and "  a " not in shown
    with pytest.raises(UserError, match="2 averaging rules"):
        meta_evaluate(judge, people, by={"task": task}, average="mean,mean")


def test_fisher_z_says_which_group_makes_it_one():
    judge, people, ids = tiny_groups(30, 20)
    judge, people = np.append(judge, [1, 2, 3]), np.append(people, [1, 2, 3])
    found = meta_evaluate(judge, people, by={"id": [*ids, "small", "small", "small"]}, average="fisher_z", draws=0)
    row = average_of(found, "fisher_z")
    assert row.figures["spearman"].value == 1 and "small (n 3)" in row.note and "small (n 3)" in str(found)


def test_one_rater_is_shown_once_and_the_ceiling_stands_without_predictions():
    judge, people, _ = tiny_groups(30, 5)
    found = meta_evaluate({"j": judge}, {"r": people}, draws=0)
    assert [r.against for r in found.rows] == ["mean", "r", "ceiling"] and str(found).count("\nj ") == 1
    raters = {"a": people, "b": people[::-1].copy(), "c": np.roll(people, 1)}
    alone = meta_evaluate(None, raters, draws=50)
    beside = meta_evaluate({"j": judge}, raters, draws=50)
    (ceiling,) = [r for r in beside.rows if r.against == "ceiling"]
    assert alone.rows == [] and alone.agreement[0].ceiling["pearson"].value == ceiling.figures["pearson"].value
    assert "ceiling Spearman" in str(alone)


def test_judge_against_judge_with_three_tests_and_holm():
    rng = np.random.default_rng(4)
    truth = rng.normal(size=120)
    judges = {"good": truth + 0.4 * rng.normal(size=120), "poor": truth + 3 * rng.normal(size=120), "same": truth}
    found = meta_evaluate(judges, truth + 0.5 * rng.normal(size=120), compare=True, draws=400)
    assert len(found.comparisons) == 9
    (row,) = [c for c in found.comparisons if (c.a, c.b, c.coefficient) == ("good", "poor", "pearson")]
    assert row.difference > 0.2 and row.ci[0] > 0 and all(p < 0.02 for p in row.p.values())
    assert all(row.p_holm[test] >= row.p[test] for test in row.p)
    assert "Judge against judge" in str(found) and "Judge against judge" in found.to_markdown()
    prompts = np.repeat(np.arange(40), 3).tolist()
    clustered = meta_evaluate(judges, truth, clusters=prompts, compare=True, draws=100).comparisons
    refused = [c for c in clustered if c.coefficient == "pearson"]
    assert all(c.p["williams"] is None and "not independent" in c.note for c in refused)
    with pytest.raises(UserError, match="One judge"):
        meta_evaluate({"a": truth}, truth, compare=True)


def test_systems_are_ranked_by_their_means():
    rng = np.random.default_rng(5)
    prompts, systems = 50, 6
    level = np.linspace(0, 2, systems)[None, :]
    people, judge = level + rng.normal(size=(2, prompts, systems))
    labels = np.tile([f"g{s}" for s in range(systems)], prompts).tolist()
    clusters = np.repeat(np.arange(prompts), systems).tolist()
    (row,) = meta_evaluate(judge.ravel(), people.ravel(), systems=labels, clusters=clusters, draws=300).systems
    expected = np.corrcoef(judge.mean(axis=0), people.mean(axis=0))[0, 1]
    assert row.figures["pearson"].value == pytest.approx(expected) and row.n_systems == 6
    assert row.figures["pearson"].ci[0] < expected and 0.8 < row.soft_pairwise_accuracy <= 1
    assert row.soft_pairwise_accuracy_ci[0] <= row.soft_pairwise_accuracy
    (bare,) = meta_evaluate(judge.ravel(), people.ravel(), systems=labels, draws=50).systems
    assert bare.soft_pairwise_accuracy is None and "--cluster" in bare.note and bare.figures["pearson"].ci


def test_votes_have_intervals_that_clusters_widen():
    rng = np.random.default_rng(6)
    prompts = np.repeat(np.arange(80), 4)
    right = rng.random(80)[prompts] < 0.7
    votes = np.where(rng.random(320) < 0.5, "A", "B")
    verdicts = np.where(right, votes, np.where(votes == "A", "B", "A")).tolist()
    width = {}
    for name, clusters in (("items", None), ("prompts", prompts.tolist())):
        (row,) = meta_evaluate(
            None, None, verdicts={"j": verdicts}, votes=votes.tolist(), clusters=clusters, draws=800
        ).votes
        low, high = row.four_class_accuracy_ci
        assert low < row.four_class_accuracy < high
        width[name] = high - low
    assert width["prompts"] > 1.6 * width["items"]


ONE, MANY = ["p"] * 12, [f"p{n // 3}" for n in range(12)]


def test_one_cluster_makes_no_interval_and_no_p_anywhere():
    rng = np.random.default_rng(7)
    people = rng.normal(size=12)
    judges = {"a": people + 0.3 * rng.normal(size=12), "b": people + rng.normal(size=12)}
    systems, sets = [f"g{n % 3}" for n in range(12)], [f"s{n // 4}" for n in range(12)]
    measure = {"systems": systems, "candidates": sets, "compare": True, "draws": 60}
    for clusters, known in ((ONE, False), (MANY, True)):
        found = meta_evaluate(judges, people, clusters=clusters, **measure)
        for row in found.rows:
            assert all((figure.ci is not None, figure.p is not None) == (known, known and row.prediction is not None)
                       for figure in row.figures.values() if figure.value is not None)  # fmt: skip
        assert all((row.ci is not None) == (row.p["bootstrap"] is not None) == known for row in found.comparisons)
        assert all((row.p["permutation"] is not None) == known for row in found.comparisons)
        assert all((figure.ci is not None) == known for row in found.systems for figure in row.figures.values())
        assert all((row.intervals["best_of_k_accuracy"] is not None) == known for row in found.candidates)
    shown = str(meta_evaluate(judges, people, clusters=ONE, **measure))
    assert "one cluster" in shown and "fewer than two clusters" in shown and "rough interval" not in shown


@pytest.mark.parametrize("analytic", [False, True])
def test_a_share_of_pairs_in_one_cluster_has_no_interval(analytic, monkeypatch):
    """Pairs that people decided lie in one prompt; their ties lie in others, and count for the other shares."""
    monkeypatch.setattr(sampling, "ANALYTIC_ITEMS", 5 if analytic else 50)
    votes, prompts = ["A", "B", "A", "A", *["A=B"] * 6], [*"pppp", *"qrstuv"]
    verdicts, first = ["A", "A", "A", "B", *["A=B"] * 3, *["A"] * 3], [2.0, 2, 2, 1, 1, 1, 1, 2, 2, 2]
    measure = {"votes": votes, "clusters": prompts, "draws": 60}
    (row,) = meta_evaluate(None, None, verdicts={"j": verdicts}, **measure).votes
    assert row.pairwise_accuracy_decided == 0.5 and row.pairwise_accuracy_decided_ci is None
    assert row.four_class_accuracy_ci
    (pair,) = meta_evaluate(None, None, pair_scores={"j": (first, [1.0] * 3 + [2.0] + [1.0] * 6)}, **measure).pairs
    assert pair.intervals.get("pairwise_accuracy") is None and pair.intervals["accuracy_with_ties"]


@pytest.mark.parametrize("groups", ["fixed", "sampled"])
def test_an_average_does_not_take_a_group_of_one_cluster_for_certain(groups):
    """Of three generators one has images of a single prompt: its figure would vary, nobody knows how far."""
    judge, people, _ = tiny_groups(30, 5)
    models = np.repeat(["a", "b", "c"], 50).tolist()
    prompts = [f"{model}{n // 10 if model != 'c' else 0}" for n, model in enumerate(models)]
    row = average_of(
        meta_evaluate(judge, people, by={"m": models}, clusters=prompts, average="mean", groups=groups, draws=200)
    )
    assert all((figure.ci is not None) == (groups == "sampled") for figure in row.figures.values())
    if groups == "fixed":
        assert "no interval: c in one cluster" in row.note
    across = [f"{n % 50 // 10 if model != 'c' else 0}" for n, model in enumerate(models)]
    shared = meta_evaluate(judge, people, by={"m": models}, clusters=across, average="mean", groups="fixed", draws=200)
    assert all(figure.ci is None for figure in average_of(shared).figures.values())


def test_sampled_groups_of_one_cluster_make_no_certain_average():
    judge, people, ids = tiny_groups(8, 5)
    one = ["p"] * 40
    found = meta_evaluate(judge, people, by={"id": ids}, clusters=one, average="mean", groups="sampled", draws=100)
    assert all(figure.ci is None for figure in average_of(found).figures.values())
    people[5:] = 3.0  # only the first group has a coefficient
    alone = average_of(meta_evaluate(judge, people, by={"id": ids}, average="mean", groups="sampled", draws=100))
    assert alone.figures["pearson"].value is not None and alone.figures["pearson"].ci is None


def test_a_system_of_one_item_leaves_their_correlation_without_an_interval():
    judge, people, _ = tiny_groups(4, 4)
    systems = [*["a"] * 5, *["b"] * 5, *["c"] * 5, "d"]
    for clusters in (None, [f"p{n % 5}" for n in range(16)]):
        (row,) = meta_evaluate(judge, people, systems=systems, clusters=clusters, draws=50).systems
        assert all(figure.ci is None for figure in row.figures.values()) and row.soft_pairwise_accuracy_ci is None
        assert "of d: no interval" in row.note


def test_candidates_count_sets_by_their_size():
    scores, people = [3, 1, 2, 5, 9, 1], [3, 2, 1, 1, 2, 1]
    sets = ["p", "p", "p", "q", "q", None]
    rows = {row.k: row for row in meta_evaluate(scores, people, candidates=sets, draws=0).candidates}
    assert rows[3].figures == {"best_of_k_accuracy": 1, "order_accuracy": 0} and rows[2].figures["order_accuracy"] == 1
    assert rows[2].to_json()["chance"] == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("line", lines(), ids=lambda line: line.name)
def test_a_part_of_the_coverage_simulation(line):
    """The first studies of `make coverage`, which asks for 92 to 97 of 100 in 1,000; few scatter by up to 4 s.d."""
    for found in measured(line, studies=part(30 if "sampled" in line.name else 200 if "groups" in line.name else 500)):
        assert found.covered >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / found.studies), found


def test_a_group_of_one_leaves_fishers_average_without_an_interval(recwarn):
    """z of a coefficient of 1 is infinite: the average is 1 by that group, and says so; one rater is no warning."""
    people = [0, 1, 2, 3, 4, 5] * 3
    judge = [*people[:6], *[2, 0, 3, 1, 5, 4] * 2]
    by = {"g": np.repeat(np.arange(3), 6).tolist()}
    result = meta_evaluate(judge, {"h": people}, by=by, average="fisher_z", groups="fixed", draws=50)
    row = average_of(result, "fisher_z")
    for figure in row.figures.values():
        assert figure.value == pytest.approx(1, abs=1e-4) and figure.ci is None
    assert "as large as one group's +-1" in row.note
    assert not [words for words in result.warnings if "left out of an average" in words] and not recwarn.list


def test_the_ceiling_is_averaged_without_a_judge_too():
    judge, people, ids = tiny_groups(groups=6, items=20)
    raters = {"a": people, "b": np.roll(people, 1), "c": people[::-1]}
    by = {"g": ids}
    alone = meta_evaluate(None, raters, by=by, average="mean", draws=0).rows
    with_judge = meta_evaluate(judge, raters, by=by, average="mean", draws=0).rows
    assert alone == [row for row in with_judge if row.prediction is None and row.by == {"g": "average:mean"}] != []
