"""A fair baseline: the judge, "rate this image", and the same with a rationale, each at its best.

    python -m recipes.performance.fair --recipe tiny --cost     # what it would take, and nothing else
    python -m recipes.performance.fair --recipe tiny            # build/tiny/learning/fair.json, fair.md

All learn from the same images. First by the same number of optimizer steps, then by as many as the CPU time of the
judge's training pays for: what a step of each takes is measured in short trainings, one after the other. Learning rate
and rows per step of every side are chosen, among as many settings per side, by validation prompts of the training
side; then each is trained with three seeds. Results are kept training by training, so that the same command goes on
after a stop; `--write` keeps them in `learning/` beside the recipe, too, where the next release of the same data, and
another machine, find them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any, TypeVar

from recipes.evaluation.learning import learning_beside
from recipes.performance.learners import DECOMPOSED, DIRECT, RATIONALE, SIDES
from recipes.performance.learning_figures import figures, table
from recipes.performance.trials import PROBE, Setting, Study, Trial
from recipes.recipe.bases import pinned
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe, load_recipe
from recipes.recipe.markers import Marker
from t2i_judge.errors import UserError
from t2i_judge.files import write_atomic
from t2i_judge.running import command
from t2i_judge.runs.locks import held
from t2i_judge.terminal import Parser, say

STEPS, CPU = "same steps", "same CPU time"
T = TypeVar("T")
BySide = tuple[tuple[str, tuple[T, ...]], ...]


@dataclass(frozen=True)
class Plan:
    """How much is tried.

    Attributes:
        steps: of the optimizer, of each side's first trainings.
        rates: by side, learning rates, as many for each; the judge's lie about that of its recipe.
        batches: by side, rows per step; a row of the judge holds many answers about its image, one of the others one.
        seeds: of the trainings that are reported; settings are chosen with the first.
        probe: steps that tell what a step takes, after as many that warm up.
    """

    steps: int
    rates: BySide[float] = ((DECOMPOSED, (2e-4, 3e-4, 5e-4)), *((side, (2.5e-4, 5e-4, 1e-3)) for side in SIDES[1:]))
    batches: BySide[int] = ((DECOMPOSED, (1, 2)), (DIRECT, (4, 16)), (RATIONALE, (4, 16)))
    seeds: tuple[int, ...] = (1, 2, 3)
    probe: int = PROBE

    def settings(self, side: str) -> list[Setting]:
        """What is chosen from."""
        return list(product(dict(self.rates)[side], dict(self.batches)[side]))


def quick(steps: int) -> Plan:
    """So little of everything that a test can wait for it."""
    return Plan(steps, tuple((side, (5e-4,)) for side in SIDES), tuple((side, (1,)) for side in SIDES), (1,), 2)


def chosen(study: Study, plan: Plan, side: str, steps: Callable[[Setting], int]) -> list[Trial]:
    """The trainings to report of a side: its best setting by the validation prompts, with every seed."""

    def trial(setting: Setting, seed: int) -> Trial:
        return Trial(side, study.images, steps(setting), *setting, seed)

    best = max(plan.settings(side), key=lambda setting: study.agreement(trial(setting, plan.seeds[0])))
    return [trial(best, seed) for seed in plan.seeds]


def fair(study: Study, plan: Plan) -> dict[str, Any]:
    """Train, choose, judge; rows and differences by regime, as `learning_figures.figures` gives them."""
    step = probed(study, plan)
    by_steps = {side: chosen(study, plan, side, lambda _: plan.steps) for side in SIDES}
    budget = plan.steps * step[DECOMPOSED, by_steps[DECOMPOSED][0].batch]

    def affordable(side: str, setting: Setting) -> int:
        return max(1, round(budget / step[side, setting[1]]))

    by_time = {DECOMPOSED: by_steps[DECOMPOSED]}
    for side in (DIRECT, RATIONALE):
        by_time[side] = chosen(study, plan, side, partial(affordable, side))
    result: dict[str, Any] = {"plan": asdict(plan), "validation_images": len(study.validation), "cpu_budget": budget}
    for name, groups in ((STEPS, by_steps), (CPU, by_time)):
        rows, differences = figures(study, groups)
        ahead = [row for row in differences if row["a"] == DECOMPOSED]
        result[name] = {"rows": rows, "differences": ahead}
    return result


def cost(study: Study, plan: Plan) -> str:
    """What `fair` takes, from a few steps of each side: trainings, and hours of CPU."""
    step = probed(study, plan)
    trainings, seconds = 0, 0.0
    for side in SIDES:
        settings, more = plan.settings(side), len(plan.seeds) - 1
        each = {batch: step[side, batch] * plan.steps for _, batch in settings}
        seconds += sum(each[batch] for _, batch in settings) + more * mean(each.values())
        budget = mean(step[DECOMPOSED, batch] for batch in dict(plan.batches)[DECOMPOSED]) * plan.steps
        again = 0 if side == DECOMPOSED else len(settings) + more
        seconds += again * budget
        trainings += len(settings) + more + again
        reported = len(plan.seeds) * (1 if side == DECOMPOSED else 2)
        judged = (len(settings) + again) * len(study.validation) + reported * len(study.items)
        probe = study.probes(side, plan.settings(side)[0], plan.probe)[1]
        seconds += judged * study.seconds_an_image(probe, study.validation[:4])
    return f"fair: {trainings} trainings, about {seconds / 3600:.1f} hours of one core"


def probed(study: Study, plan: Plan) -> dict[tuple[str, int], float]:
    """CPU seconds of a step by side and rows per step, from short trainings that follow each other.

    Whole trainings are no measure: hours lie between them, and what else a machine does makes a step dearer.
    """
    rates = dict(plan.rates)
    settings = [(side, (rates[side][0], batch)) for side, batches in plan.batches for batch in batches]
    return {(side, setting[1]): study.seconds_a_step(side, setting, plan.probe) for side, setting in settings}


def write(study: Study, result: Mapping[str, Any], quick: bool) -> None:
    """fair.md for a README, then fair.json, which the model's card is filled from."""
    parts = [f"**{name}**\n\n{table(result[name]['rows'], result[name]['differences'])}" for name in (STEPS, CPU)]
    write_atomic(study.out / "fair.md", "\n".join(parts))
    Marker(study.out / "fair.json").write(study.inputs, {**result, "quick": quick})


