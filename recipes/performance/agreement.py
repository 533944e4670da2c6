"""Benchmarks of agreement with people: resamples against a loop over scipy, and a table of a million rows."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from t2i_judge.stats.agreement import paired_bootstrap
from t2i_judge.stats.resampling import bootstrap_weights
from t2i_judge.stats.weighted import WeightedPair

N, DRAWS, SLICE = 1000, 10_000, 40
ROWS = 1_000_000
SIZES = {"10k": (10_000, 416), "100k": (100_000, 64), "million": (ROWS, 16)}  # name -> rows, resamples
GOALS = {"million": 0.3}  # seconds of a resample
_COMMAND = """
import resource, sys, time
from t2i_judge.cli import main
start = time.process_time()
code = main(sys.argv[1:])
print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
sys.exit(code)
"""


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


def million_rows(rows: int = ROWS) -> list[dict[str, Any]]:
    """CPU seconds and gigabytes of `meta-eval` of a CSV file of three raters and two judges, without resamples."""
    rng = np.random.default_rng(0)
    quality = rng.normal(size=rows)
    raters = (np.clip(np.round(3 + quality + rng.normal(size=rows)), 1, 5) for _ in range(3))
    judges = (np.round(5 + 2 * quality + rng.normal(size=rows), 2) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "ratings.csv")
        columns = np.column_stack([*raters, *judges])
        np.savetxt(table, columns, fmt=["%d"] * 3 + ["%.2f"] * 2, delimiter=",", header="h1,h2,h3,a,b", comments="")
        arguments = ["meta-eval", str(table), "--ratings", "h*", "--prediction", "a", "--prediction", "b"]
        command = [sys.executable, "-c", _COMMAND, *arguments, "--bootstrap", "0"]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, memory = map(float, printed.split()[-2:])
    return [
        {"name": "million_rows_seconds", "value": seconds, "unit": "s", "goal": 10, "limit": None, "n": rows},
        {"name": "million_rows_gib", "value": memory, "unit": "GiB", "goal": 1, "limit": None, "n": rows},
    ]


def resample_costs() -> list[dict[str, Any]]:
    """CPU seconds of one resample's three coefficients, and what a row costs in larger tables against 10,000 rows.

    Scores without ties, ratings of five levels. The steps of a resample are linear in the rows; a row of a million
    costs more than one of ten thousand because weights no longer fit into the processor's cache.
    """
    costs = {name: _resample_seconds(rows, draws) for name, (rows, draws) in SIZES.items()}
    a_row = {name: cost / SIZES[name][0] for name, cost in costs.items()}
    lines: list[dict[str, Any]] = []
    for name, (rows, _) in SIZES.items():
        line = {"limit": None, "n": rows}
        lines.append(
            {"name": f"resample_seconds_{name}", "value": costs[name], "unit": "s", "goal": GOALS.get(name)} | line
        )
        if name != "10k":
            ratio = a_row[name] / a_row["10k"]
            lines.append({"name": f"resample_row_ratio_{name}", "value": ratio, "unit": "x", "goal": 5} | line)
    return lines


def _resample_seconds(rows: int, draws: int) -> float:
    rng = np.random.default_rng(0)
    quality = rng.normal(size=rows)
    people = np.clip(np.round(3 + quality + rng.normal(size=rows)), 1, 5)
    pair = WeightedPair(5 + 2 * quality + rng.normal(size=rows), people)
    start = time.process_time()
    for weights in bootstrap_weights(rows, draws, 0):
        pair.coefficients(weights)
    return (time.process_time() - start) / draws


def bench() -> list[dict[str, Any]]:
    """All of this module's lines; about a minute."""
    return [bootstrap_speedup(), *resample_costs(), *million_rows()]
