"""Runs on a Ray cluster of this machine: what workers report, what they spend, and what is kept when one ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from t2i_judge.errors import UserError
from t2i_judge.inputs.rows import Columns
from t2i_judge.runs.ray import ShardWorker, run_with_ray
from t2i_judge.runs.shards import Run
from t2i_judge.served.cache import CallCache
from t2i_judge.served.concurrency import Budget
from t2i_judge.served.prices import Price
from tests.families import picture
from tests.metrics.judges.test_vqa import told
from tests.waiting import eventually

pytestmark = pytest.mark.slow
PRICE = Price(100, 1000)
A_CALL = PRICE.cost(100, 20)  # dollars


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def plan(tmp_path: Path, served: Any) -> Callable[..., Run]:
    """A run of so many pictures, one call each."""

    def made(images: int, size: int = 1, limit: float | None = None) -> Run:
        for number in range(images):
            picture(40, 40, number).save(tmp_path / f"{number}.png")
        rows = [json.dumps({"prompt": f"number {number}", "image": f"{number}.png"}) for number in range(images)]
        (tmp_path / "t.jsonl").write_text("\n".join(rows))
        options = {"api_key": "k", "cache": tmp_path / "calls.sqlite", "max_tokens": 20, "prices": {"m": PRICE}}
        options |= {"concurrency": 4, **({"max_cost": Budget(limit)} if limit else {})}
        columns = Columns("prompt", "image", None, None, tmp_path)
        run = Run(str(tmp_path / "t.jsonl"), columns, f"vqa+openai:m@{served.url}", options, tmp_path / "out", size)
        run.begin()
        return run

    return made


def ledger(run: Run) -> tuple[int, float]:
    """Number of replies kept, and US dollars paid."""
    cache = CallCache(run.options["cache"])
    try:
        return len(cache), cache.paid().money or 0.0
    finally:
        cache.close()


def slowly(served: Any, seconds: Callable[[dict[str, Any], int], float]) -> None:
    """Have every call take its time."""

    async def respond(request: dict[str, Any], n: int) -> Any:
        await asyncio.sleep(seconds(request, n))
        return told(served, {"yes": 0.9})

    served.respond = respond


def test_what_a_worker_says_is_what_the_run_says(plan: Callable[..., Run], served: Any) -> None:
    """It was "The work failed on the cluster" and the tail of Ray's words about a failed transform."""
    served.respond = lambda request, n: served.failure(401, "Incorrect API key", "invalid_api_key")
    with pytest.raises(UserError, match=r"rejected the API key.*Set OPENAI_API_KEY"):
        run_with_ray(plan(4), 2)


def test_workers_spend_one_budget_and_all_their_replies_are_kept(plan: Callable[..., Run], served: Any) -> None:
    """The first that came to the end of its half ended the other's calls, which were paid for."""
    slowly(served, lambda request, n: 4.0 if "number 1" in str(request) else 0.1)
    run = plan(16, limit=8 * A_CALL + 0.01)
    with pytest.raises(UserError, match=rf"Stopped at \$0\.\d+ of \${8 * A_CALL + 0.01:g}"):
        run_with_ray(run, 2)
    assert 6 <= len(served.calls) <= 8  # more than a half
    assert ledger(run) == (len(served.calls), pytest.approx(len(served.calls) * A_CALL))
    assert run.options["max_cost"].spent == pytest.approx(len(served.calls) * A_CALL)


def test_calls_under_way_end_when_another_worker_fails(plan: Callable[..., Run], served: Any) -> None:
    slowly(served, lambda request, n: 3.0)
    run = plan(8, size=4)
    (Path(run.source).parent / "t.jsonl").open("a").write(
        '\n{"prompt": "a cat"}'
    )  # no picture: its worker ends at once
    with pytest.raises(UserError, match="image"):
        run_with_ray(run, 2)
    assert ledger(run)[0] == len(served.calls)


def test_ctrl_c_lets_the_calls_under_way_end(plan: Callable[..., Run], served: Any) -> None:
    """Seven of fifteen replies were kept."""
    slowly(served, lambda request, n: 2.0)
    run = plan(16, size=8)
    threading.Thread(
        target=lambda: eventually(lambda: len(served.calls) >= 4) and os.kill(os.getpid(), signal.SIGINT)
    ).start()
    with pytest.raises(KeyboardInterrupt):
        run_with_ray(run, 2)
    assert 4 <= len(served.calls) < 16
    assert ledger(run)[0] == len(served.calls)


class Dying(ShardWorker):
    """Dies of the second shard."""

    def do(self, shard: int, most: float | None) -> UserError | None:
        if shard == 1:
            os._exit(9)
        return super().do(shard, most)


def test_a_shard_that_ends_every_worker_ends_the_run(
    plan: Callable[..., Run], served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There was no end to new workers."""
    monkeypatch.setattr("t2i_judge.runs.ray.ShardWorker", Dying)
    slowly(served, lambda request, n: 0.0)
    run = plan(3)
    with pytest.raises(UserError, match="Workers of the cluster died 3 times over shard 1"):
        run_with_ray(run, 2)
    assert run.done(0) and not run.done(1)
