"""Every command ends with one line and an exit code, whatever ends it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest
from safetensors import SafetensorError

from t2i_judge.errors import UserError
from t2i_judge.running import command
from t2i_judge.terminal import say


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("a", "b", "c"), 2, "me: a. b. c.\n"),
        (KeyboardInterrupt(), 130, "me: interrupted. Again.\n"),
        (OSError(28, "No space left on device", "out/x"), 2, "me: The disk is full (out/x). Free some space. Again.\n"),
        (sqlite3.OperationalError("database or disk is full"), 2, "me: The disk is full. Free some space. Again.\n"),
        (
            OSError(5, "Input/output error"),
            2,
            "me: Cannot use a file. Input/output error. Use another file, or correct this one. Again.\n",
        ),
        (
            PermissionError(13, "Permission denied", "out"),
            2,
            "me: Cannot use out. Permission denied. Use another file, or correct this one. Again.\n",
        ),
        (
            MemoryError(),
            2,
            "me: There is not enough memory. Use a machine with more memory, or smaller batches. Again.\n",
        ),
        (
            RecursionError("maximum recursion depth exceeded"),
            2,
            "me: A folder or a file is nested too deep. Following it would exhaust the stack. Use one with fewer "
            "levels. Again.\n",
        ),
        (SafetensorError("No space left on device"), 2, "me: The disk is full. Free some space. Again.\n"),
    ],
)
def test_what_ends_a_command_is_one_line(capsys, error, code, line):
    @command("me", "Again.")
    def main(argv=None):
        raise error

    assert main([]) == code
    assert capsys.readouterr().err == line


def test_a_defect_says_where_and_shows_its_traceback_to_who_asks(capsys, monkeypatch):
    @command("me", "Again.")
    def main(argv=None):
        raise KeyError("x\x1b[31m")

    assert main([]) == 70
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("me: This is a bug in t2i-judge. KeyError at test_running.py:")
    assert "\x1b" not in line
    monkeypatch.setenv("T2I_JUDGE_TRACEBACK", "1")
    with pytest.raises(KeyError):
        main([])


def test_a_reader_that_left_is_no_error():
    code = (
        "from t2i_judge.running import command\n@command('me')\ndef main(argv=None):\n"
        "    for _ in range(100_000): print('x')\n    return 0\nraise SystemExit(main())"
    )
    shell = f'{sys.executable} -c "$CODE" | head -1; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", shell], env={"CODE": code}, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["x", "141"], "")


def test_what_is_said_steers_no_terminal(capsys):
    say("a \x1b[31mred\x07 name\u202e\nsecond line \u200d")
    assert capsys.readouterr().out == "a \\x1b[31mred\\x07 name\\u202e\nsecond line \u200d\n"


@pytest.mark.parametrize(
    ("text", "encoding", "told"),
    [("\ud800", "utf-8", "UTF-8"), ("日本", "latin-1", "latin-1. It is this locale's encoding")],
)
def test_what_an_encoding_does_not_have_is_told_of_that_encoding(capsys, text, encoding, told):
    @command("me", "Again.")
    def main(argv=None):
        return len(text.encode(encoding))

    assert main([]) == 2
    assert f"me: A text or a file's name cannot be written as {told}" in capsys.readouterr().err
