"""Votes on pairs: a judge's verdicts, or its scores of both images, against people; and its choice among K images."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..stats.coefficients import Floats, as_floats, rows_by_group
from ..stats.preferences import (
    FOLDS,
    VERDICTS,
    ScoredPairs,
    best_hits,
    hits_of,
    parse_verdict,
    parse_vote,
    vote_accuracy,
)
from ..stats.resampling import Interval, bootstrap_weights
from ..stats.spread import Spread
from .items import Items, Rows
from .report import CandidateRow, PairRow, VoteRow
from .rows import few_units
from .sampling import FEW_UNITS, Design, units_inside

Votes = Sequence[str | None]
Intervals = dict[str, Interval | None]


def vote_rows(
    items: Items, design: Design, verdicts: Mapping[str, Votes] | None, votes: Votes, draws: int, seed: int
) -> list[VoteRow]:
    """Accuracy of each judge's verdicts in each group; without judges, what people said."""
    people = [parse_vote(vote) for vote in votes]
    spoken = {name: [parse_verdict(cell) for cell in cells] for name, cells in (verdicts or {}).items()}
    rows = []
    for number, (group, members) in enumerate(items.groups.items()):
        by, voted = items.named(group), members[[people[i] is not None for i in members]]
        heard = [vote for i in voted if (vote := people[i]) is not None]
        units = _units(items, voted)
        if not spoken:
            rows.append(VoteRow(None, by, len(heard), None, None, *_of_people(heard), 0))
        for judge, cells in spoken.items():
            own = [cells[i] for i in voted]
            found = vote_accuracy(own, heard)
            hits = hits_of(own, heard).astype(np.float64)
            decided = np.where([vote in ("A>B", "B>A") for vote in heard], hits, np.nan)
            shares = {"four_class_accuracy": hits, "pairwise_accuracy_decided": decided}
            intervals = share_intervals(items, design, voted, shares, draws, [seed, number])
            rows.append(
                VoteRow(
                    judge, by, found.n, found.four_class_accuracy, found.pairwise_accuracy_decided, found.n_decided,
                    found.majority_class_accuracy, found.n_unparsed, intervals["four_class_accuracy"],
                    intervals["pairwise_accuracy_decided"], units, _note(units, design, draws),
                )
            )  # fmt: skip
    return rows


def _of_people(heard: Sequence[str]) -> tuple[int, float | None]:
    """How many pairs people decided, and the share of the commonest vote."""
    found = vote_accuracy([None] * len(heard), heard)
    return found.n_decided, found.majority_class_accuracy


def pair_rows(
    items: Items, design: Design, scores: Mapping[str, tuple[Any, Any]], votes: Votes, draws: int, seed: int
) -> list[PairRow]:
    """Accuracy of each judge's scores of both images in each group (`ScoredPairs.figures`)."""
    people = [parse_vote(vote) for vote in votes]
    rows = []
    for number, (group, members) in enumerate(items.groups.items()):
        voted = members[[people[i] is not None for i in members]]
        for judge, (first, second) in scores.items():
            a, b = as_floats(first)[voted], as_floats(second)[voted]
            both = ~(np.isnan(a) | np.isnan(b))
            own = voted[both]
            heard = [vote for i in own if (vote := people[i]) is not None]
            pairs = ScoredPairs(a[both], b[both], heard, _folds(items, own, seed))
            rows.append(_pair_row(items, design, judge, group, (voted, own), pairs, draws, [seed, number]))
    return rows


def _pair_row(
    items: Items,
    design: Design,
    judge: str,
    group: tuple[Hashable, ...],
    rows: tuple[Rows, Rows],
    pairs: ScoredPairs,
    draws: int,
    seed: Sequence[int],
) -> PairRow:
    voted, own = rows
    n = len(own)
    whole = pairs.figures(np.ones((n, 1))) if n else {}
    figures = {name: None if np.isnan(values[0]) else float(values[0]) for name, values in whole.items()}
    if design.analytic and draws and n:
        intervals = share_intervals(items, design, own, pairs.agreement_at_threshold(), draws, seed)
    else:
        intervals = _drawn_intervals(items, own, pairs, draws, seed)
    units = _units(items, own)
    return PairRow(
        prediction=judge,
        by=items.named(group),
        n=n,
        n_missing=len(voted) - n,
        n_decided=int((pairs.signs != 0).sum()),
        n_equal_scores=pairs.ties_of_scores,
        figures=figures,
        intervals=intervals,
        threshold=pairs.threshold() if n else None,
        n_units=units,
        note=_note(units, design, draws) if n else "no pair has a vote and both scores",
    )


