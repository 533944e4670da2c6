"""The `evaluate` metric with references {"prompt", "reference_image"} and judges of personalised images."""

from __future__ import annotations

import json

import evaluate
import pytest

from recipes.scenes import personalised_rules
from recipes.scenes.personalised import make_samples
from t2i_judge import load_judge
from tests.embedding_checkpoints import make_clip, make_dino
from tests.judge_folders import LIBRARY, make_judge

AXES = ("concept_preservation", "prompt_following")


@pytest.fixture(scope="module")
def samples():
    return make_samples(3, 1)


@pytest.fixture
def metric(tmp_path):
    return evaluate.load(str(LIBRARY), cache_dir=str(tmp_path))


def references(samples):
    return [{"prompt": sample.task.text, "reference_image": sample.reference_image} for sample in samples]


@pytest.mark.parametrize(("kind", "make", "axes"), [("dino", make_dino, AXES[:1]), ("clip", make_clip, AXES)])
def test_embedding_baselines_see_the_reference(metric, samples, tmp_path, kind, make, axes):
    name = f"{kind}:{make(tmp_path)}"
    images = [sample.image for sample in samples]
    result = metric.compute(predictions=images, references=references(samples), judge=name)
    expected = load_judge(name).score(
        images, [sample.task.text for sample in samples], [sample.reference_image for sample in samples]
    )
    for axis in axes:
        scores = [judgement.scores[axis] for judgement in expected]
        assert result[axis] == pytest.approx(sum(scores) / len(scores), abs=1e-6)
        assert [judgement["scores"][axis] for judgement in result["judgements"]] == pytest.approx(scores, abs=1e-6)
    assert (result["n"], result["overall"]) == (3, None)


class Told:
    """A local judge that is given the teacher's questions: random weights decompose nothing."""

    def __init__(self, judge):
        self.judge, self.info, self.score_range = judge, judge.info, judge.score_range

    def score(self, images, prompts, reference_images=None, **options):
        questions = [personalised_rules.decompose(prompt) for prompt in prompts]
        return self.judge.score(images, prompts, reference_images, questions=questions, **options)


def test_a_personalised_local_judge(metric, samples, tmp_path):
    judge = Told(load_judge(f"hf:{make_judge(tmp_path / 'judge', {'personalised': True})}"))
    wanted = references(samples)
    lonely = {"prompt": samples[0].task.text, "reference_image": None}
    images = [sample.image for sample in samples]
    result = metric.compute(predictions=[*images, images[0]], references=[*wanted, lonely], judge=judge)
    assert [judgement["status"] for judgement in result["judgements"]] == ["ok", "ok", "ok", "skipped"]
    assert "reference" in result["judgements"][3]["reason"]
    assert (result["n"], result["n_failed"], result["coverage"]) == (3, {"skipped": 1}, 0.75)
    for judgement in result["judgements"][:3]:
        preserved, followed = (judgement["scores"][axis] for axis in AXES)
        assert judgement["scores"]["overall"] == pytest.approx((preserved + followed) / 2)
    other = metric.compute(
        predictions=images[:1], references=[{**wanted[0], "reference_image": images[1]}], judge=judge
    )
    assert other["concept_preservation"] != result["judgements"][0]["scores"]["concept_preservation"]


def test_dreambench_s_judge_keeps_its_range(metric, samples, served):
    served.respond = lambda request, n: served.completion(json.dumps({"reasoning": "the same", "score": 3}))
    result = metric.compute(
        predictions=[samples[0].image],
        references=references(samples[:1]),
        judge="dreambench+openai:m",
        base_url=served.url,
        planning=False,
        parameters={"temperature": 0.5},
    )
    assert {(call["temperature"], call["seed"]) for call in served.calls} == {(0.5, 0)}
    assert (result["concept_preservation"], result["prompt_following"]) == (3.0, 3.0)
    assert result["judgements"][0]["score_range"] == [0.0, 4.0]
