"""The build step through its own command line, against a teacher in another process that counts what it is asked."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from recipes import build_dataset
from recipes.loopback.http import started
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import load_recipe
from recipes.recipe.items import read_items
from recipes.recipe.sections import ScenesData
from recipes.scenes.pictures import write_scenes
from t2i_judge.decompose import from_lines, to_lines
from t2i_judge.files import read_jsonl
from t2i_judge.prompts import LEVELS, SUMMARY_SCORE, TASKS
from t2i_judge.records import Judgement, Status

DATA = {"source": "scenes", "train_images": 24, "new_prompts_images": 6, "new_pairs_images": 6}
FEW = {**DATA, "train_images": 8, "new_prompts_images": 2, "new_pairs_images": 2}  # the first ones of the same scenes
SEED = 0  # of the recipe's data; the server's copy of the scenes is rendered from it
# The command line in a process of its own, with the checkout's root (where build/ lies) moved into the test's folder.
COMMAND = """
import sys
from pathlib import Path
import recipes.recipe.config
recipes.recipe.config.ROOT = Path(sys.argv[1])
from recipes.build_dataset import main
raise SystemExit(main(["--recipe", sys.argv[2]]))
"""


def write_recipe(folder: Path, **changes) -> Path:
    recipe = {
        "name": "made",
        "data": DATA,
        "teacher": {"model": "scene-teacher", "server": "recipes.scenes.server", "concurrency": 4},
        "base": {"model": "nowhere"},
        "adapter": {"target_modules": "x"},
        "seeds": {"data": SEED},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**recipe, **changes}))
    return path


def start(root: Path, recipe: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(root), str(recipe)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def run(root: Path, recipe: Path) -> tuple[int, str]:
    process = start(root, recipe)
    _, errors = process.communicate(timeout=300)
    return process.returncode, errors


def last_line(errors: str) -> str:
    lines = [line for line in errors.replace("\r", "\n").splitlines() if line.startswith("build_dataset:")]
    assert "Traceback" not in errors, errors
    assert len(lines) == 1, errors
    return lines[0]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """build/made, through the recipe's own server."""
    root = tmp_path_factory.mktemp("root")
    code, errors = run(root, write_recipe(root))
    assert code == 0, errors
    return root / "build" / "made"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A teacher that outlives the builds: its address; replies take 30 ms, as a model's take time."""
    folder = tmp_path_factory.mktemp("teacher")
    sizes = {name: value for name, value in DATA.items() if name != "source"}
    write_scenes(folder, ScenesData(**sizes), SEED)
    with started("recipes.scenes.server", [str(folder), "--delay", "0.03"]) as url:
        yield url


def stats(url: str) -> dict:
    with urllib.request.urlopen(f"{url}/stats") as response:
        return json.load(response)


def test_everything_that_later_steps_read_is_there(built):
    items = read_items(built)
    assert [item.split for item in items].count("train") == 24
    judgements = [Judgement.from_json(row) for row in read_jsonl(built / "teacher.jsonl")]
    assert [judgement.image_id for judgement in judgements] == [item.id for item in items]
    assert all(judgement.status is Status.OK for judgement in judgements)
    prompts = {row["prompt"] for row in read_jsonl(built / "decompositions.jsonl")}
    assert prompts == {item.prompt for item in items}
    people = {row["annotator"] for row in read_jsonl(built / "humans.jsonl")}
    assert len(people) >= 3
    assert {row["id"] for row in read_jsonl(built / "latent.jsonl")} == {item.id for item in items}
    record = json.loads((built / "BUILT.json").read_text())
    assert (record["items"], record["failed"], record["distillation_rows"]) == (36, {}, 24)
    assert record["spent"]["calls"] == len(prompts) + len(items)


