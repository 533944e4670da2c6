"""A table of one's own images through build, training and measuring; then again, after each thing that users change."""

from __future__ import annotations

import csv
import json
import urllib.request
from pathlib import Path

import pytest
import yaml
from PIL import Image

from recipes import build_dataset, evaluate_judge, train
from recipes.loopback.http import started
from recipes.publish.release_record import release_record
from recipes.publish.stage import bench_rows
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import ROOT, load_recipe
from recipes.recipe.items import read_items
from t2i_judge.files import read_jsonl
from tests.recipes.photographs import write_photographs, write_ratings

BASE = ROOT / "metrics" / "t2i_judge" / "weights" / "tiny" / "base"


class World:
    """A folder with a table, a recipe and a teacher that counts; the steps as their commands run them."""

    def __init__(self, root: Path, teacher: str) -> None:
        self.root, self.teacher = root, teacher
        self.table, self.recipe, self.build = root / "items.csv", root / "recipe.yaml", BuildFolder(root / "build/mine")
        self.rows = list(csv.DictReader(self.table.open(encoding="utf-8")))
        self.options: dict = {}
        self.data: dict = {"split": "split"}

    def write(self) -> None:
        with self.table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["prompt", "image", "generator", "split"])
            writer.writeheader()
            writer.writerows(self.rows)
        data = {"source": "table", "path": str(self.table), "images": str(self.root / "pictures"), **self.data}
        recipe = {
            "extends": "smoke",
            "name": "mine",
            "data": data,
            "teacher": {"model": "photo-teacher", "server": None, "base_url": self.teacher, **self.options},
            "base": {"model": str(BASE)},
            "training": {"max_steps": 1, "per_device_train_batch_size": 1, "save_steps": 1},
            "evaluation": {
                "ratings": str(self.root / "people.csv"),
                "subtask_images": 1,
                "resamples": 20,
                "limit": None,
            },
            "release": {"simulated": False, "decline_out_of_domain": False},
        }
        self.recipe.write_text(yaml.safe_dump(recipe), encoding="utf-8")

    def run(self, *steps) -> list[int]:
        self.write()
        return [step.main(["--config" if step is train else "--recipe", str(self.recipe)]) for step in steps]

    def calls(self) -> int:
        with urllib.request.urlopen(f"{self.teacher}/stats") as response:
            return json.load(response)["calls"]

    def judged(self, name: str) -> dict[str, dict]:
        return {row["image_id"]: row for row in read_jsonl(self.build.judgements_of(name))}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    write_photographs(root)
    write_ratings(root)
    patch = pytest.MonkeyPatch()
    for module in ("recipes.recipe.config", "recipes.recipe.bases"):
        patch.setattr(f"{module}.ROOT", root, raising=False)
    with started("tests.recipes.photo_teacher", []) as teacher:
        made = World(root, teacher)
        assert made.run(build_dataset, train, evaluate_judge) == [0, 0, 0]
        yield made
    patch.undo()


@pytest.fixture
def state(world):
    """What the steps left, to be compared after a change: the table is put back at the end."""
    rows, kept = [dict(row) for row in world.rows], {p: p.read_bytes() for p in (world.root / "pictures").rglob("*.*")}
    assert world.run(build_dataset, train, evaluate_judge) == [0, 0, 0]  # another test may have changed something
    before = {name: world.judged(name) for name in ("mine", "base", "direct")}
    weights = world.build.weights.read_bytes()
    yield before, world.calls(), weights
    world.rows, world.options, world.data = rows, {}, {"split": "split"}
    for path, data in kept.items():
        path.write_bytes(data)
    write_ratings(world.root)


def scores(lines: dict[str, dict]) -> dict[str, object]:
    return {name: (row["scores"], row["status"], row["answers"]) for name, row in lines.items()}


@pytest.mark.slow
def test_ids_are_paths_and_people_reach_the_benchmark(world) -> None:
    items = {item.id: item for item in read_items(world.build.root)}
    assert set(items) == {row["image"] for row in world.rows} and not any(name.startswith("/") for name in items)
    results = world.build.results.read()
    assert {row["against"] for row in results["rows"] if row["judge"] == "mine"} == {"humans_mean"}
    assert all(row["n"] == 12 for row in results["rows"] if row["judge"] == "teacher" and row["aspect"] == "overall")
    rows = list(bench_rows(world.build))
    assert len(rows) == 12 and all([s["annotator"] for s in row["human_scores"]] == ["ann", "bo"] for row in rows)
    record = release_record(load_recipe(world.recipe), world.build, None, "1.0.0")
    assert record["data"]["annotators"] == {"ann": 12, "bo": 12}


