"""Overlaps between train and benchmark of a staged release, and the error rates of that check.

python -m recipes.leakage --recipe tiny
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from recipes.hub.repositories import MANIFEST, repositories, stage_folder, staged_repositories
from recipes.recipe.config import load_recipe
from recipes.safety.leakage import dataset_overlaps, error_rates
from t2i_judge.running import command


@command("leakage")
def main(argv: Sequence[str] | None = None) -> int:
    """Print the error rates of the check and a staged release's overlaps; 1 when there are any, 2 without a release."""
    parser = argparse.ArgumentParser(prog="recipes.leakage", description="Overlaps between train and benchmark.")
    parser.add_argument("--recipe", default="tiny")
    name = parser.parse_args(argv).recipe
    recipe = load_recipe(name)
    stage = stage_folder(recipe)
    names = staged_repositories(stage) if (stage / MANIFEST).is_file() else repositories(recipe)
    print(error_rates())
    train, bench = (repository.folder(stage) for repository in (names.distill, names.bench))
    if not (train.is_dir() and bench.is_dir()):
        print(f"leakage: {recipe.name} is not staged. run make release RECIPE={name} first.", file=sys.stderr)
        return 2
    overlaps = dataset_overlaps(train, bench)
    for overlap in overlaps:
        print(overlap)
    print(f"{len(overlaps)} overlaps")
    return int(bool(overlaps))


if __name__ == "__main__":
    raise SystemExit(main())
