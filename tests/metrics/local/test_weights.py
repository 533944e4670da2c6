"""Weights that are cut off, pointers, pickles, or not those of judge.json: one line, before any is loaded."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from t2i_judge import load_judge
from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.local import trial
from t2i_judge.local.intact import elements
from t2i_judge.local.tried import lend
from t2i_judge.local.weights import digest, find_weights, load_parts
from t2i_judge.processes import Processes
from tests.embedded import needs_embedded_judge
from tests.judge_folders import BASE, make_judge

WEIGHTS = "adapter_model.safetensors"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4f' * 32}\nsize 2361412\n"

INDEX = '{"weight_map": {"a": "model-1.safetensors"}}'


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A judge whose judge.json names its weights."""
    folder = make_judge(tmp_path_factory.mktemp("judges") / "judge")
    (folder / "judge.json").write_text(json.dumps({"revision": digest(folder)}))
    return folder


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def pickled(folder: Path) -> None:
    """The adapter as a pickle, beside a decoy."""
    torch.save({}, folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()
    save_file({"x": torch.zeros(1)}, folder / "decoy.safetensors")


def other(folder: Path) -> None:
    """Weights that were trained on after judge.json was written."""
    save_file({"x": torch.ones(1)}, folder / "extra.safetensors")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "pointer": (lambda f: (f / WEIGHTS).write_text(POINTER), "Git LFS pointer.*git lfs pull"),
    "base pointer": (lambda f: (f / "base" / "model.safetensors").write_text(POINTER), "Git LFS pointer"),
    "cut": (lambda f: cut(f / WEIGHTS, 0.9), r"truncated: \d+ bytes of \d+"),
    "cut in its header": (lambda f: cut(f / "base" / "model.safetensors", 0.001), "truncated after"),
    "empty": (lambda f: (f / WEIGHTS).write_bytes(b""), "truncated after 0 bytes"),
    "no header": (lambda f: (f / WEIGHTS).write_bytes(b"\x08" + bytes(7) + b"[1, 2, 3"), "Its header is broken"),
    "pickle": (pickled, "has no adapter_model.safetensors. Pickled weights are never read"),
    "other weights": (other, "do not match its judge.json"),
    "a shard missing": (
        lambda f: (f / "base" / "model.safetensors.index.json").write_text(
            '{"weight_map": {"a": "model-1.safetensors"}}'
        ),
        "names model-1.safetensors, which is missing",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_weights_that_are_not_what_they_should_be_are_one_line(whole: Path, tmp_path: Path, fault: str) -> None:
    spoil, says = FAULTS[fault]
    folder = shutil.copytree(whole, tmp_path / "judge")
    spoil(folder)
    with pytest.raises(UserError, match=says) as error:
        load_judge(f"hf:{folder}")
    assert "\n" not in str(error.value)


def test_the_same_through_the_command_line(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(whole, tmp_path / "judge")
    cut(folder / WEIGHTS, 0.5)
    (tmp_path / "t.csv").write_text("prompt,image\na cat,a.png\n")
    command = ["score", str(tmp_path / "t.csv"), "--judge", f"hf:{folder}", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "truncated" in error and "Traceback" not in error


def test_sound_weights_load_and_an_unnamed_revision_is_theirs(whole: Path, tmp_path: Path) -> None:
    assert load_judge(f"hf:{whole}").info.revision == digest(whole)
    merged = shutil.copytree(BASE, tmp_path / "merged")
    (merged / "judge.json").write_text('{"revision": "9f2c1ab"}')  # a commit, which says nothing about bytes
    assert load_judge(f"direct+hf:{merged}").info.revision == "9f2c1ab"


def without(path: Path, words: str) -> None:
    tensors = load_file(path)
    left = {name: tensor for name, tensor in tensors.items() if words not in name}
    assert 0 < len(left) < len(tensors)
    save_file(left, path, {"format": "pt"})


def setting(folder: Path, **changes: int) -> None:
    path = folder / "base" / "config.json"
    config = json.loads(path.read_text())
    config["vision_config"] |= {name: changes.pop(name) for name in list(changes) if name in config["vision_config"]}
    path.write_text(json.dumps(config | changes))


def change(path: Path, **changes: object) -> None:
    record = json.loads(path.read_text())
    (record.get("image_processor") or record).update(changes)
    path.write_text(json.dumps(record))


def config(folder: Path, **changes: object) -> None:
    change(folder / "base" / "config.json", **changes)


def adapter(folder: Path, **changes: object) -> None:
    change(folder / "adapter_config.json", **changes)


def processor(folder: Path, **changes: object) -> None:
    for name in ("preprocessor_config.json", "processor_config.json"):
        change(folder / "base" / name, **changes)


def tokenizer(folder: Path, rules: list[dict[str, object]]) -> None:
    change(folder / "base" / "tokenizer.json", normalizer={"type": "Sequence", "normalizers": rules})


DOUBLED = [{"type": "Replace", "pattern": {"String": "Z"}, "content": "ZZ"}] * 40  # where a prompt has one
EXPERTS = {"model_type": "qwen3_vl_moe", "text_config": {"num_hidden_layers": 900, "num_experts": 10**6}}
PARTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "base": (lambda f: without(f / "base" / "model.safetensors", "layers.3.mlp"), "is incomplete: .* random weights"),
    "adapter": (lambda f: without(f / WEIGHTS, "layers.2.self_attn.q_proj.lora_A"), "missing adapter keys"),
    "a hundredfold": (lambda f: setting(f, vocab_size=5_000_000), "describes 1,2.* parameters; its weights have 1,4"),
    "names": (lambda f: config(f, num_labels=10**9), "has the num_labels 1000000000. At most 1,000,000"),
    "experts": (
        lambda f: (f / "base" / "config.json").write_text(json.dumps(EXPERTS)),
        "takes more than|describes 7,.* parameters",
    ),
    "slices": (lambda f: processor(f, image_feature_size=10**10), "takes more than 4 GB of memory"),
    "rank": (lambda f: adapter(f, r=10**9), "adapter_config.json describes .* parameters; its weights have"),
    "packed": (
        lambda f: config(f, vocab_size=500_000_000, quantization_config={"quant_method": "gptq", "bits": 4}),
        "describes 1.* parameters; its weights have",
    ),
    "endless": (lambda f: setting(f, num_hidden_layers=3_000_000), "has the num_hidden_layers 3000000. At most 1,000"),
}


@pytest.mark.parametrize("part", PARTS)
def test_weights_that_lack_a_part_give_no_score(whole: Path, tmp_path: Path, part: str) -> None:
    """Random numbers were in its place: 3 of 131 tensors, and each run had other scores."""
    spoil, says = PARTS[part]
    folder = shutil.copytree(whole, tmp_path / "judge")
    (folder / "judge.json").write_text("{}")
    spoil(folder)
    start = time.process_time()
    with pytest.raises(UserError, match=says) as error:
        load_judge(f"hf:{folder}")
    assert "\n" not in str(error.value) and "gain, or export it again" in str(error.value)
    assert time.process_time() - start < 30


def test_a_tokenizer_that_lengthens_texts_without_measure_is_one_line(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "judge")
    tokenizer(folder, DOUBLED)
    with pytest.raises(UserError, match=r"^Cannot load .* may make a text 1\.1e\+12 times as long\."):
        load_judge(f"hf:{folder}")


CUT = {"max_slice_nums": 10**9, "scale_resolution": 14, "slice_mode": True}


@pytest.mark.parametrize("said", ["the processor", "judge.json"])
def test_a_processor_that_cuts_a_large_picture_without_end_is_one_line(whole: Path, tmp_path: Path, said: str) -> None:
    """A small one, with which it was tried, became 306 parts; one of 2048 x 2048 pixels 21,000, a million tokens."""
    folder = shutil.copytree(whole, tmp_path / "judge")
    most = CUT["max_slice_nums"]
    processor(folder, **CUT if said == "the processor" else CUT | {"max_slice_nums": 9})
    (folder / "judge.json").write_text(json.dumps({"max_slice_nums": most} if said == "judge.json" else {}))
    with pytest.raises(UserError, match=r"makes 2..,... tokens of a picture; at most 100,000"):
        load_judge(f"hf:{folder}")


def test_a_header_counts_by_the_bytes_that_it_names_not_by_a_shape_of_a_million_numbers(tmp_path: Path) -> None:
    """Their product took minutes for 22 MB."""
    tensors = {
        "a": {"dtype": "F32", "shape": [10**9] * 1_000_000, "data_offsets": [0, 8]},
        "b": {"dtype": "BF16", "shape": [3], "data_offsets": [8, 14]},
        "c": {"dtype": "BOOL", "shape": [2], "data_offsets": [14, 16]},
        "d": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [16, 20]},
    }
    header = json.dumps(tensors).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(20))
    start = time.process_time()
    assert elements(tmp_path) == 2 + 3 + 2 + 4
    assert time.process_time() - start < 10


def test_where_no_process_can_start_a_model_is_described_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))  # where it was never tried
    monkeypatch.setattr(trial, "_TRIALS", Processes("t2i_judge.local.no_such", 1, 60, 1 << 46, 10))
    assert trial.tried_out(trial.ModelFiles(str(BASE), None, (str(BASE), None))) == trial.Described(1_464_992)


