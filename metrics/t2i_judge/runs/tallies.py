"""Counts judgements: statuses, sums of scores, usage. The tallies of shards add up to a run's summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from ..records import Judgement, Status, Usage
from .lines import is_number

Row = dict[str, Any]


def tally(judgements: Iterable[Judgement]) -> Row:
    """Counts of statuses, sums of scores of the items that are OK, and usage: everything that adds up over shards."""
    judgements = list(judgements)
    usage = sum((judgement.usage for judgement in judgements), Usage())
    return {
        **tally_of_lines({"status": j.status.value, "scores": j.scores} for j in judgements),
        "usage": asdict(usage),
    }


def tally_of_lines(lines: Iterable[Row]) -> Row:
    """Rows, statuses and sums of scores as `tally` has them, of lines (`Judgement.to_json`)."""
    statuses: Counter[str] = Counter()
    sums: dict[str, list[float]] = {}
    for line in lines:
        statuses[line["status"]] += 1
        for aspect, score in line["scores"].items() if line["status"] == Status.OK.value else ():
            if score is not None:
                total, number = sums.get(aspect, [0.0, 0])
                sums[aspect] = [total + score, number + 1]
    return {"rows": sum(statuses.values()), "statuses": dict(statuses), "sums": sums}


def adds_up(marker: Row) -> bool:
    """Whether it is one that a run wrote, as far as anybody needs it."""
    try:
        whole = summed([marker])
        spent = [value for value in whole["usage"].values() if value is not None]
        notes = all(isinstance(note, str) for note in whole["notes"])
        return isinstance(marker["rows"], int) and all(is_number(value) and value >= 0 for value in spent) and notes
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return False


def summed(markers: Sequence[Row]) -> Row:
    """n, failures by status and coverage beside every mean; a mean is over the items that are OK. What judges noted."""
    statuses: Counter[str] = Counter()
    sums: dict[str, list[float]] = {}
    usage = Usage()
    for marker in markers:
        statuses.update(marker["statuses"])
        usage += Usage(**marker["usage"])
        for aspect, (total, number) in marker["sums"].items():
            sums[aspect] = [sums.get(aspect, [0, 0])[0] + total, sums.get(aspect, [0, 0])[1] + number]
    n, ok = sum(statuses.values()), statuses.get(Status.OK.value, 0)
    failed = {status: count for status, count in statuses.items() if status != Status.OK.value}
    return {
        "n": n,
        "n_failed": failed,
        "coverage": ok / n if n else None,
        "means": {aspect: {"mean": total / number, "n": number} for aspect, (total, number) in sums.items()},
        "usage": asdict(usage),
        "notes": list(dict.fromkeys(note for marker in markers for note in marker.get("notes", ()))),
    }
