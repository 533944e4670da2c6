"""Of every command: an empty word is refused, and what is written is never what is read."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pytest
from PIL import Image

from t2i_judge.arguments import WrittenFolder, reads, refuse_empty, writes
from t2i_judge.cli import COMMANDS, command_line, main
from t2i_judge.errors import UserError

PEOPLE = "id,prompt,generator,image,h1,h2,overall\n" + "".join(
    f"{n},p{n % 9},{'ab'[n % 2]},{n}.png,{n % 5},{n % 4},{n % 7}\n" for n in range(40)
)
TABLE = {  # arguments that read people.csv and write the file that is named last
    "label-plan": ["people.csv", "--labels", "h1,h2", "--prediction", "overall", "--width", "1", "--out"],
    "calibrate": ["people.csv", "--prediction", "overall", "--ratings", "h1,h2", "--out"],
    "meta-eval": ["people.csv", "--prediction", "overall", "--ratings", "h1,h2", "--json"],
    "meta-eval --markdown": ["people.csv", "--prediction", "overall", "--ratings", "h1,h2", "--markdown"],
    "estimate": ["people.csv", "--prediction", "overall", "--labels", "h1", "--json"],
    "selftest": ["people.csv", "--judge", "fake", "--gallery"],
    "score": ["people.csv", "--judge", "fake", "--out", "out", "--json"],
    "plan": ["people.csv", "--judge", "fake", "--json"],
}


READ = {  # what of each command names a place that it reads; all else are words, even if a file is called so
    "score": "table --judge --images --decompositions --intervals --processor --decomposer --prices",
    "leaderboard": "table --images --prompts --from --judge --labels --decompositions --intervals --processor "
    "--decomposer --prices",
    "serve": "--judge --prices --cache",
    "drift": "first second",
    "plan": "table --judge --images --decompositions --prices",
    "selftest": "table --judge --cache --images --processor --decomposer --prices",
    "meta-eval": "table",
    "estimate": "table",
    "label-plan": "source --labels",
    "methods": "items --ratings --scores",
    "reproduce": "name --from",
    "t2i-eval": "scores --result",
    "calibrate": "table --judge",
    "completion": "",
    "install-metric": "--modules-cache",
}


def arguments_of(command: str) -> list[argparse.Action]:
    actions = command_line([command])._actions
    return next(one for one in actions if isinstance(one, argparse._SubParsersAction)).choices[command]._actions


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.csv").write_text(PEOPLE)
    (tmp_path / "link.csv").symlink_to("people.csv")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "a.txt").write_text("a cat")
    return tmp_path


def one_line(capsys) -> str:
    [line] = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("name", ["people.csv", "./photos/../people.csv", "link.csv"])
@pytest.mark.parametrize("command", TABLE)
def test_no_command_writes_over_its_table(folder: Path, capsys, command: str, name: str) -> None:
    assert main([command.split()[0], *TABLE[command], name]) == 2
    assert f"{name} would write over people.csv. The command reads it." in one_line(capsys)
    assert (folder / "people.csv").read_text() == PEOPLE and not (folder / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "photos", "--judge", "fake", "--out", "out", "--json", "photos/a.png"],
        ["score", "photos", "--judge", "fake", "--out", "photos"],
        ["score", "scores.csv", "--judge", "fake", "--out", "."],
        ["leaderboard", "--images", "A=photos", "--images", "B=photos", "--out", "photos"],
        ["leaderboard", "--images", "A=photos", "--out", "out", "--labels", "x.csv,people.csv", "--json", "people.csv"],
        ["score", "photos", "--judge", "hf:photos", "--out", "out", "--json", "photos/judge.json"],
        ["label-plan", "photos", "--width", "1", "--out", "photos/scores.csv"],
    ],
)
def test_nor_over_what_lies_in_a_folder_or_behind_a_name(folder: Path, capsys, arguments: list[str]) -> None:
    for path in (folder / "scores.csv", folder / "photos" / "scores.csv", folder / "photos" / "judge.json"):
        path.write_text(PEOPLE)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(arguments) == 2
    assert "would write over" in one_line(capsys)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_report_beside_what_is_read_can_be_written_again(folder: Path) -> None:
    for _ in range(2):
        assert main(["score", "photos", "--judge", "fake", "--out", "out", "--json", "photos/report.json"]) == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_output_of_every_command_is_known_as_one(command: str) -> None:
    actions = arguments_of(command)
    named = {action.option_strings[0] for action in actions if action.metavar in ("OUT", "HTML")}
    named |= {name for action in actions for name in action.option_strings if name == "--out"}
    assert named == {action.option_strings[0] for action in actions if writes(action)}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_place_that_a_command_reads_is_known_as_one(command: str) -> None:
    assert [(*one.option_strings, one.dest)[0] for one in arguments_of(command) if reads(one)] == READ[command].split()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("fake", ["score", "photos", "--judge", "fake"]),
        ("prompt", ["score", "photos", "--judge", "fake"]),  # a column by default
        ("local", ["score", "photos", "--judge", "fake"]),  # an engine by default
        ("method", ["score", "pictures.csv", "--judge", "fake", "--keep", "method", "--by", "method"]),
        ("method", ["leaderboard", "pictures.csv", "--judge", "fake", "--generator", "method"]),
        ("A", ["leaderboard", "--judge", "fake", "--images", "A=photos", "--images", "B=others"]),
    ],
)
def test_a_folder_that_is_called_like_a_word_is_continued(folder: Path, name: str, arguments: list[str]) -> None:
    cells = "".join(f"photos/a.png,cat {n},{'xy'[n % 2]}\n" for n in range(4))
    (folder / "pictures.csv").write_text(f"image,prompt,method\n{cells}")
    shutil.copytree(folder / "photos", folder / "others")
    for _ in range(2):
        assert main([*arguments, "--out", name]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["leaderboard", "--images=A=photos", "--images=B=others", "--out", "board", "--labels", "board/scores.csv"],
        ["leaderboard", "board/scores.csv", "--generator", "generator", "--out", "board"],
        ["leaderboard", "--images=A=photos", "--images=B=others", "--out", "board", "--prompts", "board/known.jsonl"],
        ["leaderboard", "--images=A=photos", "--decompositions", "board/questions.jsonl", "--out", "board"],
        ["score", "photos", "--out", "out", "--json", "photos/metadata.json"],
        ["score", "photos/*.png", "--out", "out", "--json", "photos/a.txt"],
        ["leaderboard", "--images=A=photos", "--images=B=others", "--out", "out", "--json", "others/a.caption"],
        ["drift", "board", "out", "--json", "board/calls.sqlite"],
        ["label-plan", "board", "--width", "1", "--labels", "people.csv", "--out", "people.csv"],
        ["methods", "people.csv", "--ratings", "people.csv", "--scores", "x,board", "--json", "board/scores.csv"],
        ["score", "photos", "--judge", "hf:photos", "--out", "out", "--json", "photos/tokenizer.json"],
        ["t2i-eval", "x.json", "--result", "M=people.csv", "--json", "people.csv"],
        ["selftest", "photos", "--cache", "new.sqlite", "--json", "new.sqlite"],
        ["score", "people.csv", "--out", "out", "--json", "out/run.json"],
        ["meta-eval", "people.csv", "--prediction", "overall", "--ratings", "h1", "--json", "x", "--markdown", "./x"],
    ],
)
def test_what_is_read_or_written_otherwise_is_not_written_over(folder: Path, capsys, arguments: list[str]) -> None:
    shutil.copytree(folder / "photos", folder / "others")
    files = ["board/scores.csv", "board/known.jsonl", "board/comparisons.jsonl", "board/questions.jsonl"]
    files += ["board/calls.sqlite", "photos/metadata.json", "others/a.caption", "photos/tokenizer.json"]
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(PEOPLE)
    assert main(arguments) == 2
    assert "would write over" in one_line(capsys)
    assert all((folder / name).read_text() == PEOPLE for name in [*files, "people.csv"])


def test_score_writes_what_it_declares(folder: Path) -> None:
    assert main(["score", "photos", "--judge", "fake", "--out", "out"]) == 0
    out = next(one for one in arguments_of("score") if isinstance(one.type, WrittenFolder)).type
    served = {"calls.sqlite", "batches"}  # of a judge that has a server: see test_leaderboard
    assert {path.name for path in (folder / "out").iterdir() if path.name[0] != "."} == {*out.names} - served


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["score", "", "--judge", "fake", "--out", "out"], "An argument is empty"),
        (["score", " ", "--judge", "fake", "--out", "out"], "An argument is empty"),
        (["score", "photos", "--judge", "fake", "--out", ""], "--out is empty"),
        (["score", "photos", "--judge", "fake", "--out="], "--out= has nothing behind it"),
        (["leaderboard", "--images", "A=", "--out", "out"], "A= has nothing behind it"),
        (["leaderboard", "--images=A= ", "--out", "out"], "A= has nothing behind it"),
        (["t2i-eval", "people.csv", "--result", "M="], "M= has nothing behind it"),
        (["reproduce", ""], "An argument is empty"),
        (["plan", "photos", "--json", ""], "--json is empty"),
    ],
)
def test_an_empty_name_is_no_name_of_this_folder(folder: Path, capsys, arguments: list[str], told: str) -> None:
    assert main(arguments) == 2
    assert told in one_line(capsys)
    assert sorted(path.name for path in folder.iterdir()) == ["link.csv", "people.csv", "photos"]


@pytest.mark.parametrize("recipe", ["build_benchmark", "build_personalised", "import_dreambench"])
def test_recipes_write_over_nothing_that_they_read(folder: Path, capsys, recipe: str) -> None:
    from importlib import import_module

    (folder / "out" / "data").mkdir(parents=True)
    (folder / "out" / "data" / "items.csv").write_text(PEOPLE)
    arguments = {
        "build_benchmark": ["out/data/items.csv", "--out", "out"],
        "build_personalised": ["--keywords", "people.csv", "--images", "out/data", "--out", "out"],
        "import_dreambench": ["--samples", "out/data", "--out", "out/data"],
    }
    assert import_module(f"recipes.{recipe}").main(arguments[recipe]) == 2
    assert "would write over out/data" in one_line(capsys)
    assert [path.name for path in (folder / "out").rglob("*")] == ["data", "items.csv"]


def test_a_condition_may_ask_for_blank_cells(folder: Path, capsys) -> None:
    (folder / "people.csv").write_text(PEOPLE.replace(",1,", ",,"))
    columns = ["--prediction", "overall", "--ratings", "h1"]
    assert main(["meta-eval", "people.csv", *columns, "--where", "h2=", "--json"]) == 0
    assert main(["calibrate", "people.csv", *columns, "--split", "h2="]) == 0


def test_what_ends_with_an_equals_sign_is_not_empty() -> None:
    refuse_empty(["http://127.0.0.1:9/v1?version=", "2 + 2 =", "a sign that says E="])


def test_the_functions_say_so_to_python(folder: Path) -> None:
    with pytest.raises(UserError, match="is empty"):
        command_line(["score"]).parse_args(["score", ""])
