"""Sample efficiency: Spearman against the number of labelled images and of labels, decomposed and direct.

    python -m recipes.performance.efficiency --recipe tiny --cost   # what it would take, and nothing else
    python -m recipes.performance.efficiency --recipe tiny          # build/tiny/learning/efficiency.{json,md,png}

Every side is trained on 100, 300 and all images with three seeds, which also draw the images. Learning rate and rows a
step are those that `recipes.performance.fair` chose for as many steps, where it has run, else the recipe's; a quarter
of the steps is taken where that judges the validation prompts better: few images are soon learnt by heart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recipes.performance.fair import STEPS, kept, parser, study_of
from recipes.performance.learners import DECOMPOSED, DIRECT
from recipes.performance.learning_figures import figures, table
from recipes.performance.trials import Setting, Study, Trial
from recipes.recipe.markers import Marker
from t2i_judge.errors import UserError
from t2i_judge.files import open_new, write_atomic
from t2i_judge.running import command
from t2i_judge.runs.locks import held
from t2i_judge.terminal import say

COMPARED = (DECOMPOSED, DIRECT)
_COLORS = {DECOMPOSED: "#0f766e", DIRECT: "#b45309"}


@dataclass(frozen=True)
class Plan:
    """How much is tried: steps at most, numbers of images, seeds."""

    steps: int
    images: tuple[int, ...] = (100, 300, 1600)
    seeds: tuple[int, ...] = (1, 2, 3)

    def sizes(self, study: Study) -> list[int]:
        """The numbers of images that there are, the last being all where fewer are there than planned."""
        return sorted({min(size, study.images) for size in self.images})


def settings(study: Study, steps: int) -> dict[str, Setting]:
    """Learning rate and rows per step of each side."""
    training, kept = study.recipe.training, Marker(study.out / "fair.json")
    found = dict.fromkeys(COMPARED, (training.learning_rate, training.per_device_train_batch_size))
    if kept.done(study.inputs) and not kept.read()["quick"]:
        rows = kept.read()[STEPS]["rows"]
        found |= {row["side"]: (row["learning_rate"], row["batch"]) for row in rows if row["steps"] == steps}
    return {side: found[side] for side in COMPARED}


def efficiency(study: Study, plan: Plan) -> dict[str, Any]:
    """Train, judge; a row per split, side and number of images."""
    groups: dict[str, list[Trial]] = {}
    for side, setting in settings(study, plan.steps).items():
        for size in plan.sizes(study):

            def trial(steps: int, seed: int, side: str = side, size: int = size, setting: Setting = setting) -> Trial:
                return Trial(side, size, steps, *setting, seed)

            lengths = (plan.steps, max(1, plan.steps // 4))
            best = max(lengths, key=lambda steps: study.agreement(trial(steps, plan.seeds[0])))
            groups[f"{side}, {size}"] = [trial(best, seed) for seed in plan.seeds]
    rows, differences = figures(study, groups)
    same = [row for row in differences if row["a"].split(", ")[1] == row["b"].split(", ")[1]]
    return {"plan": asdict(plan), "rows": rows, "differences": same}


def cost(study: Study, plan: Plan) -> str:
    """What `efficiency` takes, from a few steps of each side."""
    seconds, trainings = 0.0, 0
    for side, setting in settings(study, plan.steps).items():
        step = study.seconds_a_step(side, setting)
        image = study.seconds_an_image(study.probes(side, setting)[1], study.validation[:4])
        each = plan.steps * (1.25 + len(plan.seeds) - 1) * step
        judged = 2 * len(study.validation) + len(plan.seeds) * len(study.items)
        seconds += len(plan.sizes(study)) * (each + judged * image)
        trainings += len(plan.sizes(study)) * (len(plan.seeds) + 1)
    return f"efficiency: {trainings} trainings, at most about {seconds / 3600:.1f} hours of one core"


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A picture: Spearman by images (left) and labels (right), a line per side, a row per split, with 95% intervals.

    Raises:
        UserError: there is no matplotlib.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "The package matplotlib is not installed", "It draws the plot", "Run: pip install 't2i-judge[space]'"
        ) from error
    splits = list(dict.fromkeys(row["split"] for row in rows))
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(7.2, 2.8 * len(splits)), layout="constrained")
        axes = figure.subplots(len(splits), 2, sharey=True, squeeze=False)
        for line, split in zip(axes, splits, strict=True):
            for axis, of in zip(line, ("images", "labels"), strict=True):
                _draw(axis, [row for row in rows if row["split"] == split and row["spearman"] is not None], of)
            line[0].set_ylabel(f"Spearman, {split.replace('_', ' ')}")
        axes[0][0].legend(frameon=False, loc="lower right")
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_new(path) as file:
            figure.savefig(file, format="png", dpi=150, metadata={"Software": None})


def _draw(axis: Any, rows: Sequence[Mapping[str, Any]], of: str) -> None:
    for side in COMPARED:
        mine = sorted((row for row in rows if row["side"] == side), key=lambda row: row[of])
        x, y = [row[of] for row in mine], [row["spearman"] for row in mine]
        intervals = [row["ci"] or (row["spearman"],) * 2 for row in mine]
        reach = [
            [max(v - low, 0) for v, (low, _) in zip(y, intervals)],
            [max(high - v, 0) for v, (_, high) in zip(y, intervals)],
        ]
        axis.errorbar(x, y, yerr=reach, marker="o", capsize=3, color=_COLORS[side], label=side)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_xlabel(f"labelled {of}" if of == "images" else "labels by the teacher")
    axis.grid(alpha=0.3)


@command("performance.efficiency", "Run the same command again: it continues with the next training.")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = parser("efficiency", "How many labels a judge needs, decomposed and direct.").parse_args(argv)
    study, steps = study_of(arguments)
    plan = Plan(steps, (4, 8), (1,)) if arguments.quick else Plan(steps)
    with held(study.out):
        if not arguments.quick or arguments.cost:
            say(cost(study, plan), flush=True)
        if arguments.cost:
            return 0
        with kept(study, "efficiency", arguments.write):
            result = efficiency(study, plan)
            plot(result["rows"], study.out / "efficiency.png")
            write_atomic(study.out / "efficiency.md", table(result["rows"], result["differences"]))
            Marker(study.out / "efficiency.json").write(study.inputs, {**result, "quick": arguments.quick})
    say((study.out / "efficiency.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