@pytest.mark.parametrize("streaming", [False, True])
def test_the_distillation_data_loads_with_its_pictures(built, streaming):
    from datasets import load_dataset

    rows = list(load_dataset(str(built / "distill"), split="train", streaming=streaming))
    assert len(rows) == 24
    assert rows[0]["image"].size == (112, 112)
    assert rows[0]["reference_image"] is None
    chats = list(load_dataset(str(built / "distill"), "sft", split="train", streaming=streaming))
    assert {len(chat["images"]) for chat in chats} == {0, 1}
    for chat in chats:
        shown = [part["type"] for turn in chat["messages"] for part in turn["content"]]
        assert shown.count("image") == len(chat["images"])
        assert [turn["role"] for turn in chat["messages"]] == ["user", "assistant"] * (len(chat["messages"]) // 2)


def test_every_sub_task_has_its_samples(built):
    from datasets import load_dataset

    judgements = {row["image_id"]: Judgement.from_json(row) for row in read_jsonl(built / "teacher.jsonl")}
    tasks = set()
    for row in load_dataset(str(built / "distill"), split="train"):
        judgement = judgements[row["id"]]
        by_task: dict[str, list[str]] = {}
        for sample in row["samples"]:
            by_task.setdefault(sample["task"], []).append(sample["answer"])
        tasks |= set(by_task)
        assert by_task["answer"] == [answer.text for answer in judgement.answers]
        assert by_task["explain"] == [answer.explanation for answer in judgement.answers]
        assert set(by_task["score"]) <= set(LEVELS)
        assert to_lines(from_lines(by_task["decompose"][0])) == by_task["decompose"][0]
        assert len(by_task["summarise"]) == len({question.aspect for question in judgement.questions})
        assert by_task["summarise_overall"][0].split(SUMMARY_SCORE)[0] == judgement.summary_texts["overall"]
    assert tasks == set(TASKS)


def test_a_second_run_does_nothing_and_a_changed_recipe_does(built):
    root = built.parents[1]
    before, judged = (built / "BUILT.json").stat().st_mtime_ns, built / "judgements" / "tiny.jsonl"
    judged.parent.mkdir()
    judged.touch()
    assert run(root, write_recipe(root))[0] == 0
    assert (built / "BUILT.json").stat().st_mtime_ns == before and judged.exists()
    changed = {**DATA, "train_images": 25}
    assert run(root, write_recipe(root, data=changed))[0] == 0
    assert json.loads((built / "BUILT.json").read_text())["items"] == 37
    assert judged.exists()  # what stands in it is found by content
    assert run(root, write_recipe(root))[0] == 0  # as other tests expect it


@pytest.mark.parametrize("server", ["recipes.scenes.server", None])
def test_answers_of_old_rules_are_forgotten_but_never_what_was_paid_for(tmp_path, monkeypatch, server):
    recipe = load_recipe(write_recipe(tmp_path, teacher={"model": "m", **({"server": server} if server else {})}))
    kept = []
    for code in ("old rules", "old rules", "new rules"):
        monkeypatch.setattr("recipes.build_dataset._code_of", lambda recipe, code=code: code)
        build_dataset._items(recipe, BuildFolder(tmp_path), None, build_dataset._source(recipe)[0])
        kept.append(BuildFolder(tmp_path).calls.exists())
        BuildFolder(tmp_path).calls.touch()
    assert kept == [False, True, server is None]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["structured", "staged"])
def test_killed_runs_go_on_without_repeating_what_was_stored(tmp_path, teacher, protocol):
    concurrency, kills = 4, 0
    options = {"model": "scene-teacher", "base_url": teacher, "concurrency": concurrency, "protocol": protocol}
    recipe = write_recipe(tmp_path, teacher=options, data=DATA if protocol == "structured" else FEW)
    before = stats(teacher)
    for wait in (1.6, 2.0, 2.4):
        process = start(tmp_path, recipe)
        time.sleep(wait)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    code, errors = run(tmp_path, recipe)
    assert code == 0, errors
    assert kills
    after = stats(teacher)
    stored = len(build_cache(tmp_path))
    asked = sum(after["kinds"].values()) - sum(before["kinds"].values())
    # A reply that was on its way when the process died could not be stored: at most one a place.
    assert asked - stored <= kills * concurrency
    judged = [Judgement.from_json(row) for row in read_jsonl(tmp_path / "build" / "made" / "teacher.jsonl")]
    assert all(judgement.status is Status.OK for judgement in judged)


def build_cache(root: Path) -> list:
    import sqlite3

    with sqlite3.connect(root / "build" / "made" / "calls.sqlite") as database:
        return database.execute("SELECT key FROM replies").fetchall()


@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.1, 0.6, 1.2])
def test_ctrl_c_at_any_moment_is_one_line_and_nothing_paid_for_is_lost(tmp_path, teacher, wait):
    options = {"model": "scene-teacher", "base_url": teacher, "concurrency": 4, "protocol": "staged"}
    recipe = write_recipe(tmp_path, teacher=options, data=FEW)
    before = stats(teacher)
    process = start(tmp_path, recipe)
    while not (tmp_path / "build" / "made").exists():  # it has begun: Python's own imports are behind it
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(wait)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "interrupted" in last_line(errors)
    asked = stats(teacher)["calls"] - before["calls"]
    if (tmp_path / "build" / "made" / "calls.sqlite").exists():
        assert len(build_cache(tmp_path)) == asked  # what was under way was waited for
    assert run(tmp_path, recipe)[0] == 0
    assert stats(teacher)["calls"] - before["calls"] == len(build_cache(tmp_path))


