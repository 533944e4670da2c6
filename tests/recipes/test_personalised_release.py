"""The whole chain on personalised scenes, once, with next to no training: what every step must leave behind."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from recipes.evaluation.methods import report
from recipes.evaluation.results import Ratings
from recipes.hub.repositories import repositories
from recipes.recipe.config import load_recipe
from recipes.scenes.personalised import METHODS
from t2i_judge.errors import UserError
from tests.recipes.personalised_build import judged, make_items

AXES = {"concept_preservation", "prompt_following"}
RECIPE = "smoke-personalised"
SERVED = "dreambench+openai:scene-teacher"


def test_the_recipe_is_the_tiny_one_for_two_images():
    tiny, personalised = load_recipe("tiny"), load_recipe("tiny-personalised")
    assert personalised.base == tiny.base and personalised.quantization == tiny.quantization
    assert (personalised.personalised, personalised.judge_name, tiny.judge_name) == (True, "tiny", "tiny")
    assert personalised.evaluation.goals.new_prompts == personalised.evaluation.goals.new_pairs == 0.7


def test_the_report_leaves_out_judges_of_other_aspects():
    items = make_items()
    ratings = Ratings({}, {"ann": {"prompt_following": {item.id: 4.0 for item in items}}}, True)
    found = report(
        items,
        {
            "both": [judged(items, concept_preservation=5.0, prompt_following=10.0)],
            "direct": [judged(items, overall=5.0)],
            "mute": [judged(items)],
        },
        ratings,
        resamples=20,
        seed=0,
    )
    assert {row["judge"] for row in found["agreement"]} == {"both", "mute"}
    whole = [row for row in found["leaderboard"] if not row["by"] and row["scorer"] == "both" and row["method"]]
    assert [row["scores"]["concept_preservation"] for row in whole] == [0.5, 0.5]
    assert {(row["method"], row["family"]) for row in whole} == {("a", "tuned"), ("b", "tuning-free")}


def test_ratings_off_the_axes_scale_are_refused():
    items = make_items()
    ratings = Ratings({}, {"ann": {"prompt_following": {items[0].id: 7.0}}}, False)
    with pytest.raises(UserError, match="people gave the score 7"):
        report(items, {"both": [judged(items, prompt_following=1.0)]}, ratings, resamples=0, seed=0)


@pytest.fixture(scope="module")
def release(root):
    """build/release-smoke-personalised, made by the command."""
    run = subprocess.run(
        [sys.executable, "-m", "recipes.release", "--recipe", RECIPE],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    assert "Leaderboard by people" in run.stdout and "All 6 published parts load back." in run.stdout
    return root / "build" / f"release-{RECIPE}"


@pytest.mark.slow
def test_results_hold_both_axes_and_the_report(release):
    results = json.loads((release / "results.json").read_text())
    rows = {(row["judge"], row["split"], row["aspect"], row["against"]) for row in results["rows"]}
    for split in ("new_prompts", "new_pairs"):
        for against in ("latent", "humans_mean"):
            assert {("tiny", split, axis, against) for axis in AXES} <= rows
    assert {row["aspect"] for row in results["comparisons"]} >= AXES
    methods = results["methods"]
    assert {row["method"] for row in methods["leaderboard"]} == {*METHODS, None}
    assert {name for row in methods["leaderboard"] for name in row["by"]} == {"category", "difficulty"}
    assert {row["judge"] for row in methods["agreement"]} == {"tiny", "base", "direct", "teacher", SERVED}
    served = [row for row in methods["agreement"] if row["judge"] == SERVED and row["method"] is None]
    assert all(row["runs"] == 3 and row["judge_human_sd"] > 0 for row in served)
    assert {axis for judge, _, axis, _ in rows if judge == SERVED} == AXES
    teacher = [row for row in methods["agreement"] if row["judge"] == "teacher" and row["method"] is None]
    assert all(row["judge_human"] > 0.4 and row["n_failed"] == 0 for row in teacher)


@pytest.mark.slow
def test_the_benchmark_has_references_and_attributes(release):
    from datasets import load_dataset

    bench = repositories(load_recipe(RECIPE)).bench.folder(release)
    rows = load_dataset(str(bench), split="new_prompts")
    assert len(rows) == 28
    for row in rows:
        assert row["reference_image"].size == row["image"].size == (112, 112)
        assert {score["aspect"] for score in row["human_scores"]} == AXES
        assert all(0 <= score["score"] <= 4 for score in row["human_scores"])
    assert set(rows["difficulty"]) <= {"easy", "medium", "hard"}
    assert {(row["generator"], row["family"]) for row in rows} <= {(n, m.family) for n, m in METHODS.items()}


@pytest.mark.slow
def test_the_student_learns_from_two_images(root, release):
    from datasets import load_dataset

    distill = repositories(load_recipe(RECIPE)).distill.folder(release)
    for row in load_dataset(str(distill), "sft", split="train"):
        pictures = [part for turn in row["messages"] for part in turn["content"] if part["type"] == "image"]
        assert len(row["images"]) == len(pictures) in (0, 2)
    card = json.loads((root / "build" / RECIPE / "adapter" / "judge.json").read_text())
    assert (card["name"], card["personalised"]) == ("tiny", True)


@pytest.mark.slow
def test_cards_show_the_two_axes(release):
    names = repositories(load_recipe(RECIPE))
    model = (names.model.folder(release) / "README.md").read_text()
    bench = (names.bench.folder(release) / "README.md").read_text()
    metric = (names.metric.folder(release) / "README.md").read_text()
    assert "**concept preservation**" in model and "| teacher | concept_preservation |" in model
    assert 'row["reference_image"]' in model and '"reference_image"' in metric
    assert "## Leaderboard of methods" in bench and "| tuned-adapter | tuned |" in bench
