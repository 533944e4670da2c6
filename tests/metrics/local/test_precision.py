"""Weights are loaded as the judge was trained: what judge.json says, unless somebody asks for something else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from t2i_judge.errors import UserError
from t2i_judge.judges.loading import load_judge
from t2i_judge.local.precision import FourBit, Precision, choose
from t2i_judge.local.weights import EMBEDDED, find_weights, load

TRAINED = {
    "quant_type": "nf4", "double_quant": True, "compute_dtype": "float32", "rounded": False,
    "skip_modules": ["lm_head", "model.resampler"],
}  # fmt: skip
ROUNDED = TRAINED | {"rounded": True}
NF4 = FourBit("nf4", True, "float32", ("lm_head", "model.resampler"))
SMALL, LARGE = 1_300_000, 8_100_000_000


@pytest.mark.parametrize(("card", "asked", "device", "parameters", "expected"), [
    ({}, (None, None), "cpu", SMALL, Precision("float32")),
    ({}, (None, None), "cpu", LARGE, Precision("bfloat16")),  # 32 GB in float32
    ({}, (None, None), "cuda:0", SMALL, Precision("bfloat16")),
    ({}, (None, "float16"), "cpu", LARGE, Precision("float16")),
    ({}, ("nf4", None), "cpu", SMALL, Precision("bfloat16", FourBit())),
    ({}, ("nf4", "float32"), "cpu", SMALL, Precision("float32", FourBit(compute_dtype="float32"))),
    ({"quantization": TRAINED, "dtype": "bfloat16"}, (None, None), "cpu", LARGE, Precision("bfloat16", NF4)),
    ({"quantization": TRAINED, "dtype": "float32"}, (None, None), "cuda", SMALL, Precision("float32", NF4)),
    ({"quantization": TRAINED, "dtype": "float32"}, ("none", None), "cpu", SMALL, Precision("float32")),
    ({"quantization": TRAINED, "dtype": "float32"}, ("none", "bfloat16"), "cpu", SMALL, Precision("bfloat16")),
    ({"quantization": ROUNDED, "dtype": "float32"}, (None, None), "cuda", SMALL, Precision("float32")),
    ({"quantization": ROUNDED}, ("nf4", None), "cpu", SMALL, Precision("bfloat16", NF4)),
    ({"quantization": None, "dtype": "bfloat16"}, (None, None), "cpu", SMALL, Precision("bfloat16")),
])  # fmt: skip
def test_what_is_chosen(card: dict[str, Any], asked: tuple, device: str, parameters: int, expected: Precision) -> None:
    assert choose(card, *asked, device, parameters) == expected


def test_a_word_that_is_no_quantization() -> None:
    with pytest.raises(UserError, match='Use "nf4" or "none"'):
        choose({}, "int3", None, "cpu", SMALL)


@pytest.mark.parametrize(
    "card",
    [
        {"dtype": {"a": 1}},
        {"dtype": "load"},
        {"quantization": [1]},
        {"quantization": TRAINED | {"compute_dtype": "load"}},
    ],
)
def test_a_stranger_s_card_of_another_shape_is_one_line(card: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"Download judge\.json again"):
        choose(card, None, None, "cpu", SMALL)


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    """The embedded judge, as a recipe that does not round its base would have trained it."""
    folder = Path(shutil.copytree(EMBEDDED, tmp_path / "judge"))
    card = json.loads((folder / "judge.json").read_text())
    card |= {"quantization": TRAINED | {"skip_modules": ["lm_head", "model.vision_tower", "model.resampler"]}}
    (folder / "judge.json").write_text(json.dumps(card | {"dtype": "bfloat16", "max_slice_nums": 2}))
    return folder


def test_a_judge_is_loaded_as_its_card_says_without_any_option(judge: Path) -> None:
    from bitsandbytes.nn import Linear4bit

    model = load(find_weights(str(judge)))
    four_bit = [name for name, module in model.model.named_modules() if isinstance(module, Linear4bit)]
    assert four_bit and all("language_model" in name for name in four_bit)
    assert model.precision == "nf4 bfloat16" and model.processor.image_processor.max_slice_nums == 2
    assert load_judge(f"hf:{judge}").info.backend.startswith("one_forward nf4 bfloat16")
    plain = load_judge(f"hf:{judge}", "none", dtype="float32")
    assert not any(isinstance(module, Linear4bit) for module in plain.model.model.modules())
    assert plain.info.backend == load_judge("tiny").info.backend


def test_without_bitsandbytes_a_judge_in_four_bits_says_so(judge: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"trained on weights in 4 bits.*pip install bitsandbytes"):
        load(find_weights(str(judge)))
