"""Verdicts however they are written, scores of pairs against brute force, systems, Williams' test."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from t2i_judge.errors import UserError
from t2i_judge.stats.preferences import FOLDS, ScoredPairs, best_hits, hits_of, parse_verdict, parse_vote
from t2i_judge.stats.systems import SystemTable, permutation_p, resampled_accuracy, soft_pairwise_accuracy
from t2i_judge.stats.williams import williams_test


@pytest.mark.parametrize(
    ("written", "verdict"),
    [
        ("[[A>B]]", "A>B"), ("A > B", "A>B"), ("A", "A>B"), ("left", "A>B"), ("Left ", "A>B"), ("model_b", "B>A"),
        ("[[B>A]]", "B>A"), ("A<B", "B>A"), ("right", "B>A"), ("tie", "A=B"), ("[[A=B=Good]]", "A=B=Good"),
        ("both bad", "A=B=Bad"), ("bothbad_vote", "A=B=Bad"), ("I think [[B>A]], clearly", "B>A"),
        ("[[A>B]] or [[B>A]]", None), ("?", None), ("7", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_verdicts_as_judges_write_them(written, verdict):
    assert parse_verdict(written) == verdict


def test_votes_are_read_or_refused():
    assert [parse_vote(v) for v in ("leftvote", "B", "tie", "tievote", " ", None)] == [
        "A>B", "B>A", "A=B", "A=B=Good", None, None,
    ]  # fmt: skip
    for wrong in ("1", "maybe"):
        with pytest.raises(UserError, match="not a vote"):
            parse_vote(wrong)
    assert hits_of(["A=B", "A=B=Good", "A=B=Bad", None], ["A=B=Bad", "A=B", "A=B=Good", "A=B"]).tolist() == [
        True, True, False, False,
    ]  # fmt: skip


def test_scored_pairs_under_weights_are_those_of_brute_force():
    rng = np.random.default_rng(0)
    for trial in range(60):
        n = int(rng.integers(3, 40))
        a, b = rng.integers(0, 6, (2, n)) / 2
        votes = rng.choice(["A>B", "B>A", "A=B", "A=B=Bad"], n).tolist()
        signs = np.array([{"A>B": 1, "B>A": -1}.get(vote, 0) for vote in votes])
        weights, folds = rng.integers(0, 3, (n, 3)).astype(float), np.arange(n) % FOLDS
        weights[:, 0] = 1
        found = ScoredPairs(a, b, votes, folds).figures(weights)
        gap, thresholds = a - b, sorted({0.0, *np.abs(a - b)})

        def agreeing(epsilon, w):
            return (w * (np.where(np.abs(gap) <= epsilon, 0, np.sign(gap)) == signs)).sum()  # noqa: B023

        for k, w in enumerate(weights.T):
            if not w.sum():
                continue
            best = max(agreeing(t, w) for t in thresholds)
            assert found["tie_calibrated_accuracy"][k] == pytest.approx(best / w.sum())
            assert found["accuracy_with_ties"][k] == pytest.approx(agreeing(0, w) / w.sum())
            cross = 0.0
            for fold in range(FOLDS):
                rest, own = np.where(folds == fold, 0, w), np.where(folds == fold, w, 0)
                cross += agreeing(max(thresholds, key=lambda t: (round(agreeing(t, rest) / w.sum(), 12), -t)), own)
            assert found["cross_fitted_accuracy"][k] == pytest.approx(cross / w.sum()), trial


def test_a_threshold_fitted_elsewhere_does_not_gain_from_noise():
    rng = np.random.default_rng(1)
    votes = rng.choice(["A", "B", "tie"], 60)
    people = [parse_vote(vote) for vote in votes]
    found = ScoredPairs(*rng.normal(size=(2, 60)), people, np.arange(60) % FOLDS).figures(np.ones((60, 1)))
    assert found["cross_fitted_accuracy"][0] < found["tie_calibrated_accuracy"][0]


def test_best_of_k():
    assert best_hits(np.array([3.0, 1, 2]), np.array([5.0, 1, 2])) == (1, 1)
    assert best_hits(np.array([3.0, 2, 1]), np.array([5.0, 1, 2])) == (1, 0)
    assert best_hits(np.array([3.0, 3, 1]), np.array([5.0, 1, 2]))[0] == 0
    first, order = best_hits(np.array([3.0, 2, 1]), np.array([5.0, 2, 2]))
    assert first == 1 and np.isnan(order)
    assert np.isnan(best_hits(np.array([3.0, np.nan]), np.array([1.0, 2]))).all()


def test_permutation_p_is_that_of_all_sign_patterns():
    differences = np.array([0.5, -0.2, 0.9, 0.1, -0.4, 0.3])
    signs = np.array(list(itertools.product([1, -1], repeat=6)), dtype=np.int8)
    exact = np.mean([(s * differences).mean() >= differences.mean() - 1e-15 for s in signs])
    assert permutation_p(np.stack([differences, -differences]), signs)[0] == exact


def test_soft_pairwise_accuracy_against_its_definition():
    """1 - mean |p_people - p_judge| over pairs, each p from permutations of its own (another generator)."""
    rng = np.random.default_rng(2)
    prompts, systems = 40, 4
    quality = np.linspace(0, 0.6, systems)[:, None] + rng.normal(size=(1, prompts))
    people, judge = quality + rng.normal(size=(2, systems, prompts))
    labels = [(s, p) for s in range(systems) for p in range(prompts)]
    table = SystemTable.of(judge.ravel(), people.ravel(), *map(list, zip(*labels, strict=True)))
    assert np.allclose(table.judge, judge) and np.allclose(table.people, people)

    def p(scores, i, j):
        d = scores[i] - scores[j]
        return np.mean([(d * rng.choice([-1, 1], prompts)).mean() >= d.mean() for _ in range(4000)])

    expected = np.mean([1 - abs(p(people, i, j) - p(judge, i, j)) for i, j in itertools.combinations(range(4), 2)])
    assert soft_pairwise_accuracy(table, 4000) == pytest.approx(expected, abs=0.012)
    assert resampled_accuracy(table, np.ones((prompts, 1)))[0] == pytest.approx(expected, abs=0.02)
    assert soft_pairwise_accuracy(SystemTable.of([1], [1], ["a"], ["p"])) is None


def test_williams_test_by_hand_and_in_the_long_run():
    """r12 = .5, r13 = .3, r23 = .4, n = 103: t from the formula, by hand; and its level where judges are equal."""
    target = np.array([[1, 0.5, 0.3], [0.5, 1, 0.4], [0.3, 0.4, 1]])
    raw = np.random.default_rng(3).normal(size=(3, 103))
    raw -= raw.mean(axis=1, keepdims=True)
    white = np.linalg.inv(np.linalg.cholesky(np.cov(raw))) @ raw
    people, a, b = np.linalg.cholesky(target) @ white
    k = 1 - 0.25 - 0.09 - 0.16 + 2 * 0.5 * 0.3 * 0.4
    t = 0.2 * np.sqrt(102 * 1.4 / (2 * k * 102 / 100 + 0.16 * 0.6**3))
    found = williams_test(a, b, people)
    assert found.value == pytest.approx(t) and found.n == 103
    rng, hits = np.random.default_rng(4), 0
    for _ in range(400):
        truth = rng.normal(size=60)
        hits += williams_test(truth + rng.normal(size=60), truth + rng.normal(size=60), truth).p <= 0.1
    assert 0.06 <= hits / 400 <= 0.15
    assert williams_test([1, 2, 3], [1, 3, 2], [1, 2, 3]).undefined and williams_test(a, a * 0, people).undefined


@pytest.mark.filterwarnings("error")
def test_scores_whose_difference_is_no_number_are_told():
    with pytest.raises(UserError, match="too far apart"):
        ScoredPairs([1.7e308, 1], [-1.7e308, 2], ["A>B", "B>A"], np.zeros(2, dtype=np.intp))
