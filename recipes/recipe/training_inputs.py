"""What a training depends on, as one digest: a finished training is known by it, and so are studies of trainings."""

from __future__ import annotations

import json
from dataclasses import replace

from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.markers import file_table, fingerprint
from recipes.recipe.sections import Training
from t2i_judge.files import read_jsonl
from t2i_judge.prompts import DIRECT_STUDENT_HASH

_WEIGHTLESS = ("logging_steps", "save_steps", "save_total_limit", "dataloader_num_workers")  # they change no weight


def inputs_of(recipe: Recipe, build: BuildFolder, what: str = "judge") -> str:
    """Digest of everything that the weights of a training depend on: recipe (`pinned`), data, base and templates."""
    return known_inputs(recipe, build, what)[0]


def known_inputs(recipe: Recipe, build: BuildFolder, what: str = "judge") -> tuple[str, str]:
    """`inputs_of`, and what it was while it counted what changes no weight: trainings of then stay done."""
    files = file_table(build.distill, build.distill.glob("data/*.parquet"))
    if what == "direct":
        what += _labels(build)
    if base := recipe.base.folder:
        files |= {f"base/{path}": entry for path, entry in file_table(base, base.glob("*.*")).items()}
    sections = (recipe.base, recipe.adapter, recipe.quantization, recipe.packing, recipe.mixture, recipe.rebalance)
    templates = DIRECT_STUDENT_HASH if what.startswith("direct") else recipe.student_hash

    def digest(training: Training, seeds: object) -> str:
        options = repr(training).replace(", length_normalization=0.0", "")  # as before there was this key
        return fingerprint(files, what, repr(sections), options, repr(seeds), templates)

    seeds, weightless = recipe.seeds, {name: getattr(Training, name) for name in _WEIGHTLESS}
    today = digest(replace(recipe.training, **weightless), (seeds.mixture, seeds.training))
    return today, digest(recipe.training, seeds)


def _labels(build: BuildFolder) -> str:
    """What the direct baseline learns: the teacher's scores of the training images, and nothing of the others."""
    from pyarrow.parquet import read_table

    shards = sorted(build.distill.glob("data/*.parquet"))
    learnt = {name for shard in shards for name in read_table(shard, columns=["id"])["id"].to_pylist()}
    rows = [row for row in read_jsonl(build.teacher) if row["image_id"] in learnt]
    return json.dumps([[row["image_id"], sorted(row["scores"].items())] for row in rows])


def all_inputs(recipe: Recipe) -> dict[str, str]:
    """The digests of all that a recipe (`pinned`) trains: "judge" and, where it has one, "direct"."""
    return {part: today for part, (today, _) in all_known_inputs(recipe).items()}


def all_known_inputs(recipe: Recipe) -> dict[str, tuple[str, str]]:
    """The same, each as `known_inputs`."""
    build = BuildFolder(recipe.folder)
    parts = ("judge", "direct") if recipe.evaluation.direct and build.teacher.is_file() else ("judge",)
    return {part: known_inputs(recipe, build, part) for part in parts}
