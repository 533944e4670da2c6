"""`t2i-judge serve` as a process of its own, over real HTTP."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from tests.waiting import PATIENCE

CODE = "import sys; from t2i_judge.cli import main; sys.exit(main())"
# A judge that answers nobody before a file is there: for races, kills and queues.
HELD = """
import sys, time
from pathlib import Path
GO = Path({go!r})
from t2i_judge.judges import fake
from t2i_judge.cli import main
real = fake.FakeJudge._score
def held(self, items, explain, progress):
    while not GO.exists():
        time.sleep(0.01)
    return real(self, items, explain, progress)
fake.FakeJudge._score = held
sys.exit(main())
"""


class Serving:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.url = process, url
        self.client = httpx2.Client(base_url=url, timeout=2 * PATIENCE)

    def score(self, items, **options):
        return self.client.post("/score", json={"items": items, **options})

    def calls(self, name="t2i_judge_judge_calls_total") -> float:
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def queue(self) -> int:
        return self.client.get("/health").json()["queue"]

    def is_closed(self) -> bool:
        """Is nobody let in any longer?"""
        try:
            httpx2.get(f"{self.url}/health", timeout=PATIENCE)
        except httpx2.TransportError:
            return True
        return False


@contextmanager
def running(*arguments: str, port: int = 0, go: Path | None = None, **environment: str) -> Iterator[Serving]:
    """`t2i-judge serve ARGUMENTS`; with `go`, the judge `fake` answers nobody before that file is there."""
    code = HELD.format(go=str(go)) if go else CODE
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--port", str(port), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("t2i-judge serve: http"), line
        server = Serving(process, line.removeprefix("t2i-judge serve: ").strip())
        yield server
        server.client.close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def png(color=(200, 30, 40), side: int = 32) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), color).save(out, "PNG")
    return out.getvalue()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="session")
def serving() -> Iterator[Serving]:
    """One server for all tests that leave it as it is; its judge is `fake`."""
    with running("--judge", "fake") as server:
        yield server
