"""Renting hardware: what arrives is this build, what it makes comes home, and nothing is sent or paid for twice."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi, snapshot_download

from recipes import release
from recipes.hub.client import Hub
from recipes.hub.repositories import Repository
from recipes.loopback.hub.jobs import Job, wait
from recipes.loopback.hub.server import Fault
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import load_recipe
from recipes.recipe.markers import file_table
from recipes.recipe.training_inputs import all_inputs
from recipes.train import main
from recipes.training import job_package
from recipes.training.job_package import build_wheel, check_arrival, digest_of, pack
from recipes.training.job_results import JobResults, finished
from recipes.training.jobs import MOUNT, awaited, script
from recipes.training.trainings import train, without_direct
from t2i_judge.errors import UserError
from t2i_judge.files import read_jsonl
from tests.loopback_hub import loopback
from tests.recipes.scenes_build import scenes_build, smoke_recipe

NAME = "me/t2i-judge-jobs-smoke"
ASKED = ["--recipe", "smoke", "--jobs", "a100-large", "--timeout", "2h", "--namespace", "me"]
FETCH = ["--recipe", "smoke", "--jobs-fetch"]
CHECKOUT = Path(__file__).parents[3]
PLACE = Repository("job", "model", "t2i-judge-jobs-smoke")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_me")
    monkeypatch.setattr("recipes.recipe.config.ROOT", tmp_path)
    shutil.copytree(CHECKOUT / load_recipe("smoke").base.model, tmp_path / load_recipe("smoke").base.model)
    with loopback(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def asleep(hub, monkeypatch):
    """Jobs that never get anywhere."""
    monkeypatch.setattr("recipes.loopback.hub.jobs.Jobs._run", lambda jobs, job: setattr(job, "stage", "RUNNING"))
    return hub


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return job_package.build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def build(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> BuildFolder:
    """A build to train on; packages of it take the wheel that was built once."""
    monkeypatch.setattr(job_package, "build_wheel", lambda folder: shutil.copy(wheel, folder))
    return BuildFolder(scenes_build(tmp_path / "build" / "smoke", train=2, held_out=1))


def api(hub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token="hf_me")


def uploads(hub) -> int:
    return sum("/commit/" in call for call in hub.hub.calls)


def test_dry_run_prints_the_job_and_calls_nobody(hub, capsys) -> None:
    assert main([*ASKED, "--dry-run"]) == 0
    job = json.loads(capsys.readouterr().out)
    assert (job["flavor"], job["timeout"], job["namespace"]) == ("a100-large", "2h", "me")
    assert job["volumes"] == {MOUNT: f"datasets/{NAME}"} and job["results"] == NAME
    assert job["secrets"] == ["HF_TOKEN"] and "hf_me" not in json.dumps(job)
    assert not hub.hub.calls


@pytest.mark.parametrize(("arguments", "words"), [
    (["--jobs", "a100-larg", "--namespace", "me"], "nearest is 'a100-large'"),
    (["--jobs", "a100-large"], "The job has no namespace"),
])  # fmt: skip
def test_mistakes_are_one_line(arguments: list[str], words: str, capsys) -> None:
    assert main(["--recipe", "smoke", "--dry-run", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_a_job_without_data_or_token_is_refused(asleep, capsys, monkeypatch) -> None:
    assert main(ASKED) == 2 and "has no data for the job" in capsys.readouterr().err
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert main(ASKED) == 2 and "The job has no token" in capsys.readouterr().err
    assert not asleep.hub.jobs.jobs


def test_the_job_arrives_with_wheel_recipe_and_this_builds_data(asleep, build, capsys) -> None:
    assert main(ASKED) == 0
    said = capsys.readouterr().out
    assert "job-1 on a100-large" in said and "--jobs-fetch" in said
    (job,) = asleep.hub.jobs.jobs
    assert (job.namespace, job.spec["flavor"], job.spec["timeoutSeconds"]) == ("me", "a100-large", 7200)
    assert job.spec["secrets"] == {"HF_TOKEN": "hf_me"} and "hf_me" not in json.dumps(job.spec["command"])
    (volume,) = job.spec["volumes"]
    head = api(asleep).repo_info(NAME, repo_type="dataset")
    assert volume == {
        "type": "dataset", "source": NAME, "mountPath": MOUNT, "readOnly": True, "revision": head.sha,
    }  # fmt: skip
    assert head.private and api(asleep).repo_info(NAME).private
    assert not api(asleep).repo_exists("me/t2i-judge-distill-smoke", repo_type="dataset")
    sent = Path(snapshot_download(NAME, repo_type="dataset", token="hf_me"))
    (wheel,) = sent.glob("*.whl")
    assert "t2i_judge/prompts.py" in zipfile.ZipFile(wheel).namelist()
    manifest = json.loads((sent / "manifest.json").read_text())
    assert manifest["rows"]["default/train"] == 2 and manifest["inputs"] == all_inputs(load_recipe("smoke"))
    here = file_table(build.root, build.learnt_from())
    assert here.items() <= {p.removeprefix("build/smoke/"): e for p, e in manifest["files"].items()}.items()
    recipe = yaml.safe_load((sent / "recipe.yaml").read_text())
    assert "extends" not in recipe and recipe["adapter"]["r"] == load_recipe("smoke").adapter.r


def test_what_is_sent_or_running_is_not_sent_or_started_again(asleep, build, capsys, monkeypatch) -> None:
    monkeypatch.setattr(job_package, "build_wheel", build_wheel)  # of the same files, it is the same each time
    assert main(ASKED) == 0
    before = uploads(asleep)
    assert main(ASKED) == 0
    assert "is already running" in capsys.readouterr().out
    assert uploads(asleep) == before and len(asleep.hub.jobs.jobs) == 1


def test_other_data_replaces_what_was_sent_and_deletes_its_shards(asleep, build, tmp_path, capsys) -> None:
    shard = build.distill / "data" / "train-00000-of-00001.parquet"
    shutil.copy(shard, build.distill / "data" / "train-00001-of-00002.parquet")
    assert main(ASKED) == 0
    api(asleep).upload_file(path_or_fileobj=b"mine", path_in_repo="notes.txt", repo_id=NAME, repo_type="dataset")
    shutil.rmtree(build.root)
    scenes_build(build.root, train=3, held_out=1)
    assert main(ASKED) == 2 and "Job job-1 trains smoke on another package" in capsys.readouterr().err
    asleep.hub.jobs.jobs[0].stage = "CANCELED"
    assert main(ASKED) == 0
    files = api(asleep).list_repo_files(NAME, repo_type="dataset")
    assert [path for path in files if path.endswith(".parquet") and "/data/" in path] == [
        "build/smoke/distill/data/train-00000-of-00001.parquet"
    ]
    assert len(asleep.hub.jobs.jobs) == 2 and "notes.txt" in files


@pytest.mark.parametrize("name", ["thesis.txt", "manifest.json", "STARTED.json"])
@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_somebodys_repository_of_that_name_is_refused_and_keeps_its_files(asleep, build, kind, name, capsys) -> None:
    api(asleep).create_repo(NAME, repo_type=kind, private=True)
    api(asleep).upload_file(path_or_fileobj=b'{"mine": 1}', path_in_repo=name, repo_id=NAME, repo_type=kind)
    assert main(ASKED) == 2
    assert "has files that no job put there" in capsys.readouterr().err
    assert set(api(asleep).list_repo_files(NAME, repo_type=kind)) == {".gitattributes", name}
    assert not asleep.hub.jobs.jobs


def test_what_another_package_finished_is_found_when_its_place_is_taken(hub, build) -> None:
    server, names = Hub("me", "hf_me"), ("a" * 64, "b" * 64, "c" * 64)
    api(hub).create_repo(NAME, private=True)
    for manifest in names:
        job = JobResults(server, PLACE, build, manifest)
        job.begin("x")
        if manifest != names[1]:
            job.complete([])
    assert set(api(hub).list_repo_files(NAME)) == {".gitattributes", "STARTED.json", "results/DONE.json"}
    assert [finished(server, PLACE, manifest) is not None for manifest in names] == [True, False, True]
    done = finished(server, PLACE, names[0])
    assert json.loads(server.read(PLACE, "results/DONE.json", done["commit"]))["manifest"] == names[0]


@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_a_public_repository_is_refused_before_anything_is_sent(asleep, build, kind, capsys) -> None:
    api(asleep).create_repo(NAME, repo_type=kind, private=False)
    before = uploads(asleep)
    assert main(ASKED) == 2
    assert "is public" in capsys.readouterr().err
    assert uploads(asleep) == before and not asleep.hub.jobs.jobs


def test_an_interrupted_start_finds_its_job(asleep, build, capsys) -> None:
    """The job began, but its answer was lost: the next run takes it over and starts no other."""
    asleep.hub.faults.append(Fault("POST /api/jobs/me$", "drop_after"))
    assert main(ASKED) == 2
    assert len(asleep.hub.jobs.jobs) == 1 and not build.job.exists()
    assert main(ASKED) == 0
    assert len(asleep.hub.jobs.jobs) == 1 and json.loads(build.job.read_text())["id"] == "job-1"


@pytest.mark.parametrize(("stage", "message", "words"), [
    ("RUNNING", None, "job-1 is RUNNING"),
    ("ERROR", "Job timeout", "job-1 ended as ERROR, unfinished. Job timeout"),
    ("CANCELED", None, "job-1 ended as CANCELED"),
])  # fmt: skip
def test_a_job_without_results_is_one_line_with_its_log(asleep, build, stage, message, words, capsys, monkeypatch):
    assert main(FETCH) == 2 and "There is no job of smoke" in capsys.readouterr().err
    assert main(ASKED) == 0
    (job,) = asleep.hub.jobs.jobs
    job.stage, job.message = stage, message
    capsys.readouterr()
    assert main(FETCH) == 2
    said = capsys.readouterr().err
    assert words in said and "hf jobs logs job-1 --namespace me" in said and said.count("\n") == 1
    monkeypatch.setattr("recipes.build_dataset.build", lambda recipe, **options: None)
    with pytest.raises(UserError, match="job-1"):  # a release does not train beside it
        release.make(load_recipe("smoke"))


def test_results_of_other_data_are_not_brought_home(asleep, build, capsys) -> None:
    assert main(ASKED) == 0
    rows = [{**row, "scores": {**row["scores"], "overall": 1.25}} for row in read_jsonl(build.teacher)]
    build.teacher.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert main(FETCH) == 2
    assert "trained on other data" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["changed", "missing", "more"])
def test_the_job_refuses_what_did_not_arrive_as_it_was_sent(build, hub, tmp_path, damage) -> None:
    recipe, package = load_recipe("smoke"), tmp_path / "package"
    package.mkdir()
    pack(package, recipe, "smoke", all_inputs(recipe))
    arrived = Path(shutil.copytree(package, tmp_path / "arrived"))
    assert check_arrival(arrived, recipe)["recipe"] == "smoke"
    (shard,) = (arrived / "build/smoke/distill/data").glob("*.parquet")
    if damage == "more":
        shutil.copy(shard, shard.with_name("train-00001-of-00002.parquet"))
    elif damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes() + b" ")
    with pytest.raises(UserError, match=r"did not arrive as sent .*parquet"):
        check_arrival(arrived, recipe)


def test_checkpoints_are_pushed_to_a_private_repository(hub, build) -> None:
    recipe = smoke_recipe(max_steps=2, save_steps=1)
    train(without_direct(recipe), push_to="me/checkpoints")
    assert api(hub).repo_info("me/checkpoints").private
    files = set(api(hub).list_repo_files("me/checkpoints"))
    assert {"last-checkpoint/adapter_model.safetensors", "last-checkpoint/trainer_state.json"} <= files


def run_job(hub) -> Job:
    """Send and let the job's own command run to its end."""
    assert main(ASKED) == 0
    job = hub.hub.jobs.jobs[-1]
    assert wait(job) == "COMPLETED", job.log()[-3000:]
    return job


