"""Patterns in an adapter's configuration: those that trainers write are read, those that never end are one line."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from t2i_judge import load_judge
from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.local.patterns import fault
from tests.embedding_checkpoints import make_clip
from tests.judge_folders import make_judge

RECIPES = Path(__file__).parents[3] / "recipes"
OURS = sorted(
    {
        line.partition(":")[2].strip().strip("'")
        for path in RECIPES.glob("*/recipe.yaml")
        for line in path.read_text().splitlines()
        if line.strip().startswith("target_modules:")
    }
)
WRITTEN = [
    *OURS,
    "q_proj",
    "model.layers.0.self_attn.q_proj",
    r"llm\.model\.layers\.\d+\..*\.(q_proj|k_proj|o_proj)$",
    r"^(?!.*(?:visual|patch_embed)).*(?:q_proj|k_proj|v_proj)$",
    r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|ffn).*?(?:q_proj|k_proj|gate_proj).*?)"
    r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|k_proj)))",
    r"^(language_model(?=\.).*\.(up_proj|o_proj|qkv_proj|down_proj))$",
    r"model.layers.[0-9]+.self_attn.[qkv]_proj",
    r"model.layers.\d+.*_proj",
    "layers",
]
ENDLESS = [
    r"([a-z0-9._]+)+!",
    r"(a|a)*!",
    r"(.*)*x",
    r"(?:a+){2,}!",
    "".join(["(a|a)"] * 30) + "!",
    "".join(["(a|ab)"] * 30) + "!",
    "".join(["(.|_)"] * 30) + "!",
    ".*" * 8 + "!",
    ".*a" * 8 + "!",
    r"(a)\1",
    "x?" * 40 + "!",
    r"\w+\w+\w+!",
    r"\d+" * 20 + "!",
    "(" * 3,
    "a)",
    "(?P<x>a)",
    "a" * 5_000,
]
NAME = "model.language_model.layers.10.self_attn." + "a" * 40


@pytest.mark.parametrize("pattern", WRITTEN)
def test_what_trainers_write_is_read_in_no_time(pattern):
    assert fault(pattern) is None
    re.compile(pattern)
    before = time.process_time()
    for tail in range(100):
        re.match(rf"(^|.*\.){pattern}($|\..*)", f"{NAME}{tail}!")
    assert time.process_time() - before < 1


@pytest.mark.parametrize("pattern", ENDLESS, ids=lambda pattern: pattern[:20])
def test_what_never_ends_is_refused(pattern):
    assert fault(pattern)


PLACES = [
    {"target_modules": ENDLESS[0]},
    {"exclude_modules": ENDLESS[0]},
    {"modules_to_save": ["lm_head", ENDLESS[0]]},
    {"layers_pattern": [ENDLESS[0]], "layers_to_transform": [0]},
    {"rank_pattern": {ENDLESS[0]: 8}},
    {"alpha_pattern": {ENDLESS[0]: 8}},
    {"target_parameters": [ENDLESS[0]]},
    {"some_later_option": {"deeper": [ENDLESS[0]]}},
    {"rank_pattern": {f"layer{n}": 8 for n in range(501)}},
]


@pytest.mark.parametrize("change", PLACES, ids=lambda change: "-".join(change))
def test_a_stranger_s_adapter_does_not_hang(change, tmp_path, capsys):
    """The first of them ran for as long as anybody waited."""
    folder = make_judge(tmp_path / "judge")
    path = next(folder.rglob("adapter_config.json"))
    config = json.loads(path.read_text()) | change
    path.write_text(json.dumps(config))
    table = tmp_path / "t.csv"
    table.write_text("image,prompt\na.png,a cat\n")
    assert main(["score", str(table), "--judge", f"hf:{folder}", "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "adapter_config.json: " in error and ("A pattern" in error or "at most 500" in error)


@pytest.mark.parametrize("kind", ["hf", "clip"])
def test_an_adapter_beside_a_model_is_refused_whatever_its_patterns(kind, tmp_path):
    """transformers puts it in as it loads the model."""
    folder = make_judge(tmp_path) if kind == "hf" else Path(make_clip(tmp_path))
    config = {"peft_type": "LORA", "target_modules": ENDLESS[0], "base_model_name_or_path": "x"}
    (folder / "base" if kind == "hf" else folder).joinpath("adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r" has an adapter beside its weights\. .* Merge it"):
        load_judge(f"{kind}:{folder}")
