"""What every command shares: the list of commands, and an end that is quiet when nobody reads on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from t2i_judge import __version__
from t2i_judge.cli import COMMANDS, command_line, main


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0 and all(name in told for name in COMMANDS)


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out == f"t2i-judge {__version__}\n"


def test_a_reader_that_closes_early_sees_no_traceback(tmp_path):
    (tmp_path / "ratings.csv").write_text("judge,rater\n1,2\n2,1\n3,3\n4,5\n")
    command = [sys.executable, "-c", "import sys; sys.stdin.read(); from t2i_judge.cli import main; sys.exit(main())"]
    run = subprocess.Popen(
        [*command, "meta-eval", str(tmp_path / "ratings.csv"), "--prediction", "judge", "--ratings", "rater"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdin and run.stdout and run.stderr
    run.stdout.close()
    run.stdin.close()  # only now does it begin
    assert run.stderr.read() == ""
    assert run.wait(300) == 141


def numbers_of(kind: type, names: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """(command, option) of every option that is such a number."""
    parser = command_line(COMMANDS)
    (commands,) = (action for action in parser._actions if isinstance(action.choices, dict))
    return [
        (command, action.option_strings[0])
        for command, parsed in commands.choices.items()
        for action in parsed._actions
        if action.type is kind and action.option_strings and (not names or action.dest in names)
    ]


@pytest.mark.parametrize(("command", "option"), numbers_of(float))
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e999"])
def test_a_number_without_end_is_one_line(capsys, command, option, value):
    """`drift --tolerance inf` ended as a bug of ours, and `calibrate --scale 0,inf` wrote Infinity into judge.json."""
    assert main([command, f"{option}={value}"]) == 2
    error = capsys.readouterr().err
    assert f"{option} is {float(value)}. It must be a finite number" in error and error.count("\n") == 1


@pytest.mark.parametrize(("command", "option"), numbers_of(int, ("limit",)))
@pytest.mark.parametrize("value", ["0", "-5"])
def test_a_limit_of_no_items_is_one_line(capsys, command, option, value):
    """`score --limit -5` said that there were no rows, and kept the folder for runs of that limit."""
    assert main([command, f"{option}={value}"]) == 2
    error = capsys.readouterr().err
    assert f"{option} is {value}" in error and error.count("\n") == 1


def test_the_options_that_are_numbers_are_looked_at():
    assert {("drift", "--tolerance"), ("serve", "--deadline"), ("score", "--max-cost")} <= set(numbers_of(float))
    assert {command for command, _ in numbers_of(int, ("limit",))} == {"score", "plan", "selftest"}


@pytest.mark.parametrize("scale", ["0,inf", "-inf,5", "nan,5", "0,1e999"])
def test_a_scale_without_end_is_one_line_before_anything_is_written(tmp_path, capsys, scale):
    rows = "".join(f"p{n},{n % 9},{n % 5}\n" for n in range(120))
    (tmp_path / "t.csv").write_text(f"prompt,judge,ann\n{rows}")
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "judge.json").write_text("{}")
    command = ["calibrate", str(tmp_path / "t.csv"), "--prediction", "judge", "--ratings", "ann", "--interval", ".5"]
    assert main([*command, "--judge", str(tmp_path / "judge"), f"--scale={scale}"]) == 2
    error = capsys.readouterr().err
    assert f"--scale is {scale}. Its ends must be finite numbers" in error and error.count("\n") == 1
    assert (tmp_path / "judge" / "judge.json").read_text() == "{}"
    assert main([*command, "--judge", str(tmp_path / "judge"), "--scale=0,5"]) == 0