@pytest.mark.slow
def test_a_job_is_brought_home_and_nothing_is_trained_anew(hub, build, capsys, monkeypatch) -> None:
    """The job's own bash on what the Hub received; then the fetch is cut off, and a file of it is damaged."""
    run_job(hub)
    files = set(api(hub).list_repo_files(NAME))
    results = {"adapter/adapter_model.safetensors", "training_log.json", "direct/training_log.json", "DONE.json"}
    assert {f"results/{path}" for path in results} <= files
    fault = Fault(r"direct(/|%2F)adapter_model\.safetensors", 403, times=-1)
    hub.hub.faults.append(fault)
    assert main(FETCH) == 2 and not build.trained.path.exists() and not build.weights.exists()
    hub.hub.faults.remove(fault)
    torn = build.root / "job" / "results" / "adapter" / "adapter_config.json"
    torn.write_text(torn.read_text() + " ")
    with monkeypatch.context() as foreign:  # somebody else replaced a file after the job
        done = finished(Hub("me", "hf_me"), PLACE, json.loads(build.job.read_text())["manifest"])
        done["files"]["training_log.json"]["sha256"] = "0" * 64
        foreign.setattr("recipes.training.job_results.finished", lambda *arguments: done)
        assert main(FETCH) == 2 and "not what the job made" in capsys.readouterr().err
    assert main(FETCH) == 0 and "every hash is as the job wrote it" in capsys.readouterr().out
    assert not (build.root / "job").exists() and not awaited(build)
    monkeypatch.setattr("recipes.training.trainings._fit", None)  # whoever trains now falls over
    assert main(["--recipe", "smoke"]) == 0
    assert build.weights.is_file() and (build.direct / "adapter_model.safetensors").is_file()
    assert json.loads(build.trained.path.read_text())["log_history"]
    assert main(FETCH) == 0 and "nothing to download" in capsys.readouterr().out
    before = len(hub.hub.jobs.jobs)
    assert main(ASKED) == 0 and len(hub.hub.jobs.jobs) == before  # what is finished is not paid for again


