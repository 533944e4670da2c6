"""Every command and every snippet of the README is run, in a folder with the files that it names."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.embedded import needs_embedded_judge
from tests.shared import shared

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
PROMPT = "two red circles above a blue star"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
SNIPPETS = blocks("python")
PRINTED = dict(zip((c for c in COMMANDS if "make release" in c), blocks("text")))  # README's order is the commands'
ELSEWHERE = {"make test": "this is it"}  # what runs these lines instead


def run(command, folder, codes=(0,), **environment):
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )
    assert done.returncode in codes, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the README's commands name.

    Two dozen images, since `selftest` judges a mean; none of three groups, which `tiny` at times fails to decompose:
    an image that fails is an exit code of its own.
    """
    from recipes.scenes.render import make_scenes

    folder = tmp_path_factory.mktemp("readme")
    rows = ["id,prompt,image"]
    scenes = [scene for scene in make_scenes(60, 0, "new_prompts") if len(scene[0].entities) < 3][:24]
    for index, (prompt, _, _, image) in enumerate(scenes):
        image.save(folder / f"{index}.png")
        rows.append(f"{index},{prompt.text},{index}.png")
    (folder / "images.csv").write_text("\n".join(rows) + "\n")
    (folder / "scene.png").write_bytes((folder / "0.png").read_bytes())
    ratings = "prompt,judge_a,judge_b,rater_1,rater_2\na,7,3,8,7\na,2,4,1,\nb,9,9,9,10\nb,4,1,5,3\nc,6,5,7,6\n"
    (folder / "ratings.csv").write_text(ratings)
    _write_boards(folder, scenes)
    return folder


