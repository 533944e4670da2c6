"""A staged release of a synthetic build, and a fresh loopback Hub a test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.server import Running, start
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


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A loopback Hub without Xet, to which huggingface_hub of this process talks; nobody waits between tries."""
    import huggingface_hub
    from huggingface_hub import constants

    found = start(tmp_path / "hub", users={"hf_me": "me", "hf_other": "other", "hf_read": "me"}, orgs={"team": ["me"]})
    found.hub.readers.add("hf_read")
    monkeypatch.setattr(constants, "ENDPOINT", found.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    huggingface_hub.close_session()
    yield found
    found.stop()
    huggingface_hub.close_session()
