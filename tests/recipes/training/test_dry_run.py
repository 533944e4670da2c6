"""The dry run: the sizes that real checkpoints have, from the configuration alone; data columns checked first."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image
from transformers import AutoConfig

from recipes.recipe.config import load_recipe
from recipes.recipe.sections import Quantization
from recipes.train import main
from recipes.training.dry_run import report
from recipes.training.estimates import base_config, estimate, image_tokens
from t2i_judge.errors import UserError
from tests.recipes.scenes_build import scenes_build, smoke_recipe


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def full_size():
    recipe = load_recipe("minicpm-v-2.6")
    return recipe, base_config(recipe)


def test_the_8b_model_has_the_size_that_its_checkpoint_has(full_size) -> None:
    recipe, config = full_size
    found = estimate(recipe, config, tokens=1000)
    assert found.parameters == 8_099_175_152
    linears = 28 * (2 * 3584 * 3584 + 2 * 512 * 3584 + 3 * 3584 * 18944)
    assert found.quantised == linears
    base = found.resident - 2 * found.trainable
    assert base / 2**30 == pytest.approx(6.07, abs=0.02)
    ranks = 28 * 128 * (2 * (3584 + 3584) + 2 * (3584 + 512) + 3 * (3584 + 18944))
    assert found.trainable == ranks
    assert 8 < found.peak / 2**30 < 11


def test_what_is_not_quantised_takes_more(full_size) -> None:
    recipe, config = full_size
    plain = estimate(replace(recipe, quantization=None), config, 1000)
    assert plain.quantised == 0 and plain.resident > 15 * 2**30
    wrong = replace(recipe, quantization=Quantization(skip_modules=("lm_head",)))
    assert estimate(wrong, config, 1000).quantised > estimate(recipe, config, 1000).quantised


def test_without_checkpointing_activations_grow(full_size) -> None:
    recipe, config = full_size
    kept = replace(recipe, training=replace(recipe.training, gradient_checkpointing=False))
    assert estimate(kept, config, 2000).activations > 4 * estimate(recipe, config, 2000).activations


@pytest.mark.parametrize(("size", "tokens"), [((448, 448), 69), ((1344, 1344), 69 + 9 * 66 + 2)])
def test_image_tokens_follow_the_slicing(full_size, size: tuple[int, int], tokens: int) -> None:
    recipe, config = full_size
    assert image_tokens(recipe, config, size) == tokens
    assert image_tokens(replace(recipe, base=replace(recipe.base, max_slice_nums=1)), config, size) == 69


def test_an_adapter_that_fits_nothing_is_one_line(full_size) -> None:
    recipe, config = full_size
    with pytest.raises(UserError, match="matches no module"):
        estimate(replace(recipe, adapter=replace(recipe.adapter, target_modules="nowhere")), config, 10)


@pytest.mark.parametrize(("name", "family"), [("qwen3-vl-8b", "qwen3_vl"), ("minicpm-v-4.6", "minicpmv4_6")])
def test_other_bases_need_their_configuration(name: str, family: str, tmp_path: Path, capsys) -> None:
    assert main(["--recipe", name, "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert "no config.json" in said and said.count("\n") == 1
    AutoConfig.for_model(family).save_pretrained(tmp_path)
    recipe = load_recipe(name)
    text = report(replace(recipe, base=replace(recipe.base, model=str(tmp_path))))
    assert "trainable" in text and "known only to the base's own processor" in text


def test_built_data_gives_rows_and_steps(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("recipes.recipe.config.ROOT", tmp_path)
    recipe = smoke_recipe(max_steps=-1, num_train_epochs=2.0)
    base = Path(__file__).parents[3] / recipe.base.model
    scenes_build(recipe.folder, train=4, held_out=1)
    text = report(replace(recipe, base=replace(recipe.base, model=str(base))))
    assert "built (images: 4, " in text and "tokens per image  69 at 112x112" in text and "epochs: 2, " in text


def table(folder: Path, columns: list[str]) -> Path:
    Image.new("RGB", (1344, 1344)).save(folder / "a.png")
    with (folder / "items.csv").open("w") as out:
        csv.writer(out).writerows([columns, ["a red cat", "a.png"]])
    (folder / "recipe.yaml").write_text(yaml.safe_dump({
        "extends": "minicpm-v-2.6", "name": "mine", "data": {"source": "table", "path": str(folder / "items.csv")},
    }))  # fmt: skip
    return folder / "recipe.yaml"


def test_a_table_is_looked_at_before_anything_is_paid(tmp_path: Path, capsys) -> None:
    recipes = tmp_path / "recipes"
    (recipes / "mine").mkdir(parents=True)
    (recipes / "minicpm-v-2.6").symlink_to(Path(__file__).parents[3] / "recipes" / "minicpm-v-2.6")
    assert main(["--config", str(table(recipes / "mine", ["prompt", "image"])), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "1 row\n" in said and "665 at 1344x1344" in said
    assert main(["--config", str(table(recipes / "mine", ["prompt", "imag"])), "--dry-run"]) == 2
    assert "no column 'image'" in capsys.readouterr().err
