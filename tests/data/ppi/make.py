"""Writes means.json: what ppi-python says of simulated labels and scores. Run where it is installed (it brings numba):

pip install ppi-python && python tests/data/ppi/make.py
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import ppi_py

CASES = [(100, 900, 0.8), (40, 60, 0.3), (200, 50, 0.9), (150, 700, -0.5), (30, 3000, 0.6), (500, 500, 0.0)]


def drawn(n: int, m: int, r: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels of all units, and scores that correlate with them by r."""
    rng = np.random.default_rng([n, m])
    people = rng.normal(size=n + m)
    return people, 3 + 2 * (r * people + np.sqrt(1 - r**2) * rng.normal(size=n + m))


def main() -> None:
    """One case a line."""
    cases = []
    for n, m, r in CASES:
        people, judged = drawn(n, m, r)
        arrays = people[:n], judged[:n], judged[n:]
        low, high = (float(np.squeeze(end)) for end in ppi_py.ppi_mean_ci(*arrays, alpha=0.05))
        value = float(np.squeeze(ppi_py.ppi_mean_pointestimate(*arrays)))
        cases.append({"n": n, "m": m, "r": r, "value": value, "ci": [low, high]})
    lines = ",\n".join(f"  {json.dumps(case)}" for case in cases)
    text = f'{{\n "ppi-python": "{version("ppi-python")}",\n "cases": [\n{lines}\n ]\n}}\n'
    Path(__file__).with_name("means.json").write_text(text)


if __name__ == "__main__":
    main()
