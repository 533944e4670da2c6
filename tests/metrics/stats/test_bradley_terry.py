"""Bradley-Terry against an independent logistic regression. Coverage of its intervals: `recipes.performance.boards`."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from t2i_judge.stats.bradley_terry import bradley_terry

TRUE = np.array([0.8, 0.2, -0.1, -0.9])


def board(
    rng: np.random.Generator, prompts: int, ties: float = 0.2
) -> tuple[list[int], list[int], list[float], list[int]]:
    """Every pair once per prompt; prompts differ in how far the systems lie apart."""
    a, b, y, units = [], [], [], []
    for prompt in range(prompts):
        spread = rng.uniform(0.4, 1.6)
        for i in range(len(TRUE)):
            for j in range(i):
                a.append(i)
                b.append(j)
                won = float(rng.random() < expit(spread * (TRUE[i] - TRUE[j])))
                y.append(0.5 if rng.random() < ties else won)
                units.append(prompt)
    return a, b, y, units


def regression(a, b, y) -> np.ndarray:
    """The same quasi-likelihood by a general optimiser, each comparison as two weighted wins and losses."""
    first, second = np.array(a), np.array(b)
    won = np.array(y)

    def loss(free: np.ndarray) -> tuple[float, np.ndarray]:
        s = np.append(free, 0.0)
        margin = s[first] - s[second]
        value = (won * np.logaddexp(0, -margin) + (1 - won) * np.logaddexp(0, margin)).sum()
        residual = expit(margin) - won
        gradient = np.bincount(first, residual, len(s)) - np.bincount(second, residual, len(s))
        return value, gradient[:-1]

    found = minimize(loss, np.zeros(len(TRUE) - 1), jac=True, method="BFGS", options={"gtol": 1e-10})
    s = np.append(found.x, 0.0)
    return s - s.mean()


@pytest.mark.parametrize("seed", range(5))
def test_strengths_are_the_regression_s_within_a_millionth(seed: int) -> None:
    a, b, y, units = board(np.random.default_rng(seed), 40)
    fitted = bradley_terry(a, b, y, units, len(TRUE))
    assert fitted.strengths == pytest.approx(regression(a, b, y), abs=1e-6)
    assert fitted.strengths.sum() == pytest.approx(0, abs=1e-9)


def test_boards_without_a_maximum_say_why() -> None:
    assert "any chain of comparisons" in bradley_terry([0, 2], [1, 3], [0.5, 0.5], [0, 1], 4).reason
    assert "won every comparison" in bradley_terry([0, 0, 1], [1, 2, 2], [1, 1, 0.5], [0, 1, 2], 3).reason
    assert "nothing to compare" in bradley_terry([], [], [], [], 1).reason
    lone = bradley_terry([0, 1], [1, 0], [1, 1], ["p", "p"], 2)
    assert lone.strengths is not None and lone.ci is None and lone.reason
