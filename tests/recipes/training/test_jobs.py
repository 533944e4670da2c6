"""Renting hardware: the resolved job says all, and what arrives at the Hub is that job, the wheel and the data."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from recipes.loopback.hub.server import Handler, route
from recipes.recipe.config import load_recipe
from recipes.train import main, train, without_direct
from recipes.training.jobs import script
from tests.loopback_hub import loopback
from tests.recipes.scenes_build import scenes_build, smoke_recipe

ASKED = ["--recipe", "smoke", "--jobs", "a100-large", "--timeout", "2h", "--namespace", "me"]
CHECKOUT = Path(__file__).parents[3]
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
    monkeypatch.setattr("recipes.recipe.config.ROOT", tmp_path)
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


def test_checkpoints_and_the_adapter_are_pushed_to_a_private_repository(hub, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    scenes_build(tmp_path / "build" / "smoke", train=2, held_out=1)
    recipe = smoke_recipe(max_steps=2, save_steps=1)
    recipe = replace(recipe, base=replace(recipe.base, model=str(CHECKOUT / recipe.base.model)))
    train(without_direct(recipe), push_to="me/checkpoints")
    api = HfApi(endpoint=hub.endpoint, token="hf_me")
    assert api.repo_info("me/checkpoints").private
    files = set(api.list_repo_files("me/checkpoints"))
    assert {"adapter_model.safetensors", "adapter_config.json", "processor_config.json"} <= files
    assert {"last-checkpoint/adapter_model.safetensors", "last-checkpoint/trainer_state.json"} <= files


@pytest.mark.slow
def test_the_script_trains_on_what_arrived(hub, tmp_path: Path, monkeypatch) -> None:
    """The job's own bash, on the files that the Hub received; only `uv pip install` is left out."""
    from huggingface_hub import HfApi, snapshot_download

    base = load_recipe("smoke").base.model
    shutil.copytree(CHECKOUT / base, tmp_path / base)
    scenes_build(tmp_path / "build" / "smoke", train=2, held_out=1)
    assert main(ASKED) == 0
    for place, volume in zip(("CODE", "DATA"), posted[0]["volumes"], strict=True):
        folder = tmp_path / place
        snapshot_download(volume["source"], repo_type="dataset", token="hf_me", local_dir=folder)
        monkeypatch.setattr(f"recipes.training.jobs.{place}", str(folder))
    monkeypatch.setattr("recipes.training.jobs.WORK", str(tmp_path / "work"))
    (tmp_path / "uv").write_text("#!/bin/sh\n")
    (tmp_path / "uv").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
    }
    text = script(load_recipe("smoke"), "me/checkpoints")
    run = subprocess.run(["bash", "-c", text], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    files = HfApi(endpoint=hub.endpoint, token="hf_me").list_repo_files("me/checkpoints")
    assert {"adapter_model.safetensors", "direct/adapter_model.safetensors"} <= set(files)


def test_a_base_outside_the_checkout_cannot_travel(hub, tmp_path: Path, capsys) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({
        "name": "mine", "data": {"source": "scenes"}, "base": {"model": str(tmp_path)},
        "adapter": {"target_modules": ["q_proj"]},
    }))  # fmt: skip
    arguments = ["--config", str(tmp_path / "mine.yaml"), "--jobs", "a100-large", "--namespace", "me"]
    assert main(arguments) == 2
    assert "only the checkout travels" in capsys.readouterr().err
    assert not hub.hub.calls


def test_the_script_is_bash_that_stops_at_the_first_error() -> None:
    text = script(load_recipe("smoke"), "me/ckpt")
    assert text.startswith("set -euo pipefail") and "--push-to me/ckpt" in text
    subprocess.run(["bash", "-n", "-c", text], check=True)
