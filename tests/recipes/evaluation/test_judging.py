"""Further judges of a recipe: runs told apart by their seed, styles judged by criteria of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from recipes.evaluation.judging import FAILED, files_of, further_judges, judge_items, judged_by, names_of, unjudged
from recipes.publish.stage import _baselines
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe, load_recipe
from recipes.recipe.items import Item
from t2i_judge.errors import UserError
from t2i_judge.files import read_jsonl
from t2i_judge.judges.base import Candidate, Judge
from t2i_judge.records import JudgeInfo, Judgement, Question, Status
from tests.embedding_checkpoints import make_dino
from tests.metrics.conftest import FakeOpenAI, completion


def items_of(folder: Path) -> list[Item]:
    """An object, a style, and another object, in pictures of different colours."""
    made = []
    for number, category in enumerate(("object", "style", "object")):
        Image.new("RGB", (32, 32), (80 * number, 0, 0)).save(folder / f"{number}.png")
        picture = f"{number}.png"
        made.append(Item(f"i{number}", "a dog", picture, "m", "new", "s", picture, {"category": category}))
    return made


def test_styles_are_judged_as_styles_and_runs_by_their_seed(tmp_path: Path) -> None:
    items = items_of(tmp_path)
    with FakeOpenAI() as server:
        server.respond = lambda request, n: completion(
            json.dumps({"reasoning": "so", "score": request["seed"]}) if "image_url" in str(request) else "a plan"
        )
        name = "dreambench+openai:m"
        recipe = load_recipe("smoke-personalised")
        recipe = replace(recipe, teacher=replace(recipe.teacher, server=None, base_url=server.url))
        recipe = replace(recipe, evaluation=replace(recipe.evaluation, judges=(name,), runs=2))
        runs = further_judges(recipe, BuildFolder(tmp_path), items, progress=False)[name]
        asked = [json.dumps(call["messages"]) for call in server.calls]
    assert [list(run) for run in runs] == [["i0", "i1", "i2"]] * 2
    assert [run["i1"].scores["concept_preservation"] for run in runs] == [0.0, 1.0]
    assert [run["i1"].judge.name for run in runs] == [f"{name} style", f"{name} style #2"]
    assert {run[item].judge.name for run in runs for item in ("i0", "i2")} == {name, f"{name} #2"}
    rated = [text for text in asked if text.count("image_url") >= 4]  # two pictures: concept preservation
    assert sorted("Strokes" in text for text in rated) == [False] * 4 + [True] * 2


def test_a_login_in_a_further_judges_address_stands_in_no_file(tmp_path: Path) -> None:
    build, items = BuildFolder(tmp_path / "build"), items_of(tmp_path)
    build.root.mkdir()
    for item in items:
        (build.root / item.image).write_bytes((tmp_path / item.image).read_bytes())
    with FakeOpenAI() as server:
        server.respond = lambda request, n: completion(json.dumps({"explanation": "so", "score": 7}))
        recipe = load_recipe("smoke-personalised")
        recipe = replace(recipe, teacher=replace(recipe.teacher, server=None, base_url=server.url))
        named = f"direct+openai:m@{server.url.replace('//', '//me:geheim@')}"
        recipe = replace(recipe, evaluation=replace(recipe.evaluation, judges=(named,), runs=1))
        runs = further_judges(recipe, build, items, progress=False)
    assert list(runs) == ["direct+openai:m"]
    assert list(build.judgements.iterdir())
    for path in build.root.rglob("*"):
        assert "geheim" not in path.name and (path.is_dir() or b"geheim" not in path.read_bytes()), path


def addressed(*urls: str) -> Recipe:
    """A recipe with one judge more for each address, all of one model."""
    recipe = load_recipe("smoke-personalised")
    judges = tuple(f"direct+openai:m@{url}" for url in urls)
    recipe = replace(recipe, teacher=replace(recipe.teacher, server=None, base_url=urls[0]))
    return replace(recipe, evaluation=replace(recipe.evaluation, judges=judges, runs=2))


def test_results_and_judgements_do_not_tell_where_a_judge_answers(tmp_path: Path) -> None:
    """The address of a server in one's own network stood on the card and in the benchmark."""
    items, build = items_of(tmp_path), BuildFolder(tmp_path)
    with FakeOpenAI() as one, FakeOpenAI() as other:
        for server, score in ((one, 7), (other, 3)):
            said = json.dumps({"explanation": "so", "score": score, "naturalness": score, "artifacts": score})
            server.respond = partial(lambda text, *_: completion(text), said)
        recipe = addressed(one.url, other.url)
        runs = further_judges(recipe, build, items, progress=False)
        asked = len(one.calls), len(other.calls)
        assert further_judges(recipe, build, items, progress=False).keys() == runs.keys()
        assert (len(one.calls), len(other.calls)) == asked
    assert list(runs) == ["direct+openai:m", "direct+openai:m (server 2)"]
    scores = [{judgement.scores["overall"] for run in own for judgement in run.values()} for own in runs.values()]
    assert scores[0] != scores[1] and len(scores[0]) == len(scores[1]) == 1
    published = [entry for entries in _baselines(build.judgements).values() for entry in entries]
    assert {entry["judge"] for entry in published} == {f"{name}{run}" for name in runs for run in ("", " #2")}
    assert "127.0.0.1" not in json.dumps(published)


