"""Hubs that lack something: the release goes on, says what is missing in a line, and is read back all the same."""

from __future__ import annotations

import importlib.util
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from recipes.hub.client import Hub
from recipes.hub.repositories import PARTS, Repository, repositories
from recipes.publish import verify
from recipes.publish.push import Push
from recipes.publish.stage import stage_release
from recipes.recipe.markers import Marker
from t2i_judge.errors import UserError
from tests.loopback_hub import client_of, loopback
from tests.recipes.publish.test_metric_doors import LOAD, result
from tests.recipes.publish.test_push import SENDING, on_hub, restage
from tests.recipes.staged import StagedRelease, copied, slim_spaces
from tests.shared import shared

MISSING = ("This Hub does not list tags", "This Hub does not support tags", "This Hub does not support Collections")
COMMIT = re.compile(r"[0-9a-f]{40}")


@pytest.fixture(scope="session")
def mine(staged_once: StagedRelease, tmp_path_factory: pytest.TempPathFactory) -> StagedRelease:
    """Staged for `me`, with Spaces of a few files: read only."""
    folder = tmp_path_factory.mktemp("foreign")
    with slim_spaces(folder / "library"):
        return staged_for_me(staged_once, folder)


def staged_for_me(staged: StagedRelease, folder: Path) -> StagedRelease:
    stage = stage_release(staged.recipe, "1.0.0", "me", build=staged.build, stage=folder / "release")
    return StagedRelease(staged.recipe, stage, staged.build)


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What each door of `verify_hub` would be opened with; all of them open."""
    asked: dict[str, Any] = {}

    def door(name: str, kind: str, arguments: Any, offline: bool, base: Any = None) -> verify.Opening:
        asked[name] = arguments
        return verify.Opening(f"{name} ({kind})", True, "", 0.0, {})

    monkeypatch.setattr(verify, "open_door", door)
    return asked


def release(staged: StagedRelease, **options: Any) -> tuple[list[str], list[verify.Opening]]:
    """Push and read back; what was said, and what was seen."""
    said: list[str] = []
    push = Push(staged.recipe, staged.stage, "me", "v1.0.0", "hf_me", say=said.append, **options)
    arrived = push.run(PARTS)
    return said, list(verify.verify_hub(staged.recipe, staged.stage, Hub("me", "hf_me"), "v1.0.0", arrived))


@pytest.mark.parametrize("status", [404, 501])
def test_what_a_hub_lacks_is_a_line_each(mine: StagedRelease, tmp_path: Path, doors: Any, status: int) -> None:
    lacks = dict.fromkeys(("collections", "tags", "pull_requests"), status)
    with loopback(tmp_path / "hub", lacks=lacks) as running:
        said, seen = release(mine)
        assert all(opening.opened for opening in seen)
        text = "\n".join(said)
        assert "Run the command again" not in text and all(text.count(words) == 1 for words in MISSING), text
        names = repositories(mine.recipe)
        heads = {repository.name: on_hub(running, repository).resolve("main") for repository in names}
        assert all(f"{repository.id('me')}@{heads[repository.name][:8]}" in text for repository in names)
        assert doors[names.bench.name]["revision"] == heads[names.bench.name]
        assert doors[names.model.name]["name"] == f"hf:me/{names.model.name}@{heads[names.model.name]}"
        metric = doors[names.metric.name]
        assert metric["revision"] == heads[names.metric.name] and COMMIT.search(metric["judge"])
        before = len(running.hub.calls)
        release(mine)
        assert [call for call in running.hub.calls[before:] if SENDING.match(call)] == []


def test_a_part_of_a_release_is_not_complete_on_a_hub_without_tags(mine: StagedRelease, tmp_path: Path) -> None:
    mine, said = copied(mine, tmp_path / "release"), []
    with loopback(tmp_path / "hub", lacks={"tags": 404}):
        for version, parts, end in (
            ("1.0.0", PARTS, "v1.0.0 is complete"),
            ("1.0.1", ("model",), "has no v1.0.1 yet: the Collection is made later."),
            ("1.0.1", PARTS, "v1.0.1 is complete"),
        ):
            restage(mine, version)
            Push(mine.recipe, mine.stage, "me", f"v{version}", "hf_me", say=said.append).run(parts)
            assert said[-1].endswith(end)


def test_a_hub_that_does_not_read_by_tags_is_read_by_their_commits(
    mine: StagedRelease, tmp_path: Path, doors: Any
) -> None:
    with loopback(tmp_path / "hub", lacks={"tag_reads": 404}) as running:
        for _ in range(2):  # the second run compares with what the tag names
            said, seen = release(mine)
            assert all(opening.opened for opening in seen) and "is complete" in said[-1]
        files = [opening for opening in seen if opening.door.endswith(" files")]
        assert all("does not read by the tag" in opening.detail for opening in files) and len(files) == 5
        names = repositories(mine.recipe)
        head = on_hub(running, names.bench).resolve("main")
        assert doors[names.bench.name] == {"name": names.bench.id("me"), "revision": head}


def test_a_hub_that_has_it_all_is_read_by_tags(mine: StagedRelease, tmp_path: Path, doors: Any) -> None:
    with loopback(tmp_path / "hub"):
        _, seen = release(mine)
    names = repositories(mine.recipe)
    assert all(opening.opened for opening in seen) and "commit" not in " ".join(opening.detail for opening in seen)
    assert doors[names.metric.name]["revision"] == "synthetic-v1.0.0" and doors[names.metric.name]["judge"] is None
    assert doors[names.model.name]["name"].endswith("@v1.0.0")


def test_what_opened_on_a_hub_is_given_again_there_as_long_as_every_file_is_the_same(
    mine: StagedRelease, tmp_path: Path, doors: Any
) -> None:
    names, before = repositories(mine.recipe), Marker(tmp_path / "VERIFIED_HUB.json")
    both = names.bench, names.model

    def push() -> None:
        Push(mine.recipe, mine.stage, "me", "v1.0.0", "hf_me", say=lambda line: None).run(("dataset", "model"))

    def seen(*arrived: Repository) -> list[str]:
        """What was looked at; `doors` has those that were really opened."""
        doors.clear()
        hub = Hub("me", "hf_me")
        return [o.door for o in verify.verify_hub(mine.recipe, mine.stage, hub, "v1.0.0", arrived, before)]

    with loopback(tmp_path / "hub") as running:
        push()
        looked = seen(*both)
        assert len(looked) == 4 and len(doors) == 2
        assert seen(*both) == looked and not doors
        assert seen(names.model) == looked[1::2] and not doors, "a part of what opened before"
        bench = on_hub(running, names.bench)
        edit = [("add", "README.md", bench.blob(b"---\nlicense: mit\n---\nedited"))]
        edited = bench.commit("refs/heads/main", bench.resolve("main"), "edited", "other", edit)
        bench.git("tag", "--force", "v1.0.0", edited)
        assert seen(*both) == looked and len(doors) == 2, "a file is another"
    with loopback(tmp_path / "elsewhere"):
        push()
        assert seen(*both) == looked and len(doors) == 2, "another Hub"


@pytest.mark.parametrize("status", [404, 501])
def test_pull_requests_cannot_be_asked_of_a_hub_without(mine: StagedRelease, tmp_path: Path, status: int) -> None:
    with loopback(tmp_path / "hub", lacks={"pull_requests": status}) as running:
        with pytest.raises(UserError, match=r"does not support pull requests.*CREATE_PR"):
            release(mine, create_pr=True)
        bench = on_hub(running, repositories(mine.recipe).bench)
        assert len(bench.git("log", "--format=%s").decode().splitlines()) == 1, "main is left alone"


@pytest.mark.slow
def test_the_metric_opens_where_its_tag_cannot_be_read(staged_once: StagedRelease, tmp_path: Path) -> None:
    """By commit, without the package: the script finds its library at main, by its hash."""
    mine = staged_for_me(staged_once, tmp_path)
    with loopback(tmp_path / "hub", lacks={"tag_reads": 404}) as running:
        Push(mine.recipe, mine.stage, "me", "v1.0.0", "hf_me", say=lambda line: None).run(("metric",))
        head = on_hub(running, repositories(mine.recipe).metric).resolve("main")
        assert result(running, tmp_path, LOAD.format(options=f'revision="{head}"'))[0] == 0.8


def test_storage_tells_the_commit_to_clients_that_follow_redirects(tmp_path: Path) -> None:
    """huggingface_hub 1 takes another port for the same origin, and asks the storage about the file."""
    with loopback(tmp_path / "hub") as running:
        api = HfApi(running.endpoint, token="hf_me")
        api.create_repo("me/data", repo_type="dataset")
        commit = api.upload_file(
            path_or_fileobj=b"PAR1\0", path_in_repo="a.parquet", repo_id="me/data", repo_type="dataset"
        )
        asked = urllib.request.Request(f"{running.endpoint}/datasets/me/data/resolve/main/a.parquet", method="HEAD")
        with urllib.request.urlopen(asked) as answer:
            assert "/lfs/" in answer.url and answer.headers["X-Repo-Commit"] == commit.oid


def test_another_loopback_hub_takes_a_release(mine: StagedRelease, tmp_path: Path, doors: Any) -> None:
    """A server that is not ours and has no Collections."""
    spec = importlib.util.spec_from_file_location("mini_hub", shared("hub/mini_hub.py"))
    assert spec is not None and spec.loader is not None
    mini_hub = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mini_hub)
    endpoint, stop = mini_hub.start(tmp_path / "mini", users={"hf_me": "me"})
    try:
        with client_of(endpoint):
            for _ in range(2):
                said, seen = release(mine)
                assert all(opening.opened for opening in seen), seen
                assert said[-1] == "  This Hub does not support Collections: the release is complete without one."
        assert json.loads(json.dumps(doors)), "every door was asked"
    finally:
        stop()
