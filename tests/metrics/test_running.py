"""Every command ends with one line and an exit code, whatever ends it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest
from safetensors import SafetensorError

from t2i_judge.errors import UserError
from t2i_judge.running import command


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("a", "b", "c"), 2, "me: a. b. c.\n"),
        (KeyboardInterrupt(), 130, "me: interrupted. Again.\n"),
        (OSError(28, "No space left on device", "out/x"), 2, "me: the disk is full (out/x). Free some space. Again.\n"),
        (sqlite3.OperationalError("database or disk is full"), 2, "me: the disk is full. Free some space. Again.\n"),
        (SafetensorError("No space left on device"), 2, "me: the disk is full. Free some space. Again.\n"),
    ],
)
def test_what_ends_a_command_is_one_line(capsys, error, code, line):
    @command("me", "Again.")
    def main(argv=None):
        raise error

    assert main([]) == code
    assert capsys.readouterr().err == line


def test_what_is_nobodys_fault_keeps_its_traceback():
    @command("me")
    def main(argv=None):
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        main([])


def test_a_reader_that_left_is_no_error():
    code = (
        "from t2i_judge.running import command\n@command('me')\ndef main(argv=None):\n"
        "    for _ in range(100_000): print('x')\n    return 0\nraise SystemExit(main())"
    )
    shell = f'{sys.executable} -c "$CODE" | head -1; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", shell], env={"CODE": code}, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["x", "141"], "")
