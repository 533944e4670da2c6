"""Names of files and folders that are no UTF-8: what is in them is judged, and kept. Folders that are too deep."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i_judge.cli import main

LATIN = os.fsdecode(b"caf\xe9")  # as an archive of another system names it


def picture(path: Path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures with prompts beside them, and one whose name alone would say its prompt."""
    try:
        (tmp_path / LATIN).mkdir()
    except OSError:
        pytest.skip("names are UTF-8 here")
    for number, name in enumerate((LATIN, "b", f"a red {LATIN} on a table")):
        picture(tmp_path / LATIN / f"{name}.png", number)
    for name in (LATIN, "b"):
        (tmp_path / LATIN / f"{name}.txt").write_text(f"a thing called {name[0]}")
    return tmp_path / LATIN


def judged(out: Path) -> dict[str, str]:
    lines = (out / "shards" / "000000.jsonl").read_text().splitlines()
    return {line["image_id"]: line["prompt"] for line in map(json.loads, lines)}


def test_pictures_of_any_name_are_judged_and_only_prompts_in_such_names_are_not(folder, tmp_path, capsys) -> None:
    command = ["score", str(folder), "--judge", "fake", "--keep", "image", "--out", str(tmp_path / "out")]
    assert main(command) == 0, capsys.readouterr().err
    prompts = {"a red caf\\xe9 on a table": "", "b": "a thing called b", "caf\\xe9": "a thing called c"}
    assert judged(tmp_path / "out") == prompts
    assert "caf\\xe9/b.png" in (tmp_path / "out" / "scores.csv").read_text()
    assert main(command) == 0  # the same run


def test_a_board_keeps_a_copy_of_what_its_list_cannot_name(folder, tmp_path, capsys) -> None:
    (tmp_path / "plain").mkdir()
    for number, name in enumerate(("b", "c")):
        picture(tmp_path / "plain" / f"{name}.png", number)
        (tmp_path / "plain" / f"{name}.txt").write_text(f"a thing called {name}")
    command = ["leaderboard", "--judge", "fake", f"--images={LATIN}={folder}", f"--images=plain={tmp_path / 'plain'}"]
    for _ in range(2):
        assert main([*command, "--out", str(tmp_path / "board")]) == 0, capsys.readouterr().err
    warnings = json.loads((tmp_path / "board" / "leaderboard.json").read_text())["warnings"]
    assert "caf\\xe9: left out, without a prompt: '" in warnings[0] and "a red caf" in warnings[0]
    names = {"caf\\xe9/b", "caf\\xe9/caf\\xe9", "plain/b", "plain/c"}
    assert judged(tmp_path / "board").keys() == names
    items = [json.loads(line) for line in (tmp_path / "board" / "items.jsonl").read_text().splitlines()]
    assert [Path(item["image"]).read_bytes() for item in items[:2]] == [
        (folder / name).read_bytes() for name in ("b.png", f"{LATIN}.png")
    ]


def test_a_board_in_a_folder_of_such_a_name_is_refused_before_anything_is_judged(folder, tmp_path, capsys) -> None:
    command = ["leaderboard", "--judge", "fake", f"--images=a={folder}", "--out", str(folder / "board")]
    assert main(command) == 2
    assert "Its name is not UTF-8" in capsys.readouterr().err
    assert not (folder / "board" / "shards").exists()


@pytest.mark.parametrize("place", ["source", "out"])
def test_folders_too_deep_to_be_followed_are_one_line(place, tmp_path, monkeypatch, capsys):
    (tmp_path / "source").mkdir()
    picture(tmp_path / "source" / "a red cube.png", 0)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / place)
    for _ in range(1900):
        os.mkdir("a")  # noqa: PTH102 (the whole path is too long for the system)
        os.chdir("a")
    monkeypatch.chdir(tmp_path)
    try:
        assert main(["score", str(tmp_path / "source"), "--judge", "fake", "--out", str(tmp_path / "out")]) == 2
        assert "nested too deep" in capsys.readouterr().err
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / place)], check=True)
