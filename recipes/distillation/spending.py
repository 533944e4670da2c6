"""What a build took. `calls.sqlite` is its ledger, whoever asked: teacher, batches, judges that are measured."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from recipes.recipe.build_folder import BuildFolder
from t2i_judge.files import read_jsonl
from t2i_judge.records import Status, Usage, count_statuses
from t2i_judge.served.cache import CallCache


def paid(build: BuildFolder) -> Usage:
    """All that was paid for in a build folder so far, by any process."""
    if not build.calls.is_file():
        return Usage()
    ledger = CallCache(build.calls)
    try:
        return ledger.paid()
    finally:
        ledger.close()


def spent(build: BuildFolder) -> float:
    """US dollars of a recipe's `teacher.max_cost` that are gone."""
    return paid(build).money or 0.0


def teacher_usage(build: BuildFolder) -> tuple[Usage, Usage]:
    """What the teacher took for the decompositions, and for the judgements, that stand in a build folder."""
    return _sum(build.decompositions), _sum(build.teacher)


def _sum(path: Path) -> Usage:
    records = read_jsonl(path) if path.is_file() else ()
    return sum((Usage(**record["usage"]) for record in records if "usage" in record), Usage())


def cost(build: BuildFolder) -> dict[str, Any]:
    """What cards say of the teacher's cost, as plain JSON types.

    Calls, tokens, seconds and money (US dollars; None where no price is known) of decompositions and judgements
    together; `decompositions`: calls of those; `paid`: dollars of everything in the ledger, second tries and further
    judges included; `items`: status -> images that the teacher was asked about.
    """
    decomposed, judged = teacher_usage(build)
    statuses = count_statuses(Status(record["status"]) for record in read_jsonl(build.teacher))
    whole = sum(1 for _ in read_jsonl(build.teacher))
    items = {Status.OK.value: whole - sum(statuses.values()), **statuses}
    figures = asdict(decomposed + judged)
    return {
        **figures,
        "money": _dollars(figures["money"]),
        "decompositions": decomposed.calls,
        "paid": _dollars(paid(build).money),
        "items": items,
    }


def _dollars(money: float | None) -> float | None:
    """To a millionth: sums of the same calls in another order are the same."""
    return None if money is None else round(money, 6)
