"""What a build costs: all of it is counted, the cap spans its folder, and only what failed is asked again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from recipes.build_dataset import build, main
from recipes.distillation.spending import cost, paid
from recipes.evaluation.evaluation import usage
from recipes.evaluation.judging import further_judges
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe, load_recipe
from recipes.recipe.items import read_items
from t2i_judge.errors import UserError
from tests.metrics.conftest import FakeOpenAI, completion, failure
from tests.metrics.judges.test_teacher import decomposition, has_image, text_of, verdict

IMAGES, TOKENS = 12, (1000, 500)
A_CALL = (1000 * 2.5 + 500 * 10) / 1e6  # US dollars, by GPT-4o's list prices


@pytest.fixture
def server():
    with FakeOpenAI() as served:
        served.respond = answer
        yield served


def answer(request: Any, n: int) -> Any:
    return completion(verdict() if has_image(request) else decomposition(), usage=TOKENS)


@pytest.fixture
def recipe_file(tmp_path: Path, server, monkeypatch) -> Path:
    monkeypatch.setattr("recipes.recipe.config.ROOT", tmp_path)
    rng = np.random.default_rng(0)
    rows = ["prompt,image"]
    for number in range(IMAGES):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"cat {number},{number}.png")
    (tmp_path / "items.csv").write_text("\n".join(rows) + "\n")
    return write(tmp_path, server)


def write(folder: Path, server: FakeOpenAI, **teacher: Any) -> Path:
    recipe = {
        "name": "paid",
        "data": {"source": "table", "path": "items.csv", "held_out": 0.3},
        "teacher": {
            "model": "gpt-4o-2024-11-20", "base_url": server.url, "concurrency": 2, "max_tokens": 1000, **teacher,
        },
        "base": {"model": "nowhere"},
        "adapter": {"target_modules": "x"},
        "evaluation": {"judges": [f"direct+openai:gpt-4o-2024-11-20@{server.url}"]},
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def folder_of(recipe: Recipe) -> BuildFolder:
    return BuildFolder(recipe.folder)


def test_every_call_is_counted_decompositions_included(recipe_file, server) -> None:
    recipe = load_recipe(recipe_file)
    build(recipe)
    assert len(server.calls) == 2 * IMAGES
    counted = cost(folder_of(recipe))
    assert (counted["calls"], counted["decompositions"], counted["items"]) == (24, 12, {"ok": 12})
    assert (counted["input_tokens"], counted["output_tokens"]) == (24_000, 12_000)
    assert counted["money"] == counted["paid"] == pytest.approx(24 * A_CALL)
    assert usage(folder_of(recipe), {})["teacher"]["calls"] == 24


def test_the_cap_spans_processes_and_judges(recipe_file, server, tmp_path, capsys) -> None:
    write(tmp_path, server, max_cost=0.1)
    assert main(["--recipe", str(recipe_file)]) == 2
    said = capsys.readouterr().err
    assert "of $0.1" in said and "Raise max_cost" in said and said.strip().count("\n") == 0
    asked = len(server.calls)
    assert 0 < asked < 2 * IMAGES and asked * A_CALL <= 0.1
    assert main(["--recipe", str(recipe_file)]) == 2  # another run goes on from what was spent: nothing is left
    assert len(server.calls) == asked
    write(tmp_path, server, max_cost=0.24)
    assert main(["--recipe", str(recipe_file)]) == 0
    assert len(server.calls) == 2 * IMAGES  # what was paid for was kept
    recipe = load_recipe(recipe_file)
    items = read_items(recipe.folder)
    with pytest.raises(UserError, match=r"of \$0.24"):  # 0.18 for the teacher; VIEScore's 24 calls do not fit
        further_judges(recipe, folder_of(recipe), items, progress=False)
    assert paid(folder_of(recipe)).money == pytest.approx(len(server.calls) * A_CALL)
    assert paid(folder_of(recipe)).money <= 0.24


def test_refusals_are_counted_and_only_they_are_asked_again(recipe_file, server, capsys) -> None:
    refused = {"cat 3", "cat 7"}

    def moody(request: Any, n: int) -> Any:
        if has_image(request) and any(f"{prompt}\n" in text_of(request) or f"{prompt}<" in text_of(request)
                                      for prompt in refused):  # fmt: skip
            return completion(None, refusal="not today", usage=TOKENS)
        if has_image(request) and "cat 5" in text_of(request):
            return failure(400, "no", code="content_filter")
        return answer(request, n)

    server.respond = moody
    assert main(["--recipe", str(recipe_file)]) == 0
    recipe = load_recipe(recipe_file)
    counted = cost(folder_of(recipe))
    assert counted["items"] == {"ok": 9, "refused": 2, "filtered": 1}
    assert counted["paid"] == pytest.approx((24 - 1) * A_CALL)  # refusals are paid for, a filtered request is not
    assert main(["--recipe", str(recipe_file)]) == 0
    asked = len(server.calls)
    assert asked == 24  # a plain second run asks nothing
    server.respond = answer
    assert main(["--recipe", str(recipe_file), "--retry-failed"]) == 0
    assert len(server.calls) == asked + 3
    assert "failed before" in capsys.readouterr().out
    assert cost(folder_of(recipe))["items"] == {"ok": 12}
    assert json.loads((recipe.folder / "BUILT.json").read_text())["failed"] == {}
    assert main(["--recipe", str(recipe_file), "--retry-failed"]) == 0
    assert len(server.calls) == asked + 3
