"""What a push promises, against a loopback Hub over real HTTP with the real client."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recipes.hub.client import Hub, git_sha1
from recipes.hub.repositories import PARTS, Repository, repositories
from recipes.loopback.hub.repo import Repo
from recipes.loopback.hub.server import TIMEOUT_SECONDS, Fault, Running
from recipes.publish import gate, push_plan
from recipes.publish.manifest import write_manifest
from recipes.publish.push import Push
from recipes.publish.push_plan import plan, print_plan
from recipes.recipe.markers import sha256
from t2i_judge.errors import UserError
from tests.recipes.staged import StagedRelease, copied

SENDING = re.compile(r"(POST .*/(commit/|preupload/|objects/batch)|PUT )")


def push(staged: StagedRelease, namespace: str = "me", token: str = "hf_me", **options) -> Push:
    """A push that never waits and keeps what it says."""
    said: list[str] = []
    options.setdefault("tag", "v1.0.0")
    made = Push(
        staged.recipe, staged.stage, namespace, token=token, say=said.append, sleep=lambda seconds: None, **options
    )
    made.said = said  # type: ignore[attr-defined]
    return made


def on_hub(running: Running, repository: Repository, namespace: str = "me") -> Repo:
    return Repo(running.hub, repository.kind, repository.id(namespace))


def commits(repo: Repo, ref: str = "main") -> list[str]:
    return repo.git("log", "--format=%s", ref).decode().splitlines()


def contents(repo: Repo, ref: str = "main") -> dict[str, str]:
    """Path -> SHA-256 of the content, at a ref."""
    import hashlib

    files = [entry for entry in repo.entries(repo.resolve(ref), recursive=True) if entry["type"] == "file"]
    return {entry["path"]: hashlib.sha256(repo.read(entry)).hexdigest() for entry in files}


def restage(staged: StagedRelease, version: str = "1.0.1") -> None:
    """Write the stage's manifests anew after a test has changed files, as another version."""
    record = json.loads((staged.stage / "manifest.json").read_text())["record"]
    record["release"]["version"] = version
    write_manifest(staged.stage, record, repositories(staged.recipe), "test")


@pytest.fixture
def staged(slim_once: StagedRelease, tmp_path: Path) -> StagedRelease:
    """A slim release of the test's own: what a push promises, it promises of few files as of many."""
    return copied(slim_once, tmp_path / "release")


def test_everything_arrives_once_and_a_second_run_sends_nothing(staged_once: StagedRelease, running: Running) -> None:
    staged = staged_once  # all files of metric and demo
    arrived = push(staged).run(PARTS)
    assert arrived == tuple(repositories(staged.recipe))
    for repository in arrived:
        repo, folder = on_hub(running, repository), repository.folder(staged.stage)
        here = {p.relative_to(folder).as_posix(): sha256(p) for p in folder.rglob("*") if p.is_file()}
        there = contents(repo, "synthetic-v1.0.0" if repository.shared else "v1.0.0")
        assert {path: there[path] for path in here} == here
        assert set(there) - set(here) <= {".gitattributes"}
        assert commits(repo) == ["Release v1.0.0", "initial commit"]
    collection = next(iter(json.loads((running.hub.root / "collections.json").read_text()).values()))
    assert [item["note"]["text"] for item in collection["items"]] == ["Release v1.0.0"] * 5
    assert collection["items"][-1]["type"] == "model", "the model's entry is the mark of a complete release"
    before = len(running.hub.calls)
    push(staged).run(PARTS)
    assert [call for call in running.hub.calls[before:] if SENDING.match(call)] == []
    assert [call for call in running.hub.calls[before:] if call.startswith(("POST", "PATCH", "DELETE"))] == []


def test_tags_come_after_all_commits_and_the_mark_comes_last(staged: StagedRelease, running: Running) -> None:
    push(staged).run(PARTS)
    writes = [call for call in running.hub.calls if re.match(r"POST .*(/commit/|/tag/|/items)", call)]
    kinds = [re.search(r"/(commit|tag|items)", call)[1] for call in writes]
    assert kinds == ["commit"] * 5 + ["tag"] * 5 + ["items"] * 5


