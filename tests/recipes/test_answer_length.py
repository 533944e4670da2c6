"""Short answers beside long ones: what a token weighs, and that TRL's own loss is what comes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trl import SFTTrainer

from recipes.distillation.sft_data import load_distillation, read_samples, select, training_dataset
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.training_inputs import inputs_of
from recipes.training.answer_length import answer_weights
from recipes.training.fine_tuning import make_trainer, sft_config
from t2i_judge.local.packing import IGNORED
from tests.recipes.scenes_build import scenes_build, smoke_recipe

ROWS = st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=1, max_size=4)


def answers(learnt: torch.Tensor) -> list[list[tuple[int, int]]]:
    """The places of each answer, found one by one."""
    runs: list[list[tuple[int, int]]] = []
    for row, marks in enumerate(learnt.tolist()):
        for place, mark in enumerate(marks):
            if mark and (place == 0 or not marks[place - 1]):
                runs.append([])
            if mark:
                runs[-1].append((row, place))
    return runs


@given(ROWS, st.sampled_from([0.0, 0.5, 1.0]))
def test_a_token_weighs_the_length_of_its_answer(rows: list[list[bool]], normalization: float) -> None:
    learnt = torch.tensor(rows)
    weights = answer_weights(learnt, normalization)
    runs = answers(learnt)
    assert not weights[~learnt].any()
    if not runs:
        return
    wanted = {place: len(run) ** -normalization for run in runs for place in run}
    mean = sum(wanted.values()) / len(wanted)
    for place, weight in wanted.items():
        assert weights[place].item() == pytest.approx(weight / mean, rel=1e-5)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes_build(tmp_path_factory.mktemp("build"))


def trainer_of(recipe: Recipe, built: Path, folder: Path) -> SFTTrainer:
    data = load_distillation(built / "distill")
    rows = select(read_samples(data.select_columns(["prompt", "samples"])), recipe)
    return make_trainer(recipe, training_dataset(data, rows, recipe.packing), sft_config(recipe, folder))


def with_normalization(value: float) -> Recipe:
    recipe = smoke_recipe(max_steps=1)
    return replace(recipe, training=replace(recipe.training, length_normalization=value))


def test_fully_normalised_the_loss_is_a_mean_over_answers(built: Path, tmp_path: Path) -> None:
    trainer = trainer_of(with_normalization(1.0), built, tmp_path)
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    labels = batch["labels"][:, 1:]
    learnt = labels != IGNORED
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=learnt.sum())
        logits = trainer.model(**{name: value for name, value in batch.items() if name != "labels"}).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    means = [torch.stack([losses[place] for place in run]).mean() for run in answers(learnt)]
    assert len({len(run) for run in answers(learnt)}) > 1
    assert loss.item() == pytest.approx(torch.stack(means).mean().item(), rel=1e-4)


def test_without_normalisation_the_trainer_is_that_of_trl(built: Path, tmp_path: Path) -> None:
    assert type(trainer_of(with_normalization(0.0), built, tmp_path)) is SFTTrainer


def test_a_training_of_before_the_key_stays_done(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    monkeypatch.setattr(
        "recipes.recipe.training_inputs.fingerprint", lambda files, *parts: texts.append(repr(parts)) or ""
    )
    inputs_of(with_normalization(0.0), BuildFolder(built))
    inputs_of(with_normalization(0.5), BuildFolder(built))
    without, weighted = texts[:2], texts[2:]
    assert not any("length_normalization" in text for text in without)
    assert weighted and all("length_normalization=0.5" in text for text in weighted)
