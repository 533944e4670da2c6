"""Step 1 of a release: images, the teacher's questions and judgements, distillation data.

    python -m recipes.build_dataset --recipe tiny

Writes build/RECIPE/: items.jsonl, decompositions.jsonl, teacher.jsonl, distill/ and, last, BUILT.json. Every reply of
the teacher is in calls.sqlite before it is used, so a stopped run continues without asking again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recipes.distillation.distillation import distil
from recipes.distillation.t2i_eval import labels_digest, read_labels
from recipes.distillation.table_source import Table, read_table, table_items
from recipes.distillation.teacher import keep_published, labelled
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe, load_recipe
from recipes.recipe.items import Item, read_items, write_items
from recipes.recipe.people import require_people
from recipes.recipe.sections import ScenesData, T2IEvalData, TableData, Teacher
from t2i_judge.prompts import STAGED_HASH, TEACHER_HASH
from t2i_judge.records import Judgement, Usage
from t2i_judge.running import command
from t2i_judge.runs.locks import held
from t2i_judge.terminal import Parser, say, step
from t2i_judge.wording import counted

_SPARE_BYTES = 50_000_000  # that must be free to begin with


def build(recipe: Recipe, progress: bool = True, retry_failed: bool = False) -> Path:
    """Build a recipe's data unless it is built. Returns its folder.

    Args:
        recipe: what to build.
        progress: show bars.
        retry_failed: ask again what failed in a finished build. What was answered comes from the ledger.

    Raises:
        UserError: the source, the endpoint or the teacher's replies are unusable. What was paid for is kept.
    """
    folder, (origin, table) = BuildFolder(recipe.folder), _source(recipe)
    inputs, failed = inputs_of(recipe, origin), folder.built.read().get("failed") or {}
    if folder.built.done(inputs) and not (retry_failed and failed):
        require_people(recipe, read_items(folder.root))
        return folder.root
    folder.root.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder.root).free < _SPARE_BYTES:
        raise OSError(errno.ENOSPC, "less than 50 MB free", str(folder.root))
    folder.built.remove()
    items, labels = _items(recipe, folder, table, origin)
    require_people(recipe, items)  # what is wrong with people's ratings is said before anything is paid for
    if labels is None:
        judgements, took = labelled(recipe, folder, items, progress)
    else:
        keep_published(folder, items, labels)
        judgements, took = labels, Usage()
    counts = distil(recipe, folder, items, judgements)
    folder.built.write(inputs, {**counts, "spent": asdict(took)})
    if retry_failed:
        step(f"  failed before: {failed or 'none'}; now: {counts['failed'] or 'none'}")
    return folder.root


def is_built(recipe: Recipe) -> bool:
    """Whether `build` has nothing to do. Raises `UserError` if the source cannot be read."""
    return BuildFolder(recipe.folder).built.done(inputs_of(recipe, _source(recipe)[0]))


def inputs_of(recipe: Recipe, origin: str) -> str:
    """Digest of everything that this step's result depends on: data and images, teacher, seed, templates, code."""
    inputs = {
        "origin": origin,
        "teacher": _labelling(recipe.teacher),
        "templates": [TEACHER_HASH, STAGED_HASH, recipe.student_hash],
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _labelling(teacher: Teacher) -> dict[str, Any]:
    """What of a teacher decides about its labels; what is left out does not change the digest of older builds."""
    from t2i_judge.judges.teacher import MAX_TOKENS

    settings = {
        k: v for k, v in asdict(teacher).items() if k not in ("concurrency", "max_cost", "batch", "api_key_env")
    }
    later = {name: settings.pop(name) for name in ("parameters", "max_image_side")}
    settings["max_tokens"] = teacher.max_tokens or MAX_TOKENS
    return {**settings, **{name: value for name, value in later.items() if value}}


def _code_of(recipe: Recipe) -> str:
    """Digest of the code that renders scenes and judges them; of none where the images are the user's own."""
    files = sorted((Path(__file__).parent / "scenes").glob("*.py")) if isinstance(recipe.data, ScenesData) else []
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _items(
    recipe: Recipe, folder: BuildFolder, table: Table | None, origin: str
) -> tuple[list[Item], dict[str, Judgement] | None]:
    """The recipe's images, written again only when their origin has changed; and their labels, if published."""
    if isinstance(recipe.data, T2IEvalData):
        return read_labels(folder, recipe.data)
    if folder.drawn.done(origin):
        return read_items(folder.root), None
    left_out = 0
    if isinstance(recipe.data, ScenesData):
        from recipes.scenes.pictures import write_scenes

        write_scenes(folder.root, recipe.data, recipe.seeds.data, recipe.personalised)
        if recipe.teacher.server:  # free to ask, and its rules may have changed with the code: no old answers
            folder.calls.unlink(missing_ok=True)
    elif isinstance(recipe.data, TableData) and table:
        items = table_items(table, recipe.data, folder)
        left_out = len(table.rows) - len(items)
        if left_out:
            say(f"{table.path.name}: left out {left_out} of {counted(len(table.rows), 'row')} with a broken image")
        write_items(folder.root, items)
    folder.drawn.write(origin, {"left_out": left_out})
    return read_items(folder.root), None


def _source(recipe: Recipe) -> tuple[str, Table | None]:
    """Digest of all that decides about a recipe's images and prompts, for one's own their bytes too; and its table."""
    inputs: list[Any] = [asdict(recipe.data), recipe.personalised, recipe.seeds.data, _code_of(recipe)]
    table = read_table(recipe.data) if isinstance(recipe.data, TableData) else None
    if table:
        inputs.append(table.digest)
    if isinstance(recipe.data, T2IEvalData):
        inputs.append(labels_digest(recipe.data))
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest(), table


@command("build_dataset")
def main(argv: Sequence[str] | None = None) -> int:
    """Build one recipe's data; returns the exit code."""
    parser = Parser(prog="recipes.build_dataset", description="Build a recipe's data.")
    parser.add_argument("--recipe", default="tiny", help="a folder of recipes/, or a YAML file")
    parser.add_argument("--protocol", choices=("structured", "staged"), help="instead of the recipe's data folder")
    parser.add_argument(
        "--retry-failed", action="store_true", help="ask the teacher again about items that it refused or failed"
    )
    arguments = parser.parse_args(argv)
    recipe = load_recipe(arguments.recipe)
    if arguments.protocol:
        from dataclasses import replace

        recipe = replace(recipe, teacher=replace(recipe.teacher, protocol=arguments.protocol))
    with held(recipe.folder):
        record = BuildFolder(build(recipe, retry_failed=arguments.retry_failed)).built.read()
    say(f"built {recipe.name}: {_summary(record)}")
    return 0


def _summary(record: Mapping[str, Any]) -> str:
    """One line about BUILT.json."""
    failed = ", ".join(f"{number} {status}" for status, number in record["failed"].items()) or "none"
    left_out = f", {record['left_out']} left out" if record["left_out"] else ""
    money = "" if record["spent"]["money"] is None else f", ${record['spent']['money']:.2f}"
    return (
        f"{counted(record['items'], 'image')} of {counted(record['prompts'], 'prompt')}{left_out}, failed: {failed}; "
        f"{counted(record['samples'], 'sample')} to learn from; {counted(record['spent']['calls'], 'call')}{money}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
