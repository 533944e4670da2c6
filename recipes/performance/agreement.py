"""Benchmark of the resampling: 10,000 paired bootstrap resamples at n = 1,000 against a loop over scipy."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from t2i_judge.stats.agreement import paired_bootstrap

N, DRAWS, SLICE = 1000, 10_000, 40


def bootstrap_speedup() -> dict[str, Any]:
    """Seconds of the loop over those of `paired_bootstrap`, for rho and tau-b of two judges on the same resamples.

    The loop is timed on `SLICE` resamples, half before and half after, and scaled.
    """
    rng = np.random.default_rng(0)
    quality = rng.normal(size=N)
    people = np.clip(np.round(3 + quality + rng.normal(size=N)), 1, 5)
    first, second = (np.round(5 + 2 * quality + rng.normal(scale=s, size=N)) for s in (1.5, 2.0))
    loop = _loop(first, second, people, SLICE // 2)
    start = time.perf_counter()
    paired_bootstrap(first, second, people, draws=DRAWS)
    ours = time.perf_counter() - start
    loop += _loop(first, second, people, SLICE // 2)
    value = loop * DRAWS / SLICE / ours
    return {"name": "bootstrap_speedup", "value": value, "unit": "x", "goal": 30, "limit": None, "n": DRAWS}


def _loop(a: np.ndarray, b: np.ndarray, people: np.ndarray, draws: int) -> float:
    """Seconds of the plain way: draw items, call scipy for each coefficient and judge."""
    from scipy.stats import kendalltau, spearmanr

    rng = np.random.default_rng(1)
    start = time.perf_counter()
    for _ in range(draws):
        drawn = rng.integers(0, N, N)
        for judge in (a, b):
            spearmanr(judge[drawn], people[drawn])
            kendalltau(judge[drawn], people[drawn])
    return time.perf_counter() - start


def bench() -> list[dict[str, Any]]:
    """All of this module's lines; under a minute."""
    return [bootstrap_speedup()]
