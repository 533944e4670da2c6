"""Benchmarks of the client and of large runs; each returns {name, value, unit, goal, limit, n}, a ratio of two things.

    python -m recipes.performance.client          # prints them

`client_efficiency` and `client_vs_sequential` run whole judgements (image read, checked and encoded, structured reply
parsed and scored) against a server of 64 slots and 500 ms per request in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from recipes.loopback.http import started
from recipes.scenes.rules import decompose
from recipes.scenes.world import sample_prompt
from t2i_judge.cli.plan import plan_run
from t2i_judge.inputs.images import EncodedImage, encode_image
from t2i_judge.judges.loading import load_judge
from t2i_judge.judges.teacher import OpenAIJudge
from t2i_judge.records import Question, Status
from t2i_judge.served.concurrency import map_bounded
from t2i_judge.served.wire import Message

SLOTS, SECONDS = 64, 0.5
_SPARE = 2.0  # calls sent for each slot: those over it wait at the server, so that no slot ever waits for the client
Line = dict[str, Any]

QUESTIONS = [Question(f"q{n}", "intrinsic", ("cat",), f"Is there cat number {n}?", "yes") for n in range(1, 9)]


def _line(name: str, value: float, unit: str, goal: float, limit: float | None, n: int) -> Line:
    return {"name": name, "value": value, "unit": unit, "goal": goal, "limit": limit, "n": n}


def _pictures(folder: Path, number: int) -> list[Path]:
    """Different JPEG photographs' worth of noise, about 100 kB each."""
    import numpy as np
    from PIL import Image

    paths = []
    for index in range(number):
        small = np.random.default_rng(index).integers(0, 256, (96, 96, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((512, 512), Image.Resampling.BICUBIC)
        paths.append(folder / f"{index}.jpg")
        picture.save(paths[-1], quality=93)
    return paths


def _reply() -> str:
    answers = [
        {"question_id": q.id, "answer": "yes", "matches": True, "explanation": "There it is.", "score": 8}
        for q in QUESTIONS
    ]
    summaries = {"intrinsic": {"explanation": "Fine.", "score": 8}, "overall": {"explanation": "Fine.", "score": 8}}
    return json.dumps({"answers": answers, "summaries": summaries})


def _seconds(judge: OpenAIJudge, pictures: list[Path], number: int, start: int = 0) -> float:
    """Time to judge so many items, none asked before; raises when one fails."""
    images = [pictures[index % len(pictures)] for index in range(start, start + number)]
    prompts = [f"cats, picture {index}" for index in range(start, start + number)]
    begun = time.perf_counter()
    judgements = judge.score(images, prompts, questions=[QUESTIONS] * number)
    seconds = time.perf_counter() - begun
    if failed := [judgement for judgement in judgements if judgement.status is not Status.OK]:
        raise RuntimeError(f"Calls that failed: {len(failed)}. The first reason is: {failed[0].reason}")
    return seconds


def client(number: int = 1536, sequential: int = 8) -> list[Line]:
    """Throughput as a share of the server's ceiling, and against the same requests one after the other.

    The sequential rate is timed on a slice of `sequential` requests and scaled.
    """
    with _served() as (judge, one, pictures, _):
        rate = number / _seconds(judge, pictures, number, start=64)
        slow_rate = sequential / _seconds(one, pictures, sequential, start=1)
    ceiling = SLOTS / SECONDS
    return [
        _line("client_efficiency", rate / ceiling, "share", 0.9, 1.0, number),
        _line("client_vs_sequential", rate / slow_rate, "x", 50, float(SLOTS), number),
    ]


@contextmanager
def _served() -> Iterator[tuple[OpenAIJudge, OpenAIJudge, list[Path], str]]:
    """A server, a judge that fills it, one that asks one thing at a time, both warm, pictures, and the address."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = _pictures(Path(folder), 64)
        arguments = ["--slots", str(SLOTS), "--seconds", str(SECONDS), "--reply", _reply()]
        with started("recipes.loopback.slots", arguments) as url:
            judge = load_judge(f"openai:slots@{url}", cache=Path(folder) / "c", concurrency=round(SLOTS * _SPARE))
            one = load_judge(f"openai:slots@{url}", concurrency=1)
            assert isinstance(judge, OpenAIJudge)
            assert isinstance(one, OpenAIJudge)
            _seconds(judge, pictures, 64)  # connections, imports
            _seconds(one, pictures, 1)
            yield judge, one, pictures, url
            judge.close()
            one.close()


def profile(name: str, number: int = 512) -> str:
    """Where a judgement's CPU time goes, for a throughput that is missed: milliseconds, beside the bare client's."""
    if not name.startswith("client_"):
        return ""
    with _served() as (judge, _, pictures, url):
        images = [encode_image(path) for path in pictures]
        bare = _cpu(lambda: asyncio.run(_bare_calls(url, images, number))) / number
        whole = _cpu(lambda: _seconds(judge, pictures, number, start=64)) / number
        reading = _cpu(lambda: [encode_image(path) for path in pictures]) / len(pictures)
    rest = whole - bare - reading
    return (
        f"CPU a judgement {1e3 * whole:.1f} ms: the bare openai client {1e3 * bare:.1f}, reading and checking the "
        f"image {1e3 * reading:.1f}, all else {1e3 * rest:.1f}; one thread sends, and a full server takes a request "
        f"every {1e3 * SECONDS / SLOTS:.1f} ms"
    )


def _cpu(work: Callable[[], Any]) -> float:
    """CPU seconds of this process, all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


async def _bare_calls(url: str, images: list[EncodedImage], number: int) -> None:
    """So many calls of about the same size by the `openai` client alone, as many at once."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(api_key="none", base_url=url, max_retries=0) as bare:

        async def call(index: int) -> None:
            message = Message("user", "x" * 4000, (images[index % len(images)],)).on_the_wire()
            await bare.chat.completions.create(model="slots", messages=[cast(Any, message)])

        await map_bounded(call, range(number), round(SLOTS * _SPARE))


def calls_per_image(number: int = 400) -> Line:
    """Calls of the structured protocol, one image per prompt, over T2I-Eval's for the same questions."""
    import random

    rng = random.Random(0)
    prompts = list(dict.fromkeys(sample_prompt(rng).text for _ in range(number)))
    questions = {prompt: decompose(prompt) for prompt in prompts}
    plan = plan_run([(prompt, [(512, 512)]) for prompt in prompts], "structured", None, questions)
    calls = plan.judge_calls + len(prompts)  # every prompt decomposed for one image: the most it can be
    return _line("calls_per_image_ratio", calls / plan.t2i_eval_calls, "x", 1 / 12, None, len(prompts))


def score_rss() -> Line:
    """Peak memory of `t2i-judge score` at 100,000 rows over that at 10,000, by the fake judge."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = (_peak(Path(folder), rows) for rows in (10_000, 100_000))
    if large > 1_000_000:
        raise RuntimeError(f"100,000 rows took {large / 1e6:.2f} GB; they must stay below 1")
    return _line("score_rss_ratio", large / small, "x", 1.1, None, 100_000)


# What `t2i-judge` runs, then the high-water mark of this very process on the last line. (Not the rusage that a parent
# gets: on Linux that also counts the parent's own memory at the moment of the fork.)
PEAK = """
import sys
from pathlib import Path
from t2i_judge.cli import main
code = main(sys.argv[1:])
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
raise SystemExit(code)
"""


def _peak(folder: Path, rows: int) -> int:
    """Peak resident kilobytes of scoring so many rows, in a process of its own."""
    table = folder / f"{rows}.csv"
    with table.open("w", encoding="utf-8") as out:
        out.write("prompt,image\n")
        out.writelines(f"a prompt number {number},{number}.png\n" for number in range(rows))
    command = [sys.executable, "-c", PEAK, "score", str(table), "--judge", "fake", "--out", str(folder / f"out{rows}")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(run.stdout.split()[-1])


def import_time(repeats: int = 7) -> Line:
    """Seconds of `import t2i_judge` over those of `import numpy`, each in a fresh process, in turns; medians."""
    code = "import time; t = time.perf_counter(); import {0}; print(time.perf_counter() - t)"
    seconds: dict[str, list[float]] = {"t2i_judge": [], "numpy": []}
    for _ in range(repeats):
        for module, values in seconds.items():
            run = subprocess.run(
                [sys.executable, "-c", code.format(module)], capture_output=True, text=True, check=True
            )
            values.append(float(run.stdout))
    ratio = statistics.median(seconds["t2i_judge"]) / statistics.median(seconds["numpy"])
    return _line("import_vs_numpy", ratio, "x", 3, None, repeats)


def bench() -> list[Line]:
    """All of this module's lines; about a minute."""
    return [*client(), calls_per_image(), score_rss(), import_time()]


if __name__ == "__main__":
    for line in bench():
        print(json.dumps(line))
