"""A recipe's trainings: the judge, on its distillation data, and the direct baseline beside it.

A finished training is not repeated; one that was interrupted goes on from its last checkpoint.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.distillation.sft_data import (
    Sample,
    direct_samples,
    load_distillation,
    read_samples,
    select,
    select_direct,
    training_dataset,
)
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe, differing
from recipes.recipe.markers import Marker, read_json
from recipes.recipe.second_process import cores_to_share, second_process
from recipes.recipe.training_inputs import known_inputs
from recipes.training.checks import check_texts
from recipes.training.fine_tuning import fine_tune, load_processor, versions
from t2i_judge.errors import UserError
from t2i_judge.files import read_jsonl, write_atomic
from t2i_judge.records import Judgement

if TYPE_CHECKING:
    from datasets import Dataset

_MEANWHILE = 5  # nicer than the judge's training by so much, which everything waits for


def train(
    recipe: Recipe,
    folder: Path | None = None,
    push_to: str | None = None,
    finished: Callable[[str], None] = lambda part: None,
    meanwhile: Callable[[Recipe, Path], None] | None = None,
) -> Path:
    """Train the judge into `folder`/adapter and, if the recipe says so, the direct baseline into `folder`/direct.

    Args:
        recipe: what to train, `pinned`.
        folder: with the build step's results; default `recipe.folder`.
        push_to: Hub repository for checkpoints.
        finished: called with "judge" and "direct" when each is trained.
        meanwhile: a function that needs the trained baseline but not the judge. The second process, where there is one,
            calls it with recipe and folder once the baseline is trained: the judge takes half as long again.

    Returns:
        The judge's adapter folder. `folder`/training_log.json is written last and marks completion.
    """
    build = BuildFolder(folder or recipe.folder)
    inputs, direct = known_inputs(recipe, build), recipe.evaluation.direct
    steps = recipe.training.max_steps  # the judge's, which the baseline must know beforehand
    if direct and not build.trained.done(*inputs) and steps > 0 and cores_to_share():
        with second_process() as process:
            beside: list[Future[Any]] = [process.submit(train_direct, recipe, build.root, steps)]
            if meanwhile:
                beside.append(process.submit(os.nice, _MEANWHILE))
                beside.append(process.submit(meanwhile, recipe, build.root))
            _train_judge(recipe, build, inputs, push_to)
            finished("judge")
            for part in beside:
                part.result()
    else:
        _train_judge(recipe, build, inputs, push_to)
        finished("judge")
        if direct:
            train_direct(recipe, build.root)
    if direct:
        finished("direct")
    return build.adapter


def _train_judge(recipe: Recipe, build: BuildFolder, inputs: Sequence[str], push_to: str | None) -> None:
    if build.trained.done(*inputs):
        return
    data = load_distillation(build.distill)
    rows = select(read_samples(data.select_columns(["prompt", "samples"])), recipe)
    _fit(recipe, data, rows, build.adapter, build.trained, inputs, push_to=push_to)


def without_direct(recipe: Recipe) -> Recipe:
    """The recipe without its direct baseline."""
    return replace(recipe, evaluation=replace(recipe.evaluation, direct=False))


def train_direct(recipe: Recipe, folder: Path, steps: int | None = None) -> Path:
    """Train the direct baseline: "rate this image", same base, images, rank and number of steps as the judge.

    Its target is the level of the teacher's overall score. `steps` None: as many as the judge's log says. Raises
    `UserError` where the teacher scored nothing, or the judge should have been trained before.
    """
    build = BuildFolder(folder)
    if not build.teacher.is_file():
        raise UserError(
            "There is no teacher.jsonl",
            "The direct baseline is trained on its scores",
            "Build the data, or use --no-direct",
        )
    inputs = known_inputs(recipe, build, "direct")
    if build.trained_direct.done(*inputs):
        return build.direct
    if steps is None:
        steps = read_json(build.trained.path, "recipes.train")["steps"]
    data = load_distillation(build.distill)
    judgements = {j.image_id: j for j in map(Judgement.from_json, read_jsonl(build.teacher))}
    samples = direct_samples(data["prompt"], judgements, data["id"])
    if not samples:
        raise UserError("The teacher scored no training image", "There is nothing to learn", "Build the data again")
    rows = select_direct(samples, recipe)
    _fit(recipe, data, rows, build.direct, build.trained_direct, inputs, steps)
    return build.direct


def _fit(
    recipe: Recipe,
    data: Dataset,
    rows: Sequence[Sequence[Sample]],
    folder: Path,
    marker: Marker,
    inputs: Sequence[str],
    max_steps: int | None = None,
    push_to: str | None = None,
) -> None:
    """`fine_tune` into `folder`, and mark it as done; checkpoints of other inputs are thrown away first.

    `inputs`: today's digest, and others that mean the same.
    """
    if recipe.packing == "none":  # nothing else keeps a text from naming an image
        texts = (text for row in rows for sample in row for text in (sample.question, sample.answer))
        check_texts(texts, load_processor(recipe))
    begun = folder / "checkpoints" / "inputs.txt"
    if first_process() and not (begun.is_file() and begun.read_text() in inputs):
        shutil.rmtree(folder, ignore_errors=True)
        write_atomic(begun, inputs[0])
    log = fine_tune(recipe, training_dataset(data, rows, recipe.packing), folder, max_steps, push_to)
    known = {
        "hyperparameters": differing(recipe.training),
        "seeds": asdict(recipe.seeds),
        "template_hash": recipe.student_hash,
        "versions": versions(),
        "samples": sum(map(len, rows)),
    }
    if first_process():
        marker.write(inputs[0], log | known)


def first_process() -> bool:
    """Whether this is the one of several processes of a training that writes."""
    return os.environ.get("RANK", "0") == "0"
