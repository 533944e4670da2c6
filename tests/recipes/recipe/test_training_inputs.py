"""What makes a training another one, and what does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.markers import file_table, fingerprint
from recipes.recipe.training_inputs import inputs_of
from recipes.training import trainings
from tests.recipes.synthetic import synthetic_base, synthetic_build, synthetic_recipe


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Recipe:
    return synthetic_recipe(folder=synthetic_base(tmp_path_factory.mktemp("inputs") / "base"))


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> BuildFolder:
    return BuildFolder(synthetic_build(tmp_path_factory.mktemp("inputs") / "build"))


@pytest.mark.parametrize("what", ["judge", "direct"])
def test_what_changes_no_weight_makes_no_other_training(recipe, build, what):
    def other(section: str, **changed: object) -> str:
        return inputs_of(replace(recipe, **{section: replace(getattr(recipe, section), **changed)}), build, what)

    known = inputs_of(recipe, build, what)
    for changed in ({"evaluation": 7}, {"data": 7}):
        assert other("seeds", **changed) == known, "data are known by what they are"
    for changed in ({"logging_steps": 7}, {"save_steps": 7}, {"save_total_limit": 7}, {"dataloader_num_workers": 1}):
        assert other("training", **changed) == known
    for section, changed in (
        ("seeds", {"training": 7}),
        ("seeds", {"mixture": 7}),
        ("training", {"weight_decay": 0.1}),
    ):
        assert other(section, **changed) != known


def test_what_was_trained_when_all_of_it_counted_is_not_trained_again(recipe, build, monkeypatch):
    files = file_table(build.distill, build.distill.glob("data/*.parquet"))
    base = Path(recipe.base.model)
    files |= {f"base/{path}": entry for path, entry in file_table(base, base.glob("*.*")).items()}
    sections = (recipe.base, recipe.adapter, recipe.quantization, recipe.packing, recipe.mixture, recipe.rebalance)
    training = repr(recipe.training).replace(", length_normalization=0.0", "")
    then = fingerprint(files, "judge", repr(sections), training, repr(recipe.seeds), recipe.student_hash)
    build.trained.write(then, json.loads(build.trained.path.read_text()))

    def trains(*_: object, **__: object) -> None:
        raise AssertionError("it trains again")

    monkeypatch.setattr(trainings, "fine_tune", trains)
    only = trainings.without_direct(recipe)
    trainings.train(only, build.root)
    with pytest.raises(AssertionError, match="trains again"):
        trainings.train(replace(only, mode="greedy", seeds=replace(recipe.seeds, training=7)), build.root)
