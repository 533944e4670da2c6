"""The example pictures replace nothing but themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipes import example_pictures
from recipes.example_pictures import main, write_pictures


@pytest.mark.parametrize("name", ["prompts.txt", "ours/00.png", "ratings.csv"])
def test_a_folder_of_one_s_own_keeps_its_files(tmp_path: Path, name: str, capsys) -> None:
    """Its prompts and pictures were replaced."""
    (own := tmp_path / name).parent.mkdir(exist_ok=True)
    own.write_bytes(b"mine")
    assert main([str(tmp_path)]) == 2
    assert own.read_bytes() == b"mine" and [path for path in tmp_path.rglob("*") if path.is_file()] == [own]
    assert "is there already" in capsys.readouterr().err


def test_example_pictures_are_written_again(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(example_pictures, "GENERATORS", {"ours": "masterly"})
    write_pictures(tmp_path / "example")
    (tmp_path / "example" / "ours" / "00.png").unlink()
    write_pictures(tmp_path / "example")
    assert (tmp_path / "example" / "ours" / "00.png").is_file()
