"""What a leaderboard promises, simulated, and what it costs beyond judging.

`make coverage` runs `PROOFS` in full (1,000 boards a design, 2,000 for Bradley-Terry, 20 of rendered scenes);
`make bench` runs `bench`: 10 generators x 1,000 prompts whose judgements are there already.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.scenes.annotators import rate
from recipes.scenes.world import sample_prompt, simulate
from t2i_judge.boards.items import BoardItem
from t2i_judge.boards.leaderboard import leaderboard
from t2i_judge.boards.scores import Scored, Scores
from t2i_judge.records import OVERALL, SCORE_RANGE, Status
from t2i_judge.stats.bradley_terry import bradley_terry

Floats = NDArray[np.float64]
BOARDS, COMPARED, RENDERED = 1000, 2000, 20
FAMILY_WISE, DECIDED = 0.05, 0.8
STRENGTHS = np.array([0.8, 0.2, -0.1, -0.9])  # of the systems that are compared
# Renderers by planted quality, best first; the two in one place are equal.
RENDERERS = {"a": "masterly", "b": "steady", "c": "middling", "d": "middling", "e": "careless"}
EQUAL = ("c", "d")
MOST_SEPARATED = 4 / 20


@dataclass(frozen=True)
class Proof:
    """One promise: its measured value and the range in which it is kept."""

    name: str
    value: float
    low: float
    high: float
    n: int

    @property
    def holds(self) -> bool:
        """Whether the value lies in the range."""
        return self.low <= self.value <= self.high


def scores_of(values: Floats, names: Sequence[str] | None = None) -> Scores:
    """A board's scores from (generators, prompts)."""
    names = list(names or (f"g{number}" for number in range(len(values))))
    images = [
        Scored(BoardItem(f"{g}/{p}", names[g], f"p{p}", str(p), "x.png"), Status.OK, {OVERALL: float(value)}, {})
        for (g, p), value in np.ndenumerate(values)
    ]
    return Scores(images, names, SCORE_RANGE)


def skewed(rng: np.random.Generator, generators: int, prompts: int) -> Floats:
    """Scores as judges give them where all generators are equal: skewed, in halves, some prompts harder."""
    hard = rng.beta(4, 2, prompts)
    made = np.clip(hard + rng.gamma(1.0, 0.15, (generators, prompts)) - 0.15, 0, 1)
    scores: Floats = np.round(20 * made) / 2
    return scores


def family_wise_error(prompts: int, boards: int, generators: int = 4) -> Proof:
    """Share of boards of equal generators that decide anything; at most .05 and three of its standard errors."""
    wrong = 0
    for seed in range(boards):
        values = skewed(np.random.default_rng([seed, prompts]), generators, prompts)
        wrong += any(pair["decided"] for pair in leaderboard(scores_of(values))["pairs"])
    slack = 3 * np.sqrt(FAMILY_WISE * (1 - FAMILY_WISE) / boards)
    return Proof(f"family-wise error, {prompts} prompts", wrong / boards, 0.0, FAMILY_WISE + slack, boards)


def power_at_four_errors(prompts: int, boards: int) -> Proof:
    """Share of boards that decide a true difference of four standard errors."""
    decided = 0
    for seed in range(boards):
        values = skewed(np.random.default_rng([seed, prompts, 1]), 2, prompts) * 0.5
        values[1] += 4 * np.std(values[1] - values[0], ddof=1) / np.sqrt(prompts)
        decided += leaderboard(scores_of(values))["pairs"][0]["decided"]
    return Proof(f"4 standard errors decided, {prompts} prompts", decided / boards, DECIDED, 1.0, boards)


def comparisons_of(
    rng: np.random.Generator, prompts: int, ties: float = 0.2
) -> tuple[list[int], list[int], list[float], list[int]]:
    """Every two systems once per prompt; prompts differ in how far the systems lie apart, a fifth are ties."""
    from scipy.special import expit

    first, second = np.tril_indices(len(STRENGTHS), -1)
    spread = rng.uniform(0.4, 1.6, (prompts, 1))
    won = (rng.random((prompts, len(first))) < expit(spread * (STRENGTHS[first] - STRENGTHS[second]))).astype(float)
    outcomes = np.where(rng.random(won.shape) < ties, 0.5, won).ravel().tolist()
    units = np.repeat(np.arange(prompts), len(first)).tolist()
    return np.tile(first, prompts).tolist(), np.tile(second, prompts).tolist(), outcomes, units


