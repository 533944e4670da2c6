"""Step 2 of a release: train the recipe's judge by LoRA on its distillation data, and the direct baseline beside it.

    python -m recipes.train --recipe tiny                        # build/tiny/distill -> build/tiny/adapter, .../direct
    python -m recipes.train --config my/recipe.yaml --dry-run    # parameters, memory, tokens, steps; trains nothing
    accelerate launch --num_processes 2 -m recipes.train --recipe tiny
    python -m recipes.train --recipe minicpm-v-2.6 --jobs a100-large    # on a rented GPU (HF Jobs)
    python -m recipes.train --recipe minicpm-v-2.6 --jobs-fetch         # what it made, brought home

A finished training is not repeated; an interrupted one continues from its last checkpoint.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import nullcontext

from recipes.recipe.bases import pinned
from recipes.recipe.config import load_recipe
from recipes.training.dry_run import report
from recipes.training.jobs import fetch, submit, train_in_job
from recipes.training.trainings import first_process, train, train_direct, without_direct
from t2i_judge.running import command
from t2i_judge.runs.locks import held
from t2i_judge.terminal import Parser, say


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(prog="recipes.train", description="Distil a teacher into a judge by LoRA.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--recipe", default="tiny", help="a folder of recipes/, or FOLDER/VARIANT (%(default)s)")
    which.add_argument("--config", help="a recipe's YAML file")
    parser.add_argument("--direct", action="store_true", help="train the direct baseline only")
    parser.add_argument("--no-direct", action="store_true", help="train the judge only")
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be trained, and the memory and steps that it needs"
    )
    parser.add_argument("--jobs", metavar="FLAVOR", help="submit to HF Jobs on this hardware, such as a100-large")
    parser.add_argument("--timeout", default="12h", help="time limit of the job (default: %(default)s)")
    parser.add_argument("--jobs-fetch", action="store_true", help="download what the job made, once it has ended")
    parser.add_argument(
        "--namespace", default=os.environ.get("NAMESPACE"), help="user or organisation that pays for the job"
    )
    parser.add_argument("--push-to", metavar="REPO", help="inside a job: where checkpoints and results go")
    return parser.parse_args(argv)


@command("train", "Run the same command again: it continues from the last checkpoint.")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = parse(argv)
    recipe = load_recipe(arguments.config or arguments.recipe)
    if arguments.jobs:
        return submit(recipe, arguments)
    if arguments.dry_run:
        say(report(recipe))
        return 0
    with held(recipe.folder) if first_process() else nullcontext():
        if arguments.push_to:
            train_in_job(recipe, arguments.push_to)
            return 0
        recipe = pinned(recipe, recipe.folder)
        if arguments.jobs_fetch:
            fetch(recipe)
        elif arguments.direct:
            train_direct(recipe, recipe.folder)
        else:
            train(without_direct(recipe) if arguments.no_direct else recipe)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
