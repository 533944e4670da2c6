"""Trainings that are compared: each is described by what decides about it, and done once.

    OUT/trials/NAME/trained.json    what a training took; written last, beside its adapter
    OUT/trials/NAME/PART.json       its scores of validation or held_out images

A study that was stopped goes on with the next training; one whose data, recipe or description has changed is another.
What was measured without the adapters may stand in `learning/trials.jsonl` beside the recipe, too (`Study.keep`).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recipes.distillation.sft_data import load_distillation, training_dataset
from recipes.evaluation.judging import held_out
from recipes.evaluation.learning import inputs_of_study, inputs_of_trainings, learning_beside, take, trial_recipe
from recipes.evaluation.results import Ratings, read_ratings
from recipes.performance.learners import labels_in, open_learnt, rows_of, scored
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.items import TRAIN, Item, read_items
from recipes.recipe.markers import Marker, fingerprint
from recipes.recipe.own_folders import begin_folder
from t2i_judge.errors import UserError
from t2i_judge.files import read_jsonl, write_atomic
from t2i_judge.records import OVERALL, Judgement, Status
from t2i_judge.stats.agreement import COEFFICIENTS
from t2i_judge.stats.coefficients import as_floats
from t2i_judge.wording import counted

VALIDATION, HELD_OUT = "validation", "held_out"
TRIALS = "trials.jsonl"
PROBE = 40  # steps of the shorter of two trainings that tell what a step takes
_PROBES = 0  # the seed of trainings that are only timed
Setting = tuple[float, int]  # learning rate, rows per step
_SHARE = 10  # one training prompt in so many is kept from every side, to choose learning rate and batch by


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        side: of `learners.SIDES`.
        images: how many labelled images it may learn from.
        steps: of the optimizer.
        learning_rate: its highest.
        batch: rows per step.
        seed: of the order, the start, and of which images where they are not all.
    """

    side: str
    images: int
    steps: int
    learning_rate: float
    batch: int
    seed: int

    @property
    def name(self) -> str:
        """As a folder is called."""
        return "-".join(str(value) for value in asdict(self).values())


