"""Runs the shards on a Ray cluster (extra `[ray]`), with the same files and markers as without it.

Every worker loads the judge once and is given shard after shard. So every machine must be able to reach the table (a
shared path, or a Hub dataset) and the folder of results. A worker that dies is replaced, and its shard is done again.

Before anything else ends, calls under way do: they are paid for. So a worker returns what a user can mend, rather than
raise it, and the others are told to begin no more.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..inputs.decoding import apart
from ..judges.names import JudgeName
from ..progress import Progress
from ..served.cache import paid_in
from ..served.concurrency import DRAIN_SECONDS, Budget, BudgetExceeded
from ..served.words import shorten
from .shards import Run

if TYPE_CHECKING:
    from ..judges.base import Judge

_DEATHS = 3  # of workers over one shard: it may be the shard that they die of
_REASON = "The actor is dead because"
_AGAIN = 0.2  # seconds; between two parts of its work, a judge forgets that it was interrupted


class ShardWorker:
    """One judge of a cluster, which does one shard at a time. Every method but the last returns what went wrong.

    A shard that is done already is judged again if it is by another judge, or by other questions.
    """

    judge: Judge

    def __init__(self, run: Run) -> None:
        self.run, self.budget = run, _budget(run)
        self._idle, self._interrupted = threading.Event(), threading.Event()
        self._idle.set()

    def load(self) -> UserError | None:
        """Load the judge."""
        try:
            self.judge = self.run.load_judge()
            self.judge.check()
            self.run.require_precision(self.judge)
        except UserError as error:
            return error
        return None

    def do(self, shard: int, most: float | None) -> UserError | None:
        """Do a shard for `most` US dollars, None for any."""
        self._idle.clear()
        self.budget.limit, self.budget.spent = most, 0.0
        try:
            self.run.forget_others(self.judge, [shard])
            if self.run.done(shard) is None and not self._interrupted.is_set():
                with apart() if self.run.isolate_images else nullcontext():
                    self.run.do(shard, list(self.run.rows_of(shard)), self.judge)
        except UserError as error:
            return error
        finally:
            self._idle.set()
        return None

    def interrupt(self) -> None:
        """Let calls under way end, and begin no more. For another thread."""
        self._interrupted.set()
        while not self._idle.wait(_AGAIN):
            self.judge.interrupt()


def run_with_ray(run: Run, workers: int) -> None:
    """Judge every remaining shard, if there is one, on up to `workers` judges at once.

    The cluster of RAY_ADDRESS is used, else one is started on this machine. Each worker has a processor of its own, and
    a judge on a cluster with GPUs one of them: those for whom there is none wait.

    Raises:
        UserError: Ray is not installed, a worker said so, or workers died time and again.
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
    try:
        Crew(ray, run, shards, min(workers, len(shards))).work()
    except ray.exceptions.RayError as error:
        raise UserError(
            "The work failed on the cluster", _why(error), "Fix that and run the command again to continue"
        ) from error
    finally:
        if started:
            ray.shutdown()


@dataclass(frozen=True)
class Task:
    """What a worker does: it loads its judge (no shard), or does a shard for so many US dollars at most.

    is_alone: no other does a shard, and the money is all that is left.
    """

    worker: Any
    shard: int | None = None
    most: float | None = None
    is_alone: bool = False


