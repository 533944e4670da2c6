"""Renting hardware: the resolved job says all, and what arrives at the Hub is that job, the wheel and the data."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml

from recipes.config import load_recipe
from recipes.jobs import script
from recipes.train import main
from tests.hub.conftest import loopback
from tests.hub.server import Handler, route
from tests.recipes.scenes_build import scenes_build

ASKED = ["--recipe", "smoke", "--jobs", "a100-large", "--timeout", "2h", "--namespace", "me"]
posted: list[dict] = []


@route("POST", r"/api/jobs/(?P<ns>[^/]+)")
def start_job(handler: Handler, ns: str) -> None:
    posted.append({"namespace": ns, **json.loads(handler.data)})
    handler.send(200, {
        "id": "job-1", "createdAt": "2026-01-01T00:00:00.000Z", "status": {"stage": "RUNNING"},
        "owner": {"id": "1", "name": ns, "type": "user"}, "arguments": [], "secrets": [], **posted[-1],
    })  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path, monkeypatch):
    posted.clear()
    monkeypatch.setenv("HF_TOKEN", "hf_me")
    monkeypatch.setattr("recipes.config.ROOT", tmp_path)
    with loopback(tmp_path / "hub") as running:
        yield running


def test_dry_run_prints_the_job_and_calls_nobody(hub, capsys) -> None:
    assert main([*ASKED, "--dry-run"]) == 0
    job = json.loads(capsys.readouterr().out)
    assert (job["flavor"], job["timeout"], job["namespace"]) == ("a100-large", "2h", "me")
    assert job["volumes"] == {
        "/code": "datasets/me/t2i-judge-job-smoke",
        "/data": "datasets/me/t2i-judge-distill-smoke",
    }
    assert job["secrets"] == ["HF_TOKEN"] and "hf_me" not in json.dumps(job)
    assert not hub.hub.calls


@pytest.mark.parametrize(("arguments", "words"), [
    (["--jobs", "a100-larg", "--namespace", "me"], "nearest is 'a100-large'"),
    (["--jobs", "a100-large"], "without a namespace"),
])  # fmt: skip
def test_mistakes_are_one_line(arguments: list[str], words: str, capsys) -> None:
    assert main(["--recipe", "smoke", "--dry-run", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_a_job_without_token_or_data_is_refused(hub, capsys, monkeypatch) -> None:
    assert main(ASKED) == 2 and "not on the Hub" in capsys.readouterr().err
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert main(ASKED) == 2 and "without a token" in capsys.readouterr().err
    assert not posted


def test_the_job_arrives_with_wheel_recipe_and_data(hub, tmp_path: Path, capsys) -> None:
    scenes_build(tmp_path / "build" / "smoke", train=2, held_out=1)
    assert main(ASKED) == 0
    assert "job-1 on a100-large" in capsys.readouterr().out
    (job,) = posted
    assert job["namespace"] == "me" and job["flavor"] == "a100-large" and job["timeoutSeconds"] == 7200
    assert job["secrets"] == {"HF_TOKEN": "hf_me"} and "hf_me" not in json.dumps(job["command"])
    assert {(v["source"], v["mountPath"], v["readOnly"]) for v in job["volumes"]} == {
        ("me/t2i-judge-job-smoke", "/code", True), ("me/t2i-judge-distill-smoke", "/data", True),
    }  # fmt: skip
    from huggingface_hub import HfApi, snapshot_download

    api = HfApi(endpoint=hub.endpoint, token="hf_me")
    assert all(api.repo_info(job["volumes"][n]["source"], repo_type="dataset").private for n in (0, 1))
    code = Path(snapshot_download("me/t2i-judge-job-smoke", repo_type="dataset", token="hf_me"))
    (wheel,) = code.glob("*.whl")
    assert "t2i_judge/prompts.py" in zipfile.ZipFile(wheel).namelist()
    assert (code / "recipes" / "train.py").is_file() and (code / "teacher.jsonl").is_file()
    recipe = yaml.safe_load((code / "recipe.yaml").read_text())
    assert (
        recipe["name"] == "smoke"
        and "extends" not in recipe
        and recipe["adapter"]["r"] == load_recipe("smoke").adapter.r
    )


def test_the_script_is_bash_that_stops_at_the_first_error() -> None:
    text = script(load_recipe("smoke"), "me/ckpt")
    assert text.startswith("set -euo pipefail") and "--push-to me/ckpt" in text
    subprocess.run(["bash", "-n", "-c", text], check=True)
