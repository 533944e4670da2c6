"""The GPU measurement runs on the tiny configuration, and says so where there is no GPU."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recipes.measure import (
    MARKS,
    QUESTIONS,
    Measurement,
    Setting,
    around_marks,
    main,
    make_batch,
    measure,
    measure_one,
    random_base,
    read_measurements,
    settings,
    table,
    write_guide,
)
from recipes.recipe.config import load_recipe
from recipes.training.estimates import base_config
from t2i_judge.errors import UserError
from t2i_judge.local.minicpmv.configuration import MiniCPMVConfig


@pytest.fixture(scope="module")
def base():
    recipe = load_recipe("smoke")
    return random_base(recipe, base_config(recipe), "cpu")


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_a_setting_is_measured_on_the_tiny_configuration(base, packed: bool, checkpointing: bool) -> None:
    from bitsandbytes.nn import Linear4bit

    layers = base.config.num_hidden_layers
    found = measure_one(load_recipe("smoke"), base, Setting(4, checkpointing, packed, 2), side=112)
    assert sum(isinstance(module, Linear4bit) for module in base.modules()) == 7 * layers
    assert not any("lora" in name for name, _ in base.named_parameters())
    assert found.questions_s == pytest.approx(found.images_s * (QUESTIONS if packed else 1))
    assert found.seconds_a_step > 0 and found.mfu is None and found.peak_gib is None


def test_a_run_that_was_cut_short_goes_on(tmp_path: Path, monkeypatch) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.setattr("recipes.recipe.config.ROOT", tmp_path)
    recipe = load_recipe("smoke")
    recipe = replace(recipe, base=replace(recipe.base, model=str(root / recipe.base.model)))
    first, second = Setting(4, False, True, 1), Setting(4, False, False, 1)
    (one,) = measure(recipe, "cpu", [first], side=112)
    monkeypatch.setattr("recipes.measure.hardware", lambda: one.device)
    assert measure(recipe, "cpu", [first, second], side=112)[0] == one
    lines = read_measurements(recipe.folder / "measurements.jsonl")
    assert [line.setting for line in lines] == [first, second] and lines[0] == one
    monkeypatch.setattr("recipes.measure.hardware", lambda: "another device")
    monkeypatch.setattr("recipes.measure.measure_one", lambda *_: Measurement("another device", first))
    assert measure(recipe, "cpu", [first]) == [Measurement("another device", first)]


def test_the_batch_of_the_full_size_model_is_real() -> None:
    """9 slices and an overview: 66 tokens each, as upstream's formula says, and as many features as places."""
    config = MiniCPMVConfig(query_num=64, slice_config={"max_slice_nums": 9})
    batch = make_batch(config, Setting(64, True, True, 1))
    assert len(batch["target_sizes"]) == 10 and batch["pixel_values"].shape[2] == 14
    places = (batch["input_ids"] == config.slice_start_id).sum() + (batch["input_ids"] == config.image_start_id).sum()
    assert places == 10 and batch["input_ids"].shape[1] == 10 * 66 + QUESTIONS * 50
    assert (batch["labels"] >= 0).sum() == QUESTIONS * 25


def test_all_settings_are_covered_once() -> None:
    found = list(settings())
    assert len(found) == len(set(found)) == 2 * 2 * 2 * 4


def test_the_guide_has_a_place_for_figures() -> None:
    before, after = around_marks(MARKS)
    assert "recipes.measure" in before and after.strip()


def test_figures_go_between_the_marks(tmp_path: Path) -> None:
    guide = tmp_path / "README.md"
    guide.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    setting = Setting(64, True, True, 1)
    done = [Measurement("H100", setting, 9.5, 0.5, 2000.0, 2.0, 16.0, 0.4), Measurement("H100", setting)]
    write_guide(load_recipe("smoke"), done, guide)
    text = guide.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert "40.0%" in text and "out of memory" in text and not math.isnan(done[0].mfu)
    guide.write_text("no marks")
    with pytest.raises(UserError, match="no place for figures"):
        write_guide(load_recipe("smoke"), done, guide)
    assert table(done).count("\n") == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys) -> None:
    assert main(["--config", "smoke"]) == 2
    assert "This machine has no GPU" in capsys.readouterr().err