def test_the_same_files_are_tried_once_and_other_files_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Four seconds of a core for every command."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    one, copy = tmp_path / "one", tmp_path / "copy"
    for folder in (one, copy):
        shutil.copytree(BASE, folder)
    asked: list[dict[str, Any]] = []
    trials = trial._TRIALS
    monkeypatch.setattr(trials, "ask", lambda request: asked.append(request) or Processes.ask(trials, request))
    monkeypatch.setattr(trials, "prepare", lambda: asked.append({}))

    def tried(folder: Path, **options: Any) -> int:
        """How often the process was prepared or asked."""
        asked.clear()
        files = trial.ModelFiles(str(folder), None, (str(folder), None), **options)
        trial.prepare(files)
        assert trial.tried_out(files) == trial.Described(1_464_992)
        return len(asked)

    assert [tried(one), tried(one), tried(copy)] == [2, 0, 0]
    assert [tried(one, slices=2), tried(one, slices=2)] == [2, 0]
    for more in ("additional_chat_templates/other.jinja", "qformer_tokenizer/tokenizer.json", "vocab.bpe"):
        path = copy / more
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
        assert [tried(copy), tried(copy), tried(one)] == [2, 0, 0], more
    (copy / "more.safetensors").write_bytes(b"weights")
    (copy / "judge.json").write_text("{}")
    assert tried(copy) == 0
    lend(tmp_path / "door")
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "door"))
    assert [tried(one), tried(copy), tried(one, slices=3), tried(one, slices=3)] == [0, 0, 2, 0]
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    assert tried(one, slices=3) == 0, "what was tried with a lent record is known here, too"
    settings = json.loads((one / "tokenizer_config.json").read_text())
    (one / "tokenizer_config.json").write_text(json.dumps(settings | {"more": 1}))
    assert [tried(one), tried(one)] == [2, 0]
    for path in (tmp_path / "home").rglob("*.json"):
        path.write_text('{"parameters": [Infinity, 0]}')  # cut off, or somebody else's
    assert [tried(one), tried(one)] == [2, 0]
    for number in range(1000):
        (one / f"{number}.png").touch()
    assert [tried(one), tried(one)] == [2, 2], "a folder of pictures is not read each time"


