"""The README, followed by a user: in a clone, in a shell with an ordinary PATH, every command and every snippet.

The environment is the one that the README's own lines make. Only what pip would download is taken from the environment
of the tests: the wheel itself, its weights and data files are those that a user gets.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.caches import new_home
from tests.embedded import needs_embedded_judge
from tests.recipes.checkout import Checkout
from tests.users_shell import USERS_PATH, assert_shown, blocks, shown, typed, users_environment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TYPED = ("t2i-judge ", "make ", "pip ", "python ")
BLOCKS = blocks(README, "sh")
# A cell's commands go together: one may read what the one before it wrote.
CELLS = ["\n".join(c for c in re.findall(r"`([^`]+)`", line) if c.startswith(TYPED))
         for line in README.splitlines() if line.startswith("|")]  # fmt: skip
SNIPPETS = blocks(README, "python")
[INSTALL] = [block for block in BLOCKS if "pip install ." in block]
[PICTURES] = [block for block in BLOCKS if "example_pictures" in block]
SCRIPTS = [text for text in (*BLOCKS, *CELLS) if text and text not in (INSTALL, PICTURES)]
[METRIC] = [block for block in BLOCKS if "install-metric" in block]  # which the snippet behind it needs
OURS = [text for text in SCRIPTS if text.startswith("t2i-judge ") and " serve " not in text and text != METRIC]
MAKE = [line for block in BLOCKS for line in block.splitlines() if " make " in f" {line}" and line != "make test"]
PRINTED = shown(README, "python")
[BOARD] = [text for text in blocks(README, "text") if "Which generator" in text or "# " in text]
[RELEASE] = [text for text in blocks(README, "text") if text.startswith("What was built")]
OFFLINE = {"HF_HUB_OFFLINE": "1"}
WITHOUT_DOWNLOADS = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # pip reads 0 as "none"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone with what the README's first lines make of it: an environment, and the example's pictures."""
    folder = Checkout(tmp_path_factory.mktemp("user") / "t2i-judge", {}).folder
    assert shutil.which("t2i-judge", path=USERS_PATH) is None
    first, _, rest = INSTALL.partition("\n")
    typed(first, folder, activate=None)
    [packages] = folder.glob(".venv/lib/python3*/site-packages")
    downloads = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "downloads.pth").write_text("\n".join(downloads) + "\n")
    found = typed(f"{rest}\ncommand -v t2i-judge", folder, activate=None, **WITHOUT_DOWNLOADS).stdout
    assert found.splitlines()[-1] == str(folder / ".venv/bin/t2i-judge")
    run(PICTURES, folder)
    return folder


def run(script, clone, codes=(0,)):
    """What a user types in the clone, after `source .venv/bin/activate`; what it printed."""
    home = new_home(clone / "home")
    return typed(script, clone, codes, activate=clone / ".venv/bin/activate", HF_HOME=home, **OFFLINE).stdout


def needing_the_judge(texts):
    """The texts as parameters, those that use the default judge marked so."""
    named = re.compile(r'"tiny"|--judge tiny|predictions=\["')
    return [pytest.param(text, marks=needs_embedded_judge) if named.search(text) else text for text in texts]


@pytest.mark.slow
@pytest.mark.parametrize("script", needing_the_judge(OURS))
def test_commands(script, clone):
    printed = run(script, clone, (0, 1, 3) if "selftest" in script else (0,))  # whatever the verdict is
    assert printed
    if script.startswith("t2i-judge leaderboard"):
        assert_shown(BOARD, printed)


@pytest.mark.slow
@pytest.mark.parametrize("snippet", needing_the_judge(s for s in SNIPPETS if "load_dataset" not in s))
def test_snippets(snippet, clone):
    (clone / "snippet.py").write_text(snippet)
    before = METRIC if "evaluate.load" in snippet else ""
    printed = run(f"{before}python snippet.py", clone)
    assert_shown(PRINTED.get(snippet, ""), printed)
    assert printed


@pytest.mark.slow
def test_the_benchmark_s_snippet(smoke_release, tmp_path):
    [snippet] = [s for s in SNIPPETS if "load_dataset" in s]
    staged = snippet.replace("build/release/", f"{smoke_release}/").replace("bench-tiny", "bench-smoke")
    (tmp_path / "snippet.py").write_text(staged)
    assert typed("python snippet.py", tmp_path, **OFFLINE).stdout.strip()


