"""The Space as the release stages it: it stands alone, starts in time and memory, and loses no visitor."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from gradio_client import Client

from recipes.performance.space import MEMORY_GOAL, START_GOAL, USERS, load, memory, running_space

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(smoke_release):
    """The staged demo's folder."""
    return smoke_release / "spaces" / "t2i-judge-demo"


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """What the running demo prints on stderr."""
    with (tmp_path_factory.mktemp("space") / "stderr").open("w+") as file:
        yield file


@pytest.fixture(scope="module")
def running(smoke_release, demo, errors):
    """URL, process id and seconds to start of the staged demo, on the staged benchmark, offline."""
    [bench] = (smoke_release / "datasets").glob("t2i-judge-bench-*")
    with running_space(demo / "app.py", errors, BENCHMARK=str(bench), HF_HUB_OFFLINE="1", OMP_NUM_THREADS="2") as found:
        yield found


def test_everything_it_imports_lies_beside_it(demo):
    code = (
        "import app, composer, t2i_judge, scenes, sys; from pathlib import Path;"
        "print(*(Path(m.__file__).resolve().is_relative_to(Path.cwd()) for m in (app, composer, t2i_judge, scenes)),"
        "'recipes' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=demo, capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["True"] * 4 + ["False"], run.stderr[-1000:]


def test_it_starts_in_time_and_memory_and_loses_none_of_20_visitors(running):
    url, process, seconds = running
    assert seconds < START_GOAL
    answered, lost = load(url, USERS, calls=1)
    assert (len(answered), lost) == (USERS, 0)
    assert memory(process) < MEMORY_GOAL


def test_its_benchmark_and_composer_answer(running):
    client = Client(running[0], verbose=False)
    assert client.predict(api_name="/leaderboard")
    assert client.predict(seed=7, swapped=False, changes=[], api_name="/compose")["truth"]["overall"] == 10


def test_its_owner_reads_nothing_of_the_libraries(running, errors):
    """The embedded judge was loaded and asked by then: what torch, transformers and others say is not shown."""
    errors.seek(0)
    assert errors.read() == ""


def test_a_name_that_is_no_judges_is_said_in_one_line(demo):
    run = subprocess.run(
        [sys.executable, "app.py"],
        cwd=demo,
        env={**os.environ, "JUDGE": "gpt-4o"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr.strip().splitlines()[-1].startswith("t2i-judge Space: ")
    assert "Traceback" not in run.stderr
