"""What a user sees: no library's noise, one line of progress, results that fit 80 columns or are JSON, completion."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.scenes.render import make_scenes
from t2i_judge.cli import COMMANDS, main
from tests.embedded import needs_embedded_judge

ROWS = "prompt,judge_of_a_long_name,another_judge_of_a_long_name,rater_1,rater_2,generator\n" + "".join(
    f"p{n},{n * 7 % 11},{n * 5 % 13},{n % 10},{(n + 1) % 10},{'ab'[n % 2]}\n" for n in range(40)
)


@pytest.fixture
def folder(tmp_path):
    """A table of scores and ratings, and two folders of pictures with their prompts."""
    (tmp_path / "t.csv").write_text(ROWS)
    rows = ["prompt,image"]
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        for index, (prompt, _, _, image) in enumerate(make_scenes(4, 0, "new_prompts")):
            image.save(tmp_path / name / f"{index}.png")
            (tmp_path / name / f"{index}.txt").write_text(prompt.text)
            rows.append(f"{prompt.text},{name}/{index}.png")
    (tmp_path / "images.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def command_lines(folder):
    """A call of every command that prints results from tables and pictures."""
    table, both = str(folder / "t.csv"), ["judge_of_a_long_name", "another_judge_of_a_long_name"]
    names = [word for name in both for word in ("--prediction", name)]
    boards = [word for name in ("ours", "theirs") for word in ("--images", f"{name}={folder / name}")]
    return {
        "score": ["score", str(folder / "images.csv"), "--judge", "fake", "--out", str(folder / "out")],
        "leaderboard": ["leaderboard", *boards, "--judge", "fake", "--out", str(folder / "board")],
        "plan": ["plan", str(folder / "images.csv"), "--judge", "openai:gpt-4o"],
        "drift": ["drift", str(folder / "out"), str(folder / "out"), "--tolerance", "0.5"],
        "meta-eval": ["meta-eval", table, *names, "--ratings", "rater_*", "--by", "generator", "--bootstrap", "20"],
        "estimate": ["estimate", table, *names[:2], "--labels", "rater_1"],
        "label-plan": ["label-plan", table, *names[:2], "--labels", "rater_1", "--width", "9"],
        "calibrate": ["calibrate", table, *names[:2], "--ratings", "rater_1,rater_2"],
        "selftest": ["selftest", str(folder / "images.csv"), "--judge", "fake", "--quick"],
    }


def test_results_fit_80_columns_and_are_json_for_a_program(folder, capsys):
    for name, arguments in command_lines(folder).items():
        assert main(arguments) in (0, 1, 3), capsys.readouterr().err
        shown = capsys.readouterr()
        long = [line for line in shown.out.splitlines() if len(line) > 80 and str(folder) not in line]
        assert shown.out and not long, (name, long)
        assert "\r" not in shown.err
        assert main([*arguments, "--quiet", "--json"]) in (0, 1, 3)
        printed = capsys.readouterr()
        assert json.loads(printed.out), name
        assert printed.err == "", name


def test_json_goes_to_a_file_beside_the_text(folder, capsys):
    for name in ("score", "calibrate"):
        assert main([*command_lines(folder)[name], "--json", str(folder / "figures.json")]) == 0
        assert capsys.readouterr().out.strip() and json.loads((folder / "figures.json").read_text())


def on_a_terminal(command, folder):
    """What a command prints where stdout and stderr are a terminal of 80 columns."""
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    printed = b""
    while True:
        try:
            printed += (part := os.read(master, 65536))
        except OSError:  # how Linux says that the last writer is gone
            break
        if not part:
            break
    os.close(master)
    return process.wait(300), printed.decode()


@pytest.mark.slow
@needs_embedded_judge
def test_a_first_score_says_nothing_but_its_own(folder):
    """On a terminal a bar of the judge's and results; in a log the same in whole lines."""
    command = [str(Path(sys.executable).parent / "t2i-judge"), "score", "images.csv", "--judge", "tiny", "--out"]
    code, shown = on_a_terminal([*command, "one"], folder)
    assert code in (0, 1)
    own = ("8 of 8 rows", "8 items", "  ", "written: ", "The first that failed")
    lines = [line.rpartition("\r")[2] for line in shown.replace("\r\n", "\n").splitlines()]
    assert [line for line in lines if line and not line.startswith(own)] == []
    piped = subprocess.run([*command, "two"], cwd=folder, capture_output=True, text=True, check=False)
    assert [line for line in piped.stderr.splitlines() if not line.startswith(own)] == []
    assert "\r" not in piped.stderr + piped.stdout and "8 of 8 rows (100%)" in piped.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_every_command_and_option_completes(shell, capsys):
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in COMMANDS) and "--judge" in script and "--fail-below" in script


def test_bash_completes(tmp_path, capsys):
    pytest.importorskip("shtab")
    assert main(["completion", "bash"]) == 0
    (tmp_path / "completion.sh").write_text(capsys.readouterr().out)
    load = "source ./completion.sh; f=$(complete -p t2i-judge | sed 's/.*-F \\([^ ]*\\) .*/\\1/')"
    ask = "COMP_WORDS=(t2i-judge score --engine ''); COMP_CWORD=3; $f t2i-judge '' --engine; echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", f"{load}; {ask}"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["local", "ray"]
