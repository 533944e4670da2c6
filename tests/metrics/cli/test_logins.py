"""No login of an address stands in anything that a command prints or writes, whatever it was given to."""

from __future__ import annotations

import argparse
import contextlib

import pytest
from PIL import Image

from t2i_judge.cli import COMMANDS, command_line, main
from t2i_judge.errors import UserError, quoted
from t2i_judge.logins import hidden, shown_address
from t2i_judge.runs.standing import asked

PASSWORD = "hunter2!"
ADDRESS = f"http://me:{PASSWORD}@127.0.0.1:9/v1"
JUDGE = f"openai:A@{ADDRESS}?api_key={PASSWORD}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:pw@h", "http://h"),
        ("x http://pw@h/v1?a=1", "x http://h/v1?a=1"),
        ("https://h/?api_key=pw&x=1", "https://h/?api_key=...&x=1"),
        ("http://u:pw@h and https://pw@h2?sig=pw", "http://h and https://h2?sig=..."),
        ("http://u:p/pw@h/v1", "http://h/v1"),  # nobody escaped the password
        ("http://u:a#pw@h", "http://h"),
        ("http:/u:pw@h/v1", "http:/h/v1"),  # as a path is written
        ("c:/u:pw@h/v1", "c:/u:pw@h/v1"),
        ("http://u:123/pw@h/v1", "http://h/v1"),
        ("https://h/?a=1;key=pw&b=2;c=3", "https://h/?a=1;key=...&b=2;c=3"),
        ("https://h/?key=p;w?pw&pat=pw&path=p", "https://h/?key=...&pat=...&path=p"),
        ("http://h:8000/v1 answers a@b", "http://h:8000/v1 answers a@b"),
        ("http://h:8000/@cf/m", "http://h:8000/@cf/m"),
        ("http://h:8000/v1/m@v2", "http://h:8000/v1/m@v2"),
        ("http://h:8000, says a@b", "http://h:8000, says a@b"),
        ("a cat: me@home, what? key=1", "a cat: me@home, what? key=1"),
    ],
)
def test_a_login_is_hidden_and_the_rest_is_not(text, shown):
    assert hidden(text) == shown


def test_an_address_as_it_was_typed_may_have_spaces_in_its_login():
    assert shown_address("openai:A@http://me: p w@h/v1") == "openai:A@http://h/v1"


def test_half_a_login_is_none_less():
    assert PASSWORD not in quoted("x" * 80 + ADDRESS)
    assert PASSWORD not in "".join((error := UserError(ADDRESS, ADDRESS, ADDRESS)).args) + error.fact + error.fix


@pytest.mark.parametrize(
    "text",
    ["://" * 20_000, "a://b:" * 20_000, "http://h/" + "?key" * 20_000, "a://b" + "&" * 99_999, "a://?" + ";a=" * 9_999],
)
def test_long_texts_are_looked_through_once(text):
    assert len(hidden(text)) <= len(text)


def _arguments(command):
    """The arguments of a command, without those that every command has."""
    (commands,) = (a for a in command_line([command])._actions if isinstance(a, argparse._SubParsersAction))
    return [a for a in commands.choices[command]._actions if not isinstance(a, argparse._HelpAction)]


def _lines(command):
    """Command lines, each with the address in one place: the words that a command needs, and one option more."""
    options = {a.dest: a for a in _arguments(command) if a.option_strings and a.dest != "verbosity"}
    needed = ["t.csv" for a in _arguments(command) if not a.option_strings and (a.nargs is None or a.dest == "table")]
    needed += [f"{option.option_strings[-1]}=o" for option in options.values() if option.required]
    needed += {"serve": ["--queue=0"], "leaderboard": ["--generator=generator"]}.get(
        command, []
    )  # serve does not start
    judges = [[f"--judge={JUDGE}"]] if command != "calibrate" and "judge" in options else [[]]
    judges += [["--judge=hf:none", f"--decomposer={JUDGE}"]] if "decomposer" in options else []
    for judge in judges:
        yield [*needed, *judge]
        for name, option in options.items():
            value = JUDGE if name in ("judge", "decomposer") else ADDRESS
            yield [*needed, *judge, option.option_strings[-1] + ("" if option.nargs == 0 else f"={value}")]
    yield [word.replace("t.csv", ADDRESS) for word in needed]


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"install-metric", "completion"}))  # which know no servers
def test_no_option_of_a_command_shows_a_login(command, tmp_path, capsys, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "cat.png")
    (tmp_path / "t.csv").write_text("prompt,image,generator\na cat,cat.png,a\na cat,cat.png,b\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("t2i_judge.served.http.HttpClient._exchange", _away)
    for line in _lines(command):
        with contextlib.suppress(SystemExit):
            main([command, *line])
        printed = capsys.readouterr()
        files = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
        assert not [text for text in (printed.out, printed.err, *files) if PASSWORD in text], (command, line)


async def _away(*_args):
    raise UserError(f"There is nothing at {ADDRESS}")


def test_a_run_records_its_decomposer_without_the_login():
    assert asked("hf:none", {"decomposer": JUDGE})["decomposer"] == "openai:A@http://127.0.0.1:9/v1?api_key=..."
