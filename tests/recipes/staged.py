"""A synthetic build, staged: what the tests of cards, gate, push and verification start from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from recipes.publish import stage_spaces
from recipes.publish.stage import stage_release
from recipes.recipe.config import Recipe
from tests.recipes.synthetic import synthetic_base, synthetic_build, synthetic_recipe


@dataclass(frozen=True)
class StagedRelease:
    """A recipe, the folder of its staged release, and the build it was made from."""

    recipe: Recipe
    stage: Path
    build: Path


def stage_synthetic(folder: Path, namespace: str | None = None, version: str = "1.0.0") -> StagedRelease:
    """Build and stage under `folder`."""
    build = folder / "build"
    if not build.is_dir():
        synthetic_build(build)
    recipe = synthetic_recipe(folder=synthetic_base(folder / "base"))
    stage = stage_release(recipe, version, namespace, build=build, stage=folder / "release")
    return StagedRelease(recipe, stage, build)


def copied(staged: StagedRelease, folder: Path) -> StagedRelease:
    """The same with a stage of its own at `folder`, which may be changed."""
    return StagedRelease(staged.recipe, Path(shutil.copytree(staged.stage, folder)), staged.build)


@contextmanager
def slim_spaces(folder: Path) -> Iterator[None]:
    """What is staged meanwhile has metric and demo of a few files, which cannot run: for tests that push often."""
    folder.mkdir(parents=True)
    for name in ("__init__.py", "t2i_judge.py", "metric.py"):
        shutil.copy(stage_spaces.LIBRARY / name, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_spaces, "LIBRARY", folder)
        patch.setattr(stage_spaces, "_SPACE_FILES", (".css",))
        yield
