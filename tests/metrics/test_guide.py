"""The commands of the guide (metrics/README.md), run as a user types them."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from recipes.loopback.http import started
from recipes.loopback.judge_server import serving
from recipes.scenes.render import make_scenes
from tests.embedded import needs_embedded_judge
from tests.recipes.photographs import write_photographs

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "metrics" / "README.md").read_text(encoding="utf-8")
LOCAL = "http://127.0.0.1:8000"


def commands(heading: str) -> list[str]:
    """The lines of the shell blocks under a heading."""
    text = re.split(r"^# ", GUIDE, flags=re.MULTILINE)
    [section] = [part for part in text if part.startswith(f"{heading}\n")]
    return [line for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]


def run(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def ten_photographs(tmp_path_factory):
    """images.csv and what it names."""
    folder = tmp_path_factory.mktemp("ten")
    with write_photographs(folder).open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["generator"] == "camera"][:10]
    with (folder / "images.csv").open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["prompt", "image"])
        table.writerows([row["prompt"], f"pictures/{row['image']}"] for row in rows)
    return folder


@pytest.mark.parametrize(("number", "dialect", "score"), [(0, "plain", "6.0"), (1, "thinks-by-rule", "9.0")])
def test_one_command_scores_ten_photographs_by_any_server_and_by_a_model_that_reasons(
    number, dialect, score, ten_photographs
):
    command = commands("Asking a server")[number]
    with started("recipes.loopback.dialects", ["--name", dialect]) as address:
        command = command.replace(LOCAL, address.removesuffix("/v1"))
        done = run(command, ten_photographs, OPENAI_BASE_URL=address, OPENAI_API_KEY="sk-loopback")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 items, failed: none" in done.stdout
    out = command.split()[-1]
    with (ten_photographs / out / "scores.csv").open(newline="") as lines:
        assert [(row["status"], row["overall"]) for row in csv.DictReader(lines)] == [("ok", score)] * 10


@pytest.fixture
def pictures(ten_photographs, tmp_path):
    """AVIF photographs with their prompts beside them, and GenEval's folders of two tags."""
    with (ten_photographs / "images.csv").open(newline="") as lines:
        rows = [(row["prompt"], Image.open(ten_photographs / row["image"])) for row in csv.DictReader(lines)]
    (tmp_path / "photographs").mkdir()
    for number, (prompt, image) in enumerate(rows):
        image.save(tmp_path / "photographs" / f"{number}.avif")
        (tmp_path / "photographs" / f"{number}.txt").write_text(prompt)
        folder = tmp_path / "geneval" / f"{number:05d}"
        (folder / "samples").mkdir(parents=True)
        image.save(folder / "samples" / "0000.png")
        image.save(folder / "grid.png")
        about = {"tag": ("counting", "colors")[number % 2], "include": [], "prompt": prompt}
        (folder / "metadata.jsonl").write_text(json.dumps(about) + "\n")
    return tmp_path


@pytest.mark.parametrize("number", [0, 1])
def test_one_command_scores_a_folder_of_avif_with_sidecars_and_geneval_s_folders(number, pictures):
    command = commands("Your pictures and tables")[number]
    with started("recipes.loopback.dialects", ["--name", "plain"]) as address:
        command = command.replace(LOCAL, address.removesuffix("/v1"))
        done = run(command, pictures, OPENAI_BASE_URL=address, OPENAI_API_KEY="sk-loopback")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 items, failed: none" in done.stdout
    with (pictures / command.split()[-1] / "scores.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["status"], row["overall"]) for row in rows] == [("ok", "6.0")] * 10
    prompts = {path.read_text() for path in (pictures / "photographs").glob("*.txt")}
    assert {row["prompt"] for row in rows} == prompts
    if "geneval" in command:
        assert "by category" in done.stdout and "counting" in done.stdout and "n 5" in done.stdout
        assert rows[0]["id"] == "00000/samples/0000"


@pytest.mark.slow
@needs_embedded_judge
def test_the_server_and_the_three_lines_of_a_trainer(tmp_path):
    """The command as it stands, at a free port; the snippet as it stands, with that address."""
    [serve] = commands("Serving a judge")
    [snippet] = re.findall(r"```python\n(.*?)```", GUIDE.partition("\n# Serving a judge\n")[2], re.DOTALL)[:1]
    prompt, _, _, image = make_scenes(1, 0)[0]
    image.save(tmp_path / "scene.png")
    assert serve.startswith("t2i-judge serve ") and serve.endswith(" --port 8000")
    with serving(*serve.removeprefix("t2i-judge serve ").removesuffix(" --port 8000").split()) as address:
        code = snippet.replace(LOCAL, address).replace("two red circles", prompt.text)
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(r"\[\(\d", done.stdout), done.stdout
    assert "'ok', None" in done.stdout