def test_each_server_of_a_model_has_its_own_name_whichever_comes_first() -> None:
    recipe = addressed("http://localhost:9/v1", "http://localhost:8/v1")
    judges = [f"direct+openai:m{at}" for at in ("@http://localhost:9/v1", "", "@http://me:geheim@localhost:9/v1")]
    recipe = replace(recipe, evaluation=replace(recipe.evaluation, judges=(*judges, "openai:m", "clip:m")))
    names = ["direct+openai:m", "direct+openai:m (server 2)", "openai:m", "clip:m"]
    assert list(names_of(recipe).values()) == names  # another login is no other server


def test_what_a_judge_said_under_its_address_is_kept_and_not_paid_again(tmp_path: Path, monkeypatch) -> None:
    items, build, url = items_of(tmp_path), BuildFolder(tmp_path), "http://localhost:9/v1"
    name = f"direct+openai:m@{url}"
    judges = Counting(name), Counting(f"{name} #2")
    for judge in judges:  # as before names were without it
        judged_by(judge, build, items, False)
        judge.shown.clear()
    recipe = addressed(url)
    monkeypatch.setattr("recipes.evaluation.judging.load_judge", lambda name, **_: judges[name.label.endswith("#2")])
    [runs] = further_judges(recipe, build, items, progress=False).values()
    assert [judge.shown for judge in judges] == [[], []] and not any(unjudged(recipe, build, items).values())
    assert [run["i0"].judge.name for run in runs] == ["direct+openai:m", "direct+openai:m #2"]
    assert "localhost" not in "".join(path.read_text() for path in build.judgements.iterdir())
    assert set(build.judgements.iterdir()) <= files_of(recipe, build)


def test_other_judges_see_all_items_at_once(tmp_path: Path) -> None:
    (tmp_path / "dino").mkdir()
    name = f"dino:{make_dino(tmp_path / 'dino')}"
    recipe = load_recipe("smoke-personalised")
    recipe = replace(recipe, evaluation=replace(recipe.evaluation, judges=(name,), runs=3))
    [run] = further_judges(recipe, BuildFolder(tmp_path), items_of(tmp_path), progress=False)[name]
    assert {judgement.judge.name for judgement in run.values()} == {name}
    assert all(judgement.scores["concept_preservation"] > 0.99 for judgement in run.values())


class Counting(Judge):
    """A judge that says the colour of a picture, and counts what it was shown."""

    def __init__(self, name: str = "counting") -> None:
        super().__init__(JudgeInfo(name, "fake", "counting"))
        self.shown: list[str] = []

    def _score(self, items: Sequence[Candidate], explain: bool, progress: bool) -> list[Judgement]:
        self.shown += [str(item.image_id) for item in items]
        colours = [Image.open(item.image).getpixel((0, 0))[0] / 100 for item in items]
        pairs = zip(items, colours, strict=True)
        return [Judgement(item.image_id, item.prompt, self.info, scores={"overall": one}) for item, one in pairs]


def test_judgements_go_by_content_whatever_the_ids(tmp_path: Path) -> None:
    items, judge, build = items_of(tmp_path), Counting(), BuildFolder(tmp_path)
    assert [j.scores["overall"] for j in judged_by(judge, build, items, False).values()] == [0.0, 0.8, 1.6]
    Image.new("RGB", (32, 32), (240, 0, 0)).save(tmp_path / "new.png")
    new = replace(items[0], image="new.png", reference_image=None)
    renamed = [replace(item, id=f"i{number}") for number, item in enumerate((new, *reversed(items)))]
    judge.shown.clear()
    judged = judged_by(judge, build, renamed, False)
    assert judge.shown == ["i0"]  # another id, another place: only the new picture is judged
    assert {name: j.scores["overall"] for name, j in judged.items()} == {"i0": 2.4, "i1": 1.6, "i2": 0.8, "i3": 0.0}
    path = build.judgements_of("counting")
    assert [row["image_id"] for row in read_jsonl(path)] == ["i0", "i1", "i2", "i3"]
    Image.new("RGB", (32, 32), (200, 0, 0)).save(tmp_path / "1.png")
    again = judged_by(judge, build, renamed, False)
    assert judge.shown == ["i0", "i2"] and again["i2"].scores["overall"] == 2.0
    asked = {item.id: (Question("q1", "intrinsic", (), item.id),) for item in renamed}
    judge_items(lambda: judge, path, tmp_path, renamed, "told", asked, progress=False)
    assert judge.shown[2:] == ["i0", "i1", "i2", "i3"]  # other questions, other settings
    judge_items(refuse, path, tmp_path, renamed, "told", asked, progress=False)
    path.write_text(path.read_text()[:-30])  # a kill tore the last line
    judge_items(lambda: judge, path, tmp_path, renamed, "told", asked, progress=False)
    assert judge.shown[6:] == ["i3"] and len(list(read_jsonl(path))) == 4


