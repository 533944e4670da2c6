"""What `recipes.performance.fair` and `.efficiency` measured of a build, for its card: of these very data alone.

Such studies take many hours, so that a recipe's folder may bring what they measured once, in `learning/`. It counts
for every build of the same data, and for no other.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.markers import Marker, file_table, fingerprint
from recipes.recipe.training_inputs import inputs_of
from recipes.recipe.typed_yaml import RECIPES
from t2i_judge.files import read_jsonl, write_atomic


def inputs_of_study(recipe: Recipe, build: BuildFolder) -> str:
    """Digest of what a study depends on: its trainings, their usual settings, and how they are measured.

    `recipe` is `pinned`.
    """
    training, evaluation = recipe.training, recipe.evaluation
    usual = (training.max_steps, training.learning_rate, training.per_device_train_batch_size)
    measured = (evaluation.limit, evaluation.resamples, recipe.seeds.evaluation)
    return fingerprint({}, inputs_of_trainings(recipe, build), repr(usual), repr(measured))


def inputs_of_trainings(recipe: Recipe, build: BuildFolder) -> str:
    """Digest of what every training of a study depends on besides its own description (`trial_recipe`)."""
    known = (build.items, build.latent, build.humans, build.ratings)
    files = file_table(build.root, [path for path in known if path.is_file()])
    shared = trial_recipe(recipe, steps=1, learning_rate=1.0, batch=1, seed=0)
    trainings = (inputs_of(shared, build, what) for what in ("judge", "direct"))
    return fingerprint(files, _taught(build.teacher), *trainings, recipe.mode)


def trial_recipe(recipe: Recipe, steps: int, learning_rate: float, batch: int, seed: int) -> Recipe:
    """The recipe by which one training of a study is made, with everything that a training may have for its own."""
    training = replace(
        recipe.training,
        max_steps=steps,
        learning_rate=learning_rate,
        per_device_train_batch_size=batch,
        save_steps=max(1, steps),
    )
    return replace(recipe, training=training, seeds=replace(recipe.seeds, training=seed, mixture=seed))


def _taught(teacher: Path) -> str:
    """Digest of the teacher's judgements but for what they took, which is another each time."""
    digest = hashlib.sha256()
    for judgement in read_jsonl(teacher):
        digest.update(json.dumps({**judgement, "usage": None}, sort_keys=True).encode())
    return digest.hexdigest()


def learning_beside(recipe: Recipe) -> Path:
    """`learning/` in the recipe's folder of the checkout, which may hold what its studies measured before."""
    return RECIPES / recipe.name / "learning"


def take_brought(recipe: Recipe, build: BuildFolder) -> None:
    """Studies that the recipe brings become those of a build of the same data that has none."""
    inputs = inputs_of_study(recipe, build)
    for marker in (build.fair, build.efficiency):
        kept = Marker(learning_beside(recipe) / marker.path.name)
        if not _whole(marker, inputs) and _whole(kept, inputs):
            take(kept.path.parent, build.learning, kept.path.stem)


def take(source: Path, folder: Path, study: str) -> None:
    """Copy a study, its marker last."""
    folder.mkdir(exist_ok=True)
    for name in (f"{study}.png", f"{study}.md", f"{study}.json"):
        if (source / name).is_file():
            write_atomic(folder / name, (source / name).read_bytes())


def learning_of(recipe: Recipe, build: BuildFolder) -> dict[str, Any]:
    """ "fair" and "efficiency", those of them that were run in full on these very data and settings."""
    inputs = inputs_of_study(recipe, build)
    parts = {"fair": build.fair, "efficiency": build.efficiency}
    return {name: marker.read() for name, marker in parts.items() if _whole(marker, inputs)}


def _whole(marker: Marker, inputs: str) -> bool:
    return marker.done(inputs) and not marker.read()["quick"]
