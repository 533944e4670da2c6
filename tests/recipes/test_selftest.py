"""`make selftest`: one table of judges and probes, and one file per judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from recipes import selftest
from t2i_judge.errors import UserError
from t2i_judge.runs.selftest.attacks import QUICK


def test_the_table_has_a_row_a_probe_and_a_column_a_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(selftest, "OUTPUT", tmp_path)
    assert selftest.main(["--judge", "fake", "--quick", "--items", "12"]) == 0
    text = (tmp_path / "table.md").read_text()
    assert "**UNTRUSTED**" in text  # it never opens a picture
    assert all(f"| {attack.name} |" in text for attack in QUICK)
    shown = capsys.readouterr().out.splitlines()  # the same table, as terminals show it
    assert "UNTRUSTED" in shown[2] and max(map(len, shown)) <= 80
    assert all(any(line.startswith(attack.name) for line in shown) for attack in QUICK)
    report = json.loads((tmp_path / "fake.json").read_text())
    assert report["judge"]["name"] == "fake" and len(report["probes"]) == len(QUICK)


def test_scenes_are_of_all_generators_and_each_has_its_own_prompt() -> None:
    made = selftest.scenes(14)
    assert len({sample.prompt for sample in made}) == 14 and made[0].prompt == selftest.scenes(14)[0].prompt


def test_the_readme_s_table_is_what_the_last_run_found() -> None:
    """`make selftest WRITE=1` writes both; the picture is of our own scenes."""
    readme = selftest.README.read_text(encoding="utf-8")
    assert selftest.with_block(readme, selftest.stored()) == readme
    judges = [result.judge["name"] for result in selftest.stored()]
    assert len(judges) == len(selftest.JUDGES)
    assert all(0.9 * selftest.ITEMS < result.n <= selftest.ITEMS for result in selftest.stored())
    with Image.open(selftest.PICTURE) as picture:
        assert picture.format == "PNG" and picture.width > 600


def test_a_table_can_be_written_in_place_of_an_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("OUTPUT", "STORED", "README", "PICTURE"):
        monkeypatch.setattr(selftest, name, tmp_path / name)
    (tmp_path / "README").write_text(f"before\n{selftest.BEGIN}\nold\n{selftest.END}\nafter\n")
    assert selftest.main(["--judge", "fake", "--quick", "--items", "12", "--write"]) == 0
    [found] = selftest.stored()
    text = (tmp_path / "README").read_text()
    assert text == f"before\n{selftest.block([found])}\nafter\n" and "| blank | falls |" in text and "old" not in text
    assert "fake cannot be trusted." in (tmp_path / "OUTPUT" / "fake.html").read_text()
    (tmp_path / "README").write_text("no marks")
    with pytest.raises(UserError, match="no table of selftests"):
        selftest.with_block("no marks", [found])
