"""What every command shares: the list of commands, and an end that is quiet when nobody reads on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from t2i_judge import __version__
from t2i_judge.cli import COMMANDS, main


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