def test_an_update_sends_what_changed_and_deletes_only_our_own(staged: StagedRelease, running: Running) -> None:
    push(staged).run(("model",))
    model = repositories(staged.recipe).model
    folder, repo = model.folder(staged.stage), on_hub(running, model)
    main = repo.resolve("main")
    repo.commit("refs/heads/main", main, "a picture", "other", [("add", "thanks.txt", repo.blob(b"thank you"))])
    (folder / "judge.json").write_text('{"name": "tiny", "revision": "new"}')
    (folder / "base" / "config.json").unlink()
    restage(staged)
    found = plan(Hub("me", "hf_me"), model, folder)
    assert (found.added, found.deleted) == ((), ("base/config.json",))
    assert set(found.changed) == {"judge.json", "manifest.json"}
    push(staged, tag="v1.0.1").run(("model",))
    there = contents(repo)
    assert "thanks.txt" in there and "base/config.json" not in there
    assert there["judge.json"] == sha256(folder / "judge.json")
    assert commits(repo) == ["Release v1.0.1", "a picture", "Release v1.0.0", "initial commit"]
    assert "base/config.json" in contents(repo, "v1.0.0"), "an old release stays as it was"


def test_a_tag_that_is_out_never_moves(staged: StagedRelease, running: Running) -> None:
    push(staged).run(("model",))
    (repositories(staged.recipe).model.folder(staged.stage) / "judge.json").write_text("{}")
    restage(staged, "1.0.0")
    with pytest.raises(UserError, match=r"already has a release v1\.0\.0 with other files.*Use a higher VERSION"):
        push(staged).run(("model",))
    assert commits(on_hub(running, repositories(staged.recipe).model)) == ["Release v1.0.0", "initial commit"]


def test_part_of_a_release_is_not_marked_complete(staged: StagedRelease, running: Running) -> None:
    made = push(staged)
    made.run(("dataset",))
    assert not (running.hub.root / "collections.json").exists()
    assert "the Collection is made later" in made.said[-1]
    push(staged).run(("model", "metric", "space"))
    assert (running.hub.root / "collections.json").exists()


def test_private_repositories_stay_private(staged: StagedRelease, running: Running) -> None:
    push(staged, private=True).run(("model",))
    model = on_hub(running, repositories(staged.recipe).model)
    assert model.load()["private"]
    again = push(staged)
    again.run(("model",))
    assert model.load()["private"]
    assert any("private on the Hub, and stays private" in line for line in again.said)


def test_a_private_release_is_not_pushed_into_a_public_repository(staged: StagedRelease, running: Running) -> None:
    push(staged).run(("model",))
    with pytest.raises(UserError, match="is public"):
        push(staged, private=True).run(("model",))


def test_organisations_and_wrong_tokens(staged: StagedRelease, running: Running) -> None:
    push(staged, namespace="team").run(("model",))
    assert on_hub(running, repositories(staged.recipe).model, "team").exists
    with pytest.raises(UserError, match="other cannot push to me"):
        push(staged, token="hf_other").run(("model",))
    with pytest.raises(UserError, match=r"may only read.*write access"):
        push(staged, token="hf_read").run(("model",))
    with pytest.raises(UserError, match=r"\(401\).*Set HF_TOKEN"):
        push(staged, token="hf_wrong").run(("model",))


def test_a_space_that_must_be_paid_for_is_left_out_in_one_line(staged: StagedRelease, running: Running) -> None:
    running.hub.free_gradio = False
    made = push(staged)
    arrived = made.run(PARTS)
    names = repositories(staged.recipe)
    assert arrived == (names.bench, names.distill, names.model, names.metric)
    line = next(line for line in made.said if "left out" in line)
    assert "PRO" in line and "\n" not in line
    collection = next(iter(json.loads((running.hub.root / "collections.json").read_text()).values()))
    assert len(collection["items"]) == 4 and collection["items"][-1]["type"] == "model"


