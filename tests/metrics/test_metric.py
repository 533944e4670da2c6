"""The `evaluate` metric in this process: images in every form, gaps, re-use, combine, and the meta configuration."""

from __future__ import annotations

import base64
import io

import evaluate
import numpy as np
import pytest
import torch
from PIL import Image

import t2i_judge
from recipes.scenes.render import make_scenes
from t2i_judge import load_judge
from t2i_judge.meta.evaluation import meta_evaluate
from t2i_judge.metric import _load, compute, summarise
from tests.embedded import needs_embedded_judge
from tests.judge_folders import LIBRARY, make_adapter, make_judge
from tests.recipes.photographs import PHOTOGRAPHS


@pytest.fixture(scope="module")
def judge(tmp_path_factory) -> str:
    return f"direct+hf:{make_judge(tmp_path_factory.mktemp('judges') / 'judge')}"


@pytest.fixture(scope="module")
def scenes():
    return [(scene[3], scene[0].text) for scene in make_scenes(3, 1)]


@pytest.fixture
def metric(tmp_path):
    return evaluate.load(str(LIBRARY), cache_dir=str(tmp_path))


def test_images_in_every_form_are_the_same_image(metric, judge, scenes, tmp_path):
    image, prompt = scenes[0]
    path = tmp_path / "scene.png"
    image.save(path)
    forms = [image, str(path), path.read_bytes(), np.asarray(image), {"bytes": path.read_bytes(), "path": None}]
    forms += [io.BytesIO(path.read_bytes()), torch.from_numpy(np.asarray(image) / 255).permute(2, 0, 1), [image], path]
    forms += [base64.b64encode(path.read_bytes()).decode(), np.asarray(image).astype(int)]
    results = [metric.compute(predictions=[form], references=[prompt], judge=judge) for form in forms]
    expected = load_judge(judge).score([image], [prompt])[0].scores["overall"]
    assert [result["overall"] for result in results] == pytest.approx([expected] * len(forms), abs=1e-6)


def test_a_broken_image_gets_its_status_and_kills_nothing(metric, judge, scenes, tmp_path):
    image, prompt = scenes[0]
    image.save(tmp_path / "exif.png", exif=b"Exif\0\0no TIFF header")
    broken = [b"not an image", "/nowhere/at/all.png", str(tmp_path / "exif.png"), None]
    broken += [Image.new("F", (8, 8)), np.full((8, 8), 999), 3.5, [image, image], "https://example.org/a.png"]
    for predictions in ([image, *broken], [*broken, image]):
        result = metric.compute(predictions=predictions, references=[prompt] * 10, judge=judge)
        statuses = [judgement["status"] for judgement in result["judgements"]]
        assert sorted(statuses) == ["image_error"] * 9 + ["ok"]
    assert (result["n"], result["n_failed"], result["coverage"]) == (1, {"image_error": 9}, 0.1)
    reasons = " ".join(str(judgement["reason"]) for judgement in result["judgements"])
    for reason in ("floating-point", "from 999 to 999", "from float", "2 images in one cell", "URLs are not fetched"):
        assert reason in reasons
    result["judgements"].reverse()
    assert result["overall"] == result["judgements"][0]["scores"]["overall"]


@needs_embedded_judge
def test_what_has_no_score_is_said_aloud(metric, scenes, caplog):
    """The embedded judge declines a photograph, and names what does not."""
    photograph = next(iter(PHOTOGRAPHS.values()))
    result = metric.compute(predictions=[str(photograph)], references=["a cat"], judge="tiny")
    assert (result["overall"], result["n_failed"]) == (None, {"skipped": 1})
    assert "No score for 1 of 1 image." in caplog.text and "openai:MODEL" in caplog.text and "hf:MODEL" in caplog.text


def test_prompts_and_reference_images_may_be_mixed(metric, judge, scenes):
    (image, prompt), (other, _) = scenes[:2]
    result = metric.compute(
        predictions=[image, image, image],
        references=[prompt, {"prompt": prompt, "reference_image": other}, None],
        judge=judge,
    )
    assert [judgement["status"] for judgement in result["judgements"]] == ["ok", "ok", "skipped"]
    assert result["judgements"][0]["scores"] != result["judgements"][1]["scores"]


def test_add_add_batch_and_reuse(metric, judge, scenes):
    images, prompts = zip(*scenes)
    whole = metric.compute(predictions=list(images), references=list(prompts), judge=judge)
    metric.add(prediction=images[0], reference=prompts[0])
    metric.add_batch(predictions=list(images[1:]), references=list(prompts[1:]))
    again = metric.compute(judge=judge)
    assert [j["scores"] for j in again["judgements"]] == [j["scores"] for j in whole["judgements"]]


