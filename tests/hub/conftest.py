"""A staged release of a synthetic build, and a fresh loopback Hub a test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.hub.server import Running, start
from tests.recipes.staged import StagedRelease, stage_synthetic

USERS = {"hf_me": "me", "hf_other": "other", "hf_read": "me"}


@contextmanager
def loopback(root: Path, xet: bool = False) -> Iterator[Running]:
    """A Hub to which huggingface_hub of this process talks; nobody waits between tries."""
    import huggingface_hub
    from huggingface_hub import constants

    found = start(root, users=USERS, orgs={"team": ["me"]}, xet=xet)
    found.hub.readers.add("hf_read")
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants._HF_DEFAULT_ENDPOINT, found.endpoint)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", found.endpoint)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", not xet)
        patch.setattr("transformers.utils.hub._hf_api", None)  # it remembers the Hub of whoever asked first
        patch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
        huggingface_hub.utils.disable_progress_bars()
        huggingface_hub.close_session()
        yield found
    found.stop()
    huggingface_hub.close_session()


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
def running(tmp_path: Path) -> Iterator[Running]:
    """An empty loopback Hub."""
    with loopback(tmp_path / "hub") as found:
        yield found
