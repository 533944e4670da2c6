"""Whatever goes wrong with any call of a push: nothing is lost or doubled, one line says so, the next run ends it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipes.hub.repositories import repositories
from recipes.loopback.hub.server import Fault, Running
from t2i_judge.errors import UserError
from tests.loopback_hub import loopback
from tests.recipes.publish.test_push import commits, contents, on_hub, push, restage
from tests.recipes.staged import StagedRelease, copied

pytestmark = pytest.mark.slow
# Every call that a push of the model makes, in order (checked below, so that no new one stays untested).
CALLS = {
    "whoami": r"GET /api/whoami-v2",
    "info": r"GET /api/models/me/[^/]+$",
    "create": r"POST /api/repos/create",
    "tree": r"GET /api/models/me/[^/]+/tree/",
    "validate": r"POST /api/validate-yaml",
    "preupload": r"POST /api/models/me/[^/]+/preupload/",
    "batch": r"POST /me/[^/]+\.git/info/lfs/objects/batch",
    "put": r"PUT /lfs/",
    "verify": r"POST /me/[^/]+\.git/info/lfs/objects/verify",
    "commit": r"POST /api/models/me/[^/]+/commit/",
    "manifest head": r"HEAD /me/[^/]+/resolve/",
    "manifest": r"GET /me/[^/]+/resolve/",
    "refs": r"GET /api/models/me/[^/]+/refs",
    "tag": r"POST /api/models/me/[^/]+/tag/",
    "collections": r"GET /api/collections$",
    "create collection": r"POST /api/collections$",
    "add item": r"POST /api/collections/.*/items",
}
# Calls that only a further release makes, or one by pull request, in order.
UPDATE_CALLS = {"collection": r"GET /api/collections/", "change item": r"PATCH /api/collections/.*/items/"}
REQUEST_CALLS = {
    "whoami": r"GET /api/whoami-v2",
    "list requests": r"GET /api/models/me/[^/]+/discussions",
    "preupload": r"POST /api/models/me/[^/]+/preupload/",
    "commit": r"POST /api/models/me/[^/]+/commit/",
}
# "It is there already" is what was wanted; and the last release's manifest, asked for by commit, may be in the cache.
HARMLESS = {("tag", 409), ("add item", 409), *(("manifest head", kind) for kind in (402, 403, 409, 412, 500, "drop"))}
ADVICE = "again|Set HF_TOKEN|Use a token|Use a PRO|Check"
REFUSALS = (401, 402, 403, 404, 409, 412)
HICCUPS = (429, 500, "timeout", "drop", "drop_after")
# An answer that is cut short, where the client reads it as JSON.
GARBLED = ("whoami", "info", "tree", "preupload", "batch", "commit", "refs", "collections", "create collection")


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a silent server."""
    monkeypatch.setattr("recipes.hub.client.SILENCE_SECONDS", 1.0)


@pytest.fixture
def staged(slim_once: StagedRelease, tmp_path: Path) -> StagedRelease:
    """A slim release of the test's own: each test pushes it some twenty times."""
    return copied(slim_once, tmp_path / "release")


