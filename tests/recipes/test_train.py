"""The training step: what is trained and in which precision, again the same, and on from where it was killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from safetensors.torch import load_file

from recipes.distillation.sft_data import load_distillation, read_samples, select, training_dataset
from recipes.recipe.config import Recipe
from recipes.train import main
from recipes.training.fine_tuning import last_checkpoint, make_trainer, sft_config
from recipes.training.trainings import train, train_direct, without_direct
from t2i_judge.errors import UserError
from t2i_judge.files import read_jsonl
from t2i_judge.local.minicpmv.processing import IMAGE_MARKER
from tests.recipes.scenes_build import log_of, losses, scenes_build, smoke_recipe
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    return scenes_build(tmp_path_factory.mktemp("build"))


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """A build folder of its own, sharing the data."""
    for name in ("distill", "images", "items.jsonl", "latent.jsonl", "humans.jsonl", "teacher.jsonl"):
        (tmp_path / name).symlink_to(built / name)
    return tmp_path


def tensors(adapter: Path) -> dict[str, bytes]:
    weights = load_file(adapter / "adapter_model.safetensors")
    return {name: weight.float().numpy().tobytes() for name, weight in weights.items()}


def test_only_the_language_model_is_quantised_and_adapted(built: Path, tmp_path: Path) -> None:
    recipe = smoke_recipe()
    data = load_distillation(built / "distill")
    rows = select(read_samples(data.select_columns(["prompt", "samples"])), recipe)
    trainer = make_trainer(recipe, training_dataset(data, rows, recipe.packing), sft_config(recipe, tmp_path))
    model = trainer.model.get_base_model()
    four_bit = {name: module for name, module in model.named_modules() if isinstance(module, Linear4bit)}
    layers = model.config.num_hidden_layers
    assert len(four_bit) == 7 * layers and all(n.startswith("model.language_model.layers.") for n in four_bit)
    assert all(m.weight.quant_type == "nf4" and m.weight.quant_state.nested for m in four_bit.values())
    trained = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    assert len(trained) == 2 * 7 * layers and all("language_model.layers" in n and "lora_" in n for n in trained)


def notice_the_baseline(recipe: Recipe, folder: Path) -> None:
    """What a later step might do while the judge is still trained."""
    (folder / "noticed").write_text((folder / "direct" / "training_log.json").read_text())


def test_judge_and_direct_baseline_are_trained_once(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr("recipes.training.trainings.cores_to_share", lambda: True)
    recipe = smoke_recipe(max_steps=2)
    adapter = train(recipe, folder, meanwhile=notice_the_baseline)
    assert json.loads((folder / "noticed").read_text())["steps"] == 2
    kept = {path.name for path in adapter.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "tokenizer.json"} <= kept
    assert not any(path.suffix in (".bin", ".pt", ".pth", ".pkl") for path in folder.rglob("*.*"))
    log, direct = log_of(folder), json.loads((folder / "direct" / "training_log.json").read_text())
    assert log["steps"] == direct["steps"] == 2 and len(losses(log)) == 2
    assert log["trainable_parameters"] == direct["trainable_parameters"] > 0
    assert direct["rows"] == len(list(load_distillation(folder / "distill")))
    stamps = [path.stat().st_mtime_ns for path in (adapter / "adapter_model.safetensors", folder / "training_log.json")]
    train(recipe, folder)
    assert stamps == [
        path.stat().st_mtime_ns for path in (adapter / "adapter_model.safetensors", folder / "training_log.json")
    ]


def test_the_same_seed_gives_the_same_adapter_and_another_input_a_new_one(folder: Path, built: Path) -> None:
    recipe = replace(smoke_recipe(max_steps=2), evaluation=replace(smoke_recipe().evaluation, direct=False))
    first = tensors(train(recipe, folder))
    (folder / "training_log.json").unlink()
    assert tensors(train(recipe, folder)) == first
    other = replace(recipe, seeds=replace(recipe.seeds, training=7))
    assert tensors(train(other, folder)) != first


def test_without_packing_the_same_code_trains(folder: Path) -> None:
    recipe = replace(smoke_recipe(max_steps=2, per_device_train_batch_size=8), packing="none")
    train(replace(recipe, evaluation=replace(recipe.evaluation, direct=False)), folder)
    assert log_of(folder)["rows"] == log_of(folder)["samples"]


def test_without_packing_a_prompt_that_names_an_image_stops_before_training(folder: Path, monkeypatch) -> None:
    def poisoned(rows):
        first, *rest = read_samples(rows)
        return [replace(first, question=f"draw {IMAGE_MARKER}"), *rest]

    monkeypatch.setattr("recipes.training.trainings.read_samples", poisoned)
    with pytest.raises(UserError, match="would be read as an image"):
        train(without_direct(replace(smoke_recipe(max_steps=2), packing="none")), folder)
    assert not (folder / "adapter").exists()


def test_the_direct_baseline_needs_the_judge_and_a_teacher(folder: Path) -> None:
    with pytest.raises(UserError, match="Cannot read training_log"):
        train_direct(smoke_recipe(), folder)
    (folder / "training_log.json").write_text('{"steps": 1}')
    records = [{**row, "scores": {}} for row in read_jsonl(folder / "teacher.jsonl")]
    (folder / "teacher.jsonl").unlink()
    (folder / "teacher.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(UserError, match="scored no training image"):
        train_direct(smoke_recipe(), folder)


def test_a_torn_checkpoint_is_passed_over(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path / "none") is None
    for step, state in ((3, "{}"), (6, '{"global_step": 6}'), (9, '{"global_'), (12, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-6"


RUN = """
import sys; from pathlib import Path
from dataclasses import replace
from recipes.training.trainings import train
from tests.recipes.scenes_build import smoke_recipe
options = dict(pair.split("=") for pair in sys.argv[2:])
recipe = smoke_recipe(**{key: int(value) for key, value in options.items()})
train(replace(recipe, evaluation=replace(recipe.evaluation, direct=False)), Path(sys.argv[1]))
"""
STEPS = ("max_steps=16", "save_steps=3", "save_total_limit=3")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def one_thread():
    """As many threads as `environment` gives: sums in another order would be another training after a few steps."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_killed_training_goes_on_and_ends_where_an_undisturbed_one_ends(folder: Path, built: Path, tmp_path_factory):
    process = subprocess.Popen([sys.executable, "-c", RUN, str(folder), *STEPS], cwd=ROOT, env=environment())
    checkpoints = folder / "adapter" / "checkpoints"
    deadline = time.monotonic() + 240
    while last_checkpoint(checkpoints) is None and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (folder / "training_log.json").exists()
    recipe = smoke_recipe(**{key: int(value) for key, value in (pair.split("=") for pair in STEPS)})
    recipe = replace(recipe, evaluation=replace(recipe.evaluation, direct=False))
    resumed = tensors(train(recipe, folder))
    assert log_of(folder)["resumed_from"] is not None
    whole = tmp_path_factory.mktemp("whole")
    for name in ("distill", "teacher.jsonl"):
        (whole / name).symlink_to(built / name)
    undisturbed = tensors(train(recipe, whole))
    assert losses(log_of(whole)) == pytest.approx(losses(log_of(folder)), rel=1e-5)
    assert resumed.keys() == undisturbed.keys()
    assert not checkpoints.exists()


