"""`make coverage`: do the 95% intervals of `meta-eval` hold the true figure in 92 to 97 of 100 studies?

A study is drawn from a known world, measured by `meta_evaluate` as a user would, and its interval compared with the
truth, which is the figure's mean over many such studies. One study design a line: what is resampled, and in which
groups. All have 100 units or more, except where the name says so. What a leaderboard promises stands behind them
(`boards.PROOFS`). Each line is kept under build/coverage/ as it is done: a run that was stopped goes on where it was,
and begins anew once the code that it measures is another.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from t2i_judge import meta_evaluate
from t2i_judge.files import read_json, write_atomic
from t2i_judge.layout import plain_table, terminal_width
from t2i_judge.running import command
from t2i_judge.terminal import Parser, say
from t2i_judge.wording import counted

from . import boards

STUDIES = 1000  # a line
BOARDS = "leaderboards"  # what --only calls them
LOW, HIGH = 0.92, 0.97
_TRUTH = 4  # studies that the truth is taken from, for each one that is measured
_DRAWS = 300
_KEPT = Path("build/coverage")
_COEFFICIENTS = ("spearman", "kendall_tau_b", "pearson")

Floats = NDArray[np.float64]
Study = dict[str, Any]  # arguments of meta_evaluate
Figures = dict[str, tuple[float | None, tuple[float, float] | None]]
Record = TypeVar("Record", "Coverage", boards.Proof)


@dataclass(frozen=True)
class Line:
    """A design: how a study is drawn, and which of its figures are looked at."""

    name: str
    draw: Callable[[np.random.Generator], Study]
    figures: Callable[[Any], Figures]


@dataclass(frozen=True)
class Coverage:
    """Share of studies whose interval holds the truth, and the mean width of the intervals."""

    name: str
    figure: str
    truth: float
    covered: float
    width: float
    studies: int


def _ratings(
    rng: np.random.Generator, shape: tuple[int, ...], r: Any = 0.6, shared: float = 0.0
) -> tuple[Floats, Floats]:
    """A judge's scores and people's ratings on a scale of seven; `shared` is the part of both that a prompt gives.

    shape: prompts x images.
    """
    both = rng.normal(size=(2, *shape))
    judge, people = both[0], r * both[0] + np.sqrt(1 - np.square(r)) * both[1]
    prompt = rng.normal(size=(2, *shape[:-1], 1))
    weight = np.sqrt(1 - shared)
    judge = weight * judge + np.sqrt(shared) * prompt[0]
    people = weight * people + np.sqrt(shared) * (0.6 * prompt[0] + 0.8 * prompt[1])
    return judge.ravel(), np.clip(np.round(people * 1.5 + 4), 1, 7).ravel()


def _rows(**by: str) -> Callable[[Any], Figures]:
    def figures(result: Any) -> Figures:
        (row,) = [row for row in result.rows if row.prediction and row.against == "mean" and row.by == by]
        return {name: (row.figures[name].value, row.figures[name].ci) for name in _COEFFICIENTS}

    return figures


def _items(rng: np.random.Generator) -> Study:
    judge, people = _ratings(rng, (100, 1))
    return {"predictions": judge, "ratings": people}


def _prompts(rng: np.random.Generator) -> Study:
    judge, people = _ratings(rng, (100, 3), shared=0.5)
    return {"predictions": judge, "ratings": people, "clusters": np.repeat(np.arange(100), 3).tolist()}


def _sampled(rng: np.random.Generator) -> Study:
    judge, people = _ratings(rng, (100, 6), r=rng.uniform(0.2, 0.9, (100, 1)))
    return {"predictions": judge, "ratings": people, "by": {"g": np.repeat(np.arange(100), 6).tolist()}}


def _fixed(groups: int, items: int) -> Callable[[np.random.Generator], Study]:
    strengths = np.linspace(0.3, 0.8, groups)[:, None]

    def draw(rng: np.random.Generator) -> Study:
        judge, people = _ratings(rng, (groups, items), r=strengths)
        labels = np.repeat(np.arange(groups), items).tolist()
        return {"predictions": judge, "ratings": people, "by": {"g": labels}, "groups": "fixed"}

    return draw


def _nested_clusters(rng: np.random.Generator) -> Study:
    judge, people = _ratings(rng, (5 * 25, 3), shared=0.5)
    by = {"g": np.repeat(np.arange(5), 75).tolist()}
    return {"predictions": judge, "ratings": people, "by": by, "clusters": np.repeat(np.arange(125), 3).tolist()}


def _crossing_clusters(rng: np.random.Generator) -> Study:
    judge, people = _ratings(rng, (100, 5), shared=0.5)  # every prompt by each of five generators
    by = {"g": np.tile(np.arange(5), 100).tolist()}
    return {"predictions": judge, "ratings": people, "by": by, "clusters": np.repeat(np.arange(100), 5).tolist()}


def _averaged(draw: Callable[[np.random.Generator], Study], rule: str) -> Callable[[np.random.Generator], Study]:
    return lambda rng: {**draw(rng), "average": rule}


def _pairs(rng: np.random.Generator) -> Study:
    """100 prompts, two pairs each: scores of both images, a verdict, and a vote with ties."""
    a, b = rng.normal(size=(2, 100, 2)) + rng.normal(size=(2, 100, 1)) / 2
    gap = (a - b).ravel()
    heard = gap + rng.normal(size=gap.shape)
    votes = np.where(np.abs(heard) < 0.3, "tie", np.where(heard > 0, "A", "B")).tolist()
    verdicts = np.where(np.abs(gap) < 0.2, "tie", np.where(gap > 0, "[[A>B]]", "[[B>A]]")).tolist()
    study = {"predictions": None, "ratings": None, "votes": votes, "clusters": np.repeat(np.arange(100), 2).tolist()}
    return {**study, "verdicts": {"j": verdicts}}


def _scored_pairs(rng: np.random.Generator) -> Study:
    a, b = rng.normal(size=(2, 200))
    heard = a - b + rng.normal(size=200)
    votes = np.where(np.abs(heard) < 0.3, "tie", np.where(heard > 0, "A", "B")).tolist()
    return {"predictions": None, "ratings": None, "votes": votes, "pair_scores": {"j": (a, b)}}


def _votes(result: Any) -> Figures:
    (row,) = result.votes
    return {
        "four-class accuracy": (row.four_class_accuracy, row.four_class_accuracy_ci),
        "preference accuracy": (row.pairwise_accuracy_decided, row.pairwise_accuracy_decided_ci),
    }


def _scored(result: Any) -> Figures:
    (row,) = result.pairs
    names = ("pairwise_accuracy", "accuracy_with_ties", "tie_calibrated_accuracy", "cross_fitted_accuracy")
    return {name: (row.figures[name], row.intervals.get(name)) for name in names}


def _ceiling(result: Any) -> Figures:
    (row,) = result.agreement
    return {f"ceiling {name}": (figure.value, figure.ci) for name, figure in row.ceiling.items()}


def _three_raters(rng: np.random.Generator) -> Study:
    quality = rng.normal(size=100)
    raters = {f"r{k}": np.clip(np.round(1.5 * quality + rng.normal(size=100) + 4), 1, 7) for k in range(3)}
    return {"predictions": quality, "ratings": raters}


def lines() -> list[Line]:
    """Every design."""
    averages = [
        ("100 groups sampled", _sampled, "mean"),
        ("100 groups sampled", _sampled, "tanh_of_mean"),
        ("5 groups fixed, 40 items each", _fixed(5, 40), "mean"),
        ("5 groups fixed, 40 items each", _fixed(5, 40), "fisher_z"),
        ("20 groups fixed, 8 items each", _fixed(20, 8), "mean"),
        ("5 groups fixed, clusters inside", _nested_clusters, "mean"),
        ("5 groups fixed, clusters across", _crossing_clusters, "mean"),
        ("5 groups fixed, clusters across", _crossing_clusters, "fisher_z"),
    ]
    return [
        Line("items", _items, _rows()),
        Line("clusters", _prompts, _rows()),
        Line("ceiling of three raters", _three_raters, _ceiling),
        Line("votes, clusters", _pairs, _votes),
        Line("scored pairs", _scored_pairs, _scored),
        *(Line(f"{name}, {rule}", _averaged(draw, rule), _rows(g=f"average:{rule}")) for name, draw, rule in averages),
    ]


def measured(line: Line, studies: int = STUDIES, seed: int = 0) -> list[Coverage]:
    """How often the intervals of a design hold each figure's truth."""
    rng = np.random.default_rng([seed, sum(line.name.encode())])
    values: dict[str, list[float]] = {}
    intervals: dict[str, list[tuple[float, float]]] = {}
    for number in range(studies * (_TRUTH + 1)):
        is_measured = number < studies
        result = meta_evaluate(**line.draw(rng), draws=_DRAWS if is_measured else 0, seed=number)
        for name, (value, interval) in line.figures(result).items():
            if value is not None:
                values.setdefault(name, []).append(value)
            if is_measured and interval is not None:
                intervals.setdefault(name, []).append(interval)
    found = []
    for name, own in intervals.items():
        truth, (low, high) = float(np.mean(values[name])), np.asarray(own).T
        covered = float(((low <= truth) & (truth <= high)).mean())
        found.append(Coverage(line.name, name, truth, covered, float((high - low).mean()), len(own)))
    return found


