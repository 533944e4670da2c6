"""A staged release of a synthetic build, shared by the tests that only read it, and one for those that change it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.recipes.staged import StagedRelease, stage_synthetic


@pytest.fixture(scope="session")
def staged_once(tmp_path_factory: pytest.TempPathFactory) -> StagedRelease:
    """A staged release, shared: read only."""
    return stage_synthetic(tmp_path_factory.mktemp("staged"))


@pytest.fixture
def staged(staged_once: StagedRelease, tmp_path: Path) -> StagedRelease:
    """A staged release of the test's own."""
    shutil.copytree(staged_once.stage, tmp_path / "release")
    return StagedRelease(staged_once.recipe, tmp_path / "release", staged_once.build)
