"""Benchmarks of `t2i-judge serve`: what it costs beside its judge, what it loses, and whether it stays small.

    python -m recipes.performance.serving          # prints them

The server runs as a process of its own. Its cost is measured with the judge `fake`, which takes no time, so that all
CPU is the server's, decoding of pictures included; its throughput with `tiny`, against the same judge called directly.
"""

from __future__ import annotations

import base64
import io
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2

from recipes.loopback.judge_server import serving
from recipes.performance.client import _pictures
from recipes.scenes.render import make_scenes
from t2i_judge.judges.loading import load_judge
from t2i_judge.terminal import say

CPU_GOAL, SHARE_GOAL, MEMORY_GOAL = 20.0, 0.9, 1.1  # milliseconds a request, share of the judge's own speed, ratio
AT_ONCE, REQUESTS, LONG = 200, 1_000, 10_000
_SCENES, _BATCH, _CLIENTS = 96, 32, 64
Line = dict[str, Any]


def bench() -> list[Line]:
    """All of this module's lines; about four minutes on two cores."""
    return [*cost_and_loss(), memory(), throughput(), gpu()]


def cost_and_loss(requests: int = REQUESTS, at_once: int = AT_ONCE) -> list[Line]:
    """CPU of a request with a picture of 512 x 512 pixels, and requests that got no judgement, `at_once` in flight."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = [_base64(path.read_bytes()) for path in _pictures(Path(folder), 64)]
    bodies = [{"items": [{"image": pictures[n % 64], "prompt": f"prompt {n}"}]} for n in range(requests)]
    with serving("--judge", "fake") as url:
        _ask(url, bodies[:at_once], at_once)  # connections, imports, decoders
        before = _cpu(url)
        answered = _ask(url, [{**body, "explain": True} for body in bodies], at_once)  # anew: nothing is kept of these
        milliseconds = 1_000 * (_cpu(url) - before) / requests
    return [
        _line("serve_cpu_ms", milliseconds, "ms/request", CPU_GOAL, requests),
        _line("serve_lost", float(requests - answered), "requests", 0.0, requests),
    ]


def memory(requests: int = LONG) -> Line:
    """Resident memory after so many requests, over that after a tenth of them."""
    picture = _base64(_png(make_scenes(1, 0)[0][3]))
    sizes = []
    with serving("--judge", "fake") as url:
        for start, end in ((0, requests // 10), (requests // 10, requests)):
            numbers = range(start, end)
            _ask(url, [{"items": [{"image": picture, "prompt": f"prompt {n}"}]} for n in numbers], _CLIENTS)
            sizes.append(_resident(_process(url)))
    return _line("serve_memory_ratio", sizes[1] / sizes[0], "x", MEMORY_GOAL, requests)


def throughput(number: int = _SCENES) -> Line:
    """Images a second through the server, 64 clients with one image each, as a share of the judge's own in batches.

    Prompts are known to both beforehand, since a judge decomposes each only once.
    """
    scenes = make_scenes(2 * number, 5, "new_prompts")
    prompts = [prompt.text for prompt, *_ in scenes[:number]]
    first, second = ([scene[3] for scene in some] for some in (scenes[:number], scenes[number:]))
    with serving("--judge", "tiny") as url:
        bodies = [
            [{"items": [{"image": _base64(_png(image)), "prompt": p}]} for image, p in zip(images, prompts)]
            for images in (first, second)
        ]
        _ask(url, bodies[0], _CLIENTS)
        begun = time.perf_counter()
        answered = _ask(url, bodies[1], _CLIENTS)
        served = time.perf_counter() - begun
    with closing(load_judge("tiny", batch_size=_BATCH)) as judge:
        judge.score(first, prompts)
        begun = time.perf_counter()
        judge.score(second, prompts)
        alone = time.perf_counter() - begun
    return _line("serve_throughput_share", alone / served if answered == number else 0.0, "share", SHARE_GOAL, number)


def gpu() -> Line:
    """Images a second of an 8.1B judge with 12 questions behind the server: wants a GPU, and is open without one."""
    return {**_line("serve_gpu_images_per_second", 0.0, "images/s", 10.0, 0), "value": None}


def _ask(url: str, bodies: Sequence[dict[str, Any]], at_once: int) -> int:
    """Send every body, so many at once; how many got a judgement."""
    limits = httpx2.Limits(max_connections=at_once)
    with httpx2.Client(base_url=url, timeout=300, limits=limits) as client, ThreadPoolExecutor(at_once) as threads:

        def ask(body: dict[str, Any]) -> bool:
            try:
                answer = client.post("/score", json=body)
                return answer.status_code == 200 and answer.json()["results"][0]["status"] is not None
            except httpx2.HTTPError:
                return False

        return sum(threads.map(ask, bodies))


def _process(url: str) -> int:
    """The process that listens at an address: a child of this one."""
    port = url.rpartition(":")[2]
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=True
    )
    inode = next(
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]
        if line.split()[1].endswith(f":{int(port):04X}") and line.split()[3] == "0A"
    )
    for pid in listed.stdout.split():
        folder = Path(f"/proc/{pid}/fd")
        if folder.is_dir() and any(str(each.readlink()) == f"socket:[{inode}]" for each in folder.iterdir()):
            return int(pid)
    raise RuntimeError(f"no process of this benchmark listens at {url}")


def _cpu(url: str) -> float:
    """CPU seconds of the server so far, those that decode pictures for it included."""
    process = _process(url)
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    ticks = 0
    for pid in (process, *map(int, listed.stdout.split())):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _resident(process: int) -> int:
    """Resident kilobytes now."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def _png(image: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _line(name: str, value: float, unit: str, goal: float, n: int) -> Line:
    return {"name": name, "value": value, "unit": unit, "goal": goal, "limit": None, "n": n}


if __name__ == "__main__":
    for line in bench():
        say(str(line))
