"""Compares two runs on the same items, such as before and after a new model snapshot, template or dependency.

Items are matched by id and prompt, and have the same images: another image under the old name is another item, whose
score says nothing about the judge. The unit is the prompt, as on a board. The change is the second run's score minus
the first's, over the items that both runs scored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Undecided, UserError, quoted
from ..files import read_object
from ..inputs.numerals import is_blank
from ..records import OVERALL, SCORE_RANGE, Status
from ..runs.lines import run_lines
from ..runs.record import RUN
from ..runs.standing import CONDITIONS, IMAGES
from ..stats.coefficients import Floats, kendall_tau_b
from ..stats.paired import TIED, levelled, lower_bound_of_size, mean_interval

Row = dict[str, Any]
Key = tuple[str, str]


def read_run(folder: Path) -> dict[Key, Row]:
    """(id, prompt) -> line, for every judged item of a run folder.

    Raises:
        UserError: the folder holds no run, or an id and its prompt stand there twice: it would count once only.
    """
    if not (folder / RUN).is_file():
        raise UserError(
            f"{folder} is not a run folder",
            f"It has no {RUN}",
            "Name a folder that t2i-judge score or leaderboard wrote",
        )
    lines: dict[Key, Row] = {}
    for line in run_lines(folder):
        if lines.setdefault(key := (line["image_id"], line["prompt"]), line) is not line:
            reason = "Items are matched by id and prompt"
            fix = "Judge the table again by a column of ids that differ (--id-column), or without one"
            raise UserError(f"{folder} has the item {quoted(key[0])} twice", reason, fix)
    if not lines:
        raise Undecided(
            f"{folder} has no judged items", "Its run stopped before the first item", "Finish the run, then compare"
        )
    return lines


def asked_otherwise(first: Path, second: Path) -> dict[str, list[Any]]:
    """What both runs asked their judges in different ways (`standing.CONDITIONS`): name -> the values of both.

    Their scores differ by it, though the judge may be the same.
    """
    records = [read_object(folder / RUN) for folder in (first, second)]
    values = {name: [record.get(name) for record in records] for name in CONDITIONS}
    return {name: both for name, both in values.items() if both[0] != both[1]}


def drift(first: Mapping[Key, Row], second: Mapping[Key, Row], tolerance: float | None = None) -> Row:
    """What changed from one run to the other.

    Args:
        first, second: from `read_run`.
        tolerance: a change of the mean up to this size is no drift.

    Returns:
        items: in both runs; changed: of those, with another score or status; changed_items: their ids; unscored: with a
        score in one run only; only_first, only_second: items of one run; other_images: left out, as their image is
        another one. n: prompts; difference, ci: the paired change
        of overall and its 95% interval; bound: 95% lower bound of its size (`stats.paired.lower_bound_of_size`);
        within: whether that bound lies within the tolerance, None where that cannot be said. order: of the generators,
        where the runs have several: kept; first, second: from the best down, those that are tied in one list.

    Raises:
        UserError: the runs have no item in common, or scores of different ranges.
    """
    named = [key for key in first if key in second]
    both = [key for key in named if _same_images(first[key], second[key])]
    if not both:
        raise UserError(
            "The two runs have no item in common",
            "Their images are others" if named else "Items are matched by id and prompt",
            "Compare two runs of the same items",
        )
    scored_in = [[run[key] for key in both if _score(run[key]) is not None] for run in (first, second)]
    ranges = [{tuple(line.get("score_range", SCORE_RANGE)) for line in lines} for lines in scored_in]
    if all(ranges) and ranges[0] != ranges[1]:
        told = " and ".join(str(sorted(ends)) for ends in ranges)
        raise UserError("The two runs have scores of different ranges", told, "Compare two runs of one kind of judge")
    scores = {key: (_score(first[key]), _score(second[key])) for key in both}
    scored = [key for key in both if None not in scores[key]]
    changes: dict[str, list[float]] = defaultdict(list)
    for key in scored:
        before, after = scores[key]
        assert before is not None and after is not None
        changes[key[1]].append(after - before)
    means = np.asarray([np.mean(values) for values in changes.values()])
    interval, bound = mean_interval(means), lower_bound_of_size(means)
    changed = [key[0] for key in both if _differs(first[key], second[key])]
    return {
        "items": len(both),
        "changed": len(changed),
        "changed_items": changed,
        "unscored": {
            "first": sum(before is None and after is not None for before, after in scores.values()),
            "second": sum(before is not None and after is None for before, after in scores.values()),
        },
        "only_first": len(first) - len(named),
        "only_second": len(second) - len(named),
        "other_images": len(named) - len(both),
        "n": len(means),
        "difference": float(means.mean()) if len(means) else None,
        "ci": list(interval) if interval else None,
        "bound": bound,
        "tolerance": tolerance,
        "within": None if tolerance is None or bound is None else bound <= tolerance + TIED,
        "order": _order(first, second, scored),
    }


def _same_images(first: Row, second: Row) -> bool:
    """Whether both lines have the same hashes of their images, as far as they know any (older runs wrote none)."""
    pairs = zip(first.get(IMAGES) or (), second.get(IMAGES) or ())
    return all(before is None or after is None or before == after for before, after in pairs)


def _score(line: Row) -> float | None:
    score: float | None = line["scores"].get(OVERALL) if line["status"] == Status.OK.value else None
    return score


def _differs(first: Row, second: Row) -> bool:
    before, after = _score(first), _score(second)
    if before is None or after is None:
        return bool(first["status"] != second["status"])
    return abs(before - after) > TIED


def _order(first: Mapping[Key, Row], second: Mapping[Key, Row], keys: Iterable[Key]) -> Row | None:
    """Whether generators stand in the same order by their means in both runs; None for runs without generators.

    A mean is that of a board: over prompts, of the mean of a prompt's images.
    """
    scores: dict[str, dict[str, list[list[Any]]]] = defaultdict(lambda: defaultdict(list))
    for key in keys:
        if name := _generator(first[key]):
            scores[name][key[1]].append([_score(run[key]) for run in (first, second)])
    if len(scores) < 2:
        return None
    means = [np.mean([np.mean(pairs, axis=0) for pairs in own.values()], axis=0) for own in scores.values()]
    before, after = map(levelled, np.asarray(means).T)
    return {
        "kept": bool(np.array_equal(_places(before), _places(after))),
        "kendall_tau_b": kendall_tau_b(before, after).value,
        "first": _tiers(list(scores), before),
        "second": _tiers(list(scores), after),
    }


def _generator(line: Row) -> str | None:
    """Its name as text; a list or a structure is none."""
    name = (line.get("row") or {}).get("generator")
    return str(name).strip() if isinstance(name, str | int | float) and not is_blank(name) else None


def _places(means: Floats) -> Floats:
    """The number of the tier in which each generator stands."""
    return np.unique(means, return_inverse=True)[1].astype(float)


def _tiers(names: Sequence[str], means: Floats) -> list[list[str]]:
    """Generators from the best down; those that are tied stand together."""
    return [[name for name, mean in zip(names, means) if mean == tier] for tier in np.unique(means)[::-1]]
