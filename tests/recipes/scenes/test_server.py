"""The loopback teacher: a real process, spoken to with the real client, that knows pictures by their bytes alone."""

from __future__ import annotations

import json
import urllib.request

import pytest

from recipes.loopback.http import started
from recipes.recipe.items import read_items
from recipes.recipe.sections import ScenesData
from recipes.scenes import rules
from recipes.scenes.pictures import write_scenes
from recipes.scenes.server import read_scenes, scene_from_json, scene_to_json
from t2i_judge.errors import UserError
from t2i_judge.files import read_jsonl
from t2i_judge.judges.loading import load_judge
from t2i_judge.records import Status
from t2i_judge.scoring import aspect_scores


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder of scenes and the address of its teacher."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, ScenesData(train_images=10, new_prompts_images=5, new_pairs_images=5), seed=3)
    with started("recipes.scenes.server", [str(folder)]) as url:
        yield folder, url


def stats(url: str) -> dict:
    with urllib.request.urlopen(f"{url}/stats") as response:
        return json.load(response)


@pytest.fixture
def judge(scenes, request):
    made = load_judge(f"openai:scene-teacher@{scenes[1]}", **getattr(request, "param", {}))
    yield made
    made.close()


@pytest.mark.parametrize("judge", [{"protocol": "structured"}, {"protocol": "staged"}], indirect=True)
def test_it_judges_as_its_rules_say(scenes, judge):
    folder, url = scenes
    items, known = read_items(folder), read_scenes(folder)
    by_id = {row["id"]: known[row["sha256"]] for row in read_jsonl(folder / "scenes.jsonl")}
    before = stats(url)["calls"]
    judgements = judge.score(
        [folder / i.image for i in items], [i.prompt for i in items], image_ids=[i.id for i in items]
    )
    for item, judgement in zip(items, judgements):
        questions = rules.decompose(item.prompt)
        answers = [rules.answer(by_id[item.id], question) for question in questions]
        assert judgement.status is Status.OK
        assert list(judgement.questions) == questions
        assert [a.score for a in judgement.answers] == [a.score for a in answers]
        assert [a.text for a in judgement.answers] == [a.text for a in answers]
        assert judgement.scores == aspect_scores(questions, answers)
        assert judgement.summary_texts["overall"]
        assert judgement.judge.revision.startswith("scene-teacher-")
    if judge.protocol == "structured":
        assert stats(url)["calls"] - before == len({item.prompt for item in items}) + len(items)


def test_a_picture_it_never_saw_is_refused(scenes, judge):
    from PIL import Image

    folder, _ = scenes
    item = read_items(folder)[0]
    with Image.open(folder / item.image) as picture:
        other = picture.convert("RGB")
    other.putpixel((0, 0), (1, 2, 3))
    (judgement,) = judge.score([other], [item.prompt])
    assert judgement.status is Status.REFUSED
    assert "cannot make out" in judgement.reason


def test_a_prompt_of_another_world_is_refused(scenes, judge):
    folder, _ = scenes
    (judgement,) = judge.score([folder / read_items(folder)[0].image], ["a photograph of a horse"])
    assert judgement.status is Status.REFUSED


def test_the_direct_protocol_works_too(scenes):
    folder, url = scenes
    items = read_items(folder)
    judge = load_judge(f"direct+openai:scene-teacher@{url}")
    judgements = judge.score([folder / i.image for i in items], [i.prompt for i in items])
    assert all(judgement.status is Status.OK for judgement in judgements)
    assert len({judgement.scores["overall"] for judgement in judgements}) > 3
    judge.close()


def test_scenes_survive_the_index(scenes):
    for scene in read_scenes(scenes[0]).values():
        assert scene_from_json(json.loads(json.dumps(scene_to_json(scene)))) == scene


def test_the_same_seed_gives_the_same_bytes(scenes, tmp_path):
    write_scenes(tmp_path, ScenesData(train_images=10, new_prompts_images=5, new_pairs_images=5), seed=3)
    for name in ("items.jsonl", "scenes.jsonl", "latent.jsonl", "humans.jsonl"):
        assert (tmp_path / name).read_bytes() == (scenes[0] / name).read_bytes()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"messages": []}', b'{"messages": [{"role": "user"}]}'])
def test_what_is_no_chat_request_is_a_400(scenes, body):
    request = urllib.request.Request(f"{scenes[1]}/chat/completions", body, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)


def test_a_server_that_does_not_start_is_told_in_one_line(tmp_path, capfd):
    with pytest.raises(UserError, match="did not start"), started("recipes.scenes.server", [str(tmp_path / "no")]):
        pass
