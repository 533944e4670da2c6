"""Merging shard by shard against peft's own merge of the whole model, for both families and every naming."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForImageTextToText

from recipes.training.merging import INDEX, merge_shards, shards, tensor_names
from recipes.training.quantization import LANGUAGE_MODEL_LINEARS
from t2i_judge.errors import UserError
from t2i_judge.local.minicpmv.registration import register
from t2i_judge.local.weights import EMBEDDED
from tests.families import MINICPMV
from tests.recipes.hub_bases import write_qwen

BASES = ("upstream", "embedded", "qwen3_vl")


def base_of(name: str, folder: Path) -> Path:
    if name == "qwen3_vl":
        return write_qwen(folder / "base")
    return MINICPMV if name == "upstream" else EMBEDDED / "base"


def load(folder: Path):
    register()
    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)


def write_adapter(base: Path, folder: Path, **options) -> Path:
    """A LoRA whose weights matter."""
    torch.manual_seed(0)
    arguments = {"r": 4, "lora_alpha": 8, "target_modules": LANGUAGE_MODEL_LINEARS, "task_type": "CAUSAL_LM"}
    model = get_peft_model(load(base), LoraConfig(**arguments | options))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(folder)
    return folder


def sharded(base: Path, folder: Path) -> Path:
    """The same base in three files and an index."""
    folder.mkdir()
    (folder / "config.json").write_bytes((base / "config.json").read_bytes())
    tensors, places = load_file(base / "model.safetensors"), {}
    names = list(tensors)
    for number in range(3):
        part = {name: tensors[name] for name in names[number::3]}
        save_file(part, folder / f"model-{number + 1:05d}-of-00003.safetensors", metadata={"format": "pt"})
        places |= dict.fromkeys(part, f"model-{number + 1:05d}-of-00003.safetensors")
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize(
    "options", [{}, {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}}]
)
def test_a_merged_model_is_peft_s_within_one_rounding_to_bfloat16(name: str, options: dict, tmp_path: Path) -> None:
    base = base_of(name, tmp_path)
    adapter, output = write_adapter(base, tmp_path / "adapter", **options), tmp_path / "merged"
    output.mkdir()
    merge_shards(base, adapter, output)
    (output / "config.json").write_bytes((base / "config.json").read_bytes())
    expected = PeftModel.from_pretrained(load(base), adapter).merge_and_unload().state_dict()
    merged, info = AutoModelForImageTextToText.from_pretrained(output, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    for key, weight in merged.state_dict().items():
        assert torch.equal(weight, expected[key].to(torch.bfloat16).float()), key
    changed = [key for key, weight in load(base).state_dict().items() if not torch.equal(weight, expected[key])]
    assert len(changed) == len(load_file(adapter / "adapter_model.safetensors")) / 2


def test_shards_and_their_index_stay(tmp_path: Path) -> None:
    base, whole, output = sharded(MINICPMV, tmp_path / "base"), tmp_path / "whole", tmp_path / "merged"
    adapter = write_adapter(MINICPMV, tmp_path / "adapter")
    for folder in (whole, output):
        folder.mkdir()
    merge_shards(MINICPMV, adapter, whole)
    merge_shards(base, adapter, output)
    assert [path.name for path in shards(output)] == [path.name for path in shards(base)]
    index = json.loads((output / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(t.nbytes for path in shards(output) for t in load_file(path).values())
    together = {name: tensor for path in shards(output) for name, tensor in load_file(path).items()}
    expected = load_file(whole / "model.safetensors")
    assert together.keys() == expected.keys() and all(torch.equal(together[n], expected[n]) for n in expected)


def test_minicpm_is_written_under_upstream_s_names_whoever_wrote_the_base(tmp_path: Path) -> None:
    output = tmp_path / "merged"
    output.mkdir()
    merge_shards(EMBEDDED / "base", write_adapter(EMBEDDED / "base", tmp_path / "adapter"), output)
    assert {name.split(".")[0] for name in tensor_names(output)} == {"llm", "vpm", "resampler"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"use_dora": True}, "use_dora: True"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
    ],
)
def test_other_adapters_are_refused_by_name(options: dict, reason: str, tmp_path: Path) -> None:
    adapter = write_adapter(MINICPMV, tmp_path / "adapter", **options)
    with pytest.raises(UserError, match=reason):
        merge_shards(MINICPMV, adapter, tmp_path)


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    adapter = write_adapter(EMBEDDED / "base", tmp_path / "adapter")
    with pytest.raises(UserError, match="no such weight of that shape"):
        merge_shards(MINICPMV, adapter, tmp_path)