@command("recipes.performance.coverage")
def main(argv: Sequence[str] | None = None) -> int:
    """Print every design's coverage; 1 where one is outside 92 to 97 of 100."""
    parser = Parser(description="Coverage of the 95% intervals of meta-eval, simulated.")
    parser.add_argument("--studies", type=int, default=STUDIES, metavar="N", help="a line (default: %(default)s)")
    parser.add_argument("--only", metavar="TEXT", help=f"only the designs whose name has this in it, or {BOARDS}")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    outside, cells = 0, [["design", "figure", "truth", "covered", "width", "studies"]]
    for line in lines():
        if args.only and args.only not in line.name:
            continue
        for found in kept(f"{line.name}, {args.studies} studies", Coverage, partial(measured, line, args.studies)):
            outside += not LOW <= found.covered <= HIGH
            figures = [f"{found.truth:.3f}", f"{found.covered:.1%}", f"{found.width:.3f}", str(found.studies)]
            cells.append([found.name, found.figure, *figures])
            say("  ".join(cells[-1]), file=sys.stderr, flush=True)
    say(plain_table(cells, terminal_width()))
    say(f"Less than {LOW:.0%} or more than {HIGH:.0%}: {outside} of {counted(len(cells) - 1, 'interval')}")
    return 1 if outside + (0 if args.only and args.only not in BOARDS else _boards()) else 0