def test_pull_requests_leave_main_alone_and_are_opened_once(staged: StagedRelease, running: Running) -> None:
    push(staged, create_pr=True).run(("model",))
    push(staged, create_pr=True).run(("model",))
    repo = on_hub(running, repositories(staged.recipe).model)
    assert commits(repo) == ["initial commit"]
    assert len(repo.load()["discussions"]) == 1
    assert "judge.json" in contents(repo, "refs/pr/1")
    assert not repo.git("tag").strip() and not (running.hub.root / "collections.json").exists()


def test_an_interrupted_pull_request_is_gone_on_with(staged: StagedRelease, running: Running) -> None:
    """A request that was opened and never filled is filled; one of the same title by somebody else is left alone."""
    from huggingface_hub import HfApi

    model = repositories(staged.recipe).model
    HfApi(token="hf_me").create_repo(model.id("me"))
    for token in ("hf_other", "hf_me"):
        HfApi(token=token).create_pull_request(model.id("me"), "Release v1.0.0")
    push(staged, create_pr=True).run(("model",))
    repo = on_hub(running, model)
    assert len(repo.load()["discussions"]) == 2, "no third one"
    assert "judge.json" not in contents(repo, "refs/pr/1") and "judge.json" in contents(repo, "refs/pr/2")
    (model.folder(staged.stage) / "judge.json").write_text("{}")
    restage(staged)
    push(staged, create_pr=True, tag="v1.0.1").run(("model",))
    assert len(repo.load()["discussions"]) == 3, "another release is another request"
    assert commits(repo) == ["initial commit"]


def test_a_stranger_may_open_a_pull_request(staged: StagedRelease, running: Running) -> None:
    push(staged).run(("model",))
    (repositories(staged.recipe).model.folder(staged.stage) / "judge.json").write_text("{}")
    restage(staged)
    for _ in range(2):
        push(staged, token="hf_other", tag="v1.0.1", create_pr=True).run(("model",))
    repo = on_hub(running, repositories(staged.recipe).model)
    assert commits(repo) == ["Release v1.0.0", "initial commit"]
    assert commits(repo, "refs/pr/1")[0] == "Release v1.0.1"


def test_a_member_who_may_only_read_is_told_at_once(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub("team", "hf_me")
    assert hub.account()["name"] == "me"
    told = {"name": "me", "orgs": [{"name": "team", "roleInOrg": "read"}], "auth": {"accessToken": {"role": "write"}}}
    monkeypatch.setattr(hub.api, "whoami", lambda: told)
    with pytest.raises(UserError, match=r"me may only read in team.*Ask an admin"):
        hub.account()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 2.0),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "soon"}, 2.0),
        ({"Retry-After": "9999"}, 300.0),
        ({"RateLimit": '"api";r=0;t=55', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}, 56.0),
        ({"RateLimit": '"api";r=9;t=55', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}, 2.0),
    ],
)
def test_the_hub_is_given_the_time_that_it_asks_for(headers: dict[str, str], seconds: float) -> None:
    import httpx2

    slept: list[float] = []
    error = RuntimeError("429")
    error.response = httpx2.Response(429, headers=headers)  # type: ignore[attr-defined]
    Hub("me", None, slept.append).wait(2, error)
    assert slept == [seconds]


def test_a_token_is_in_no_repr(staged: StagedRelease) -> None:
    assert "hf_me" not in repr(push(staged))


def test_simulated_data_never_replaces_real_data(staged: StagedRelease, running: Running, monkeypatch) -> None:
    """Named by repository; what is left out of the push (ONLY=) or has nothing to lose is no finding."""
    assert gate._in_the_way in gate.CHECKS
    monkeypatch.setattr(gate, "CHECKS", (gate._in_the_way,))  # the others read every file, each time
    monkeypatch.setenv("HF_TOKEN", "hf_me")
    names = repositories(staged.recipe)
    push(staged).run(("metric", "model"))

    def found(*pushed: Repository) -> list[str]:
        findings = gate.check_release(staged.recipe, staged.stage, (), "me", pushed or None)
        return [finding.where for finding in findings if finding.check == "replaces_real"]

    def rewrite(repository: Repository, card: str) -> None:
        repo = on_hub(running, repository)
        repo.commit(
            "refs/heads/main", repo.resolve("main"), "real", "me", [("add", "README.md", repo.blob(card.encode()))]
        )

    on_hub(running, names.demo).create({"private": False, "sdk": "gradio"}, "me")
    assert found() == [], "simulated may follow simulated; a Space that was just made has nothing to lose"
    rewrite(names.metric, "---\ntags: [evaluate, metric]\n---\n")
    rewrite(names.model, "---\ntags: [unclosed\n---\n")
    assert found() == [names.model.name, names.metric.name]
    assert found(names.bench, names.metric) == [names.metric.name]
    rewrite(names.metric, "---\nsdk: static\n---\nno tags at all")
    assert found(names.bench, names.metric) == [names.metric.name] and found(names.bench, names.demo) == []


