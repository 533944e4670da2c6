"""Adapters for which peft would do more than read their weights: refused in one line, before it does anything."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from t2i_judge import load_judge
from t2i_judge.errors import UserError
from t2i_judge.local.kinds import check_kind
from tests.judge_folders import make_judge

CONFIG = "adapter_config.json"
ASKING: dict[str, dict[str, Any]] = {
    "decomposes the base without an end": {"init_lora_weights": "pissa_niter_999999999"},
    "quantises the base over and over": {"init_lora_weights": "loftq", "loftq_config": {"loftq_iter": 10**9}},
    "changes the base": {"init_lora_weights": "olora"},
    "reads a tokenizer from anywhere": {
        "peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4, "prompt_tuning_init": "TEXT", "inference_mode": False,
        "prompt_tuning_init_text": "x", "tokenizer_name_or_path": "..", "tokenizer_kwargs": {"trust_remote_code": True},
    },
    "reads a pickle": {
        "peft_type": "MULTITASK_PROMPT_TUNING", "num_virtual_tokens": 4,
        "prompt_tuning_init": "ONLY_SOURCE_SHARED", "prompt_tuning_init_state_dict_path": "x.bin",
    },
    "loads other adapters": {"peft_type": "XLORA", "adapters": {"0": "somebody/else"}},
    "loads another model": {"peft_type": "SHADOW", "shadow_model": "somebody/else"},
    "is random": {"monteclora_config": {"num_samples": 10**9}},
    "imports a module": {"megatron_config": {"x": 1}, "megatron_core": "megatron.core"},
    "has no kind": {"peft_type": ["LORA"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_judge(tmp_path_factory.mktemp("judges") / "judge")


@pytest.mark.parametrize("asks", ASKING)
def test_an_adapter_that_is_more_than_weights_is_one_line(judge: Path, tmp_path: Path, asks: str) -> None:
    """The first of them ran for as long as anybody waited."""
    folder = shutil.copytree(judge, tmp_path / "judge")
    path = folder / CONFIG
    record = json.loads(path.read_text()) | ASKING[asks]
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"adapter_config\.json") as error:
        load_judge(f"hf:{folder}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("start", [True, False, "gaussian", "eva"])
def test_adapters_that_say_how_they_were_begun_load(judge: Path, tmp_path: Path, start: object) -> None:
    record = json.loads((judge / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(record | {"init_lora_weights": start}))
    check_kind(tmp_path)
