"""Runs the shards on a Ray cluster (Ray Data, extra `[ray]`), with the same files and markers as without it.

Every worker loads the judge once and reads its own shards. So every machine must be able to reach the table (a shared
path, or a Hub dataset) and the folder of results. A worker that dies is replaced, and its shard is done again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from typing import Any

from ..errors import UserError
from ..served.cache import paid_in
from ..served.concurrency import Budget
from .shards import Run


class ShardWorker:
    """One judge of a cluster. Called with numbers of shards, it judges them and returns their numbers of rows.

    Those that are done already are judged again if they are by another judge, or by other questions.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.judge = run.load_judge()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        """Do the shards of a batch."""
        shards = [int(shard) for shard in batch["item"]]
        return {"shard": shards, "rows": [self._do(shard) for shard in shards]}

    def _do(self, shard: int) -> int:
        self.run.forget_others(self.judge, [shard])
        marker = self.run.done(shard) or self.run.do(shard, list(self.run.rows_of(shard)), self.judge)
        return int(marker["rows"])


def run_with_ray(run: Run, workers: int) -> None:
    """Judge every remaining shard, if there is one, on `workers` judges at once.

    What is left of a budget is split evenly between them; one that replaces a dead one has its part anew. The cluster
    of RAY_ADDRESS is used, else one is started on this machine.

    Raises:
        UserError: Ray is not installed, or the work failed on every attempt.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError("--engine ray needs Ray", "It is not installed", "Run: pip install 't2i-judge[ray]'") from error
    shards = range(ceil(run.rows() / run.size))
    if all(run.done(shard) is not None for shard in shards):
        return
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False)
    workers = min(workers, len(shards))
    try:
        with _divided(run, workers) as part:
            _do_shards(part, list(shards), workers)
    except ray.exceptions.RayError as error:
        reason = " ".join(str(getattr(error, "cause", None) or error).split())[-300:]
        raise UserError(
            "The work failed on the cluster", reason, "Fix that and run the command again to continue"
        ) from error
    finally:
        if started:
            ray.shutdown()


@contextmanager
def _divided(run: Run, workers: int) -> Iterator[Run]:
    """The run of one of so many workers. What they all have paid for then counts in the budget of the whole.

    A judge and its decomposer have one budget, and one cache, which is its ledger: a copy of the options that goes to
    a worker keeps it so.
    """
    options, decomposer = run.options, run.options.get("decomposer_options") or {}
    client = decomposer or options
    budget, ledger = Budget.of(client.get("max_cost")), client.get("cache")
    part = {"max_cost": budget.part(workers)}
    own = part if "max_cost" in options else {}
    others = {"decomposer_options": {**decomposer, **part}} if decomposer else {}
    before = paid_in(ledger)
    try:
        yield replace(run, options={**options, **own, **others})
    finally:
        budget.pay(paid_in(ledger) - before)


def _do_shards(run: Run, todo: list[int], workers: int) -> None:
    import ray

    from ..progress import Progress

    shards = ray.data.from_items(todo, override_num_blocks=len(todo))
    done = shards.map_batches(
        ShardWorker, fn_constructor_args=[run], batch_size=1, compute=ray.data.ActorPoolStrategy(size=workers)
    )
    with Progress(total=len(todo), desc="shards") as bar:
        for _ in done.iter_rows():
            bar.update()