def test_a_model_that_was_refused_is_refused_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    shutil.copytree(BASE, tmp_path / "base")
    settings = json.loads((BASE / "config.json").read_text())
    settings["text_config" if "text_config" in settings else "vision_config"]["num_hidden_layers"] = 10**7
    (tmp_path / "base" / "config.json").write_text(json.dumps(settings))
    for _ in range(2):
        with pytest.raises(UserError, match="num_hidden_layers 10000000"):
            trial.tried_out(trial.ModelFiles(str(tmp_path / "base"), None, (str(tmp_path / "base"), None)))
    assert not list((tmp_path / "home").rglob("*.json"))


@needs_embedded_judge
def test_what_came_with_this_package_is_loaded_without_a_process_to_try_it_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four seconds of a core for every command."""
    monkeypatch.setattr(trial, "_TRIALS", None)
    assert load_parts(find_weights(None)).model.num_parameters() == 1_464_992


def test_a_base_at_a_revision_of_the_hub_is_no_folder_here(tmp_path, monkeypatch):
    config = {"base_model_name_or_path": "me/base", "revision": "v1"}
    (judge := tmp_path / "judge").mkdir()
    (judge / "adapter_config.json").write_text(json.dumps(config))
    (judge / "adapter_model.safetensors").touch()
    (tmp_path / "me" / "base").mkdir(parents=True)
    assert (find_weights(str(judge)).base, find_weights(str(judge)).base_revision) == ("me/base", "v1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"means 'me/base' at a revision on the Hub, and a folder here has that name"):
        find_weights(str(judge))
    (judge / "adapter_config.json").write_text(json.dumps(config | {"revision": None}))
    with pytest.raises(UserError, match=r"means 'me/base' on the Hub, and a folder here has that name.*'./me/base'"):
        find_weights(str(judge))
    for name in ("./me/base", "../" + str(tmp_path.name) + "/me/base", str(tmp_path / "me" / "base")):
        (judge / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": name}))
        assert find_weights(str(judge)).base == name
