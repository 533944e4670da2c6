"""Step 3 of a release: judge the held-out images, and measure every judge against latent quality and people.

    python -m recipes.evaluate_judge --recipe tiny

Writes build/RECIPE/judgements/JUDGE.jsonl, adapter/judge.json and, last, results.json (`recipes.evaluation`).
"""

from __future__ import annotations

from collections.abc import Sequence

from model_card.rendering import interval, number
from recipes.evaluation.evaluation import evaluate
from recipes.evaluation.summary import results_text
from recipes.recipe.bases import pinned
from recipes.recipe.config import load_recipe
from t2i_judge.records import OVERALL
from t2i_judge.running import command
from t2i_judge.runs.locks import held
from t2i_judge.terminal import Parser, say


@command("evaluate_judge")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code, 1 if a promised figure is missed."""
    parser = Parser(prog="recipes.evaluate_judge", description="Measure judges on held-out images.")
    parser.add_argument("--recipe", default="tiny", help="a folder of recipes/, or a YAML file")
    parser.add_argument(
        "--retry-failed", action="store_true", help="ask evaluation.judges again about what they failed"
    )
    arguments = parser.parse_args(argv)
    recipe = load_recipe(arguments.recipe)
    with held(recipe.folder):
        results = evaluate(pinned(recipe, recipe.folder), retry_failed=arguments.retry_failed)
    say(f"{results_text(results)}\n")
    for row in results["comparisons"]:
        where = f"{row['split']}, {row.get('aspect', OVERALL)}"
        say(f"{row['a']} - {row['b']}, {where}: {number(row['difference'])} {interval(row['ci'])}")
    for name, figure in results["subtasks"].items():
        say(f"{name}: {number(figure)}")
    return 0 if all(goal["met"] for goal in results["goals"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
