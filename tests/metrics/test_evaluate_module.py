"""`t2i_judge.py`, which evaluate copies alone, finds its library: in folders, offline, without the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from t2i_judge import __version__
from tests.caches import new_home
from tests.judge_folders import LIBRARY

# The package is found through a .pth file or an import hook of the editable install; neither may help here.
HIDE = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
sys.path[:] = [p for p in sys.path if not p.rstrip("/").endswith("metrics")]
import evaluate
"""
SEEN = """
import json, sys
def seen(metric):
    script = sys.modules[type(metric).__module__]
    result = metric.compute(predictions=[1, 2, 3, 4], references=[1, 2, 4, 3])
    return [round(result["spearman"], 3), script.metric.__file__, metric.description]
"""
META = HIDE + SEEN + 'print("RESULT", json.dumps(seen(evaluate.load({name!r}, "meta"))))'


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """The library as a folder elsewhere, without weights: no judge is asked here."""
    return shutil.copytree(LIBRARY, tmp_path_factory.mktemp("elsewhere") / "t2i_judge", ignore=without_weights)


def without_weights(_: str, names: list[str]) -> set[str]:
    return {"__pycache__", "weights"} & set(names)


def run(code: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The code in a fresh interpreter, offline unless told otherwise."""
    environment = {**os.environ, "HF_HOME": new_home(folder / "home"), "HF_HUB_OFFLINE": "1", **variables}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def result(code: str, folder: Path, **variables: str) -> Any:
    """What the code prints as RESULT."""
    done = run(code, folder, **variables)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)[1])


def test_the_script_names_the_version_and_the_requirements_of_its_library():
    from t2i_judge import t2i_judge as script

    assert __version__ == script.VERSION
    wanted = [re.split(r"[^\w.-]", line)[0] for line in metadata.requires("t2i-judge") if "extra ==" not in line]
    assert sorted(script.REQUIRED.values()) == sorted(wanted)


def test_evaluate_reads_no_import_off_the_script_that_it_does_not_bring_itself():
    from evaluate.loading import get_imports

    named = {name for _, name, *_ in get_imports(str(LIBRARY / "t2i_judge.py"))}
    assert named <= {"evaluate", "huggingface_hub", *sys.stdlib_module_names}


def test_the_installed_library_of_the_same_version_comes_first(library, tmp_path):
    name = str(library)
    seen = result(
        SEEN + f'import evaluate\nprint("RESULT", json.dumps(seen(evaluate.load({name!r}, "meta"))))', tmp_path
    )
    assert Path(seen[1]).parent == LIBRARY
    other = shutil.copytree(library, tmp_path / "other" / "t2i_judge")
    text = (other / "t2i_judge.py").read_text()
    (other / "t2i_judge.py").write_text(text.replace(f'VERSION = "{__version__}"', 'VERSION = "0.0.1"'))
    name = str(other)
    seen = result(
        SEEN + f'import evaluate\nprint("RESULT", json.dumps(seen(evaluate.load({name!r}, "meta"))))', tmp_path
    )
    assert Path(seen[1]).parent == other


@pytest.mark.slow
@pytest.mark.parametrize("home", ["home", ".pyenv/versions/home.py/hub"])
def test_a_folder_works_wherever_the_cache_is_and_from_wherever_it_is_named(library, tmp_path, home):
    """evaluate's note of the origin is lost in the second home, and names a place relative to another folder."""
    copy = shutil.copytree(library, tmp_path / "first" / "t2i_judge")
    variables = {"HF_HOME": str(tmp_path / home)}
    assert result(META.format(name="first/t2i_judge"), tmp_path, **variables)[:2] == [0.8, str(copy / "metric.py")]
    (tmp_path / "work").mkdir()
    seen = result(META.format(name="../first/t2i_judge"), tmp_path / "work", **variables)
    assert seen[:2] == [0.8, str(tmp_path / "work" / ".." / "first" / "t2i_judge" / "metric.py")]
    moved = copy.rename(tmp_path / "t2i_judge")
    assert result(META.format(name=str(moved)), tmp_path, **variables)[:2] == [0.8, str(moved / "metric.py")]


@pytest.mark.slow
def test_a_copy_that_is_imported_again_remembers_its_origin(library, tmp_path):
    """As a worker process does that unpickles a metric: there is no call of `evaluate.load`."""
    load = META.format(name=str(library)) + '\nprint("MODULE", type(evaluate.load({0!r}, "meta")).__module__)'
    done = run(load.format(str(library)), tmp_path)
    module = re.search(r"^MODULE (.*)$", done.stdout, re.MULTILINE)[1]
    again = HIDE + (
        "from evaluate.loading import init_dynamic_modules\ninit_dynamic_modules()\n"
        f"import importlib, json; print('RESULT', json.dumps(importlib.import_module({module!r}).metric.__file__))"
    )
    assert result(again, tmp_path) == str(library / "metric.py")


@pytest.mark.slow
def test_two_versions_live_in_one_process(library, tmp_path):
    other = shutil.copytree(library, tmp_path / "other" / "t2i_judge")
    text = (other / "metric.py").read_text()
    (other / "metric.py").write_text(text.replace('DESCRIPTION = "Judges', 'DESCRIPTION = "Better judges'))
    (other / "t2i_judge.py").write_text((other / "t2i_judge.py").read_text().replace("TAG = None", 'TAG = "v9.9.9"'))
    code = HIDE + SEEN + f"both = [evaluate.load(n, 'meta') for n in {[str(library), str(other)]!r}]\n"
    first, second = result(code + 'print("RESULT", json.dumps([seen(metric) for metric in both]))', tmp_path)
    assert first[:2] == [0.8, str(library / "metric.py")] and second[:2] == [0.8, str(other / "metric.py")]
    assert first[2].startswith("Judges") and second[2].startswith("Better judges")


@pytest.mark.slow
def test_a_script_alone_says_what_to_do(library, tmp_path):
    alone = tmp_path / "t2i_judge"
    alone.mkdir()
    shutil.copyfile(library / "t2i_judge.py", alone / "t2i_judge.py")
    done = run(META.format(name=str(alone)), tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode and "cannot find its library" in last and "Install the package" in last


@pytest.mark.slow
def test_evaluate_alone_gets_one_message_that_names_everything_missing(library, tmp_path):
    """A site-packages of evaluate and what it requires, nothing else: links to those here."""
    site, wanted, known = tmp_path / "site", ["evaluate"], set()
    site.mkdir()
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in known:
            continue
        known.add(name)
        distribution = metadata.distribution(name)
        wanted += [re.split(r"[^\w.-]", line)[0] for line in distribution.requires or () if required(line)]
        for top in {Path(file).parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
    code = f"import sys\nsys.path[:] = [p for p in sys.path if 'site-packages' not in p] + [{str(site)!r}]\n" + HIDE
    done = run(code + f"evaluate.load({str(library)!r})", tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    missing = {"scipy", "openai", "torch", "transformers", "peft", "pillow", "safetensors", "jinja2", "plotly"} - known
    assert done.returncode and last.startswith("ImportError: The metric t2i_judge needs")
    assert set(last.split("pip install ")[1].split()) == missing and len(missing) >= 5


def required(line: str) -> bool:
    """Whether a requirement counts here and now, without any extra."""
    from packaging.requirements import Requirement

    marker = Requirement(line).marker
    return marker is None or marker.evaluate({"extra": ""})
