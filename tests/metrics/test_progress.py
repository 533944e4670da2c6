"""One line of progress for each step: a bar on a terminal, lines in a log, nothing with --quiet."""

from __future__ import annotations

import io
import os
import sys

import pytest

from t2i_judge import progress
from t2i_judge.progress import Pace, Progress
from t2i_judge.terminal import QUIET, VERBOSITY


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A second passes with every look at the clock of tqdm; lines come every ten."""
    monkeypatch.setattr(progress, "SECONDS", 10.0)
    times = iter(range(100_000))
    monkeypatch.setattr(Progress, "_time", staticmethod(lambda: float(next(times))), raising=False)
    monkeypatch.setattr("tqdm.std.time", lambda: float(next(times)))


def test_a_log_gets_whole_lines_with_the_time_left(clock, capsys):
    with Progress(total=40, desc="tiny", unit="image", miniters=1) as bar:
        for _ in range(40):
            bar.update()
            bar.set_postfix_str("loss 0.5", refresh=False)
    printed = capsys.readouterr().err
    assert "\r" not in printed
    lines = printed.splitlines()
    assert 2 < len(lines) < 8
    assert all(line.startswith("tiny: ") and " of 40 images (" in line for line in lines)
    assert all(" left" in line for line in lines[:-1])
    assert "40 of 40 images (100%)" in lines[-1] and "left" not in lines[-1] and lines[-1].endswith("loss 0.5")


def test_a_short_step_is_one_line_and_a_passing_one_none(capsys):
    assert list(Progress([1, 2, 3], desc="kept", unit="row")) == [1, 2, 3]
    assert list(Progress([1, 2, 3], desc="passing", unit="row", leave=False)) == [1, 2, 3]
    assert list(Progress([], desc="nothing", unit="row")) == []
    assert capsys.readouterr().err == "kept: 3 of 3 rows (100%), 0 s\n"


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    list(Progress(range(3), desc="tiny", unit="image"))
    assert "\r" in terminal.getvalue() and "3/3" in terminal.getvalue()


def test_a_terminal_without_a_width_gets_lines(monkeypatch):
    """Some remote terminals say that a line has 0 characters; a bar of that width is nothing but blank lines."""
    reading, writing = os.openpty()  # a new one has no size yet
    with os.fdopen(writing, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        list(Progress(range(3), desc="tiny", unit="image"))
        assert os.read(reading, 1000) == b"tiny: 3 of 3 images (100%), 0 s\r\n"
    os.close(reading)


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_quiet_prints_none(monkeypatch, stream):
    monkeypatch.setenv(VERBOSITY, QUIET)
    monkeypatch.setattr(sys, "stderr", written := stream())
    assert list(Progress(range(3), desc="tiny")) == [0, 1, 2]
    assert written.getvalue() == ""


def test_one_that_was_interrupted_as_it_was_made_closes_without_a_word(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    for name in ("t2i_judge.progress.quiet", "tqdm.std.tqdm.refresh"):  # before tqdm's own beginning, and at its end
        with monkeypatch.context() as patch:
            patch.setattr(name, interrupted)
            one = Progress.__new__(Progress)
            with pytest.raises(KeyboardInterrupt):
                one.__init__(total=3)
            one.__del__()
    assert capsys.readouterr().err == ""


def test_a_pace_knows_what_was_done_before(monkeypatch):
    now = iter([0.0, 100.0, 200.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    pace = Pace(10_000, 5_000, "row")
    assert pace.line(6_000) == "6,000 of 10,000 rows (60%), 7 min left"  # 10 rows a second
    assert pace.line(10_000) == "10,000 of 10,000 rows (100%), 3 min"