def test_an_endpoint_that_is_not_there_is_one_line(tmp_path):
    recipe = write_recipe(tmp_path, teacher={"model": "m", "base_url": "http://127.0.0.1:9/v1"})
    code, errors = run(tmp_path, recipe)
    assert code == 2
    assert "no answer from http://127.0.0.1:9/v1" in last_line(errors)


GARBAGE = """
from recipes.loopback.http import Response, serve
async def handle(method, path, body):
    if path.endswith("/models"):
        return Response({"object": "list", "data": []})
    message = {"role": "assistant", "content": "Lorem ipsum."}
    return Response({"id": "c", "object": "chat.completion", "created": 0, "model": "m",
                     "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
if __name__ == "__main__":
    serve(handle)
"""


def test_a_teacher_that_answers_garbage_is_stopped_early_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "garbage_teacher.py").write_text(GARBAGE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    recipe = write_recipe(tmp_path, teacher={"model": "m", "server": "garbage_teacher"})
    code, errors = run(tmp_path, recipe)
    assert code == 2
    line = last_line(errors)
    assert "Not one of the first 8 was decomposed (8 unparsable)" in line
    assert "Lorem ipsum" in line
    monkeypatch.delenv("PYTHONPATH")
    assert run(tmp_path, write_recipe(tmp_path))[0] == 0  # with a better teacher it goes on


def test_a_full_disk_is_one_line_and_the_next_run_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("recipes.recipe.config.ROOT", tmp_path)
    recipe = write_recipe(tmp_path)
    with monkeypatch.context() as full:

        def refuse(path, data):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

        full.setattr("recipes.distillation.teacher.write_atomic", refuse)
        assert build_dataset.main(["--recipe", str(recipe)]) == 2
    assert "disk is full" in last_line(capsys.readouterr().err)
    assert build_dataset.main(["--recipe", str(recipe)]) == 0


def test_a_wrong_recipe_is_one_line(capsys):
    assert build_dataset.main(["--recipe", "tinny"]) == 2
    assert "tiny" in last_line(capsys.readouterr().err)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_of_ones_own_images(tmp_path, teacher, built, kind):
    items = read_items(built)[:12]
    rows = [
        {"text": item.prompt, "file": str((built / item.image).resolve()), "generator": item.generator}
        for item in items
    ]
    table = tmp_path / f"mine.{kind}"
    write_table(table, rows)
    columns = {"prompt": "text", "image": "file"}
    data = {"source": "table", "path": str(table), "images": str(built), "held_out": 0.3, **columns}
    options = {"model": "scene-teacher", "base_url": teacher}
    code, errors = run(tmp_path, write_recipe(tmp_path, data=data, teacher=options))
    assert code == 0, errors
    record = json.loads((tmp_path / "build" / "made" / "BUILT.json").read_text())
    assert (record["failed"], record["left_out"]) == ({}, 0)
    made = read_items(tmp_path / "build" / "made")
    assert {item.split for item in made} == {"train", "new_prompts"}
    assert [item.generator for item in made] == [item.generator for item in items]
    assert (tmp_path / "build" / "made" / made[0].image).read_bytes() == (built / items[0].image).read_bytes()


def write_table(path: Path, rows: list[dict]) -> None:
    import pandas

    frame = pandas.DataFrame(rows)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prompt,imagee\na,b\n", "'imagee'"),
        ("prompt,image\n,b.png\n", "row 1: prompt is empty"),
        ("prompt,image\n", "has no rows"),
        ("prompt,image,id\na,b.png,1\na,c.png,1\n", "has the id '1' twice"),
    ],
)
def test_a_table_that_does_not_fit_says_where(tmp_path, text, says, capsys, monkeypatch):
    monkeypatch.setattr("recipes.recipe.config.ROOT", tmp_path)
    table = tmp_path / "mine.csv"
    table.write_text(text)
    data = {"source": "table", "path": str(table), **({"id": "id"} if "id" in text.split("\n")[0].split(",") else {})}
    assert build_dataset.main(["--recipe", str(write_recipe(tmp_path, data=data))]) == 2
    assert says in last_line(capsys.readouterr().err)