@pytest.mark.slow
def test_rows_may_come_go_and_change_places(world, state) -> None:
    before, calls, weights = state
    new = world.root / "pictures" / "new.png"
    Image.effect_noise((64, 64), 90).convert("RGB").save(new)
    row = {"prompt": "a television without a signal", "image": "new.png", "generator": "camera", "split": "test"}
    world.rows = [row, *world.rows[::-1]]
    gone = world.build.judgements_of("clip:no-longer-named")
    gone.write_text("{}\n")
    assert world.run(build_dataset, evaluate_judge) == [0, 0]
    assert world.calls() - calls == 2 and not gone.exists()  # one prompt, one image
    for name, judged in before.items():
        now = scores(world.judged(name))
        assert now.pop("new.png") and now == scores(judged), name
    world.rows = world.rows[1:]
    assert world.run(build_dataset, evaluate_judge) == [0, 0] and world.calls() - calls == 2
    assert scores(world.judged("base")) == scores(before["base"]) and world.build.weights.read_bytes() == weights


@pytest.mark.slow
def test_another_picture_under_the_same_name_is_judged_again_and_only_it(world, state) -> None:
    before, calls, _ = state
    changed = next(row["image"] for row in world.rows if row["split"] != "train")
    Image.effect_noise((64, 64), 60).convert("RGB").save(world.root / "pictures" / changed)
    assert evaluate_judge.main(["--recipe", str(world.recipe)]) == 2  # the build is asked for
    trained = world.build.trained_direct.path.stat().st_mtime_ns
    assert world.run(build_dataset, train, evaluate_judge) == [0, 0, 0] and world.calls() - calls == 1
    assert world.build.trained_direct.path.stat().st_mtime_ns == trained  # learnt from other pictures
    for name, judged in before.items():
        now, then = scores(world.judged(name)), scores(judged)
        differs = now.pop(changed) != then.pop(changed)
        assert now == then and (differs or name == "mine"), name  # hardly trained, that one says nothing of any


@pytest.mark.slow
def test_an_edited_rating_gives_new_results_and_nothing_else(world, state, monkeypatch) -> None:
    before, calls, weights = state
    old = world.build.results.read()
    write_ratings(world.root, shift=0.5)
    text = (world.root / "people.csv").read_text().replace("ann,overall,9.5", "ann,overall,1.5")
    (world.root / "people.csv").write_text(text)

    def no_judge(*_, **__):
        raise AssertionError("a judge was opened")

    monkeypatch.setattr("recipes.evaluation.own_judges.load_judge", no_judge)
    assert world.run(build_dataset, train, evaluate_judge) == [0, 0, 0] and world.calls() == calls
    new = world.build.results.read()
    assert new["rows"] != old["rows"] and new["inputs"] != old["inputs"]
    assert world.build.weights.read_bytes() == weights and before["mine"] == world.judged("mine")
    assert {s["score"] for row in bench_rows(world.build) for s in row["human_scores"]} >= {1.5}


@pytest.mark.slow
def test_another_teacher_is_asked_anew_and_the_judges_of_before_are_kept_where_nothing_changed(world, state) -> None:
    before, calls, _ = state
    world.options = {"max_tokens": 2048}
    assert world.run(build_dataset, train, evaluate_judge) == [0, 0, 0]
    assert world.calls() - calls == 12 + 36  # every prompt, every image
    assert {name: world.judged(name) for name in before} == before  # it said the same: nothing was trained or judged
    world.options = {}
    assert world.run(build_dataset) == [0] and world.calls() - calls == 12 + 36  # what was paid for is known


@pytest.mark.slow
def test_what_is_wrong_is_said_before_the_teacher_is_asked(world, state, capsys) -> None:
    _, calls, _ = state
    broken = [row["image"] for row in world.rows[::10]]
    for name in broken:
        path = world.root / "pictures" / name
        path.write_bytes(path.read_bytes()[:300])
    assert world.run(build_dataset) == [2]
    error = capsys.readouterr().err
    assert "4 images cannot be used" in error and all(name in error for name in broken)
    assert "data.broken_images: skip" in error and error.count("\n") == 1
    world.data["broken_images"] = "skip"
    assert world.run(build_dataset) == [0]
    assert world.build.built.read()["left_out"] == 4 and len(read_items(world.build.root)) == 32
    world.rows[1]["split"] = "tets"
    assert world.run(build_dataset) == [2] and "'tets'. The nearest is 'test'" in capsys.readouterr().err
    world.rows[1]["split"] = "test"
    assert world.run(build_dataset) == [2] and "the same prompt" in capsys.readouterr().err
    (world.root / "people.csv").write_text("image,annotator,score\nnowhere.png,ann,3\n")
    world.rows[1]["split"] = "train"
    assert world.run(build_dataset) == [2] and "'nowhere.png'" in capsys.readouterr().err
    assert world.calls() == calls


@pytest.mark.slow
def test_a_share_keeps_what_belongs_together(world, state) -> None:
    for row in world.rows[::3]:
        row["prompt"] = row["prompt"].upper()
    world.data = {"held_out": 0.1}
    assert world.run(build_dataset) == [0]
    items = read_items(world.build.root)
    held_out = {item.prompt.casefold() for item in items if item.split == "new_prompts"}
    assert len(held_out) >= 4 and len([i for i in items if i.prompt.casefold() in held_out]) == 3 * len(held_out)
    assert not [item for item in items if item.split == "train" and item.prompt.casefold() in held_out]