def test_a_space_of_another_sdk_in_the_way(staged: StagedRelease, running: Running) -> None:
    metric = on_hub(running, repositories(staged.recipe).metric)
    metric.create({"private": False, "sdk": "docker"}, "me")
    with pytest.raises(UserError, match="is a docker Space, not a static one"):
        push(staged).run(("metric",))
    assert commits(metric) == ["initial commit"]


def test_a_repository_of_another_type_in_the_way(staged: StagedRelease, running: Running, monkeypatch) -> None:
    made = push(staged)
    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", lambda *a, **k: _Url("dataset"))
    with pytest.raises(UserError, match="is a dataset, not a model"):
        made.run(("model",))


class _Url:
    def __init__(self, kind: str) -> None:
        self.repo_type = kind


def test_somebody_elses_commit_in_between_is_never_overwritten(staged, running, monkeypatch) -> None:
    model = repositories(staged.recipe).model
    repo, upload = on_hub(running, model), Push._upload

    def meanwhile(self, found):
        sha = repo.commit("refs/heads/main", repo.resolve("main"), "theirs", "other",
                          [("add", "README.md", repo.blob(b"---\nlicense: mit\n---\ntheirs"))])  # fmt: skip
        assert sha
        return upload(self, found)

    monkeypatch.setattr(Push, "_upload", meanwhile)
    with pytest.raises(UserError, match=r"\(412\).*Somebody else committed.*Look at that commit"):
        push(staged).run(("model",))
    assert commits(repo) == ["theirs", "initial commit"]
    monkeypatch.setattr(Push, "_upload", upload)
    push(staged).run(("model",))
    assert commits(repo) == ["Release v1.0.0", "theirs", "initial commit"], "their commit stays in the history"


def test_a_commit_that_meets_another_one_is_tried_again(staged: StagedRelease, running: Running) -> None:
    running.hub.faults.append(Fault("POST .*/commit/", 409, times=2))
    push(staged).run(("model",))
    assert commits(on_hub(running, repositories(staged.recipe).model)) == ["Release v1.0.0", "initial commit"]


def test_a_file_that_changes_during_the_upload_is_noticed(staged, running, monkeypatch) -> None:
    from huggingface_hub import HfApi

    model, upload = repositories(staged.recipe).model, HfApi.upload_folder

    def changing(self, **options):
        (model.folder(staged.stage) / "judge.json").write_text('{"name": "another"}')
        return upload(self, **options)

    monkeypatch.setattr(HfApi, "upload_folder", changing)
    with pytest.raises(UserError, match=r"judge\.json is not what the manifest says"):
        push(staged).run(("model",))
    assert not on_hub(running, model).git("tag").strip(), "nothing is tagged that was not checked"


def test_a_card_that_the_hub_rejects_is_named(staged: StagedRelease, running: Running) -> None:
    metric = repositories(staged.recipe).metric
    card = metric.folder(staged.stage) / "README.md"
    card.write_text(card.read_text().replace("colorFrom: indigo", "colorFrom: teal"))
    restage(staged, "1.0.0")
    with pytest.raises(UserError, match=r"rejects README\.md of me/t2i_judge.*colorFrom.*Correct that file") as caught:
        push(staged).run(("metric",))
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line(staged, running, monkeypatch) -> None:
    import errno

    def full(self, **options):
        raise OSError(errno.ENOSPC, "No space left on device", "/some/where")

    monkeypatch.setattr("huggingface_hub.HfApi.upload_folder", full)
    with pytest.raises(UserError, match=r"The disk is full.*Free some space"):
        push(staged).run(("model",))