BESIDE = """
import os, time
from recipes.recipe.second_process import second_process
if __name__ == "__main__":
    with second_process() as beside:
        print(beside.submit(os.getpid).result(), flush=True)
        beside.submit(time.sleep, 600).result()
"""


def test_where_a_worker_could_not_send_its_rows_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its socket lies in the folder for temporary files: with too long a path the training waited for ever."""
    recipe = smoke_recipe(dataloader_num_workers=2)
    for folder, workers in ((tmp_path / ("long" * 20), 0), (Path("/tmp"), 2)):
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        assert sft_config(recipe, tmp_path).dataloader_num_workers == workers


@pytest.mark.slow
def test_the_second_process_ends_with_the_first_however_that_ends(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text(BESIDE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    first = subprocess.Popen(
        [sys.executable, str(tmp_path / "beside.py")], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert first.stdout
    second = Path("/proc", first.stdout.readline().strip())
    assert second.exists()
    first.kill()
    first.wait()
    assert eventually(lambda: not second.exists()), "the second process lives on"


@pytest.mark.slow
def test_two_processes_follow_the_curve_of_one(folder: Path, built: Path, tmp_path_factory) -> None:
    """Two ranks with batches of 2 see what one process with batches of 4 sees, whatever their answers weigh."""
    # --multi_gpu is accelerate's name for "start these processes here"; the training itself finds no GPU and says gloo
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    script = folder / "run.py"
    script.write_text(RUN)
    command = [*launch, str(script), str(folder), "max_steps=5", "per_device_train_batch_size=2"]
    command += ["length_normalization=1"]  # where weights differ most
    run = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=400, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    two = log_of(folder)
    assert two["distributed"] == "MULTI_CPU" and two["processes"] == 2
    single = tmp_path_factory.mktemp("single")
    for name in ("distill", "teacher.jsonl"):
        (single / name).symlink_to(built / name)
    recipe = smoke_recipe(max_steps=5, per_device_train_batch_size=4, length_normalization=1)
    train(replace(recipe, evaluation=replace(recipe.evaluation, direct=False)), single)
    assert log_of(single)["distributed"] == "NO"
    assert losses(two) == pytest.approx(losses(log_of(single)), rel=2e-2)


@pytest.mark.parametrize(("arguments", "words"), [
    (["--recipe", "tinny"], "nearest is 'tiny'"),
    (["--config", "none.yaml"], "Cannot read none.yaml"),
])  # fmt: skip
def test_mistakes_are_one_line(arguments: list[str], words: str, capsys) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and "Traceback" not in said
