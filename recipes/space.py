"""`make space`: run the demo of a staged release, as its Space will run it, and print its URL.

    python -m recipes.space --recipe smoke

The staged Space is copied, because gradio writes beside the modules that it runs, and shows the staged benchmark.
Before there is a release, the checkout's own Space runs with the embedded judge.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from recipes.hub.repositories import DEFAULT_RECIPE, repositories, stage_folder, staged_repositories
from recipes.recipe.config import ROOT, Recipe, load_recipe
from t2i_judge.errors import UserError
from t2i_judge.files import write_atomic
from t2i_judge.judges.names import HF, JudgeName
from t2i_judge.running import command
from t2i_judge.terminal import Parser

APP = Path("space", "app.py")


def prepare(recipe: Recipe) -> tuple[Path, Mapping[str, str]]:
    """The app to run, and variables for it.

    Raises:
        UserError: the named recipe has no staged release.
    """
    stage = stage_folder(recipe)
    demo = repositories(recipe).demo.folder(stage)
    if not demo.is_dir():
        if recipe.name != DEFAULT_RECIPE:
            raise UserError(f"{recipe.name} is not staged", "", f"Run make release RECIPE={recipe.typed} first")
        return ROOT / APP, {}
    copy = ROOT / "build" / "space" / recipe.name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(demo, copy)
    names = staged_repositories(stage)
    _judge_from(names.model.folder(stage), copy / "release.json")
    bench = os.environ.get("BENCHMARK") or str(names.bench.folder(stage))
    annotations = os.environ.get("ANNOTATIONS") or str(ROOT / "build" / "annotations")
    return copy / APP.name, {"BENCHMARK": bench, "ANNOTATIONS": annotations}


def _judge_from(model: Path, release: Path) -> None:
    """Let the copy open with the staged model, although its release names the model on the Hub."""
    staged = json.loads(release.read_text(encoding="utf-8"))
    if JudgeName.parse(staged["judge"]).kind == HF:
        write_atomic(release, json.dumps({**staged, "judge": f"hf:{model}"}, indent=1) + "\n")


@command("space", "Run the same command again.")
def main(argv: Sequence[str] | None = None) -> int:
    """Replace this process by the demo. Relative paths in its variables stay the caller's."""
    parser = Parser(prog="recipes.space", description="Run the demo of a staged release.")
    parser.add_argument("--recipe", default=DEFAULT_RECIPE, help="whose release (%(default)s)")
    app, variables = prepare(load_recipe(parser.parse_args(argv).recipe))
    os.execve(sys.executable, [sys.executable, str(app)], {**os.environ, **variables})


if __name__ == "__main__":
    raise SystemExit(main())
