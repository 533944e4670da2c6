"""One process at a time in a folder: a second one is told who holds it, and a killed holder holds nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.runs.locks import held

HOLDER = """
import sys
from pathlib import Path
from t2i_judge.runs.locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path/out until it is ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_told_who_holds_the_folder(tmp_path, holder):
    with (
        pytest.raises(UserError, match=rf"out is in use\. Process {holder.pid} on .* has used it since 20"),
        held(tmp_path / "out"),
    ):
        pytest.fail("held twice")


def test_a_killed_process_holds_nothing(tmp_path, holder):
    holder.kill()
    holder.wait()
    (tmp_path / "out" / "shards").mkdir()
    (tmp_path / "out" / "shards" / ".000000.json.0a1b2c3d.part").write_text("half")
    with held(tmp_path / "out"), held(tmp_path / "out"):  # and one process may hold it twice
        assert not list((tmp_path / "out" / "shards").iterdir())


def test_only_what_a_killed_process_wrote_there_is_removed(tmp_path):
    """Not what others call .part, and not what another run, in a folder inside, is about to write."""
    others = [".thesis.docx.part", "a/.x.part", "a/0a1b2c3d.part", "inner/shards/.000000.json.0a1b2c3d.part"]
    for name in [*others, "a/b/.run.json.0a1b2c3d.part", ".scores.csv.ffffffff.part"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    with held(tmp_path / "inner"):
        (tmp_path / others[-1]).write_text("of a process at work")
        with held(tmp_path):
            pass
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.part")) == sorted(others)


@pytest.mark.parametrize("command", [["score", "table.csv"], ["leaderboard", "table.csv", "--generator", "by"]])
def test_commands_leave_a_held_folder_alone(tmp_path, holder, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text("prompt,image,by\na cat,a.png,x\n")
    before = sorted((tmp_path / "out").iterdir())
    assert main([*command, "--judge", "fake", "--out", "out"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"out is in use. Process {holder.pid}" in line
    assert sorted((tmp_path / "out").iterdir()) == before


@pytest.mark.parametrize("command", [["score", "table.csv"], ["leaderboard", "table.csv", "--generator", "by"]])
def test_nothing_is_written_through_a_link_to_a_folder(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text("prompt,image,by\na cat,a.png,x\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "shards").symlink_to("../elsewhere")
    assert main([*command, "--judge", "fake", "--out", "out"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "shards is a link." in line and not list((tmp_path / "elsewhere").iterdir())


NAMES = (".lock", ".holder.json", "run.json", "batches/batch-0000.jsonl", "comparisons.jsonl", "images/0.img", "2/x")
COMMANDS = (["score", "table.csv"], ["leaderboard", "table.csv", "--generator", "by"])


@pytest.mark.parametrize("target", ["mine", "empty", "nowhere"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_written_through_a_link_to_a_file(tmp_path, monkeypatch, capsys, command, name, target):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text("prompt,image,by\na cat,a.png,x\n")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "empty").write_text("")
    (link := tmp_path / "out" / name).parent.mkdir(parents=True)
    link.symlink_to(tmp_path / target)
    assert main([*command, "--judge", "fake", "--out", "out"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"t2i-judge: out/{name} is a link. It leads to {tmp_path / target}, ")
    assert (tmp_path / "mine").read_text() == "mine" and (tmp_path / "empty").read_text() == ""
    assert not (tmp_path / "nowhere").exists()
    assert [path for path in (tmp_path / "out").rglob("*") if not path.is_dir()] == [link]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_pipe_in_a_folder_of_results_is_one_line(tmp_path, monkeypatch, capsys, command, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text("prompt,image,by\na cat,a.png,x\n")
    (pipe := tmp_path / "out" / name).parent.mkdir(parents=True)
    os.mkfifo(pipe)
    assert main([*command, "--judge", "fake", "--out", "out"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"t2i-judge: out/{name} is not a plain file. ")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_judge_without_an_end_is_one_line(tmp_path, monkeypatch, capsys, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text("prompt,image\na cat,a.png\n")
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "config.json").write_text("{}")
    weights = tmp_path / "judge" / "model.safetensors"
    os.mkfifo(weights) if kind == "pipe" else weights.symlink_to("/dev/zero")
    assert main(["score", "table.csv", "--judge", "hf:judge", "--out", "out"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "model.safetensors" in line and "not a plain file" in line
