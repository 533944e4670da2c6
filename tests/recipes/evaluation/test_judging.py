"""Further judges of a recipe: runs told apart by their seed, styles judged by criteria of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from PIL import Image

from recipes.evaluation.judging import further_judges
from recipes.recipe.config import load_recipe
from recipes.recipe.items import Item
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
        server.respond = lambda request, n: completion(json.dumps({"reasoning": "so", "score": request["seed"]}))
        name = "dreambench+openai:m"
        recipe = load_recipe("smoke-personalised")
        recipe = replace(recipe, teacher=replace(recipe.teacher, server=None, base_url=server.url))
        recipe = replace(recipe, evaluation=replace(recipe.evaluation, judges=(name,), runs=2))
        runs = further_judges(recipe, tmp_path, items, progress=False)[name]
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
    [run] = further_judges(recipe, tmp_path, items_of(tmp_path), progress=False)[name]
    assert {judgement.judge.name for judgement in run.values()} == {name}
    assert all(judgement.scores["concept_preservation"] > 0.99 for judgement in run.values())
