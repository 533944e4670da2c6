"""`evaluate.load("t2i_judge")` from a filled module cache: offline, elsewhere, without the package, same results."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from t2i_judge.cli import main
from t2i_judge.cli.install_metric import INSTALLED, install, open_to_others
from t2i_judge.errors import UserError
from tests.judge_folders import library_with_judge

PROMPTS = ["a large red circle", "two blue squares"]
# The package is found through a .pth file or an import hook of the editable install; neither may help here.
HIDE = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
sys.path[:] = [p for p in sys.path if not p.rstrip("/").endswith("metrics")]
from importlib.util import find_spec
assert find_spec("t2i_judge") is None and find_spec("recipes") is None
"""
SCORE = """
import evaluate, json
metric = evaluate.load({name!r})
questions = {prompts!r}
result = metric.compute(predictions={images!r}, references={prompts!r}, judge={judge!r})
print("RESULT", json.dumps([[j["status"], j["reason"], j["scores"]] for j in result["judgements"]]))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    return library_with_judge(tmp_path_factory.mktemp("library") / "t2i_judge")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[str]:
    from recipes.scenes.render import make_scenes

    folder = tmp_path_factory.mktemp("images")
    paths = [folder / "0.png", folder / "1.png"]
    for path, scene in zip(paths, make_scenes(2, 1), strict=True):
        scene[3].save(path)
    return list(map(str, paths))


def in_subprocess(code: str, folder: Path, home: Path) -> list:
    """What the code prints as RESULT, in a fresh interpreter with a fresh HF_HOME, offline, in another folder."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)[1])


def by_python(library: Path, judge: str, images: list[str]) -> list:
    from t2i_judge import load_judge

    folder = str(library / "weights" / "tiny") if judge == "tiny" else judge.removeprefix("hf:")
    judgements = load_judge(f"hf:{folder}").score(images, PROMPTS)
    return [[j.status.value, j.reason, dict(j.scores)] for j in judgements]


def test_bare_name_resolves_offline_without_the_package(library, images, tmp_path):
    home = tmp_path / "home"
    install(library, home / "modules")
    code = HIDE + SCORE.format(name="t2i_judge", images=images, prompts=PROMPTS, judge="tiny")
    assert in_subprocess(code, tmp_path, home) == by_python(library, "tiny", images)


def test_by_path_gives_the_same(library, images, tmp_path):
    judge = f"hf:{library / 'weights' / 'tiny'}"
    code = HIDE + SCORE.format(name=str(library), images=images, prompts=PROMPTS, judge=judge)
    assert in_subprocess(code, tmp_path, tmp_path / "home") == by_python(library, judge, images)


def test_installing_again_replaces_nothing_and_a_change_makes_a_new_copy(library, tmp_path):
    first = install(library, tmp_path)
    assert len(first.name) == 64 and install(library, tmp_path) == first
    assert not list(first.parent.glob("tmp*"))
    before = {path: path.read_bytes() for path in first.rglob("*.py")}
    prompts = library / "prompts.py"
    original = prompts.read_bytes()
    try:
        prompts.write_bytes(original + b"\n# a change behind a number sign, which evaluate's own hash does not see\n")
        second = install(library, tmp_path)
        assert second != first and second.exists()
        assert all(path.read_bytes() == content for path, content in before.items())
    finally:
        prompts.write_bytes(original)


