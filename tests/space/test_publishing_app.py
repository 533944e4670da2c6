"""Annotations of the Space as its owner runs it: it opens whatever the Hub says, and ends without losing any."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import httpx
import pytest

from annotation_store import AnnotationStore, FolderShelf
from annotations import VisitorRating
from recipes.loopback.hub.server import Fault
from recipes.performance.space import running_space
from tests.loopback_hub import loopback
from tests.waiting import eventually

pytestmark = pytest.mark.slow
GOOD = (VisitorRating("overall", None, 7.0, "well made"),)
NAME = "me/annotations"


@pytest.fixture
def disk(tmp_path):
    """A Space's disk with three forms that wait."""
    store = AnnotationStore(FolderShelf(tmp_path / "disk"))
    annotator, _ = store.enter("ann", None)
    for number in range(3):
        store.save(f"item-{number}", annotator, GOOD)
    return tmp_path / "disk"


def settings(hub, disk, benchmark, token: str, repository: str = NAME) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(disk.parent / "home"), "HF_TOKEN": token, "JUDGE": "tiny",
        "ANNOTATIONS": str(disk), "ANNOTATIONS_REPO": repository, "BENCHMARK": str(benchmark),
        "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def kept(url: str) -> str:
    config = httpx.get(f"{url}/config").json()
    [line] = [c["props"]["value"] for c in config["components"] if c["props"].get("elem_id") == "kept"]
    return line


def forms(hub) -> list[str]:
    from huggingface_hub import HfApi, hf_hub_download

    api, items = HfApi(endpoint=hub.endpoint, token="hf_me"), []
    for path in api.list_repo_files(NAME, repo_type="dataset"):
        if path.startswith("annotations/"):
            file = hf_hub_download(NAME, path, repo_type="dataset", token="hf_me", endpoint=hub.endpoint)
            items += [json.loads(line)["item"] for line in Path(file).read_text(encoding="utf-8").splitlines()]
    return sorted(items)


@pytest.mark.parametrize(
    ("token", "repository", "words"),
    [("hf_wrong", NAME, "token is missing, wrong or expired"), ("hf_me", "somebody/else", "may not write there")],
)
def test_a_wrong_token_or_repository_leaves_the_page_open(disk, benchmark_folder, tmp_path, token, repository, words):
    with (
        loopback(tmp_path / "hub") as hub,
        running_space(**settings(hub, disk, benchmark_folder, token, repository)) as (url, _, seconds),
    ):
        assert httpx.get(url).status_code == 200
        assert seconds < 240
        line = kept(url)
    assert re.search(
        f"cannot be written now: .*{words}.* On this Space.*s disk, to be published later: 3 of 3 forms", line
    )
    assert "Traceback" not in line


def test_sigterm_publishes_what_waits(disk, benchmark_folder, tmp_path):
    with loopback(tmp_path / "hub") as hub:
        hub.hub.faults.append(Fault("POST .*/commit/", 500, times=-1))
        with running_space(**settings(hub, disk, benchmark_folder, "hf_me")) as (_, process, _):
            assert eventually(lambda: any("/commit/" in call for call in hub.hub.calls))
            time.sleep(0.5)
            assert forms(hub) == []
            hub.hub.faults.clear()
            os.kill(process, signal.SIGTERM)
            assert eventually(lambda: len(forms(hub)) == 3)
        assert forms(hub) == ["item-0", "item-1", "item-2"]
