"""What later steps ask for and the judge's training does not hold up: done beside that, kept, and read back by them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from recipes.evaluation.evaluation import ask_beforehand
from recipes.evaluation.judging import held_out
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.items import read_items
from recipes.safety.leakage import dataset_images, overlaps_between
from t2i_judge.inputs.decoding import apart


def beforehand(recipe: Recipe, folder: Path) -> None:
    """Ask the judges beside the distilled one, and look for held-out images among those that are learnt.

    Args:
        recipe: `pinned`; its data are built, and its direct baseline, if it has one, is trained.
        folder: of the build.
    """
    ask_beforehand(recipe, folder)
    build = BuildFolder(folder)
    measured = [(item.id, build.root / item.image) for item in held_out(recipe, read_items(build.root))]
    with apart():  # they may be strangers' pictures
        overlaps_between(
            partial(dataset_images, build.distill),
            lambda: ((identity, path.read_bytes()) for identity, path in measured),
            build.overlaps,
        )
