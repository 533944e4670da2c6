"""How much a command says: levels, in subcommands and child processes; libraries hushed by their own switches."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings

import pytest

from t2i_judge import libraries
from t2i_judge.running import command
from t2i_judge.terminal import NORMAL, QUIET, VERBOSE, VERBOSITY, Parser, note, say, step, verbose


@pytest.fixture(autouse=True)
def own_level(monkeypatch):
    for variable in (VERBOSITY, *libraries.SWITCHES):
        monkeypatch.delenv(variable, raising=False)
    own = logging.getLogger("transformers")  # once imported, it keeps to itself, and writes to the stderr of that time
    monkeypatch.setattr(own, "propagate", True)
    monkeypatch.setattr(own, "handlers", [])


@command("me")
def main(argv=None):
    """A command with a subcommand, which says a bit of everything."""
    parser = Parser()
    parser.add_subparsers(required=True).add_parser("go").set_defaults(run=True)
    parser.parse_args(argv)
    step("[step]")
    say("result")
    note("note")
    say("problem", file=sys.stderr)
    logging.getLogger("bitsandbytes.backends.cpu.ops").warning("Failed to load")
    logging.getLogger("transformers").error("cannot go on")
    print(os.environ[VERBOSITY], os.environ.get("TRANSFORMERS_VERBOSITY"))
    return 0


@pytest.mark.parametrize(
    ("arguments", "out", "err"),
    [
        (["go"], ["[step]", "result", f"{NORMAL} error"], ["note", "problem", "cannot go on"]),
        (["go", "--quiet"], ["result", f"{QUIET} error"], ["problem", "cannot go on"]),
        (["--quiet", "go"], ["result", f"{QUIET} error"], ["problem", "cannot go on"]),
        (["go", "-v"], ["[step]", "result", f"{VERBOSE} None"], ["note", "problem", "Failed to load", "cannot go on"]),
        (["-v", "go"], ["[step]", "result", f"{VERBOSE} None"], ["note", "problem", "Failed to load", "cannot go on"]),
    ],
)
def test_how_much_is_said(arguments, out, err, capsys, caplog):
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == out
    assert [*printed.err.splitlines(), *caplog.messages] == err


def test_a_command_leaves_nothing_behind_and_a_process_it_starts_says_as_much(monkeypatch):
    before = logging.getLogger("transformers").level, list(warnings.filters)
    main(["go", "--quiet"])
    assert (logging.getLogger("transformers").level, list(warnings.filters)) == before
    assert not {VERBOSITY, *libraries.SWITCHES} & os.environ.keys()
    monkeypatch.setenv(VERBOSITY, QUIET)
    code = "from t2i_judge.terminal import *; Parser().parse_args([]); note('n'); say('s'); print(quiet())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (["s", "True"], "")


def test_what_a_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")
    with libraries.restored():
        libraries.hush()
        assert os.environ["TRANSFORMERS_VERBOSITY"] == "info"
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "info"


def test_only_named_warnings_of_named_modules_are_ignored():
    def warn(category, module):
        warnings.warn_explicit("x", category, "file.py", 1, module=module, registry={})

    with warnings.catch_warnings(record=True) as seen, libraries.restored():
        warnings.simplefilter("always")
        libraries.hush()
        warn(FutureWarning, "transformers.modeling_utils")
        warn(FutureWarning, "t2i_judge.local.model")
        warn(UserWarning, "transformers.modeling_utils")
    assert len(seen) == 2


def test_both_at_once_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["go", "-v", "--quiet"])
    assert "not allowed with" in capsys.readouterr().err
    assert not verbose()