@pytest.fixture(scope="session")
def others(slim_once: StagedRelease, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Hub where the rest of the release is already: what is left is the model, and the mark."""
    root = tmp_path_factory.mktemp("others")
    with loopback(root):
        push(slim_once).run(("dataset", "metric", "space"))
    return root


@pytest.fixture(scope="session")
def further(slim_once: StagedRelease, others: Path, tmp_path_factory: pytest.TempPathFactory) -> StagedRelease:
    """The next version, of which the rest is on the Hub already, in `hub` beside it, behind the whole first one."""
    folder = tmp_path_factory.mktemp("further")
    shutil.copytree(others, folder / "hub")
    staged = copied(slim_once, folder / "release")
    with loopback(folder / "hub"):
        push(staged).run(("model",))
        restage(staged, "1.0.1")
        push(staged, tag="v1.0.1").run(("dataset", "metric", "space"))
    return staged


@pytest.fixture
def running(others: Path, tmp_path: Path) -> Iterator[Running]:
    """A Hub of the test's own in that state."""
    with loopback(Path(shutil.copytree(others, tmp_path / "hub"))) as found:
        yield found


def run_to_the_end(staged: StagedRelease, running: Running) -> None:
    """The next run, without faults, ends the release; and it is all there once."""
    running.hub.faults.clear()
    push(staged).run(("model",))
    model = repositories(staged.recipe).model
    repo, folder = on_hub(running, model), model.folder(staged.stage)
    assert commits(repo) == ["Release v1.0.0", "initial commit"]
    there = contents(repo, "v1.0.0")
    assert all(path.relative_to(folder).as_posix() in there for path in folder.rglob("*") if path.is_file())
    collection = (running.hub.root / "collections.json").read_text()
    assert collection.count('"type": "model"') == 1 and collection.count('"slug"') == 1


@pytest.mark.parametrize("kind", [*REFUSALS, *HICCUPS])
def test_a_further_release_survives_it_too(further: StagedRelease, tmp_path: Path, kind) -> None:
    """The entries of the Collection are brought from one release to the next, the model's last."""
    hub = Path(shutil.copytree(further.stage.with_name("hub"), tmp_path / "hub"))
    with loopback(hub) as running:
        for call, pattern in UPDATE_CALLS.items():
            running.hub.faults[:] = [Fault(pattern, kind, times=-1)]
            with pytest.raises(UserError) as caught:
                push(further, tag="v1.0.1").run(("model",))
            assert "\n" not in str(caught.value) and re.search(ADVICE, str(caught.value)), (call, caught.value)
            assert notes(running)[-1] == ("model", "Release v1.0.0"), "not marked before all of it is there"
        running.hub.faults.clear()
        push(further, tag="v1.0.1").run(("model",))
        assert [note for _, note in notes(running)] == ["Release v1.0.1"] * 5
        model = on_hub(running, repositories(further.recipe).model)
        assert commits(model) == ["Release v1.0.1", "Release v1.0.0", "initial commit"]


def notes(running: Running) -> list[tuple[str, str]]:
    """(kind, note) of every entry of the one Collection."""
    [collection] = json.loads((running.hub.root / "collections.json").read_text()).values()
    return [(item["type"], item["note"]["text"]) for item in collection["items"]]


@pytest.mark.parametrize("kind", [*REFUSALS, *HICCUPS])
def test_a_pull_request_survives_it_too(staged: StagedRelease, running: Running, kind) -> None:
    for call, pattern in REQUEST_CALLS.items():
        running.hub.faults[:] = [Fault(pattern, kind, times=-1)]
        try:
            push(staged, create_pr=True).run(("model",))
        except UserError as error:
            assert "\n" not in str(error) and re.search(ADVICE, str(error)), (call, error)
        else:
            assert (call, kind) in {("commit", "drop_after")}, f"{kind} at {call} went unnoticed"
    running.hub.faults.clear()
    push(staged, create_pr=True).run(("model",))
    repo = on_hub(running, repositories(staged.recipe).model)
    assert len(repo.load()["discussions"]) == 1 and "judge.json" in contents(repo, "refs/pr/1")
    assert commits(repo) == ["initial commit"]


def test_full_storage_is_not_called_a_matter_of_rights() -> None:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    from recipes.hub.client import explain

    words = "Private repository storage limit reached, please upgrade your plan to increase your private storage limit."
    error = HfHubHTTPError(words, response=httpx2.Response(403, request=httpx2.Request("POST", "http://h")))
    line = str(explain(error, "me/t2i-judge-x", "send"))
    assert "The storage there is full" in line and "upgrade the plan" in line and "token" not in line


@pytest.mark.parametrize(("kind", "advice"), [(401, "Set HF_TOKEN"), (403, "write access"), (404, "Check HF_ENDPOINT")])
def test_xet_refusals_are_told_like_the_others(staged: StagedRelease, tmp_path: Path, kind: int, advice: str) -> None:
    """hf_xet asks for its own token, and has the status of a refusal in its text only."""
    with loopback(tmp_path / "xet", xet=True) as running:
        running.hub.faults.append(Fault("xet-write-token", kind, times=-1))
        with pytest.raises(UserError, match=rf"Cannot send me/t2i-judge-synthetic \({kind}\).*{advice}") as caught:
            push(staged).run(("model",))
        assert "\n" not in str(caught.value)
        running.hub.faults.clear()
        push(staged).run(("model",))
        assert commits(on_hub(running, repositories(staged.recipe).model)) == ["Release v1.0.0", "initial commit"]


def test_the_list_of_calls_is_complete(staged: StagedRelease, running: Running) -> None:
    before = len(running.hub.calls)
    push(staged).run(("model",))
    unknown = {
        call
        for call in running.hub.calls[before:]
        if not any(re.search(pattern, call) for pattern in CALLS.values()) and "/api/models/" in call
    }
    assert unknown == set()


@pytest.mark.parametrize("call", CALLS)
def test_a_hiccup_is_got_over(staged: StagedRelease, running: Running, call: str) -> None:
    for kind in HICCUPS:
        running.hub.faults.append(Fault(CALLS[call], kind, headers={"Retry-After": "0"}))
    try:
        push(staged).run(("model",))
    except UserError as error:  # five in a row are more than most calls survive: then it is one line
        assert "\n" not in str(error) and str(error).rstrip(".").endswith("nothing is sent twice")
    run_to_the_end(staged, running)


@pytest.mark.parametrize("call", GARBLED)
def test_an_answer_cut_short_is_asked_for_again(staged: StagedRelease, running: Running, call: str) -> None:
    running.hub.faults.append(fault := Fault(CALLS[call], "garbled"))
    push(staged).run(("model",))
    assert fault.times == 0
    run_to_the_end(staged, running)


@pytest.mark.parametrize("kind", [*REFUSALS, 500, "drop"])
def test_what_stays_refused_is_one_line(staged: StagedRelease, running: Running, kind) -> None:
    for call, pattern in CALLS.items():
        fault = Fault(pattern, kind, times=-1)
        running.hub.faults[:] = [fault]
        try:
            push(staged).run(("model",))
        except UserError as error:
            text = str(error)
            assert "\n" not in text and len(text) < 700, (call, text)
            assert re.search("me|t2i-judge", text) and re.search(ADVICE, text), (call, text)
        else:
            assert fault.times == -1 or (call, kind) in HARMLESS, f"{kind} at {call} went unnoticed"
    run_to_the_end(staged, running)
