"""What travels to a rented machine: the checkout's code, the recipe, and this build's data, under one manifest.

    manifest.json  recipe.yaml  constraints.txt  *.whl  recipes/  BASE (where it is a folder)  build/NAME/...

It is laid out as a checkout, so that the job runs the same command as anybody. The manifest holds the hash of every
file, the rows of every table, and what trainings from it are called (`inputs`); the job checks all of it before it
trains, and its results name the manifest that they were made from.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from recipes.distillation.parquet import row_counts
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import RECIPES, ROOT, Recipe, recipe_path, resolve
from recipes.recipe.markers import file_table
from recipes.recipe.typed_yaml import read_yaml
from t2i_judge.errors import UserError
from t2i_judge.files import write_atomic
from t2i_judge.inputs.places import check_places
from t2i_judge.wording import counted

MANIFEST = "manifest.json"
_NOT_CODE = shutil.ignore_patterns("__pycache__", "*.pyc")


def pack(folder: Path, recipe: Recipe, name: str, inputs: Mapping[str, str]) -> str:
    """Fill `folder` with everything that the job needs; returns the digest of its manifest.

    Args:
        folder: an empty one; large files of the build are linked, not copied.
        recipe: that was built.
        name: of the recipe, or its file.
        inputs: "judge" and, where the recipe has one, "direct" -> digest of all that this training depends on.

    Raises:
        UserError: the data is not built, the wheel cannot be, or a link in the base leads out of it.
    """
    build = BuildFolder(recipe.folder)
    rows = row_counts(build.distill)
    if not rows or not build.teacher.is_file():
        raise UserError(
            f"The folder build/{recipe.name} has no data for the job", "A job is trained on data that is built here",
            f"Run python -m recipes.build_dataset --recipe {name} first",
        )  # fmt: skip
    build_wheel(folder)
    shutil.copytree(RECIPES, folder / "recipes", ignore=_NOT_CODE)
    shutil.copyfile(RECIPES.parent / "constraints.txt", folder / "constraints.txt")
    if (base := resolve(recipe.base.model)).is_dir():
        check_places(base)
        shutil.copytree(base, folder / recipe.base.model)
    write_atomic(folder / "recipe.yaml", yaml.safe_dump(read_yaml(recipe_path(name)), sort_keys=False))
    for path in build.learnt_from():
        link = folder / "build" / recipe.name / path.relative_to(build.root)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    manifest = {"recipe": recipe.name, "inputs": dict(inputs), "rows": rows, "files": file_table(folder)}
    write_atomic(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return digest_of(folder / MANIFEST)


def digest_of(manifest: Path) -> str:
    """SHA-256 of a manifest: which package it is."""
    return hashlib.sha256(manifest.read_bytes()).hexdigest()


def build_wheel(folder: Path) -> Path:
    """The library's wheel, built into `folder`. Raises `UserError` where it cannot be built."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if run.returncode or not wheels:
        why = (run.stderr.strip() or "No wheel was written").splitlines()[-1]
        raise UserError("The wheel cannot be built", why, "Run `make setup` in a checkout")
    return wheels[0]


def check_arrival(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """The manifest of a package, once all that it names is there as it was sent; called by the job.

    Raises:
        UserError: this is no package, a file is missing, changed or more than was sent, or rows are missing.
    """
    again = "Send the job again: python -m recipes.train --jobs ..."
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"There is no {MANIFEST} here", str(error), "Use --push-to only in a job; start one with --jobs"
        ) from error
    wrong = [path for path, entry in manifest["files"].items() if not _as_sent(folder, path, entry)]
    distill = BuildFolder(folder / "build" / manifest["recipe"]).distill
    here = {path.relative_to(folder).as_posix() for path in distill.rglob("*.parquet")}
    wrong += sorted(here - manifest["files"].keys())
    if wrong or manifest["recipe"] != recipe.name:
        raise UserError(f"{counted(len(wrong), 'file')} did not arrive as sent ({', '.join(wrong[:5])})", "", again)
    if row_counts(distill) != manifest["rows"]:
        raise UserError(f"The data has the rows {row_counts(distill)}", f"{manifest['rows']} were sent", again)
    return manifest


def _as_sent(folder: Path, path: str, entry: Mapping[str, Any]) -> bool:
    file = folder / path
    return file.is_file() and file_table(folder, [file])[path] == entry