@contextmanager
def kept(study: Study, name: str, wanted: bool) -> Iterator[None]:
    """Where it is wanted, trainings are kept beside the recipe, also those of a run that ends early, then the study.

    Raises:
        UserError: the recipe has no folder in the checkout.
    """
    if wanted and not learning_beside(study.recipe).parent.is_dir():
        raise UserError(
            f"The recipe {study.recipe.name} has no folder in recipes/",
            "Only beside a recipe of the checkout is kept what was measured",
            "Leave out --write",
        )
    try:
        yield
    finally:
        if wanted:
            study.keep(name)


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """The arguments of both studies of learning."""
    found = Parser(prog=f"recipes.performance.{name}", description=description)
    found.add_argument("--recipe", default="tiny", help="a folder of recipes/, or a YAML file (%(default)s)")
    found.add_argument("--build", type=Path, help="what its build step left (default: the recipe's own)")
    found.add_argument("--out", type=Path, help="where results are kept (default: learning/ in there)")
    found.add_argument("--steps", type=int, help="of the optimizer (default: the recipe's)")
    found.add_argument("--write", action="store_true", help="keep what is measured in learning/ beside the recipe")
    found.add_argument("--quick", action="store_true", help="a minimal run, to see whether it works")
    found.add_argument("--cost", action="store_true", help="estimate the time from a few steps, then stop")
    return found


def study_of(arguments: argparse.Namespace) -> tuple[Study, int]:
    """The study that the command line means, and the number of steps. Raises `UserError` where that is not known."""
    recipe: Recipe = load_recipe(arguments.recipe)
    build = BuildFolder(arguments.build or recipe.folder)
    steps = arguments.steps or (1 if arguments.quick else recipe.training.max_steps)
    if steps < 1:
        raise UserError(
            f"The recipe {recipe.name} counts epochs",
            "Trainings are compared at the same number of steps",
            "Give a number of steps, such as --steps 5000",
        )
    if recipe.personalised:
        raise UserError(
            f"The recipe {recipe.name} is personalised", "Judges are compared by overall scores", "Use another recipe"
        )
    out = arguments.out or build.learning
    out.mkdir(parents=True, exist_ok=True)
    return Study(pinned(recipe, build.root), build, out), steps


@command("performance.fair", "Run the same command again: it continues with the next training.")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = parser("fair", "The judge against baselines at their best.").parse_args(argv)
    study, steps = study_of(arguments)
    plan = quick(steps) if arguments.quick else Plan(steps)
    with held(study.out):
        if not arguments.quick or arguments.cost:
            say(cost(study, plan), flush=True)
        if arguments.cost:
            return 0
        with kept(study, "fair", arguments.write):
            write(study, fair(study, plan), arguments.quick)
    say((study.out / "fair.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