@pytest.mark.parametrize("how", ["edited", "torn", "more", "weights", "compiled", "linked"])
def test_a_copy_that_was_changed_is_replaced(library, tmp_path, how, capsys):
    copy = install(library, tmp_path)
    assert capsys.readouterr().err == ""
    if how == "edited":
        (copy / "metric.py").write_text("raise SystemExit")
    elif how == "torn":
        (copy / "cli" / "score.py").unlink()
    elif how == "more":
        (copy / "evaluate.py").write_text("raise SystemExit")
    elif how == "weights":
        (copy / "boards" / "sets.json").write_bytes(b"[]")
    elif how == "linked":
        shutil.move(copy, tmp_path / "elsewhere")
        copy.symlink_to(tmp_path / "elsewhere")
    else:
        (copy / "__pycache__").mkdir()
        (copy / "__pycache__" / "metric.cpython-311.pyc").write_bytes(b"other code")
    assert install(library, tmp_path) == copy and not copy.is_symlink()
    assert not list(copy.rglob("__pycache__")) and not list(copy.parent.glob("tmp*"))
    assert {p.relative_to(copy): p.read_bytes() for p in copy.rglob("*") if p.is_file()} == {
        p.relative_to(library): p.read_bytes()
        for p in library.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert ("is replaced" in capsys.readouterr().err) == (how != "compiled")


def test_what_python_runs_before_a_packages_module_goes_too(library, tmp_path):
    copy = install(library, tmp_path)
    for folder in copy.parents[:3]:
        (folder / "__init__.abi3.so").write_bytes(b"code")
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__" / "__init__.cpython-311.pyc").write_bytes(b"other code")
    assert install(library, tmp_path) == copy
    for folder in copy.parents[:3]:
        assert [path.name for path in folder.glob("__*")] == ["__init__.py"]


def test_a_copy_is_newer_than_any_that_says_so_and_what_is_none_is_put_aside(library, tmp_path, capsys):
    copy = install(library, tmp_path)
    future, half = copy.with_name("f" * 64), copy.with_name("0" * 64)
    future.mkdir()
    half.mkdir()
    (half / "notes.txt").write_text("mine")
    (future / "t2i_judge.py").write_text("raise SystemExit")
    os.utime(future / "t2i_judge.py", (4e9, 4e9))
    assert install(library, tmp_path) == copy
    dates = {script.parent: script.stat().st_mtime for script in copy.parent.glob("*/t2i_judge.py")}
    assert max(dates, key=dates.get) == copy and set(dates) == {copy, future}
    assert not half.exists() and capsys.readouterr().err.count("\n") == 2
    [aside] = copy.parent.glob(f"{half.name}.*")
    assert (aside / "notes.txt").read_text() == "mine"
    assert install(library, tmp_path) == copy and not capsys.readouterr().err


@pytest.mark.parametrize("above", [0, 1, 2])
def test_no_link_in_the_cache_is_followed(library, tmp_path, above):
    (mine := tmp_path / "mine" / ("a" * 64)).mkdir(parents=True)
    place = tmp_path / "cache" / INSTALLED
    link = [place, *place.parents][above]
    link.parent.mkdir(parents=True)
    link.symlink_to(mine.parent)
    with pytest.raises(UserError, match="is a link"):
        install(library, tmp_path / "cache")
    assert [*mine.parent.rglob("*")] == [mine]


def test_what_stands_in_the_packages_around_a_copy_goes(library, tmp_path, capsys):
    copy = install(library, tmp_path)
    (copy.parent / "__init__.py").write_text("raise SystemExit")
    (copy.parents[1] / "__init__.py").unlink()
    (copy.parents[1] / "__init__.py").symlink_to(tmp_path / "elsewhere.py")
    assert install(library, tmp_path) == copy
    assert capsys.readouterr().err.count("It is replaced") == 2
    for folder in copy.parents[:3]:
        assert (folder / "__init__.py").read_bytes() == b"" and not (folder / "__init__.py").is_symlink()
    assert not (tmp_path / "elsewhere.py").exists()


def test_five_at_a_time_all_end_well(library, tmp_path):
    code = "import sys, pathlib as p; from t2i_judge.cli.install_metric import install; install(*map(p.Path, sys.argv[1:]))"  # noqa: E501
    for _ in range(2):
        started = [
            subprocess.Popen([sys.executable, "-c", code, str(library), str(tmp_path)], stderr=subprocess.PIPE)
            for _ in range(5)
        ]
        errors = [process.communicate()[1] for process in started]
        assert [process.returncode for process in started] == [0] * 5, errors
        (copy,) = [path for path in (tmp_path / INSTALLED).iterdir() if path.is_dir()]
        (copy / "metric.py").write_text("torn")  # and all five find it so
    assert len(copy.name) == 64


@pytest.fixture
def members(monkeypatch):
    """Who is in every group, beside those whose own group it is."""
    import grp
    import pwd

    listed: list[str] = []
    own = pwd.getpwuid(os.getuid())
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group(("team", "x", gid, listed)))
    monkeypatch.setattr(pwd, "getpwall", lambda: [own])
    return listed


@pytest.mark.parametrize(
    ("mode", "others", "who"),
    [
        (0o777, [], "Every user of this machine"),
        (0o1777, [], None),
        (0o775, ["somebody"], "The group team"),
        (0o775, [], None),
        (0o755, ["somebody"], None),
    ],
)
def test_a_cache_that_others_may_write_to_is_named(library, tmp_path, capsys, members, mode, others, who):
    members += others
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(mode)
    assert main(["install-metric", "--modules-cache", str(cache)]) == 0
    said = capsys.readouterr().err
    assert f"{who} may write to {cache} and" in said if who else said == ""


def test_files_of_the_copy_that_others_may_write_to_are_named(library, tmp_path, members):
    copy = install(library, tmp_path)
    assert open_to_others(copy) is None
    (copy / "metric.py").chmod(0o664)
    assert open_to_others(copy) is None
    members.append("somebody")
    assert open_to_others(copy) == (copy / "metric.py", "The group team")
    (copy / "metric.py").chmod(0o666)
    assert open_to_others(copy) == (copy / "metric.py", "Every user of this machine")
