"""The stages of the full-size run, one after the other, on a configuration small enough for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipes.measure import FULL_SIZE_MARKS, around_marks
from recipes.recipe.config import load_recipe
from recipes.training import full_size
from recipes.training.merging import shards, tensor_names
from t2i_judge.errors import UserError

VISION = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 2}
SMALL = {
    "hidden_size": 256,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "query_num": 64,
    "vision_config": {**VISION, "image_size": 980, "patch_size": 14, "model_type": "siglip_vision_model"},
}


@pytest.mark.slow
def test_every_stage_at_small_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_size, "SHARD", "50MB")
    monkeypatch.setattr(full_size, "SIDE", 300)
    config, recipe = full_size.configuration(**SMALL), load_recipe("minicpm-v-2.6")
    stages = [full_size.run_stage(stage, tmp_path, recipe, config) for stage in full_size.STAGES]
    assert len(shards(tmp_path / "base")) == len(shards(tmp_path / "merge")) > 1
    assert set(tensor_names(tmp_path / "merge")) == set(tensor_names(tmp_path / "base"))
    assert "2 steps" in stages[1].detail and stages[3].detail.endswith("0 missing keys")
    assert all(stage.peak_gib > 0 for stage in stages) and stages[0].written_gib > 0
    lines = full_size.table(stages).splitlines()
    assert len(lines) == 2 + len(full_size.STAGES) and len({line.count("|") for line in lines}) == 1


def test_a_disk_too_small_is_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(full_size, "DISK_BYTES", 1e18)
    with pytest.raises(UserError, match="GB of disk are free"):
        full_size.measure_full_size(tmp_path)
    assert "takes hours on a CPU" in capsys.readouterr().out


def test_the_guide_has_a_place_for_the_figures() -> None:
    around_marks(FULL_SIZE_MARKS)
