"""Shared by every test: a private Hub cache, no tokens, and one smoke release a run."""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import ssl
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests.users_shell import typed

ROOT = Path(__file__).parents[1]
# Before any Hub library is imported: nothing of the developer's own cache or tokens is seen, nothing real is called.
os.environ.update(
    HF_HOME=os.environ.get("T2I_JUDGE_TEST_HF_HOME") or tempfile.mkdtemp(prefix="t2i-judge-hf-"),
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_UPDATE_DOWNLOAD_COUNTS="0",
    T2I_JUDGE_SOURCES_URL="http://127.0.0.1:9",  # no test fetches what others published
    GRADIO_ANALYTICS_ENABLED="False",
    TOKENIZERS_PARALLELISM="false",
    OMP_WAIT_POLICY="PASSIVE",
)
# The workers of a run share which models were tried: a trial takes seconds of a core.
if "PYTEST_XDIST_TESTRUNUID" in os.environ and "T2I_JUDGE_TEST_HF_HOME" not in os.environ:
    Path(os.environ["HF_HOME"], "t2i_judge").mkdir()
    shared = Path(tempfile.gettempdir(), f"t2i-judge-tried-{os.environ['PYTEST_XDIST_TESTRUNUID']}")
    shared.mkdir(exist_ok=True)
    Path(os.environ["HF_HOME"], "t2i_judge", "tried").symlink_to(shared)
# One for all HTTP clients of a test process: each would load all certificates, 40 ms, and no test asks a server by TLS.
ssl.create_default_context = functools.cache(ssl.create_default_context)
# A runner started in the background hands down an ignored Ctrl-C; the tests of interrupts need the real one.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
# A machine that stops for a moment is no failure of the example that runs, nor of how it was made.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("patient"), max_examples=500)  # five times the default
settings.load_profile("patient")
for secret in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "NAMESPACE"):
    os.environ.pop(secret, None)
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's Python writes __pycache__ beside what it imports


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def smoke_release(root, testrun_uid) -> Path:
    """What a user's `make release` staged of the smoke recipe: once a test run, for all workers; to be read only.

    A copy of build/release-smoke, which tests that run the release again (`smoke_build`) write anew; who reads does
    not wait for them. What the release printed stands beside the copy.
    """
    build, copy = root / "build", root / "build" / "smoke-release"
    build.mkdir(exist_ok=True)
    made_by = build / ".smoke.run"

    def is_made() -> bool:
        return made_by.is_file() and made_by.read_text() == testrun_uid

    if is_made():
        return copy
    with FileLock(build / ".smoke.lock"):
        if not is_made():
            cores = str(len(os.sched_getaffinity(0)))  # all, as a user's has: with two, a second process helps
            variables = {"RECIPE": "smoke", "ALLOW": "baseline", "OMP_NUM_THREADS": cores}
            printed = typed("make release", root, activate=None, **variables).stdout
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(build / "release-smoke", copy)
            copy.with_suffix(".txt").write_text(printed)
            made_by.write_text(testrun_uid)
    return copy


@pytest.fixture
def smoke_build(smoke_release, root) -> Iterator[Path]:
    """build/, with the smoke recipe's release in it, for this test alone: no other worker writes there meanwhile."""
    with FileLock(root / "build" / ".smoke.lock"):
        yield root / "build"


# What `make test` gives to one worker whole, the longest first: what makes the smoke release again (`smoke_build`), a
# family's own release; else a file.
GROUPS = (
    r"test_release\.py::test_a_small_rehearsal|test_readme\.py::test_make\[|test_space\.py::test_the_staged_release",
    r"test_real_release\.py::.*\[minicpm\]",
    r"test_real_release\.py::.*\[qwen\]",
    r"test_personalised_release\.py::",
    r"test_faults\.py::",
    r"test_attack\.py::",
    r"test_metric_doors\.py::",
    r"test_readme\.py::",
    r"test_ocr\.py::",
)


def _group(nodeid: str) -> int | str:
    return next((place for place, tests in enumerate(GROUPS) if re.search(tests, nodeid)), nodeid.partition("::")[0])


class GroupScheduling(LoadScopeScheduling):
    """`--dist loadfile` by the groups above (loadgroup of xdist 3.8 sees no groups under pytest 9.2)."""

    def _split_scope(self, nodeid: str) -> str:
        return str(_group(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling | None:
    return GroupScheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: place if isinstance(place := _group(item.nodeid), int) else len(GROUPS))


@pytest.fixture(scope="module")  # while it runs, no other event loop can
def chromium():
    """Debian's Chromium; where it must be there (REQUIRE_BROWSER=1), its absence is a failure, elsewhere a skip."""
    path = Path("/usr/bin/chromium")
    if not path.exists():
        (pytest.fail if os.environ.get("REQUIRE_BROWSER") else pytest.skip)("no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(path), args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