@pytest.mark.slow
def test_a_job_goes_on_from_the_checkpoint_of_the_one_before(hub, build, tmp_path) -> None:
    recipe, package = smoke_recipe(max_steps=3, save_steps=1), tmp_path / "package"
    package.mkdir()
    manifest = pack(package, recipe, "smoke", all_inputs(recipe))
    assert manifest == digest_of(package / "manifest.json")
    server = Hub("me", "hf_me")
    api(hub).create_repo(NAME, private=True)
    first = JobResults(server, PLACE, build, manifest)
    first.begin(all_inputs(recipe)["judge"])
    shorter = replace(recipe, training=replace(recipe.training, max_steps=2))
    train(without_direct(shorter), push_to=NAME)  # leaves a checkpoint, as a job does that ran out of time
    shutil.rmtree(build.adapter)
    build.trained.remove()
    second = JobResults(server, PLACE, build, manifest)
    second.begin(all_inputs(recipe)["judge"])
    train(without_direct(recipe), push_to=NAME, finished=second.push)
    assert json.loads(build.trained.path.read_text())["resumed_from"] in ("checkpoint-1", "checkpoint-2")
    other = JobResults(server, PLACE, build, "another package")
    other.begin("x")
    assert {path.split("/")[0] for path in api(hub).list_repo_files(NAME)} == {".gitattributes", "STARTED.json"}


