"""Whatever goes wrong with any call of a push: nothing is lost or doubled, one line says so, the next run ends it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipes.repositories import repositories
from t2i_judge.errors import UserError
from tests.hub.conftest import loopback
from tests.hub.server import Fault, Running
from tests.hub.test_push import commits, contents, on_hub, push
from tests.recipes.staged import StagedRelease

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
# "It is there already" is what was wanted; and the last release's manifest, asked for by commit, may be in the cache.
HARMLESS = {("tag", 409), ("add item", 409), *(("manifest head", kind) for kind in (402, 403, 409, 412, 500, "drop"))}
ADVICE = "again|set HF_TOKEN|use a token|is needed|check"
REFUSALS = (401, 402, 403, 404, 409, 412)
HICCUPS = (429, 500, "timeout", "drop", "drop_after")


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a silent server."""
    monkeypatch.setattr("recipes.hub.SILENCE_SECONDS", 1.0)


@pytest.fixture(scope="session")
def others(staged_once: StagedRelease, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Hub where the rest of the release is already: what is left is the model, and the mark."""
    root = tmp_path_factory.mktemp("others")
    with loopback(root):
        push(staged_once).run(("dataset", "metric", "space"))
    return root


@pytest.fixture
def running(others: Path, tmp_path: Path) -> Iterator[Running]:
    """A Hub of the test's own in that state."""
    shutil.copytree(others, tmp_path / "hub")
    with loopback(tmp_path / "hub") as found:
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