class Moody(Counting):
    """A judge whose statuses are told beforehand, by image id."""

    def __init__(self, statuses: dict[str, Status], name: str = "counting") -> None:
        super().__init__(name)
        self.statuses = statuses

    def _score(self, items: Sequence[Candidate], explain: bool, progress: bool) -> list[Judgement]:
        return [
            self._failed(item, self.statuses[item.image_id], "so") if item.image_id in self.statuses else judgement
            for item, judgement in zip(items, super()._score(items, explain, progress), strict=True)
        ]


def test_lost_calls_are_made_again_and_what_was_answered_is_not(tmp_path: Path) -> None:
    items, build = items_of(tmp_path), BuildFolder(tmp_path)
    judge = Moody({"i0": Status.TRANSPORT, "i1": Status.REFUSED, "i2": Status.IMAGE_ERROR})
    judged_by(judge, build, items, False)
    judge.shown.clear()
    again = judged_by(judge, build, items, False)
    assert judge.shown == ["i0"] and again["i0"].status is Status.TRANSPORT  # still lost, and still counted
    judge.statuses.clear()
    assert judged_by(judge, build, items, False)["i0"].status is Status.OK
    assert judge.shown == ["i0", "i0"]
    judged_by(judge, build, items, False, again=FAILED)
    assert judge.shown == ["i0", "i0", "i1"]  # what cannot end otherwise, a broken image, is not asked about


def test_a_server_that_answers_nothing_is_not_asked_about_every_image(tmp_path: Path) -> None:
    [item, *_] = items_of(tmp_path)
    many = [replace(item, id=f"i{n}", prompt=f"dog {n}") for n in range(200)]
    judge, build = Moody({one.id: Status.TRANSPORT for one in many}), BuildFolder(tmp_path)
    with pytest.raises(UserError, match="No call succeeded"):
        judged_by(judge, build, many, False)
    assert len(judge.shown) < 100


def served(folder: Path, judge: Judge, monkeypatch, **evaluation) -> Recipe:
    """A recipe whose one further judge, a served one, is `judge`."""
    monkeypatch.setattr("recipes.evaluation.judging.load_judge", lambda *_, **options: judge)
    recipe = load_recipe("smoke-personalised")
    recipe = replace(recipe, teacher=replace(recipe.teacher, server=None, base_url="http://localhost:9/v1"))
    return replace(recipe, evaluation=replace(recipe.evaluation, judges=("openai:m",), runs=1, **evaluation))


def test_a_judge_that_lost_more_than_a_few_calls_is_not_published(tmp_path: Path, monkeypatch) -> None:
    [item, *_] = items_of(tmp_path)
    items = [replace(item, id=f"i{n}", prompt=f"dog {n}") for n in range(40)]
    judge, build = Moody({f"i{n}": Status.TRANSPORT for n in range(5)}), BuildFolder(tmp_path)
    recipe = served(tmp_path, judge, monkeypatch)
    with pytest.raises(UserError, match="5 of 40 calls of openai:m failed in transport"):
        further_judges(recipe, build, items, progress=False)
    judge.statuses = {"i4": Status.TRANSPORT}
    judge.shown.clear()
    [judged] = further_judges(recipe, build, items, progress=False)["openai:m"]
    assert judge.shown == [f"i{n}" for n in range(5)] and judged["i4"].status is Status.TRANSPORT


def test_answers_under_other_parameters_are_asked_for_again_and_no_others(tmp_path: Path, monkeypatch) -> None:
    items, judge, build = items_of(tmp_path), Counting(), BuildFolder(tmp_path)
    recipe = served(tmp_path, judge, monkeypatch)
    judged_by(judge, build, items, False)  # as before options counted

    def asked(**options) -> int:
        judge.shown.clear()
        teacher = {name: options.pop(name) for name in ("max_image_side", "base_url", "max_cost") if name in options}
        changed = replace(recipe, evaluation=replace(recipe.evaluation, **options))
        further_judges(replace(changed, teacher=replace(recipe.teacher, **teacher)), build, items, progress=False)
        return len(judge.shown)

    high, low = {"reasoning_effort": "high", "top_p": 0.5}, {"top_p": 0.5, "reasoning_effort": "high"}
    assert asked() == 0 and asked(max_cost=3.0) == 0 and asked(base_url="http://localhost:8/v1") == 0
    assert asked(parameters=high) == 3 and asked(parameters=low, resamples=7) == 0
    assert asked(max_tokens=100) == 3 and asked(max_image_side=512) == 3 and asked() == 3


def refuse() -> Judge:
    raise AssertionError("nothing is missing: no judge is opened")
