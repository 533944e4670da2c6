"""A staged release of a synthetic build, shared by the tests that only read it, and one for those that change it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes.staged import StagedRelease, copied, slim_spaces, stage_synthetic


@pytest.fixture(scope="session")
def staged_once(tmp_path_factory: pytest.TempPathFactory) -> StagedRelease:
    """A staged release, shared: read only."""
    return stage_synthetic(tmp_path_factory.mktemp("staged"))


@pytest.fixture(scope="session")
def slim_once(tmp_path_factory: pytest.TempPathFactory) -> StagedRelease:
    """One with next to nothing in metric and demo, for tests that copy or push it often; shared: read only."""
    folder = tmp_path_factory.mktemp("slim")
    with slim_spaces(folder / "library"):
        return stage_synthetic(folder)


@pytest.fixture
def staged(staged_once: StagedRelease, tmp_path: Path) -> StagedRelease:
    """A staged release of the test's own."""
    return copied(staged_once, tmp_path / "release")
