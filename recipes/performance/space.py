"""Load on the demo: 20 visitors at once on the embedded judge, and what starting it takes.

python -m recipes.performance.space          # prints the lines
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TextIO

from recipes.scenes.render import make_scenes
from t2i_judge.terminal import say

APP = Path(__file__).parents[2] / "space" / "app.py"
USERS, CALLS = 20, 3
P95_GOAL, START_GOAL, MEMORY_GOAL = 10.0, 60.0, 2.0  # seconds, seconds, GiB; start and memory: 2 cores
_READY = "t2i-judge Space: "
Line = dict[str, Any]


@contextmanager
def running_space(
    app: Path = APP, errors: TextIO | None = None, **environment: str
) -> Iterator[tuple[str, int, float]]:
    """The Space as a separate process: its URL, its process id, and the seconds until it printed the URL.

    `errors`: file for its stderr.

    Raises:
        RuntimeError: it ended, or said nothing for two minutes; with its last words.
    """
    start = time.monotonic()
    with nullcontext(errors) if errors else tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, app.name],
            cwd=app.parent,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            yield _address(process, log, start + 120), process.pid, time.monotonic() - start
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[str], log: Any, deadline: float) -> str:
    assert process.stdout is not None
    while time.monotonic() < deadline and process.poll() is None:
        if select.select([process.stdout], [], [], 0.5)[0]:
            line = process.stdout.readline()
            if line.startswith(_READY):
                return line.removeprefix(_READY).strip()
    log.seek(0)
    raise RuntimeError(f"the Space did not start: {log.read()[-500:]}")


def memory(process: int) -> float:
    """The most memory that a process has had so far, in GiB (Linux)."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    [peak] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(peak) / 2**20


def load(url: str, users: int = USERS, calls: int = CALLS) -> tuple[list[float], int]:
    """Let `users` visitors judge `calls` pictures each, all at once: seconds of each answer, and how many were lost."""
    from gradio_client import Client, handle_file

    with tempfile.TemporaryDirectory() as folder:
        samples = []
        for index, (prompt, _, _, image) in enumerate(make_scenes(users * calls, 11, "new_prompts")):
            image.save(Path(folder, f"{index}.png"))
            samples.append((str(Path(folder, f"{index}.png")), prompt.text))
        clients = [Client(url, verbose=False) for _ in range(users)]

        def visit(user: int) -> list[float | None]:
            return [_judge(clients[user], handle_file(path), text) for path, text in samples[user::users]]

        with ThreadPoolExecutor(users) as pool:
            answers = [seconds for user in pool.map(visit, range(users)) for seconds in user]
    return [seconds for seconds in answers if seconds is not None], answers.count(None)


def _judge(client: Any, image: Any, prompt: str) -> float | None:
    """Seconds until the judgement came, None when none came."""
    start = time.monotonic()
    try:
        answer = client.predict(image=image, prompt=prompt, api_name="/judge")
    except Exception:  # whatever a client may raise, the judgement is lost; it is counted
        return None
    return time.monotonic() - start if answer.get("status") else None


def bench() -> list[Line]:
    """p95 of 20 concurrent visitors, judgements lost, seconds to start, and memory under load."""
    with running_space() as (url, process, started):
        seconds, lost = load(url)
        peak = memory(process)
    n = len(seconds) + lost
    return [
        _line("space_p95_seconds", _percentile(seconds, 0.95), "s", P95_GOAL, n),
        _line("space_lost", float(lost), "judgements", 0.0, n),
        _line("space_start_seconds", started, "s", START_GOAL, 1),
        _line("space_memory_gib", peak, "GiB", MEMORY_GOAL, 1),
    ]


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values) or [float("inf")]
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _line(name: str, value: float, unit: str, goal: float, n: int) -> Line:
    return {"name": name, "value": value, "unit": unit, "goal": goal, "limit": None, "n": n}


if __name__ == "__main__":
    for line in bench():
        say(str(line))