def test_human_scores_bring_their_agreement(metric, judge, scenes):
    images, prompts = zip(*scenes)
    human = [[1, 2], [5, None], [9, 8]]
    result = metric.compute(predictions=list(images), references=list(prompts), judge=judge, human_scores=human)
    scores = [j["scores"]["overall"] for j in result["judgements"]]
    expected = meta_evaluate({"prediction": scores}, human).to_json()
    assert result["meta"]["rows"] == expected["rows"] and result["meta"]["n"] == 3


def test_an_error_leaves_the_metric_usable(metric, judge, scenes):
    """The module's UserError is a class of its own copy, so only its name and words can be asserted."""
    image, prompt = scenes[0]
    with pytest.raises(Exception, match="human_scores has 2 scores for 1 image") as error:
        metric.compute(predictions=[image], references=[prompt], judge=judge, human_scores=[1, 2])
    assert error.type.__name__ == "UserError"
    with pytest.raises(Exception, match="no judge 'tinny'"):
        metric.compute(predictions=[image], references=[prompt], judge="tinny")
    assert metric.compute(predictions=[image], references=[prompt], judge=judge)["n"] == 1


def test_combine(judge, scenes, tmp_path):
    meta = evaluate.load(str(LIBRARY), "meta", cache_dir=str(tmp_path))
    both = evaluate.combine({"a": meta, "b": evaluate.load(str(LIBRARY), "meta", cache_dir=str(tmp_path / "b"))})
    result = both.compute(predictions=[1.0, 2.0, 3.0], references=[1.0, 2.0, 2.5])
    assert result["a_spearman"] == result["b_spearman"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "references",
    [
        [0.1, 0.30000000000000004, None, 0.3, 5],
        [[1, 2, 3], [2, None, 2], [None, None, None], [4, 4, 5], [5, 5, 5]],
        [None, [1.0, 2.0], 3, [2], [4, 5]],
        np.array([1.0, np.nan, 2.0, 3.0, 1.0]),
    ],
)
def test_meta_returns_the_figures_of_meta_evaluate(references, tmp_path):
    predictions = [0.1, 0.2, None, 0.30000000000000004, 0.3]
    meta = evaluate.load(str(LIBRARY), "meta", cache_dir=str(tmp_path))
    result = meta.compute(predictions=predictions, references=references)
    lists = [[value] if value is None or np.isscalar(value) else list(value) for value in references]
    expected = meta_evaluate({"prediction": predictions}, lists).to_json()
    assert result["rows"] == expected["rows"] and result["agreement"] == expected["agreement"]
    assert result["spearman"] == expected["rows"][0]["spearman"]


def test_meta_keeps_float64(tmp_path):
    """In float32 these two scores tie."""
    meta = evaluate.load(str(LIBRARY), "meta", cache_dir=str(tmp_path))
    close = [1.0, 1.0 + 1e-12, 2.0]
    assert meta.compute(predictions=close, references=[1, 2, 3], draws=0)["kendall_tau_b"] == pytest.approx(1.0)


def test_an_unknown_configuration_is_named():
    with pytest.raises(Exception, match="no configuration 'mata'"):
        evaluate.load(str(LIBRARY), "mata")


def test_the_module_is_a_copy_and_not_the_package(metric):
    """Two classes of one name live side by side; nothing compares across them."""
    assert type(metric).__module__.startswith("evaluate_modules")
    assert type(metric).__name__ == "T2iJudge" and metric.name == "t2i_judge"
    assert t2i_judge.__file__ not in str(type(metric).__module__)


def test_nothing_judged_is_no_score():
    assert summarise([])["overall"] is None


def test_a_grey_picture_is_no_crash(metric, judge):
    result = metric.compute(predictions=[Image.new("L", (40, 30), 128)], references=["a cat"], judge=judge)
    assert result["n"] == 1


def test_a_judge_replaced_in_its_folder_is_loaded_again(scenes, tmp_path):
    """Of checkpoints that replace each other, all were scored as the first one was."""
    folder = make_judge(tmp_path / "judge")
    image, prompt = scenes[0]
    image.save(tmp_path / "scene.png")

    def scored():
        picture = {"bytes": None, "path": str(tmp_path / "scene.png"), "reason": ""}
        reference = {"prompt": prompt, "reference_image": {"bytes": None, "path": "", "reason": ""}}
        found = compute("default", [picture], [reference], judge=f"direct+hf:{folder}")
        return found["judge"]["revision"], found["judge"]["backend"], found["overall"]

    first = scored()
    loaded = _load.cache_info().misses
    assert scored() == first and _load.cache_info().misses == loaded
    make_adapter(folder, seed=1)
    other = scored()
    assert first[0] != other[0] and first[2] != other[2]
    (folder / "judge.json").write_text('{"dtype": "bfloat16"}')
    assert "bfloat16" in scored()[1]
