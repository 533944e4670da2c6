"""Finds overlaps of training data and benchmark in a staged release, and measures how often this check errs.

python -m recipes.leakage --recipe tiny
python -m recipes.leakage --measure [--images FOLDER] [--write]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from recipes.hub.repositories import MANIFEST, repositories, stage_folder, staged_repositories
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import ROOT, load_recipe
from recipes.safety.leakage import MEASURED, dataset_overlaps, error_rates, known_rates
from t2i_judge.cli.results import add_json, show
from t2i_judge.files import write_atomic
from t2i_judge.inputs.decoding import apart
from t2i_judge.running import command
from t2i_judge.terminal import Parser, say
from t2i_judge.wording import counted

_ALTERED = 60  # scenes that are altered
CARD_TABLE = ROOT / "dataset_card" / "_copies.md"


@command("leakage")
def main(argv: Sequence[str] | None = None) -> int:
    """Print error rates of the check and a staged release's overlaps. Returns 1 with overlaps, 2 without a release."""
    parser = Parser(prog="recipes.leakage", description="Find overlaps between training data and benchmark.")
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--measure", action="store_true", help="print the share of copies that is found, by alteration")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="photographs to measure on, instead of those in installed packages",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="also put the table on the cards of datasets, and what a release says of the check beside it",
    )
    add_json(parser)
    arguments = parser.parse_args(argv)
    if arguments.measure:
        return _measure(arguments)
    if arguments.write or arguments.images:
        parser.error("--write and --images belong to --measure. Add it, or leave them out")
    name = arguments.recipe
    recipe = load_recipe(name)
    stage = stage_folder(recipe)
    names = staged_repositories(stage) if (stage / MANIFEST).is_file() else repositories(recipe)
    train, bench = (repository.folder(stage) for repository in (names.distill, names.bench))
    rates = known_rates(BuildFolder(recipe.folder).error_rates)
    if not (train.is_dir() and bench.is_dir()):
        show(arguments, str(rates), {"error_rates": asdict(rates), "overlaps": None})
        say(f"leakage: {recipe.name} is not staged. Run make release RECIPE={name} first.", file=sys.stderr)
        return 2
    with apart():  # what is staged may be strangers' pictures
        overlaps = dataset_overlaps(train, bench)
    text = "\n".join([str(rates), *map(str, overlaps), counted(len(overlaps), "overlap")])
    show(arguments, text, {"error_rates": asdict(rates), "overlaps": [asdict(overlap) for overlap in overlaps]})
    return int(bool(overlaps))


def _measure(arguments: argparse.Namespace) -> int:
    """Print the table; 2 where there is nothing to measure on."""
    from recipes.safety.alterations import TILES, caught, cost, false_alarms, photographs, table, tiles
    from recipes.scenes.render import make_scenes

    pictures = photographs(arguments.images)
    if not pictures:
        say("leakage: There are no photographs to measure on. Name a folder with --images FOLDER.", file=sys.stderr)
        return 2
    scenes = [sample[3] for sample in make_scenes(TILES, 0)]
    alarms = false_alarms(tiles(pictures)), false_alarms(scenes)
    rates = {"photographs": caught(pictures), "scenes": caught(scenes[:_ALTERED])}
    text = table(rates["photographs"], rates["scenes"], len(pictures), alarms)
    figures = {**rates, "false_alarms": {"tiles": asdict(alarms[0]), "scenes": asdict(alarms[1])}}
    show(arguments, f"{text}\n{cost(pictures, alarms[0])}", {"n": len(pictures), **figures})
    if arguments.write:
        write_atomic(CARD_TABLE, text + "\n")
        error_rates(known=MEASURED)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
