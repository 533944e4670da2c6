"""The demo of a real release, as staged: it opens with the judge from the Hub, and says so where that cannot be had."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from huggingface_hub import HfApi

from benchmark import read_benchmark
from composer import EXAMPLES, draw, faithful
from examples import of_benchmark
from explore_views import ALL, View, item_view
from recipes.performance.space import running_space
from recipes.publish.stage_spaces import demo_judge, stage_demo
from recipes.recipe.sections import Release
from t2i_judge.local.weights import EMBEDDED
from t2i_judge.records import Answer, JudgeInfo, Judgement, Question, Status, Usage, failed
from tests.caches import new_home
from tests.embedded import needs_embedded_judge
from tests.loopback_hub import loopback

NAMES = {"bench": "me/t2i-judge-bench-photos", "model": "me/t2i-judge-photos"}
SERVED = "openai:gpt-4o@http://127.0.0.1:9/v1"


def record(**release: object) -> dict:
    made = {"recipe": "photos", "version": "1.0.0", "simulated": False, **release}
    return {"release": made, "repositories": NAMES, "results": {}}


def test_simulated_data_opens_with_what_rides_along_and_real_data_with_the_released_judge():
    assert demo_judge(record(simulated=True)) == {"judge": "tiny"}
    found = demo_judge(record(space_judge=SERVED))
    assert found == {"judge": "hf:me/t2i-judge-photos@v1.0.0", "space_judge": SERVED}
    assert Release().space_judge is None


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """The staged demo of a real release."""
    folder = tmp_path_factory.mktemp("stage") / "t2i-judge-demo"
    stage_demo(folder, record(), Path("nowhere"))
    return folder


def test_what_its_judge_answered_is_staged_and_shown_beside_its_picture(tmp_path, benchmark_folder):
    items = read_benchmark(str(benchmark_folder)).items
    first, last = items[0], items[30]
    question = Question("q1", "intrinsic", ("cat",), "Is there a cat?", "yes")

    def judged(item, prompt: str, seconds: float) -> dict:
        answers = (Answer("q1", "no, a dog", False, 1.0),)
        made = {
            "questions": (question,),
            "answers": answers,
            "scores": {"overall": 1.0},
            "usage": Usage(1, 0, 0, seconds),
        }
        return Judgement(item.id, prompt, JudgeInfo("photos", "one_forward", "photos"), **made).to_json()

    refused = failed(
        first.id, first.prompt, JudgeInfo("photos", "one_forward", "photos"), Status.REFUSED, "no"
    ).to_json()
    stage_demo(
        tmp_path / "a", record(), Path("nowhere"), [judged(last, last.prompt, 3.0), judged(first, "another", 3.0)]
    )
    again = [refused, judged(last, last.prompt, 9.0), judged(first, "another", 9.0)]
    stage_demo(tmp_path / "b", record(), Path("nowhere"), again)
    kept = tmp_path / "a" / "judged.json"
    assert kept.read_bytes() == (tmp_path / "b" / "judged.json").read_bytes(), "no failures, no seconds"

    benchmark = read_benchmark(str(benchmark_folder), kept)
    view = View(ALL, (), "teacher", "overall", 0)
    assert "no, a dog" in item_view(benchmark, last.key, view)
    assert "no, a dog" not in item_view(benchmark, first.key, view), "its id with another prompt is another image"
    found = of_benchmark(benchmark)
    assert [found.single[0][1], found.judgements[0].image_id] == [last.prompt, last.id], "those with answers first"
    assert found.judgements[1:] == [None] * 3


@pytest.mark.slow
@needs_embedded_judge
def test_the_released_judge_comes_from_the_hub_and_judges(demo, tmp_path):
    draw(faithful(EXAMPLES[0], 3)).save(tmp_path / "picture.png")
    with loopback(tmp_path / "hub") as running:
        running.hub.users["hf_lab"] = "lab"
        lab, mine = (HfApi(endpoint=running.endpoint, token=token) for token in ("hf_lab", "hf_me"))
        lab.create_repo("lab/base")
        lab.upload_folder(repo_id="lab/base", folder_path=EMBEDDED / "base")
        judge = shutil.copytree(EMBEDDED / "adapter", tmp_path / "judge")
        config = json.loads((judge / "adapter_config.json").read_text())
        (judge / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "lab/base"}))
        mine.create_repo(NAMES["model"])
        mine.upload_folder(repo_id=NAMES["model"], folder_path=judge)
        mine.create_tag(NAMES["model"], tag="v1.0.0")
        settings = {"HF_ENDPOINT": running.endpoint, "HF_HOME": new_home(tmp_path / "home"), "BENCHMARK": str(tmp_path)}
        with running_space(demo / "app.py", **settings, HF_HUB_DISABLE_XET="1") as (url, _, _):
            client = Client(url, verbose=False)
            found = client.predict(
                image=handle_file(tmp_path / "picture.png"), prompt=EXAMPLES[0].text, api_name="/judge"
            )
    assert found["judge"]["model"] == NAMES["model"]
    assert found["status"] == "ok"


@pytest.mark.slow
def test_a_judge_that_cannot_be_had_is_one_sentence_and_the_rest_works(demo, tmp_path):
    draw(faithful(EXAMPLES[0], 3)).save(tmp_path / "picture.png")
    with loopback(tmp_path / "hub") as running:
        settings = {"HF_ENDPOINT": running.endpoint, "HF_HOME": new_home(tmp_path / "home"), "BENCHMARK": str(tmp_path)}
        with running_space(demo / "app.py", **settings) as (url, _, seconds):
            assert seconds < 60
            client = Client(url, verbose=False)
            picture = handle_file(tmp_path / "picture.png")
            with pytest.raises(AppError, match="t2i-judge-photos · runs here is not available") as told:
                client.predict(image=picture, prompt=EXAMPLES[0].text, api_name="/judge")
            assert running.endpoint not in str(told.value)
            other = client.predict(image=picture, prompt=EXAMPLES[0].text, judge="tiny", api_name="/judge")
            assert other["status"] in ("ok", "skipped")
            assert client.predict(seed=1, swapped=False, changes=[], api_name="/compose")["truth"]["overall"] == 10


@pytest.mark.slow
def test_a_space_that_is_too_small_says_so_and_opens_with_the_served_judge(demo, tmp_path):
    copy = shutil.copytree(demo, tmp_path / "demo")
    base, judge = tmp_path / "base", tmp_path / "judge"
    base.mkdir()
    judge.mkdir()
    with (base / "model.safetensors").open("wb") as file:
        file.truncate(16_200_000_000)  # a hole: it takes no disk
    (judge / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    (judge / "judge.json").write_text(json.dumps({"quantization": {"quant_type": "nf4", "skip_modules": ["lm_head"]}}))
    release = json.loads((copy / "release.json").read_text())
    (copy / "release.json").write_text(json.dumps({**release, "judge": f"hf:{judge}", "space_judge": SERVED}))
    with running_space(copy / "app.py", HF_HUB_OFFLINE="1", BENCHMARK=str(tmp_path), CUDA_VISIBLE_DEVICES="") as (
        url,
        _,
        _,
    ):
        config = httpx.get(f"{url}/config").json()
    [line] = [c["props"]["value"] for c in config["components"] if c["props"].get("elem_id") == "opening"]
    assert re.search("needs a GPU of about 9 GB .* this Space has no GPU.*Here gpt-4o · served judges instead", line)
    [chosen] = [c["props"] for c in config["components"] if c["props"].get("elem_id") == "judge"]
    assert chosen["value"] == "openai:gpt-4o"
    assert [name for _, name in chosen["choices"]] == ["openai:gpt-4o", "tiny", "own"]
    assert "127.0.0.1:9/v1" not in json.dumps(config)
