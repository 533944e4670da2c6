"""DreamBench++'s judge asks the rule-based teacher over HTTP: near the known quality, and different from run to run."""

from __future__ import annotations

from statistics import fmean

import pytest
from scipy.stats import spearmanr

from recipes.evaluation.judging import judged_by
from recipes.loopback.http import started
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.items import read_items
from recipes.recipe.sections import ScenesData
from recipes.scenes.pictures import write_scenes
from t2i_judge.files import read_jsonl
from t2i_judge.judges.loading import load_judge
from t2i_judge.judges.names import JudgeName
from t2i_judge.records import Status

AXES = ("concept_preservation", "prompt_following")
NAME = "dreambench+openai:scene-teacher"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder of personalised scenes and the address of its teacher."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, ScenesData("scenes", 28, 0, 0), seed=3, is_personalised=True)
    with started("recipes.scenes.server", [str(folder)]) as address:
        yield folder, address


@pytest.fixture(scope="module")
def runs(world):
    """Three runs: judgements by item."""
    folder, address = world
    made = []
    for run in range(3):
        judge = load_judge(JudgeName.parse(NAME).called(f"{NAME} #{run}"), run=run, base_url=address)
        made.append(judged_by(judge, BuildFolder(folder), read_items(folder), progress=False))
        judge.close()
    return made


def test_both_axes_follow_the_known_quality(world, runs):
    latent = {row["id"]: row for row in read_jsonl(world[0] / "latent.jsonl")}
    for axis in AXES:
        means = {name: fmean(run[name].scores[axis] for run in runs) for name in runs[0]}
        assert spearmanr(list(means.values()), [latent[name][axis] for name in means]).statistic > 0.8


def test_scores_are_whole_and_reasoned(runs):
    for judgement in runs[0].values():
        assert judgement.status is Status.OK
        assert set(judgement.scores) == set(AXES)
        assert all(score in range(5) for score in judgement.scores.values())
        assert all(answer.explanation for answer in judgement.answers)


def test_runs_waver_by_a_point_at_most(runs):
    spans = [
        max(run[name].scores[axis] for run in runs) - min(run[name].scores[axis] for run in runs)
        for name in runs[0]
        for axis in AXES
    ]
    assert set(spans) == {0.0, 1.0}


def test_judgements_are_read_back_and_not_made_again(world, runs):
    folder, _ = world
    judge = load_judge(JudgeName.parse(NAME).called(f"{NAME} #0"), run=0, base_url="http://127.0.0.1:9/v1")
    assert judged_by(judge, BuildFolder(folder), read_items(folder), progress=False) == runs[0]
    judge.close()
    assert BuildFolder(folder).judgements_of(f"{NAME} #0").name == "dreambench+openai%3Ascene-teacher #0.jsonl"


def test_a_strange_picture_is_refused(world):
    folder, address = world
    judge = load_judge(NAME, base_url=address)
    [item, other, *_] = read_items(folder)
    reference = folder / str(item.reference_image)
    [judged] = judge.score([reference], [item.prompt], [folder / other.image])
    judge.close()
    assert judged.status is Status.REFUSED
