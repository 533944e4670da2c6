"""Further judges of a recipe: runs told apart by their seed, styles judged by criteria of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from recipes.evaluation.judging import further_judges, judge_items, judged_by
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import load_recipe
from recipes.recipe.items import Item
from t2i_judge.files import read_jsonl
from t2i_judge.judges.base import Candidate, Judge
from t2i_judge.records import JudgeInfo, Judgement, Question
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

    def __init__(self) -> None:
        super().__init__(JudgeInfo("counting", "fake", "counting"))
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


def refuse() -> Judge:
    raise AssertionError("nothing is missing: no judge is opened")
