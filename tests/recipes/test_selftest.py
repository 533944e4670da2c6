"""`make selftest`: one table of judges and probes, and a file a judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipes import selftest
from t2i_judge.runs.selftest.attacks import QUICK


def test_the_table_has_a_row_a_probe_and_a_column_a_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(selftest, "OUTPUT", tmp_path)
    assert selftest.main(["--judge", "fake", "--quick", "--items", "12"]) == 0
    text = (tmp_path / "table.md").read_text()
    assert text == capsys.readouterr().out and "**UNTRUSTED**" in text  # it never opens a picture
    assert all(f"| {attack.name} |" in text for attack in QUICK)
    report = json.loads((tmp_path / "fake.json").read_text())
    assert report["judge"]["name"] == "fake" and len(report["probes"]) == len(QUICK)


def test_scenes_are_of_all_generators_and_each_has_its_own_prompt() -> None:
    made = selftest.scenes(14)
    assert len({sample.prompt for sample in made}) == 14 and made[0].prompt == selftest.scenes(14)[0].prompt