def _write_boards(folder, scenes):
    """Two generators, posters with their prompts beside them, and two runs of the same items."""
    from PIL import Image, ImageDraw, ImageFilter, ImageFont

    for name, blur in (("ours", 0), ("theirs", 1)):
        (folder / name).mkdir()
        for index, (_, _, _, image) in enumerate(scenes[:12]):
            image.filter(ImageFilter.GaussianBlur(blur)).save(folder / name / f"{index:02d}.png")
    (folder / "prompts.txt").write_text("".join(f"{scene[0].text}\n" for scene in scenes[:12]))
    (folder / "posters").mkdir()
    poster = Image.new("RGB", (320, 120), "white")
    ImageDraw.Draw(poster).text((20, 30), "SUMMER SALE", fill="black", font=ImageFont.load_default(40))
    poster.save(folder / "posters" / "1.png")
    (folder / "posters" / "1.txt").write_text('a poster that says "SUMMER SALE"')
    lines = [
        {"image_id": str(n), "prompt": f"prompt {n}", "status": "ok", "scores": {"overall": float(n)}, "row": {}}
        for n in range(10)
    ]
    for run_folder in ("yesterday", "today"):
        shards = folder / run_folder / "shards"
        shards.mkdir(parents=True)
        (folder / run_folder / "run.json").write_text("{}")
        (shards / "000000.json").write_text("{}")
        (shards / "000000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(scope="module")
def hub_home(tmp_path_factory):
    """A fresh HF_HOME in which `install-metric` was run, as the README tells."""
    home = tmp_path_factory.mktemp("home")
    run(["t2i-judge", "install-metric"], home, HF_HOME=str(home), HF_HUB_OFFLINE="1")
    return home


@pytest.fixture(scope="module")
def space_url(smoke_release, tmp_path_factory):
    """The demo, running on the smoke release's benchmark."""
    benchmark = next((smoke_release / "datasets").glob("t2i-judge-bench-*"))
    log = tmp_path_factory.mktemp("space") / "log"
    environment = {**os.environ, "BENCHMARK": str(benchmark), "HF_HUB_OFFLINE": "1", "GRADIO_SERVER_PORT": "7876"}
    with log.open("w") as out:
        space = subprocess.Popen([sys.executable, "space/app.py"], cwd=ROOT, env=environment, stdout=out, stderr=out)
    try:
        yield _address(space, log)
    finally:
        space.terminate()
        space.wait(20)


def _address(space, log):
    for _ in range(240):
        if found := re.search(r"http://\S+?:\d+", log.read_text()):
            with urllib.request.urlopen(found[0]) as page:
                assert page.status == 200
            return found[0]
        assert space.poll() is None, log.read_text()[-3000:]
        time.sleep(0.5)
    raise AssertionError(f"no address after two minutes: {log.read_text()[-2000:]}")


def needing_the_judge(texts):
    """The texts as parameters, those that use the default judge marked so."""
    named = re.compile(r'"tiny"|--judge tiny|predictions=\["')
    return [pytest.param(text, marks=needs_embedded_judge) if named.search(text) else text for text in texts]


def cache_published(name, home):
    """What `reproduce` would fetch, put where it keeps it; the test is skipped where ../shared does not hold it."""
    from t2i_judge.meta.reproduction import folder_of
    from t2i_judge.meta.sources import read_sources
    from t2i_judge.meta.upstream import LAYOUTS

    for origin in read_sources(folder_of(name), LAYOUTS).values():
        for source in origin.files:
            published = shared(f"meta_eval/raw/{source.repository.replace('/', '+')}/{source.path}")
            kept = home / "t2i_judge" / "published" / source.repository / source.commit / source.path
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(published.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("command", needing_the_judge(c for c in COMMANDS if c.startswith("t2i-judge")))
def test_commands(command, folder, hub_home):
    if command.startswith("t2i-judge reproduce"):
        cache_published(command.split()[-1], hub_home)
    codes = (0, 1, 3) if "selftest" in command else (0,)  # whatever the verdict is
    assert run(["bash", "-c", command], folder, codes, HF_HOME=str(hub_home), HF_HUB_OFFLINE="1")


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in COMMANDS if " make " in f" {c}" and c not in ELSEWHERE])
def test_make(command, smoke_build, tmp_path):
    """`make release` on the smoke recipe; with a namespace, to a Hub on loopback."""
    from recipes.loopback.hub.server import start

    hub = start(tmp_path / "hub", users={"hf_xxx": "me"})
    try:
        environment = {"RECIPE": "smoke", "ALLOW": "baseline", "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1"}
        output = run(["bash", "-c", command], ROOT, HF_HOME=str(tmp_path / "home"), **environment)
    finally:
        hub.stop()
    assert _without_figures(PRINTED[command]) <= _without_figures(output) | {"..."}
    pushed = sorted(path.name for path in (tmp_path / "hub").glob("*/me/*"))
    assert len(pushed) == (5 if command.startswith("NAMESPACE") and "DRY_RUN" not in command else 0)


def _without_figures(text):
    """The lines of a text, without numbers, hashes and widths: those change with code and machine."""
    text = re.sub(r"-[0-9a-f]{24}\b", "-#", text)
    return {" ".join(re.sub(r"-?\d[\d,.]*|-{2,}|- *$", "#", line).split()) for line in text.splitlines()}


@pytest.mark.slow
@pytest.mark.parametrize("snippet", needing_the_judge(s for s in SNIPPETS if "SPACE_URL" not in s))
def test_snippets(snippet, folder, hub_home, smoke_release):
    staged = snippet.replace("build/release/", f"{smoke_release}/").replace("bench-tiny", "bench-smoke")
    output = run([sys.executable, "-c", staged], folder, HF_HOME=str(hub_home), HF_HUB_OFFLINE="1")
    assert output.strip()


@pytest.mark.slow
@needs_embedded_judge
def test_the_spaces_api(folder, space_url):
    [snippet] = [s for s in SNIPPETS if "SPACE_URL" in s]
    output = run([sys.executable, "-c", snippet.replace("SPACE_URL", repr(space_url))], folder)
    assert "score" in output


def test_every_block_is_run_and_every_target_and_path_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE) or f"make {target}" in ("make goes",), target
    for path in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        file, _, heading = path.partition("#")
        assert (ROOT / file).exists(), path
        titles = re.findall(r"^#+ (.+)$", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE) if heading else []
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not heading or heading in anchors, path
    assert all(" make " in f" {command}" or command.startswith("t2i-judge") for command in COMMANDS)
    assert not re.findall(r"```(?!sh|python|text|\n)\w+", README)
