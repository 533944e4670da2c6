"""`python -m recipes.embed`: put the finished judge of a recipe into the package, as the embedded default.

It copies the adapter and judge.json; `recipes.tiny.pretrain` has written the base. Run it after `make release` if the
recipe or the base has changed, and commit the files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe, load_recipe, resolve
from recipes.recipe.markers import read_json
from t2i_judge.errors import UserError
from t2i_judge.files import write_atomic
from t2i_judge.local.weights import CARD, EMBEDDED
from t2i_judge.running import command
from t2i_judge.terminal import Parser, say

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LARGEST_BYTES = 12_000_000  # base and adapter together: they ride along in the wheel


def embed(recipe: Recipe) -> int:
    """Copy adapter and judge.json of a finished build. Returns the size of all embedded weights in bytes.

    Raises:
        UserError: the recipe is not on the embedded base, is not finished, or would make the package too large.
    """
    if resolve(recipe.base.model) != EMBEDDED / "base":
        raise UserError(
            f"The recipe {recipe.name} does not use the embedded base",
            "Its judge could not be loaded",
            "Embed the recipe tiny",
        )
    if not BuildFolder(recipe.folder).results.path.is_file():
        raise UserError(f"{recipe.name} is not finished", "Its judge is not measured", "Run `make release` first")
    adapter = BuildFolder(recipe.folder).adapter
    config = read_json(adapter / CONFIG, "recipes.train")
    config["base_model_name_or_path"] = "../base"  # it rides beside it, wherever the package is installed
    write_atomic(EMBEDDED / "adapter" / CONFIG, json.dumps(config, indent=2) + "\n")
    write_atomic(EMBEDDED / "adapter" / WEIGHTS, (adapter / WEIGHTS).read_bytes())
    write_atomic(EMBEDDED / CARD, (adapter / CARD).read_bytes())
    size = sum(path.stat().st_size for path in EMBEDDED.rglob("*.safetensors"))
    if size > LARGEST_BYTES:
        raise UserError(
            f"Base and adapter have {size:,} bytes", f"At most {LARGEST_BYTES:,} are allowed", "Use a smaller rank"
        )
    return size


@command("embed")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = Parser(prog="recipes.embed", description="Put a finished judge into the package.")
    parser.add_argument("--recipe", default="tiny", help="on the embedded base (%(default)s)")
    size = embed(load_recipe(parser.parse_args(argv).recipe))
    say(f"Embedded {size:,} bytes of weights in {EMBEDDED.name}/")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