def _drawn_intervals(items: Items, own: Rows, pairs: ScoredPairs, draws: int, seed: Sequence[int]) -> Intervals:
    blocks = [pairs.figures(weights) for weights in _weights(items, own, draws, seed)]
    names = _varying(items, own, pairs.agreement_at_threshold()) if blocks else ()
    return {name: Spread(np.concatenate([block[name] for block in blocks])).interval(0.0) for name in names}


def candidate_rows(items: Items, design: Design, sets: Sequence[Hashable], draws: int, seed: int) -> list[CandidateRow]:
    """Of each set of images (one label per item): whether a judge's best is people's, by the number K of images."""
    chosen = {label: members for label, members in rows_by_group(sets).items() if label is not None}
    rows = []
    for judge, column in items.judges.items():
        found: dict[int, list[tuple[float, float]]] = {}
        places: dict[int, list[int]] = {}
        for members in chosen.values():
            found.setdefault(len(members), []).append(best_hits(column.values[members], items.mean.values[members]))
            places.setdefault(len(members), []).append(int(members[0]))
        for k in sorted(found):
            first, ordered = np.asarray(found[k]).T
            shares = {"best_of_k_accuracy": first, "order_accuracy": ordered}
            own = np.asarray(places[k])
            intervals = share_intervals(items, design, own, shares, draws, [seed, k])
            counts = {name: int((~np.isnan(values)).sum()) for name, values in shares.items()}
            means = {name: float(np.nanmean(values)) if counts[name] else None for name, values in shares.items()}
            note = _note(_units(items, own), design, draws, "sets" if items.clusters is None else None)
            rows.append(CandidateRow(judge, k, len(own), counts, means, intervals, note))
    return rows


def share_intervals(
    items: Items, design: Design, members: Rows, shares: Mapping[str, Floats], draws: int, seed: Sequence[int]
) -> Intervals:
    """Interval of the mean of each column of zeros and ones, nan where an item does not count."""
    if not draws:
        return dict.fromkeys(shares)
    if design.analytic:
        return {name: _worked_out(items, members, values) for name, values in shares.items()}
    present = {name: ~np.isnan(values) for name, values in shares.items()}
    varying = _varying(items, members, shares)
    found: dict[str, list[Floats]] = {name: [] for name in varying}
    for weights in _weights(items, members, draws if varying else 0, seed):
        for name in varying:
            with np.errstate(invalid="ignore", divide="ignore"):
                found[name].append(np.nan_to_num(shares[name]) @ weights / (present[name] @ weights))
    drawn = {name: Spread(np.concatenate(blocks)).interval(0.0) for name, blocks in found.items()}
    return {name: drawn.get(name) for name in shares}


def _varying(items: Items, members: Rows, shares: Mapping[str, Floats]) -> list[str]:
    """The columns whose numbers lie in two units or more: only these have an interval."""
    return [name for name, values in shares.items() if _units(items, members[~np.isnan(values)]) > 1]


def _worked_out(items: Items, members: Rows, values: Floats) -> Interval | None:
    """From each unit's part of the mean's error, on the scale of its logit (which is atanh of 2 p - 1)."""
    units, size = units_inside(items, members)
    present = ~np.isnan(values)
    if not present.any():
        return None
    mean = float(values[present].mean())
    parts = np.bincount(units[present], weights=values[present] - mean, minlength=size) / present.sum()
    m = len(np.unique(units[present]))
    interval = Spread(2 * parts * np.sqrt(m / max(m - 1, 1)), m - 1).interval(2 * mean - 1)
    return interval and ((interval[0] + 1) / 2, (interval[1] + 1) / 2)


def _weights(items: Items, members: Rows, draws: int, seed: Sequence[int]) -> Iterator[Floats]:
    if _units(items, members) > 1:
        labels = items.cluster_labels(members)
        yield from bootstrap_weights(len(members), draws, seed, labels)  # type: ignore[misc]


def _folds(items: Items, members: Rows, seed: int) -> NDArray[np.intp]:
    """A fold for each pair, the same for all of a cluster."""
    units, size = units_inside(items, members)
    shuffled = np.random.default_rng(seed).permutation(size)
    return np.asarray((shuffled % FOLDS)[units], dtype=np.intp)


def _units(items: Items, members: Rows) -> int:
    return len(members) if items.clusters is None else len(np.unique(items.clusters[members]))


def _note(units: int, design: Design, draws: int, unit: str | None = None) -> str | None:
    return few_units(units, unit or design.unit) if draws and units < FEW_UNITS else None


def without_verdicts(verdicts: Mapping[str, Votes]) -> list[str]:
    """Warnings of columns in which no cell is a verdict."""
    strange = [
        judge for judge, cells in verdicts.items() if any(cells) and not any(parse_verdict(cell) for cell in cells)
    ]
    return [f"no cell of {judge} is a verdict ({', '.join(VERDICTS)}): all count as wrong" for judge in strange]