def test_kill_9_in_the_middle_of_a_push(staged: StagedRelease, running: Running, tmp_path: Path) -> None:
    running.hub.faults.append(Fault("POST .*/models/.*/commit/", "timeout"))
    script = (
        "import pickle, sys\nfrom pathlib import Path\nfrom recipes.publish.push import Push\n"
        "from tests.recipes.synthetic import synthetic_recipe\n"
        f"Push(synthetic_recipe(), Path({str(staged.stage)!r}), 'me', 'v1.0.0', 'hf_me').run(('dataset', 'model'))\n"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": running.endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "hf"),
    }
    child = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 300
    while not any("/commit/" in call and "/models/" in call for call in running.hub.calls):
        assert time.monotonic() < deadline and child.poll() is None, child.stdout.read().decode()
        time.sleep(0.02)
    child.kill()
    child.wait()
    time.sleep(TIMEOUT_SECONDS + 0.2)  # the server lets go of the request
    before = len(running.hub.calls)
    push(staged).run(("dataset", "model"))
    for repository in list(repositories(staged.recipe))[:3]:
        assert commits(on_hub(running, repository)) == ["Release v1.0.0", "initial commit"]
    again = [call for call in running.hub.calls[before:] if re.match(r"(PUT|POST .*/commit/)", call)]
    assert again == [call for call in again if "/models/" in call], "what had arrived is not sent again"
    assert not [call for call in again if call.startswith("PUT")], "nor what was uploaded before the kill"


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(staged, running, capsys) -> None:
    print_plan(staged.stage, "me", ("model",), None)
    first = capsys.readouterr().out
    folder = repositories(staged.recipe).model.folder(staged.stage)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert f"A push would send {size:,} bytes." in first and "+ judge.json" in first
    assert not [call for call in running.hub.calls if not call.startswith(("GET", "HEAD"))]
    push(staged).run(("model",))
    print_plan(staged.stage, "me", ("model",), None)
    assert "A push would send 0 bytes." in capsys.readouterr().out


def test_a_dry_run_without_a_namespace_asks_nobody(staged, capsys) -> None:
    print_plan(staged.stage, None, ("model",), None)
    assert "NAMESPACE/t2i-judge-synthetic (new): 0 files unchanged" in capsys.readouterr().out


def test_a_name_on_the_hub_does_not_steer_the_terminal(staged, monkeypatch, capsys) -> None:
    strange = "old\x1b]0;owned\x07\x1b[2J\n+ new.txt"
    monkeypatch.setattr(push_plan, "plan", lambda hub, place, folder: push_plan.Plan(place, None, deleted=(strange,)))
    print_plan(staged.stage, None, ("model",), None)
    printed = capsys.readouterr().out
    assert "  - old\\x1b]0;owned" in printed
    assert all(line.isprintable() for line in printed.splitlines()) and "\n+ new" not in printed


def test_git_sha1_is_gits(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello\n")
    assert git_sha1(path) == subprocess.check_output(["git", "hash-object", str(path)]).decode().strip()


def test_the_stage_is_never_pushed_when_it_was_edited_by_hand(staged, running) -> None:
    shutil.copy(__file__, repositories(staged.recipe).model.folder(staged.stage) / "judge.json")
    with pytest.raises(UserError, match=r"judge\.json is not what the manifest says"):
        push(staged).run(("model",))
    assert commits(on_hub(running, repositories(staged.recipe).model)) == ["initial commit"]


@pytest.mark.parametrize("name", [".env", "notes.txt", "manifest.json"])
def test_a_file_that_the_gate_never_saw_is_never_pushed(staged: StagedRelease, running: Running, name: str) -> None:
    metric = repositories(staged.recipe).metric
    (metric.folder(staged.stage) / name).write_text("HF_TOKEN=secret\n")
    with pytest.raises(UserError, match=rf"{re.escape(name)} is not what the manifest says"):
        push(staged).run(("metric",))
    (metric.folder(staged.stage) / "metric.py").unlink()
    with pytest.raises(UserError, match="is not what the manifest says"):
        push(staged).run(("metric",))
    assert commits(on_hub(running, metric)) == ["initial commit"]
