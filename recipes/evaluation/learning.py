"""What `recipes.performance.fair` and `.efficiency` measured of a build, for its card: of this very build alone."""

from __future__ import annotations

from typing import Any

from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.markers import file_table, fingerprint


def inputs_of_study(recipe: Recipe, build: BuildFolder) -> str:
    """Digest of what every training of a study depends on besides its own description; `recipe` is `pinned`."""
    known = (build.teacher, build.items, build.latent, build.humans, build.ratings)
    files = file_table(build.distill, build.distill.glob("data/*.parquet"))
    files |= file_table(build.root, [path for path in known if path.is_file()])
    sections = (recipe.base, recipe.adapter, recipe.quantization, recipe.packing, recipe.mixture, recipe.rebalance)
    return fingerprint(files, repr(sections), repr(recipe.training), recipe.mode)


def learning_of(recipe: Recipe, build: BuildFolder) -> dict[str, Any]:
    """ "fair" and "efficiency", those of them that were run in full on these very data and settings."""
    inputs = inputs_of_study(recipe, build)
    parts = {"fair": build.fair, "efficiency": build.efficiency}
    return {name: marker.read() for name, marker in parts.items() if marker.done(inputs) and not marker.read()["quick"]}