def test_a_base_outside_the_checkout_cannot_travel(hub, tmp_path: Path, capsys) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({
        "name": "mine", "data": {"source": "scenes"}, "base": {"model": str(tmp_path), "id": "lab/base"},
        "adapter": {"target_modules": ["q_proj"]},
    }))  # fmt: skip
    arguments = ["--config", str(tmp_path / "mine.yaml"), "--jobs", "a100-large", "--namespace", "me"]
    assert main(arguments) == 2
    assert "Only the checkout is sent to it" in capsys.readouterr().err
    assert all(call.startswith("GET ") for call in hub.hub.calls)  # the base's commit is asked for, nothing is sent


def test_a_base_takes_no_file_from_outside_along(hub, build, tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("dear diary")
    recipe = load_recipe("smoke")
    (tmp_path / recipe.base.model / "vocab.txt").symlink_to(tmp_path / "diary.txt")
    (tmp_path / "package").mkdir()
    with pytest.raises(UserError, match="leads out of"):
        pack(tmp_path / "package", recipe, "smoke", {})


def test_the_script_is_bash_that_stops_at_the_first_error() -> None:
    text = script("me/results")
    assert text.startswith("set -euo pipefail") and "--push-to me/results" in text
    subprocess.run(["bash", "-n", "-c", text], check=True)


def test_a_secret_is_shown_by_name_only(asleep, build) -> None:
    assert main(ASKED) == 0
    assert "hf_me" not in json.dumps(asleep.hub.jobs.jobs[0].to_json())
    state = api(asleep).inspect_job(job_id="job-1", namespace="me")
    assert state.status.stage == "RUNNING" and list(state.secrets) == ["HF_TOKEN"]
