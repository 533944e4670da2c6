"""What a training depends on, as one digest: a finished training is known by it, and so are studies of trainings."""

from __future__ import annotations

import json

from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.markers import file_table, fingerprint
from t2i_judge.files import read_jsonl
from t2i_judge.prompts import DIRECT_STUDENT_HASH


def inputs_of(recipe: Recipe, build: BuildFolder, what: str = "judge") -> str:
    """Digest of everything that a training depends on: recipe (`pinned`), data, base and templates."""
    files = file_table(build.distill, build.distill.glob("data/*.parquet"))
    if what == "direct":
        what += _labels(build)
    if base := recipe.base.folder:
        files |= {f"base/{path}": entry for path, entry in file_table(base, base.glob("*.*")).items()}
    sections = (recipe.base, recipe.adapter, recipe.quantization, recipe.packing, recipe.mixture, recipe.rebalance)
    templates = DIRECT_STUDENT_HASH if what.startswith("direct") else recipe.student_hash
    training = repr(recipe.training).replace(", length_normalization=0.0", "")  # as before there was this key
    return fingerprint(files, what, repr(sections), training, repr(recipe.seeds), templates)


def _labels(build: BuildFolder) -> str:
    """What the direct baseline learns: the teacher's scores of the training images, and nothing of the others."""
    from pyarrow.parquet import read_table

    shards = sorted(build.distill.glob("data/*.parquet"))
    learnt = {name for shard in shards for name in read_table(shard, columns=["id"])["id"].to_pylist()}
    rows = [row for row in read_jsonl(build.teacher) if row["image_id"] in learnt]
    return json.dumps([[row["image_id"], sorted(row["scores"].items())] for row in rows])


def all_inputs(recipe: Recipe) -> dict[str, str]:
    """The digests of all that a recipe (`pinned`) trains: "judge" and, where it has one, "direct"."""
    build = BuildFolder(recipe.folder)
    parts = ("judge", "direct") if recipe.evaluation.direct and build.teacher.is_file() else ("judge",)
    return {part: inputs_of(recipe, build, part) for part in parts}
