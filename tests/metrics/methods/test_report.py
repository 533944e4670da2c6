"""The DreamBench++ report, recomputed from tables small enough to check by hand."""

import krippendorff
import numpy as np
import pytest

from t2i_judge.methods.report import PRODUCT, MethodItem, Rating, agreement_report, leaderboard, signed_bias

CP, PF = "concept_preservation", "prompt_following"
ITEMS = {
    f"{method}-{k}": MethodItem(method, f"prompt {k}", "tuned", "object") for method in ("a", "b") for k in range(4)
}
FIRST = {"a-0": 4, "a-1": 2, "a-2": 0, "a-3": 3, "b-0": 1, "b-1": 1, "b-2": 2, "b-3": 4}
SECOND = {"a-0": 4, "a-1": 3, "a-2": 1, "a-3": 3, "b-0": 0, "b-1": 2, "b-2": 2}  # has not seen b-3
RUNS = [{CP: {**FIRST, "a-2": 1}}, {CP: {**SECOND, "b-3": None}}, {CP: FIRST}]


def ratings(shuffled=False):
    rows = [Rating(item, who, CP, s) for who, table in (("x", FIRST), ("y", SECOND)) for item, s in table.items()]
    return rows[::-1] if shuffled else rows


def alpha(*columns, method):
    names = [name for name in ITEMS if name.startswith(method)]
    table = np.array([[column.get(name) for name in names] for column in columns], dtype=float)
    return krippendorff.alpha(table, level_of_measurement="interval")


def test_alpha_of_people_and_of_the_judge_with_them():
    rows = {row.method: row for row in agreement_report(ITEMS, ratings(), RUNS)}
    assert rows["a"].human_human == pytest.approx(alpha(FIRST, SECOND, method="a"))
    by_run = [np.mean([alpha(run[CP], person, method="a") for person in (FIRST, SECOND)]) for run in RUNS]
    assert rows["a"].judge_human == pytest.approx(np.mean(by_run))
    assert rows["a"].judge_human_sd == pytest.approx(np.std(by_run, ddof=1))
    third = [Rating(item, "z", CP, (score + 1) % 5) for item, score in FIRST.items()]
    [of_three, *_] = agreement_report(ITEMS, [*ratings(), *third], RUNS)
    joint = alpha(FIRST, SECOND, {item: (score + 1) % 5 for item, score in FIRST.items()}, method="a")
    assert of_three.human_human_joint == pytest.approx(joint) and joint != pytest.approx(of_three.human_human)
    assert rows["a"].ratio == pytest.approx(rows["a"].judge_human / rows["a"].human_human_joint)
    assert (rows["a"].n, rows["a"].n_failed, rows["b"].n_failed) == (4, 0, 1)
    assert rows[None].n == 8


def test_alpha_by_hand():
    """Two raters, two items, ratings (0, 0) and (1, 2): observed 1/2, expected 11/12 -> 1 - (1/4) / (11/12)."""
    items = {"i": MethodItem("m", "p"), "j": MethodItem("m", "q")}
    people = [Rating("i", "x", CP, 0), Rating("j", "x", CP, 1), Rating("i", "y", CP, 0), Rating("j", "y", CP, 2)]
    values = [0, 0, 1, 2]
    expected = np.mean([(c - k) ** 2 for a, c in enumerate(values) for b, k in enumerate(values) if a != b])
    [row, _] = agreement_report(items, people, [])
    assert row.human_human == pytest.approx(1 - 0.5 / expected)


def test_rows_are_joined_by_item_and_not_by_order():
    assert agreement_report(ITEMS, ratings(), RUNS) == agreement_report(ITEMS, ratings(shuffled=True), RUNS)


def test_one_run_has_no_spread_and_a_lonely_rater_no_agreement():
    [row, *_] = agreement_report(ITEMS, [Rating("a-0", "x", CP, 3)], RUNS[:1])
    assert (row.human_human, row.judge_human_sd) == (None, None)
    assert row.undefined


def test_leaderboard_multiplies_the_means_and_counts_failures():
    scores = {CP: {"a-0": 4, "a-1": 2, "b-0": 1, "b-1": None}, PF: {"a-0": 1, "a-1": 3, "b-0": 2, "b-1": 4}}
    first, second = leaderboard(ITEMS, scores)
    assert (first.method, first.scores) == ("a", {CP: 3.0, PF: 2.0, PRODUCT: 6.0})
    assert (second.method, second.scores[PRODUCT], second.n, second.n_failed) == ("b", 2.0, 1, 3)
    low, high = first.intervals[PRODUCT]
    assert (low, high) == (4.0, 6.0)
    assert second.intervals[PRODUCT] is None
    assert {tuple(row.by.items()) for row in leaderboard(ITEMS, scores, "category")} == {(("category", "object"),)}


def test_signed_bias_is_on_a_common_scale():
    assert signed_bias({"i": 0.5, "j": None}, {"i": 1.0, "j": 4.0}, (-1, 1), (0, 4)) == pytest.approx(0.5)
    assert signed_bias({"i": 0.5}, {}, (-1, 1), (0, 4)) is None


def test_the_product_is_that_of_the_published_table():
    """DreamBench++'s own leaderboard: IP-Adapter-Plus .833 x .413 = .344, DreamBooth-LoRA .598 x .865 = .517."""
    items = {f"{method}-{k}": MethodItem(method, f"prompt {k}") for method in ("plus", "lora") for k in range(2)}
    preserved = {"plus-0": 0.833 + 0.1, "plus-1": 0.833 - 0.1, "lora-0": 0.598 - 0.2, "lora-1": 0.598 + 0.2}
    followed = {"plus-0": 0.413 - 0.3, "plus-1": 0.413 + 0.3, "lora-0": 0.865 - 0.1, "lora-1": 0.865 + 0.1}
    products = {row.method: row.scores[PRODUCT] for row in leaderboard(items, {CP: preserved, PF: followed})}
    assert list(products) == ["lora", "plus"]
    assert products == {"lora": pytest.approx(0.517, abs=5e-4), "plus": pytest.approx(0.344, abs=5e-4)}


def test_a_scorer_of_one_axis_is_ranked_by_it_and_its_failures_are_its_own():
    first, second = leaderboard(ITEMS, {CP: {"b-0": 3.0, "b-1": None, "a-0": 1.0, "a-1": 2.0}})
    assert (first.method, first.scores) == ("b", {CP: 3.0, PF: None, PRODUCT: None})
    assert (second.scores[CP], second.intervals[CP], second.intervals[PF]) == (1.5, (1.0, 2.0), None)
    assert (first.n, first.n_failed, second.n, second.n_failed) == (1, 3, 2, 2)
