"""Checks a recipe before anything is paid for, trained or pushed: all questions at once, each with its fix.

    python -m recipes.preflight --recipe NAME [--namespace ME] [--private]

`make release` begins with the same checks. They cost nothing and write only what they have learnt about the images. The
exit code is 2 if something stands in the way.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from recipes.build_dataset import is_built
from recipes.publish.gate import allowed_for
from recipes.publish.preflight import Check, Progress, Target, preflight, require_ready, table
from recipes.recipe.bases import pinned
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe, load_recipe
from recipes.recipe.training_inputs import all_known_inputs
from recipes.training.jobs import awaited, home
from t2i_judge.errors import UserError
from t2i_judge.running import command
from t2i_judge.terminal import Parser, say


def progress_of(recipe: Recipe) -> Progress:
    """Which steps of a recipe are done. A result that cannot be read is not done."""
    build = BuildFolder(recipe.folder)
    try:
        built = is_built(recipe)
        trained = built and home(build, all_known_inputs(pinned(recipe, recipe.folder)))
        return Progress(built, trained, awaited(build))
    except UserError:
        return Progress(away=awaited(build))


def look(recipe: Recipe, progress: Progress, target: Target, allowed: Sequence[str] = ()) -> list[Check]:
    """Make the checks and print them as a table."""
    checks = preflight(recipe, progress, target, allowed)
    say(table(checks), flush=True)
    return checks


@command("preflight")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    from huggingface_hub import get_token

    parser = Parser(
        prog="recipes.preflight", description="Check everything about a recipe before anything is paid for."
    )
    parser.add_argument("--recipe", default="tiny", help="a folder of recipes/, or a YAML file")
    parser.add_argument(
        "--namespace", default=os.environ.get("NAMESPACE") or None, help="user or organisation to push to"
    )
    parser.add_argument("--private", action="store_true", help="the repositories will be private")
    parser.add_argument(
        "--allow", default="", help="names of gate checks whose findings are accepted, separated by commas"
    )
    arguments = parser.parse_args(argv)
    recipe = load_recipe(arguments.recipe)
    allowed = allowed_for(recipe, [name.strip() for name in arguments.allow.split(",") if name.strip()])
    target = Target(arguments.namespace, get_token(), arguments.private)
    require_ready(look(recipe, progress_of(recipe), target, allowed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