class Crew:
    """The workers, what each does, and the money that each may spend.

    All have one budget. A worker has a part of what is left for each shard, and what it does not spend is divided
    anew; one that needs more waits until the others have ended and has all that is left. What a worker that died has
    spent is in the run's file of replies, which is its ledger.

    Args:
        ray: the module.
        run: whose shards they do.
        shards: their numbers.
        size: number of workers.
    """

    def __init__(self, ray: Any, run: Run, shards: Sequence[int], size: int) -> None:
        self._ray, self._size, self._todo = ray, size, deque(shards)
        self._budget, self._ledger = _budget(run), _client(run.options).get("cache")
        self._run, self._paid = _with_budget(run, self._budget), paid_in(self._ledger)
        self._worker = ray.remote(ShardWorker).options(
            num_cpus=1,
            num_gpus=int(_is_local(run) and ray.cluster_resources().get("GPU", 0) >= 1),
            max_concurrency=2,  # for `interrupt`
            scheduling_strategy="SPREAD",
        )
        self._idle: list[Any] = []
        self._under_way: dict[Any, Task] = {}
        self._deaths = Counter[int | None]()
        self._short = False  # is a part of what is left not enough for a shard?

    def work(self) -> None:
        """Have all shards done. Raises the first `UserError` of a worker when the calls of all have ended."""
        try:
            with Progress(total=len(self._todo), desc="shards") as bar:
                for _ in range(self._size):
                    self._hire()
                while self._todo or self._busy():
                    self._give_out()
                    bar.update(self._take_back())
        except BaseException as error:
            self._drain(DRAIN_SECONDS if isinstance(error, KeyboardInterrupt) else None)
            raise
        finally:
            self._settle()
            for worker in [*self._idle, *(task.worker for task in self._under_way.values())]:
                self._ray.kill(worker)

    def _busy(self) -> dict[Any, Task]:
        return {call: task for call, task in self._under_way.items() if task.shard is not None}

    def _settle(self) -> None:
        """Count what the workers have paid since this was asked last."""
        before, self._paid = self._paid, paid_in(self._ledger)
        self._budget.pay(self._paid - before)

    def _hire(self) -> None:
        worker = self._worker.remote(self._run)
        self._under_way[worker.load.remote()] = Task(worker)

    def _give_out(self) -> None:
        """Give idle workers a shard; only one, with all the money, where parts were too small."""
        while self._todo and self._idle and not (self._short and self._busy()):
            task = Task(self._idle.pop(), self._todo.popleft(), self._part(), self._short)
            self._under_way[task.worker.do.remote(task.shard, task.most)] = task

    def _part(self) -> float | None:
        if self._budget.limit is None:
            return None
        self._settle()
        given = [task.most or 0.0 for task in self._busy().values()]
        left = max(0.0, (self._budget.left or 0.0) - sum(given))
        return left if self._short else left / (self._size - len(given))

    def _take_back(self) -> int:
        """Wait until a worker has ended what it does. Returns the number of shards that are done."""
        [call], _ = self._ray.wait(list(self._under_way))
        task = self._under_way.pop(call)
        try:
            error = self._ray.get(call)
        except self._ray.exceptions.RayTaskError:
            self._idle.append(task.worker)
            raise
        except self._ray.exceptions.RayError as death:
            self._replace(task, death)
            return 0
        self._idle.append(task.worker)
        self._short = isinstance(error, BudgetExceeded)
        if error is None:
            return int(task.shard is not None)
        if not self._short or task.shard is None:
            raise error
        if task.is_alone:
            self._settle()
            raise self._budget.exceeded(error.reason)
        self._todo.appendleft(task.shard)
        return 0

    def _replace(self, task: Task, death: Exception) -> None:
        self._ray.kill(task.worker)  # it may be out of reach only
        self._deaths[task.shard] += 1
        if task.shard is not None:
            self._todo.appendleft(task.shard)
        if self._deaths[task.shard] >= _DEATHS * (self._size if task.shard is None else 1):
            what = "as they loaded the judge" if task.shard is None else f"over shard {task.shard}"
            raise UserError(
                f"Workers of the cluster died {self._deaths[task.shard]} times {what}",
                _why(death),
                "Give them more memory, or fix what ends them, and run the command again to continue",
            )
        self._hire()

    def _drain(self, seconds: float | None) -> None:
        """Let calls under way end, and begin no more."""
        if busy := self._busy():
            for task in busy.values():
                task.worker.interrupt.remote()
            self._ray.wait(list(busy), num_returns=len(busy), timeout=seconds)


def _why(error: Exception) -> str:
    """Ray's reason, which stands behind the names of what it is about."""
    text = " ".join(str(getattr(error, "cause", None) or error).split())
    return shorten(text[max(0, text.find(_REASON)) :], 300)


def _is_local(run: Run) -> bool:
    """Whether a judge, or its decomposer, runs on the workers themselves."""
    names = (run.judge, run.options.get("decomposer"))
    return not all(JudgeName.parse(str(name)).served for name in names if name)


def _client(options: Any) -> Any:
    """A judge and its decomposer have one budget, and one file of replies."""
    return options.get("decomposer_options") or options


def _budget(run: Run) -> Budget:
    return Budget.of(_client(run.options).get("max_cost"))


def _with_budget(run: Run, budget: Budget) -> Run:
    """The run with its budget in every place: a copy that goes to a worker keeps it one."""
    options, decomposer, told = run.options, run.options.get("decomposer_options") or {}, {"max_cost": budget}
    own = told if "max_cost" in options else {}
    others = {"decomposer_options": {**decomposer, **told}} if decomposer else {}
    return replace(run, options={**options, **own, **others})
