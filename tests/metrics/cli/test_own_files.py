"""Files of the user's own in the folder of a command's results: none is written over, none is removed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from t2i_judge.boards.prompts import Prompts
from t2i_judge.cli import leaderboard, main
from t2i_judge.cli.run_files import BOARD_FILES, CACHE, OTHERS, QUESTIONS, RUN_FILES
from t2i_judge.errors import UserError
from t2i_judge.records import Question
from tests.metrics.cli.test_leaderboard import write_images

MINE = "mine\n"
AT_THE_END = sorted({*BOARD_FILES} - {"run.json", "shards", CACHE, "batches", OTHERS, QUESTIONS})
OF_SCORE = sorted({*AT_THE_END} & {*RUN_FILES})


def ask(command: str, folder: Path) -> int:
    """Judge a folder of two images with the judge that needs no model."""
    if not (folder / "ours").is_dir():
        write_images(folder / "ours", count=2)
        (folder / "prompts.txt").write_text("a cup\na tree\n")
    out = ["--judge", "fake", "--out", str(folder / "out")]
    if command == "score":
        (folder / "table.csv").write_text("prompt,image\na cup,ours/000.png\na tree,ours/001.png\n")
        return main(["score", str(folder / "table.csv"), *out])
    images = [f"--images=ours={folder / 'ours'}", "--prompts", str(folder / "prompts.txt")]
    return main(["leaderboard", *images, *out])


@pytest.mark.parametrize(("command", "name"), [
    *(("score", name) for name in OF_SCORE),
    *(("leaderboard", name) for name in (*AT_THE_END, f"{OTHERS}/2/scores.csv")),
])  # fmt: skip
def test_a_file_that_no_run_wrote_is_refused_before_anything_is_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    own = tmp_path / "out" / name
    own.parent.mkdir(parents=True)
    own.write_text(MINE)
    assert ask(command, tmp_path) == 2
    said = capsys.readouterr().err
    assert str(own) in said and said.count("\n") == 1
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [own] and own.read_text() == MINE


@pytest.mark.parametrize("command", ["score", "leaderboard"])
def test_a_run_replaces_its_own_files_and_leaves_others_beside_them(tmp_path: Path, command: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text(MINE)
    assert ask(command, tmp_path) == ask(command, tmp_path) == 0
    assert (tmp_path / "out" / "notes.txt").read_text() == MINE


def test_a_board_that_ended_before_its_record_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("t2i_judge.runs.shards.Run.begin", interrupted)
        assert ask("leaderboard", tmp_path) == 130
    assert (tmp_path / "out" / "items.jsonl").is_file() and not (tmp_path / "out" / "run.json").exists()
    assert ask("leaderboard", tmp_path) == 0


def test_questions_of_the_users_own_are_not_written_over(tmp_path: Path) -> None:
    questions = {"a cup": [Question("q1", "existence", ("cup",), "Is there a cup?")]}
    prompts = Prompts.__new__(Prompts)
    object.__setattr__(prompts, "questions", questions)
    path = leaderboard._written_questions(tmp_path, prompts)
    before = path.read_bytes()
    assert leaderboard._written_questions(tmp_path, prompts).read_bytes() == before, "the same are no loss"
    path.write_text(MINE)
    with pytest.raises(UserError, match=r"questions\.jsonl is there, and no run\.json"):
        leaderboard._written_questions(tmp_path, prompts)
    assert path.read_text() == MINE


def interrupted(*arguments: object, **options: object) -> None:
    """Ctrl-C."""
    raise KeyboardInterrupt


def sheet(folder: Path) -> Path:
    """A form of label-plan, empty."""
    table = folder / "scores.csv"
    if not table.exists():
        with table.open("w", newline="") as file:
            rows = [(f"{g}{n}", g, f"p{n}", (7 * n) % 11) for n in range(200) for g in "ab"]
            csv.writer(file).writerows([("id", "generator", "prompt", "overall"), *rows])
    return folder / "labels.csv"


def plan(folder: Path) -> int:
    out = sheet(folder)
    sizes = ["--width", "1.5", "--sd", "2", "--correlation", "0.5"]
    return main(["label-plan", str(folder / "scores.csv"), "--prediction", "overall", *sizes, "--out", str(out)])


def test_labels_that_were_typed_in_are_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(tmp_path) == 0
    form = sheet(tmp_path).read_text()
    assert plan(tmp_path) == 0 and sheet(tmp_path).read_text() == form, "an empty form is replaced"
    header, first, *rest = form.splitlines()
    for filled in (
        "\n".join([header, *rest, first + "7"]),
        "\n".join([header + ",note", first + ",", *rest]),
        ";".join(header.split(",")) + "\n",
        "people's own\n",
    ):
        sheet(tmp_path).write_text(filled)
        assert plan(tmp_path) == 2 and "no empty form" in capsys.readouterr().err
        assert sheet(tmp_path).read_text() == filled