@pytest.mark.slow
@needs_embedded_judge
def test_the_server_starts(clone):
    [serve] = [cell for cell in CELLS if cell.startswith("t2i-judge serve ")]
    script = f"source .venv/bin/activate\nexec {serve.replace('--port 8000', '--port 0')}"
    server = subprocess.Popen(
        ["bash", "-c", script], cwd=clone, env=users_environment(**OFFLINE), stdout=subprocess.PIPE, text=True
    )
    try:
        assert re.match(r"t2i-judge serve: http://127\.0\.0\.1:\d+", server.stdout.readline())
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(120)
        server.stdout.close()


@pytest.mark.slow
def test_a_wheel_and_a_git_address_bring_the_same_files(clone, tmp_path):
    """Into folders of their own, beside what the checkout installed."""
    commands = [line for cell in CELLS for line in cell.splitlines() if line.startswith("pip ")]
    assert [command.split()[1] for command in commands] == ["install", "install", "wheel", "install"]
    _, wheel, make_wheel, git = commands
    identity = "-c user.name=me -c user.email=me@example.org"
    typed(f"git init -q .\ngit add metrics pyproject.toml README.md LICENSE\ngit {identity} commit -q -m all", clone)
    address = git.replace("git+https://HOST/OWNER/t2i-judge", f"git+file://{clone}")
    script = f"{make_wheel}\nPIP_TARGET={tmp_path}/wheel {wheel}\nPIP_TARGET={tmp_path}/git {address}"
    typed(script, clone, activate=clone / ".venv/bin/activate", **WITHOUT_DOWNLOADS)
    [packages] = clone.glob(".venv/lib/python3*/site-packages")
    library = clone / "metrics" / "t2i_judge"
    sources = [path for path in library.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    expected = {path.relative_to(library): path.read_bytes() for path in sources}
    for place in (packages, tmp_path / "wheel", tmp_path / "git"):
        files = [path for path in (place / "t2i_judge").rglob("*") if path.is_file() and path.suffix != ".pyc"]
        assert {path.relative_to(place / "t2i_judge"): path.read_bytes() for path in files} == expected, place


@pytest.mark.slow
def test_make_release(smoke_release):
    """It was typed by that fixture."""
    assert_shown(RELEASE, smoke_release.with_suffix(".txt").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in MAKE if command != "make release"])
def test_make(command, smoke_build, tmp_path):
    """The same with a namespace, to a Hub on loopback."""
    from recipes.loopback.hub.server import start

    hub = start(tmp_path / "hub", users={"hf_xxx": "me"})
    try:
        environment = {"RECIPE": "smoke", "ALLOW": "baseline", "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1"}
        typed(command, ROOT, activate=None, HF_HOME=new_home(tmp_path / "home"), **environment)
    finally:
        hub.stop()
    pushed = sorted(path.name for path in (tmp_path / "hub").glob("*/me/*"))
    assert len(pushed) == (0 if "DRY_RUN" in command else 5)


GUIDES = ("README.md", "SECURITY.md", *(f"{folder}/README.md" for folder in ("metrics", "recipes", "space", "tests")))


@pytest.mark.parametrize("guide", GUIDES)
def test_every_target_file_and_heading_that_a_guide_names_exists(guide):
    text, makefile = (ROOT / guide).read_text(encoding="utf-8"), (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`(?:[A-Z_]+=\S+ )*make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for path in re.findall(r"\]\(((?!http)[^)]+)\)", text):
        file, _, heading = path.partition("#")
        named = (ROOT / guide).parent / file if file else ROOT / guide
        assert named.exists(), path
        titles = re.findall(r"^#+ (.+)$", named.read_text(encoding="utf-8"), re.MULTILINE) if heading else []
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not heading or heading in anchors, path


def test_the_list_of_targets_fits_80_columns():
    lines = typed("make help", ROOT, activate=None).stdout.splitlines()
    assert "  make release" in "\n".join(lines) and max(map(len, lines)) <= 80


def test_the_example_of_one_test_finds_one():
    guide = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    [(file, word)] = re.findall(r"pytest (\S+\.py) -k (\w+)", guide)
    assert re.search(rf"^def test_\w*{word}", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_block_is_run():
    assert set(BLOCKS) - {INSTALL, PICTURES, METRIC} - set(OURS) == {
        "".join(f"{c}\n" for c in pair) for pair in _pairs()
    }
    assert {*PRINTED.values(), BOARD, RELEASE} == set(blocks(README, "text"))
    assert not re.findall(r"^```(?!sh|python|text|$)\w+", README, re.MULTILINE)


def _pairs():
    """The blocks of `make`, which are two commands each."""
    return ("make release", "make test"), tuple(command for command in MAKE if command.startswith("NAMESPACE"))