class Study:
    """What the trainings of a recipe learn from and are measured on.

    Args:
        recipe: how they are trained, but for what a `Trial` says.
        build: what its build step left.
        out: where results are kept.
    """

    def __init__(self, recipe: Recipe, build: BuildFolder, out: Path) -> None:
        self.recipe, self.build, self.out = recipe, build, out
        every = read_items(build.root)
        self.learnt, self.items = [item for item in every if item.split == TRAIN], held_out(recipe, every)
        teacher = build.teacher
        if not teacher.is_file():
            raise UserError(f"There is no {teacher}", "Every judge learns from it", "Run the build step first")
        self.teacher = {each.image_id: each for each in map(Judgement.from_json, read_jsonl(teacher))}

    @cached_property
    def ratings(self) -> Ratings:
        """What held-out scores are held against."""
        return read_ratings(self.build, self.teacher, self.recipe.release.simulated)

    @cached_property
    def validation(self) -> list[Item]:
        """Images of training prompts that no side learns from."""
        items = [item for item in self.learnt if self._scored(item)]
        prompts = sorted({item.prompt for item in items}, key=lambda prompt: _place("validation", prompt))
        if len(prompts) < 3:
            raise UserError(
                f"The data has only {counted(len(prompts), 'training prompt')}",
                "Some are kept for choosing settings",
                "Build data with more prompts",
            )
        kept = set(prompts[: max(2, len(prompts) // _SHARE)])
        return [item for item in items if item.prompt in kept]

    def _scored(self, item: Item) -> bool:
        return item.id in self.teacher and self.teacher[item.id].status is Status.OK

    @cached_property
    def _data(self) -> Any:
        data = load_distillation(self.build.distill)
        kept = {item.prompt for item in self.validation}
        return data.select([number for number, prompt in enumerate(data["prompt"]) if prompt not in kept])

    @property
    def images(self) -> int:
        """How many there are to learn from."""
        return len(self._data)

    @cached_property
    def inputs(self) -> str:
        """Digest of what the study depends on."""
        return inputs_of_study(self.recipe, self.build)

    @cached_property
    def _learnt_from(self) -> str:
        return inputs_of_trainings(self.recipe, self.build)

    def _recipe(self, trial: Trial) -> Recipe:
        return trial_recipe(self.recipe, trial.steps, trial.learning_rate, trial.batch, trial.seed)

    @cached_property
    def splits(self) -> dict[str, list[Item]]:
        """The held-out images by split."""
        names = dict.fromkeys(item.split for item in self.items)
        return {name: [item for item in self.items if item.split == name] for name in names}

    def agreement(self, trial: Trial) -> float:
        """How well a training judges the validation images: Spearman with the teacher, times the share it scored."""
        found = self.scores(trial, VALIDATION, self.validation)
        judged = as_floats([found[item.id] for item in self.validation])
        taught = as_floats([self.teacher[item.id].scores.get(OVERALL) for item in self.validation])
        rho = COEFFICIENTS["spearman"](judged, taught).value
        return -1.0 if rho is None else rho * float(np.mean(~np.isnan(judged)))

    def seconds_a_step(self, side: str, setting: Setting, steps: int = PROBE) -> float:
        """CPU seconds of an optimizer step: the difference of two trainings, of so many steps and twice as many."""
        short, long = (self._timed(probe) for probe in self.probes(side, setting, steps))
        return max(long - short, 0.1) / steps  # they are told to a tenth of a second

    def _timed(self, probe: Trial) -> float:
        """CPU seconds on this machine: what is brought was timed on another."""
        return float(Marker(self._adapter(probe).with_name("trained.json")).read()["cpu_seconds"])

    def probes(self, side: str, setting: Setting, steps: int = PROBE) -> tuple[Trial, Trial]:
        """The short trainings behind `seconds_a_step`, which are neither kept nor brought."""
        short, long = (Trial(side, self.images, times * steps, *setting, _PROBES) for times in (1, 2))
        return short, long

    def seconds_an_image(self, trial: Trial, items: Sequence[Item]) -> float:
        """What judging takes once the judge is there, by a few images, asked for the second time."""
        judge = open_learnt(trial.side, self._recipe(trial), self._adapter(trial))
        scored(judge, self.build.root, items[:1])
        begun = time.perf_counter()
        scored(judge, self.build.root, items)
        return (time.perf_counter() - begun) / max(len(items), 1)

    def train(self, trial: Trial) -> dict[str, Any]:
        """What a training took: `cpu_seconds` of this process, `rows` and `labels` that it had, images; done once."""
        brought = self._brought_of(trial)
        return dict(brought["trained"]) if brought else Marker(self._adapter(trial).with_name("trained.json")).read()

    def _adapter(self, trial: Trial) -> Path:
        """What was learnt here: the recipe brings what a training took and its scores, and no adapter."""
        if not self._is_learnt(trial):
            self._learn(trial)
        return self._folder(trial) / "adapter"

    def _is_learnt(self, trial: Trial) -> bool:
        return Marker(self._folder(trial) / "trained.json").done(self._inputs(trial.name))

    def _brought_of(self, trial: Trial) -> dict[str, Any]:
        """What the recipe brings of a training, as long as it was not made here."""
        return {} if self._is_learnt(trial) else self._brought.get(self._inputs(trial.name), {})

    def _folder(self, trial: Trial) -> Path:
        return self.out / "trials" / trial.name

    def _inputs(self, *names: str) -> str:
        return fingerprint({}, self._learnt_from, *names)

    def _learn(self, trial: Trial) -> None:
        from recipes.training.fine_tuning import fine_tune

        folder = self._folder(trial)
        marker = Marker(folder / "trained.json")
        begin_folder(folder, marker.path.name)
        recipe, data = self._recipe(trial), self._data
        if trial.images < len(data):
            order = sorted(range(len(data)), key=lambda number: _place(trial.seed, data[number]["id"]))
            data = data.select(sorted(order[: trial.images]))
        rows = rows_of(trial.side, recipe, data, self.teacher)
        log = fine_tune(recipe, training_dataset(data, rows, recipe.packing), folder / "adapter", trial.steps)
        took = {key: log[key] for key in ("cpu_seconds", "seconds")}
        had = {"rows": len(rows), "labels": labels_in(rows), "images": len(data)}
        marker.write(self._inputs(trial.name), {**asdict(trial), **took, **had})

    def scores(self, trial: Trial, part: str, items: Sequence[Item]) -> dict[str, float | None]:
        """Overall scores of items by what a training learnt; None for what failed. Judged once."""
        marker = Marker(self._folder(trial) / f"{part}.json")
        inputs = self._inputs(trial.name, part, *(item.id for item in items))
        brought = self._brought.get(self._inputs(trial.name), {}).get(part, {})
        judged_here = self._is_learnt(trial) and marker.done(inputs)
        if not judged_here and brought.get("inputs") == inputs:  # also of one made here since: a choice stays made
            return dict(zip((item.id for item in items), brought["scores"], strict=True))
        if not judged_here:
            judge = open_learnt(trial.side, self._recipe(trial), self._adapter(trial))
            marker.write(inputs, {"scores": scored(judge, self.build.root, items)})
        kept: dict[str, float | None] = marker.read()["scores"]
        return kept

    @cached_property
    def _brought(self) -> dict[str, dict[str, Any]]:
        """What the recipe brings of trainings, by the digest of what they depend on."""
        path = learning_beside(self.recipe) / TRIALS
        lines = read_jsonl(path) if path.is_file() else ()
        return {line["trained"]["inputs"]: line for line in lines if line["trained"].get("seed") != _PROBES}

    def keep(self, name: str) -> None:
        """Write the trainings that were done on these data beside the recipe, and then the study `name` if it is done.

        Of a training its scores are kept, to four decimals, and not its adapter.
        """
        brought = dict(self._brought)
        for folder in sorted(self.out.glob("trials/*")):
            trained = Marker(folder / "trained.json").read()
            if trained.get("inputs") == self._inputs(folder.name) and trained.get("seed") != _PROBES:
                parts = {part: Marker(folder / f"{part}.json").read() for part in (VALIDATION, HELD_OUT)}
                new = {"trained": trained} | {part: _rounded(scores) for part, scores in parts.items() if scores}
                brought[trained["inputs"]] = brought.get(trained["inputs"], {}) | new
        folder = learning_beside(self.recipe)
        folder.mkdir(exist_ok=True)
        write_atomic(folder / TRIALS, "".join(json.dumps(line) + "\n" for line in brought.values()))
        if Marker(self.out / f"{name}.json").done(self.inputs):
            take(self.out, folder, name)


def _rounded(part: Mapping[str, Any]) -> dict[str, Any]:
    """The scores of a part in their order, without the ids, which `inputs` stands for."""
    return {**part, "scores": [None if score is None else round(score, 4) for score in part["scores"].values()]}


def _place(*names: object) -> str:
    """Where something stands in an order that depends on nothing but what it is called."""
    return hashlib.sha256("/".join(map(str, names)).encode()).hexdigest()
