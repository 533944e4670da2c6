"""Shared by every test: a private Hub cache, no tokens, and one smoke release a run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

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
# A runner started in the background hands down an ignored Ctrl-C; the tests of interrupts need the real one.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
for secret in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "NAMESPACE"):
    os.environ.pop(secret, None)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def smoke_release(root, testrun_uid) -> Path:
    """What `make release` staged of the smoke recipe: made once a test run, for all workers; to be read only.

    A copy of build/release-smoke, which tests that run the release again (`smoke_build`) write anew.
    """
    build, copy = root / "build", root / "build" / "smoke-release"
    build.mkdir(exist_ok=True)
    made_by = build / ".smoke.run"
    with FileLock(build / ".smoke.lock"):
        if not made_by.exists() or made_by.read_text() != testrun_uid:
            run = subprocess.run(
                [sys.executable, "-m", "recipes.release", "--recipe", "smoke"],
                cwd=root,
                capture_output=True,
                text=True,
                check=False,
            )
            assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(build / "release-smoke", copy)
            made_by.write_text(testrun_uid)
    return copy


@pytest.fixture
def smoke_build(smoke_release, root) -> Iterator[Path]:
    """build/, with the smoke recipe's release in it, for this test alone: no other worker writes there meanwhile."""
    with FileLock(root / "build" / ".smoke.lock"):
        yield root / "build"


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
