"""Doors: each in a process of its own; the metric's is shut when its scores are not the judge's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recipes.distillation.parquet import row_counts
from recipes.hub.repositories import repositories
from recipes.publish import verify
from recipes.publish.base_files import BaseFiles
from recipes.publish.verify import DOORS, Opening, open_door, verify_stage
from recipes.recipe.config import load_recipe
from recipes.recipe.markers import Marker
from tests.recipes.hub_bases import write_minicpm
from tests.recipes.publish.test_push import restage
from tests.recipes.staged import StagedRelease
from tests.waiting import eventually

OTHER = [{"overall": 7.5}, {"overall": 2.0}]


def opened(staged: StagedRelease, monkeypatch: pytest.MonkeyPatch, judge: Any, metric: Any) -> dict[str, Opening]:
    """Door -> outcome of a stage whose judge and metric gave these scores by aspect, image by image."""

    def door(name: str, kind: str, arguments: Any, offline: bool, base: Any) -> Opening:
        found: dict[str, Any] = {}
        if kind == "judge":
            found = {"statuses": ["ok"] * len(judge), "scores": judge}
        if kind == "metric":
            found = {"result": {"scores": [], "judgements": [{"status": "ok", "scores": scores} for scores in metric]}}
        return Opening(kind, True, "", 0.0, found)

    monkeypatch.setattr(verify, "open_door", door)
    return {outcome.door: outcome for outcome in verify_stage(staged.recipe, staged.stage)}


def test_the_metric_agrees_with_the_judge(staged_once: StagedRelease, monkeypatch: pytest.MonkeyPatch) -> None:
    found = opened(
        staged_once, monkeypatch, [{"overall": 7.5}, {"overall": None}], [{"overall": 7.5}, {"overall": None}]
    )
    assert list(found) == ["manifest", "dataset", "judge", "metric", "space"]
    assert all(outcome.opened for outcome in found.values())


@pytest.mark.parametrize(
    "metric",
    [
        [{"overall": 7.5}, {"overall": 2.1}],
        [{"overall": 2.0}, {"overall": 7.5}],
        [{"overall": 7.5}, {"overall": None}],
        [{"overall": 7.5}],
        [{"overall": 7.5, "appearance": 1.0}, {"overall": 2.0}],
    ],
    ids=["another score", "another order", "a score less", "an image less", "an aspect more"],
)
def test_a_metric_with_other_scores_than_the_judges_is_shut(staged_once, monkeypatch, metric) -> None:
    found = opened(staged_once, monkeypatch, OTHER, metric)
    assert [door for door, outcome in found.items() if not outcome.opened] == ["metric"]
    assert str(metric) in found["metric"].detail and f"the judge itself gives {OTHER}" in found["metric"].detail


def test_a_dataset_with_other_rows_than_were_staged_is_shut(staged_once, monkeypatch) -> None:
    names = repositories(staged_once.recipe)
    rows = {
        names.bench.name: row_counts(names.bench.folder(staged_once.stage)),
        names.distill.name: {"default/train": 1},
    }

    def door(name: str, kind: str, arguments: Any, offline: bool, base: Any) -> Opening:
        return Opening(name, True, "", 0.0, {"rows": rows[name]} if kind == "dataset" else {})

    monkeypatch.setattr(verify, "open_door", door)
    shut = [outcome for outcome in verify_stage(staged_once.recipe, staged_once.stage) if not outcome.opened]
    assert [outcome.door for outcome in shut] == [names.distill.name]
    assert "where" in shut[0].detail and "were staged" in shut[0].detail


def test_a_stage_that_was_changed_does_not_open(staged: StagedRelease, monkeypatch: pytest.MonkeyPatch) -> None:
    (repositories(staged.recipe).model.folder(staged.stage) / "judge.json").write_text("{}")
    found = opened(staged, monkeypatch, OTHER, OTHER)["manifest"]
    assert not found.opened and "judge.json" in found.detail


def test_what_opened_once_is_given_again_until_anything_differs(staged, monkeypatch, capsys, tmp_path: Path) -> None:
    before, asked = Marker(tmp_path / "VERIFIED.json"), []

    def door(name: str, kind: str, arguments: Any, offline: bool, base: Any) -> Opening:
        asked.append(kind)
        return Opening(kind, True, f"seen behind {kind}", 9.0, {})

    def verified() -> list[Opening]:
        asked.clear()
        return list(verify_stage(staged.recipe, staged.stage, before))

    monkeypatch.setattr(verify, "open_door", door)
    first, kinds = verified(), list(asked)
    assert len(kinds) == 5 and "opened before" not in capsys.readouterr().out
    assert [replace(outcome, seconds=0.0) for outcome in first] == verified() and asked == []
    assert "The same files were opened before, with the same packages" in capsys.readouterr().out
    packages = [SimpleNamespace(name="torch", version="99")]
    for name, other in (("needed", lambda **_: packages), ("sha256", str), ("platform", SimpleNamespace(platform=str))):
        with monkeypatch.context() as patch:
            patch.setattr(verify, name, other)
            assert verified()[1:] and len(asked) == 5, name
    restage(staged, "1.0.1")
    assert verified() == first and len(asked) == 5


def test_what_was_changed_or_shut_is_not_given_again(staged, monkeypatch, tmp_path: Path) -> None:
    before, open_now, asked = Marker(tmp_path / "VERIFIED.json"), False, []

    def door(name: str, kind: str, arguments: Any, offline: bool, base: Any) -> Opening:
        asked.append(kind)
        return Opening(kind, open_now or kind != "judge", "", 0.0, {})

    monkeypatch.setattr(verify, "open_door", door)
    for _ in range(2):  # a door stays shut
        assert [o.door for o in verify_stage(staged.recipe, staged.stage, before) if not o.opened] == ["judge"]
    open_now = True
    assert all(outcome.opened for outcome in verify_stage(staged.recipe, staged.stage, before)) and len(asked) == 15
    (repositories(staged.recipe).model.folder(staged.stage) / "judge.json").write_text("{}")
    manifest, *_ = verify_stage(staged.recipe, staged.stage, before)
    assert not manifest.opened and len(asked) == 20


def test_a_door_that_stays_shut_says_why(tmp_path: Path) -> None:
    outcome = open_door("bench", "dataset", {"name": str(tmp_path / "nothing"), "revision": None}, offline=True)
    assert not outcome.opened and "nothing" in outcome.detail and "\n" not in outcome.detail


def test_a_door_knows_the_token_where_it_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A private release is opened with the token of `hf auth login` too; a staged one needs no secret."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_from_the_login")
    online, offline = (verify._environment("home", offline) for offline in (False, True))
    assert online["HF_TOKEN"] == "hf_from_the_login" and "HF_TOKEN" not in offline
    assert "OPENAI_API_KEY" not in online | offline and online["HF_HOME"] == "home"
    assert offline["HF_HUB_OFFLINE"] == "1" and "HF_HUB_OFFLINE" not in online


def test_a_door_writes_no_bytecode_into_the_stage(tmp_path: Path) -> None:
    """What Python would write beside the modules that a door imports is no part of the release."""
    (tmp_path / "staged.py").write_text("A = 1\n")
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import staged"]
    subprocess.run(command, env=verify._environment(str(tmp_path), offline=True), check=True)
    assert not (tmp_path / "__pycache__").exists()


def test_a_door_answers_or_says_its_error(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("A = 1\n")
    (tmp_path / "index.html").write_text("<p>hello</p>")
    (tmp_path / "README.md").write_text("---\nsdk: static\n---\n")
    command = [sys.executable, "-P", str(DOORS), "space", json.dumps({"folder": str(tmp_path)})]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, json.loads(run.stdout)) == (0, {"modules": 1, "page": 12})
    (tmp_path / "app.py").write_text("A = (\n")
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1 and run.stdout == "" and "SyntaxError" in run.stderr.strip().splitlines()[-1]


def test_a_door_leaves_nothing_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what the Space writes at its start, either, though it is killed."""
    space, temporary = tmp_path / "space", tmp_path / "tmp"
    space.mkdir()
    temporary.mkdir()
    (space / "README.md").write_text("---\nsdk: gradio\n---\n")
    (space / "app.py").write_text(
        "import os, tempfile\nfrom http.server import BaseHTTPRequestHandler, HTTPServer\n"
        "open(os.path.join(tempfile.mkdtemp(prefix='t2i-judge-examples-'), 'a.png'), 'w').close()\n"
        "class Page(BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n        self.send_response(200)\n        self.end_headers()\n"
        "        self.wfile.write(b'{}')\n"
        "HTTPServer(('127.0.0.1', int(os.environ['PORT'])), Page).serve_forever()\n"
    )
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    outcome = open_door("demo", "space", {"folder": str(space)}, offline=True)
    assert outcome.opened, outcome.detail
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("answer", "code"), [("{'rows': 1}", 0), ("1 / 0", 1)])
def test_threads_that_read_on_hold_no_door(root: Path, answer: str, code: int) -> None:
    """The process ends with the answer, whatever a stream that was left open still does."""
    script = (
        "import threading, time\nfrom recipes.publish import doors\ndef slow():\n"
        f"    threading.Thread(target=time.sleep, args=(600,)).start()\n    return {answer}\n"
        "doors.DOORS['slow'] = slow\ndoors.main('slow', '{}')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == code
    assert json.loads(run.stdout or "{}") == ({"rows": 1} if code == 0 else {})


@pytest.mark.slow
def test_real_scores_are_the_same_through_both_doors(smoke_release: Path, root: Path) -> None:
    """The direct baseline of the smoke recipe scores every image; another judge's scores shut the metric's door."""
    stage, direct = smoke_release.resolve(), f"direct+hf:{root / 'build' / 'smoke' / 'direct'}"
    names = repositories(load_recipe("smoke"))
    rows = {"bench": str(names.bench.folder(stage)), "split": "new_prompts", "bench_revision": None}
    metric = {"name": str(names.metric.folder(stage)), "revision": None, **rows}
    judged = open_door("model", "judge", {"name": direct, **rows}, offline=True)
    same = open_door("metric", "metric", {**metric, "judge": direct}, offline=True)
    other = open_door("metric", "metric", {**metric, "judge": f"hf:{names.model.folder(stage)}"}, offline=True)
    assert judged.opened and same.opened and other.opened, (judged.detail, same.detail, other.detail)
    assert all(scores["overall"] is not None for scores in judged.found["scores"])
    assert not list(stage.rglob("__pycache__"))
    assert verify._like_the_judge(same, [judged, same]).opened
    assert not verify._like_the_judge(other, [judged, other]).opened


def test_a_judge_that_fails_on_every_image_is_shut_unless_it_is_untrained(staged_once, monkeypatch) -> None:
    def door(name: str, kind: str, arguments: Any, offline: bool, base: Any) -> Opening:
        statuses = ["unparsable", "skipped"]
        judgements = [{"status": status, "scores": {}} for status in statuses]
        found: dict[str, Any] = {"judge": {"statuses": statuses, "scores": [{}, {}]}}.get(kind, {})
        return Opening(kind, True, "", 0.0, {"result": {"judgements": judgements}} if kind == "metric" else found)

    monkeypatch.setattr(verify, "open_door", door)
    monkeypatch.setattr(verify, "_like_the_stage", lambda outcome, folder: outcome)
    recipe = staged_once.recipe
    assert recipe.release.untrained  # it is the recipe of the tests
    trained = replace(recipe, release=replace(recipe.release, untrained=False))
    shut = {o.door: o.detail for o in verify_stage(trained, staged_once.stage) if not o.opened}
    assert list(shut) == ["judge", "metric"]
    assert shut["judge"] == "judges none of 2 images (1 unparsable, 1 skipped)"
    assert all(outcome.opened for outcome in verify_stage(recipe, staged_once.stage))


def test_one_image_that_is_judged_opens_the_door(staged_once, monkeypatch) -> None:
    scores = [{"overall": 7.5}, {"overall": None}]
    recipe = replace(staged_once.recipe, release=replace(staged_once.recipe.release, untrained=False))
    found = opened(StagedRelease(recipe, staged_once.stage, staged_once.build), monkeypatch, scores, scores)
    assert all(outcome.opened for outcome in found.values())


def test_a_large_base_stands_behind_one_door_at_a_time(staged_once, monkeypatch) -> None:
    at_once, most = 0, []

    def door(*arguments: Any) -> Opening:
        nonlocal at_once
        at_once += 1
        most.append(at_once)
        time.sleep(0.05)
        eventually(lambda: max(most) >= expected)
        at_once -= 1
        return Opening(arguments[1], True, "", 0.0, {})

    monkeypatch.setattr(verify, "open_door", door)
    for size, expected in ((16_000_000_000, 1), (1_000_000, verify.AT_ONCE)):
        most.clear()
        monkeypatch.setattr(verify, "base_files", lambda *_, size=size: SimpleNamespace(size=size))
        list(verify_stage(staged_once.recipe, staged_once.stage))
        assert max(most) == expected


def test_a_door_at_work_gives_a_sign_of_life_and_has_time_for_its_base(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setattr(verify, "WORD_SECONDS", 0.2)
    code, output, _ = verify._run(
        [sys.executable, "-c", "import time; time.sleep(0.7); print(1)"], str(tmp_path), os.environ, 300, "judge"
    )
    assert (code, output) == (0, "1\n") and "judge" in capsys.readouterr().out
    with pytest.raises(subprocess.TimeoutExpired):
        verify._run([sys.executable, "-c", "import time; time.sleep(600)"], str(tmp_path), os.environ, 0.5, "judge")


def test_a_base_is_lent_to_an_empty_cache_and_nothing_is_written_beside_it(tmp_path: Path) -> None:
    """A door without a Hub finds the base of somebody else, in a process of its own; of its code, nothing."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = write_minicpm(tmp_path / "theirs" / commit)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "theirs").rglob("*")}
    BaseFiles("lab/base", commit, folder).lend(tmp_path / "hf" / "hub")
    script = (
        "from transformers import AutoConfig, AutoModelForImageTextToText\n"
        "from t2i_judge.local.processors import load_processor\n"
        f"load_processor('lab/base', '{commit}')\n"
        f"print(AutoModelForImageTextToText.from_pretrained('lab/base', revision='{commit}').num_parameters())\n"
    )
    environment = verify._environment(str(tmp_path / "hf"), offline=True)
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "1303040", run.stderr[-2000:]
    assert not list((tmp_path / "hf").rglob("*.py"))
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "theirs").rglob("*")}