def bradley_terry_coverage(boards: int) -> Proof:
    """How often the 95% intervals hold the quasi-likelihood's own population value (the fit of very many prompts)."""
    systems = len(STRENGTHS)
    truth = bradley_terry(*comparisons_of(np.random.default_rng(99), 50_000), systems).strengths
    assert truth is not None  # so many comparisons connect every system
    covered = np.zeros(systems)
    for seed in range(boards):
        ci = bradley_terry(*comparisons_of(np.random.default_rng(1000 + seed), 60), systems).ci
        if ci is not None:
            covered += (ci[:, 0] <= truth) & (truth <= ci[:, 1])
    slack = 0.0 if boards >= COMPARED else 3 * np.sqrt(0.05 * 0.95 / boards)
    return Proof("Bradley-Terry coverage", float(covered.mean()) / boards, 0.93 - slack, 0.97 + slack, boards)


def scene_scores(seed: int, prompts: int = 80) -> Scores:
    """The five renderers' scenes of the same prompts, as a careful person scores them."""
    rng = random.Random(f"renderers/{seed}")
    asked = [sample_prompt(rng) for _ in range(prompts)]
    values = np.zeros((len(RENDERERS), prompts))
    for row, generator in enumerate(RENDERERS.values()):
        for column, prompt in enumerate(asked):
            ratings = rate(prompt, simulate(prompt, generator, rng), "careful", rng)
            values[row, column] = ratings[-1]["score"]  # overall stands last
    return scores_of(values, list(RENDERERS))


def renderers(seeds: int) -> list[Proof]:
    """Whether planted quality comes out: the order of what differs, and no order in what does not."""
    recovered = separated = 0
    for seed in range(seeds):
        board = leaderboard(scene_scores(seed))
        mean = {generator["name"]: generator[OVERALL]["mean"] for generator in board["generators"]}
        recovered += mean["a"] > mean["b"] > max(mean["c"], mean["d"]) and min(mean["c"], mean["d"]) > mean["e"]
        separated += any(pair["decided"] and {pair["a"], pair["b"]} == set(EQUAL) for pair in board["pairs"])
    return [
        Proof("renderers in their order", recovered / seeds, 1.0, 1.0, seeds),
        Proof("equal renderers separated", separated / seeds, 0.0, MOST_SEPARATED, seeds),
    ]


PROOFS: dict[str, Callable[[], list[Proof]]] = {  # all in full
    **{f"family-wise error, {n}": partial(lambda n: [family_wise_error(n, BOARDS)], n) for n in (20, 100, 500)},
    **{f"4 standard errors, {n}": partial(lambda n: [power_at_four_errors(n, BOARDS)], n) for n in (20, 100)},
    "Bradley-Terry": lambda: [bradley_terry_coverage(COMPARED)],
    "renderers": lambda: renderers(RENDERED),
}


GENERATORS, PROMPTS = 10, 1000
_COMMAND = "import sys; from t2i_judge.cli import main; sys.exit(main(sys.argv[1:]))"


def bench() -> list[dict[str, Any]]:
    """Seconds and gigabytes of a board whose images are judged already; about three minutes with its pictures."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = _write_board(Path(folder))
        for _ in range(2):  # the first run judges
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", _COMMAND, *arguments], check=True, capture_output=True)
            seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    n = GENERATORS * PROMPTS
    return [
        {"name": "board_seconds", "value": seconds, "unit": "s", "goal": 20, "limit": None, "n": n},
        {"name": "board_memory_gib", "value": memory, "unit": "GiB", "goal": 1, "limit": None, "n": n},
    ]


def _write_board(folder: Path) -> list[str]:
    """Pictures of every generator for every prompt, and the command's arguments."""
    from PIL import Image

    (folder / "prompts.txt").write_text("".join(f"a thing number {number} on a table\n" for number in range(PROMPTS)))
    arguments = ["leaderboard", "--judge", "fake", f"--prompts={folder / 'prompts.txt'}", f"--out={folder / 'run'}"]
    for generator in range(GENERATORS):
        place = folder / f"g{generator}"
        place.mkdir()
        small = np.random.default_rng(generator).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        picture = place / "picture.jpg"
        Image.fromarray(small).resize((512, 512), Image.Resampling.BICUBIC).save(picture, quality=85)
        data = picture.read_bytes()
        picture.unlink()
        for number in range(PROMPTS):  # bytes behind a JPEG's end make it another file of the same picture
            (place / f"{number:04d}.jpg").write_bytes(data + f"{generator} {number}".encode())
        arguments.append(f"--images=g{generator}={place}")
    return arguments