def _boards() -> int:
    """Print what is promised of leaderboards; returns how many promises are not kept."""
    broken, cells = 0, [["promise", "measured", "allowed", "boards"]]
    for name, prove in boards.PROOFS.items():
        for proof in kept(name, boards.Proof, prove):
            broken += not proof.holds
            cells.append([proof.name, f"{proof.value:.1%}", f"{proof.low:.1%} to {proof.high:.1%}", str(proof.n)])
            say("  ".join(cells[-1]), file=sys.stderr, flush=True)
    say(plain_table(cells, terminal_width()))
    return broken


def kept(name: str, kind: type[Record], measure: Callable[[], list[Record]]) -> list[Record]:
    """What `measure` gives, from build/coverage/ where this very code has been measured before."""
    path = _KEPT / f"{hashlib.sha256(json.dumps([name, np.__version__, *_code()]).encode()).hexdigest()[:32]}.json"
    if path.is_file():
        return [kind(**record) for record in read_json(path, "delete it")]
    found = measure()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps([asdict(record) for record in found]) + "\n")
    return found


def _code() -> list[str]:
    """What is measured, and what measures it."""
    import t2i_judge
    from t2i_judge.cli.install_metric import tree_hash

    library = Path(str(t2i_judge.__file__)).parent
    measured_by = [path.read_text(encoding="utf-8") for path in (Path(__file__), Path(boards.__file__))]
    return [tree_hash(library / room) for room in ("stats", "meta", "boards")] + measured_by


if __name__ == "__main__":
    raise SystemExit(main())
