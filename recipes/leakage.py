"""Overlaps between train and benchmark of a staged release, and the error rates of that check.

python -m recipes.leakage --recipe tiny
python -m recipes.leakage --measure [--photographs FOLDER] [--write]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from recipes.hub.repositories import MANIFEST, repositories, stage_folder, staged_repositories
from recipes.recipe.config import ROOT, load_recipe
from recipes.safety.leakage import dataset_overlaps, error_rates
from t2i_judge.records import write_atomic
from t2i_judge.running import command
from t2i_judge.terminal import Parser

CARD_TABLE = ROOT / "dataset_card" / "_copies.md"


@command("leakage")
def main(argv: Sequence[str] | None = None) -> int:
    """Print the error rates of the check and a staged release's overlaps; 1 when there are any, 2 without a release."""
    parser = Parser(prog="recipes.leakage", description="Overlaps between train and benchmark.")
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--measure", action="store_true", help="print the table of what is caught, by alteration")
    parser.add_argument("--photographs", type=Path, help="measure on these instead of those of installed packages")
    parser.add_argument("--write", action="store_true", help="put the table on the cards of datasets, too")
    arguments = parser.parse_args(argv)
    if arguments.measure:
        return _measure(arguments.photographs, arguments.write)
    name = arguments.recipe
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


def _measure(folder: Path | None, write: bool) -> int:
    """Print the table; 2 where there is nothing to measure on."""
    from recipes.safety.alterations import caught, false_alarms, photographs, table
    from recipes.scenes.render import make_scenes

    pictures = photographs(folder)
    if not pictures:
        print("leakage: no photographs to measure on. name a folder: --photographs FOLDER.", file=sys.stderr)
        return 2
    scenes = [sample[3] for sample in make_scenes(60, 0)]
    text = table(caught(pictures), caught(scenes), len(pictures), false_alarms(pictures))
    print(text)
    if write:
        write_atomic(CARD_TABLE, text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
