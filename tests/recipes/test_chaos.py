"""`make chaos` counts what it says it counts, and finds nothing lost."""

from __future__ import annotations

import json
import subprocess

import pytest

from recipes import chaos
from recipes.chaos import Toll, main, table_of


def test_a_toll_is_clean_only_without_loss():
    clean = Toll("x", 10, 3, 0, 0, 0, 2, 1.0)
    assert clean.clean
    assert not any(Toll("x", 10, 3, *losses, 0, 1.0).clean for losses in ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    assert table_of([clean]).splitlines()[0].split("  ")[0] == "ordeal"


def test_items_lost_and_doubled_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(chaos, "ITEMS", 3)
    (tmp_path / "scores.csv").write_text("prompt,status\na,ok\na,ok\nb,transport\n")
    assert chaos._items(tmp_path) == (2, 1)


def test_what_came_to_its_end_is_printed_though_the_next_takes_too_long(capsys, monkeypatch):
    def hanging(table, folder):
        """Hangs."""
        raise subprocess.TimeoutExpired(["python"], 600)

    monkeypatch.setattr(chaos, "faults", lambda table, folder: Toll("faults", 10, 3, 0, 0, 0, 0, 1.0))
    monkeypatch.setattr(chaos, "kills", hanging)
    assert main(["--no-release"]) == 2
    printed = capsys.readouterr()
    assert printed.out.splitlines()[2].startswith("faults") and "took longer than 600 s" in printed.err


@pytest.mark.slow
def test_chaos_on_a_small_scale(capsys, monkeypatch):
    monkeypatch.setattr(chaos, "ITEMS", 40)
    monkeypatch.setattr(chaos, "KILLS", 2)
    assert main(["--no-release", "--json"]) == 0
    tolls = json.loads(capsys.readouterr().out)
    assert [toll["ordeal"] for toll in tolls] == ["faulty server", "kill -9, again", "one folder"]
