"""Every judge against every annotator, their mean, and the human ceiling: figures, intervals, and what is missing.

A figure always stands beside the number of items behind it. Items that a judge failed on are left out and counted by
status, never filled; what is undefined is None with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..stats.agreement import (
    ALPHA_LEVELS,
    VERDICTS,
    ceiling_of,
    fleiss_kappa,
    krippendorff_alpha,
    leave_one_out,
    percent_agreement,
    rater_mean,
    vote_accuracy,
)
from ..stats.coefficients import COEFFICIENTS, Coefficient, Floats, as_floats, average_rows, check_rule, rows_by_group
from ..stats.coefficients import average as average_coefficients
from ..stats.resampling import Draws, bootstrap, bootstrap_weights, check_draws, percentile_interval
from .report import AgreementRow, Figure, MetaEvaluation, MetaRow, VoteRow, group_name

MEAN, CEILING = "mean", "ceiling"
Columns = Mapping[str, Any]  # name -> a sequence or array with one value an item
Group = tuple[Hashable, ...]

_TOLERATED = 0.05  # share of resamples without a coefficient that is passed over in silence


def meta_evaluate(
    predictions: Columns | Sequence[Any] | None,
    ratings: Columns | Sequence[Any] | None,
    *,
    verdicts: Mapping[str, Sequence[str | None]] | None = None,
    votes: Sequence[str | None] | None = None,
    by: Columns | None = None,
    clusters: Sequence[Hashable] | None = None,
    statuses: Mapping[str, Sequence[str | None]] | None = None,
    intersect: bool = False,
    average: str | None = None,
    draws: int = 2000,
    seed: int = 0,
    digits: int | None = None,
) -> MetaEvaluation:
    """Measure how well judges agree with people, item by item.

    Args:
        predictions: judge -> one score an item (None or nan where it failed), or the scores of one judge. None reports
            the raters' agreement only.
        ratings: rater -> one rating an item; or one number, or a list of the annotators' numbers, an item.
        verdicts, votes: judge -> one verdict an item on a pair of images, and people's votes (`vote_accuracy`).
        by: column -> group of each item; figures are computed inside each combination. None is a group of its own.
        clusters: label of each item; intervals resample whole clusters (prompts). None is a cluster of its own.
        statuses: judge -> status of each item; a score whose status is not "ok" is left out and counted under it.
        intersect: compare judges, and the ceiling, on the items that every judge has a score for.
        average: also average the groups' coefficients by this rule (`coefficients.average`), in rows of their own.
        draws, seed: resamples for the percentile intervals, inside each group; 0 leaves them None. An average over
            groups resamples the items of each group, or, with `clusters`, clusters of the whole table.
        digits: round predictions to this many decimals before ranking.

    Raises:
        UserError: columns of unequal length, an unknown rule, a rater called "mean" beside others.
    """
    if average is not None:
        check_rule(average)
    check_draws(draws)
    judges = {name: _rounded(scores, digits) for name, scores in _columns(predictions, "prediction").items()}
    raters = _columns(ratings, "annotator")
    if MEAN in raters and len(raters) > 1:
        raise UserError('a rater is called "mean"', "that is the name of the raters' mean", "rename the column")
    size = _size([judges, raters, by or {}, verdicts or {}, {"votes": votes}, {"clusters": clusters}])
    failures = {name: _failures(scores, (statuses or {}).get(name)) for name, scores in judges.items()}
    for name, failed in failures.items():
        judges[name][[status is not None for status in failed]] = np.nan
    table = _Items(size, judges, raters, failures, dict(by or {}), _cluster_labels(clusters), intersect)
    rows, warnings = _rows(table, average, draws, seed) if judges and raters else ([], [])
    return MetaEvaluation(
        rows=rows,
        agreement=[_agreement(table, group) for group in table.groups] if raters else [],
        votes=_votes(table, verdicts or {None: [None] * size}, votes) if votes is not None else [],
        warnings=_different_items(judges, intersect) + _no_verdicts(verdicts or {}) + warnings,
    )


@dataclass(frozen=True)
class _Items:
    """The columns that every row is computed from."""

    size: int
    judges: dict[str, Floats]
    raters: dict[str, Floats]
    failures: dict[str, list[str | None]]
    by: dict[str, Sequence[Any]]
    clusters: list[Hashable] | None
    intersect: bool

    @cached_property
    def groups(self) -> dict[Group, NDArray[np.intp]]:
        """Combination of group values -> its items; one nameless group without `by`."""
        if not self.by:
            return {(): np.arange(self.size)}
        return rows_by_group(list(zip(*self.by.values(), strict=True)))

    @cached_property
    def ratings(self) -> Floats:
        """Items x raters."""
        return np.column_stack(list(self.raters.values()))

    @cached_property
    def compared(self) -> Floats:
        """1 for the items that judges are compared on, nan for those that `intersect` leaves out."""
        missing = np.isnan(np.column_stack(list(self.judges.values()))).any(axis=1)
        return np.where(missing & self.intersect, np.nan, 1.0)

    def named(self, group: Group) -> dict[str, Any]:
        """Group column -> value."""
        return dict(zip(self.by, group, strict=True))


@dataclass(frozen=True)
class _Pair:
    """What one row compares, on the items of its group: one pair of columns, for the ceiling one a rater."""

    group: Group
    judge: str | None
    against: str
    members: NDArray[np.intp]
    columns: list[tuple[Floats, Floats]]


def _pairs(table: _Items) -> Iterator[list[_Pair]]:
    """For each group every judge against the mean and every rater, then the ceiling."""
    standards = {MEAN: rater_mean(table.ratings), **table.raters}
    others, compared = leave_one_out(table.ratings), table.compared
    for group, members in table.groups.items():
        used = compared[members]
        pairs = [
            _Pair(group, judge, against, members, [(scores[members] * used, ratings[members])])
            for judge, scores in table.judges.items()
            for against, ratings in standards.items()
        ]
        held_out = [(one[members] * used, rest[members]) for one, rest in others]
        yield [*pairs, _Pair(group, None, CEILING, members, held_out)]


def _rows(table: _Items, rule: str | None, draws: int, seed: int) -> tuple[list[MetaRow], list[str]]:
    groups = list(_pairs(table))
    resampled = [_draws_inside(table, pairs, draws, [seed, number]) for number, pairs in enumerate(groups)]
    rows = [list(map(partial(_row, table), *columns)) for columns in zip(groups, resampled, strict=True)]
    listed, warnings = [row for members in rows for row in members], _interval_warnings(rows, resampled, draws)
    if rule is None:
        return listed, warnings
    if not table.by:
        return listed, [*warnings, "there is nothing to average without groups (--by)"]
    shares = None
    if table.clusters is not None and draws:
        resampled, shares = _draws_across(table, groups, draws, seed)
    left_out: dict[str, list[str]] = {}
    for members, drawn in zip(zip(*rows, strict=True), zip(*resampled, strict=True), strict=True):
        listed.append(_average_row(table, rule, members, drawn, shares))
        undefined = [
            " ".join(map(group_name, row.by.values())) for row in members if row.figures["spearman"].value is None
        ]
        if undefined:
            left_out.setdefault(", ".join(undefined), []).append(
                f"{members[0].prediction or 'people'} against {members[0].against}"
            )
    warnings += [f"undefined, left out of an average: {which} ({'; '.join(who)})" for which, who in left_out.items()]
    return listed, warnings


def _draws_inside(table: _Items, pairs: Sequence[_Pair], draws: int, seed: Sequence[int]) -> list[Draws]:
    """Resamples of one group by itself, its number of items (or clusters) given; none where it is a single cluster."""
    labels = None if table.clusters is None else [table.clusters[item] for item in pairs[0].members]
    if labels is not None and len(set(labels)) == 1:
        draws = 0
    return _mean_draws(pairs, bootstrap([xy for pair in pairs for xy in pair.columns], draws, seed, labels))


def _draws_across(
    table: _Items, groups: Sequence[Sequence[_Pair]], draws: int, seed: int
) -> tuple[list[list[Draws]], Floats]:
    """Resamples of all clusters at once, for averages over groups that share clusters or are clusters themselves.

    Returns the draws of each group, and how many of its items were drawn over how many it has (groups x resamples).
    """
    pairs = [pair for group in groups for pair in group]
    columns, rows = zip(*((xy, pair.members) for pair in pairs for xy in pair.columns), strict=True)
    drawn = _mean_draws(pairs, bootstrap(columns, draws, seed, table.clusters, rows))
    blocks = bootstrap_weights(table.size, draws, seed, table.clusters)
    members = list(table.groups.values())
    shares = [[weights.take(rows, axis=0).mean(axis=0) for rows in members] for weights in blocks]
    width = len(groups[0])
    return [drawn[start : start + width] for start in range(0, len(drawn), width)], np.concatenate(shares, axis=1)


def _mean_draws(pairs: Sequence[_Pair], drawn: Sequence[Draws]) -> list[Draws]:
    """One set of draws a pair: the mean over its columns."""
    columns = iter(drawn)
    stacks = [[next(columns) for _ in pair.columns] for pair in pairs]
    return [
        {name: average_rows(np.stack([d[name] for d in stack]), "mean") for name in COEFFICIENTS} for stack in stacks
    ]


def _interval_warnings(
    rows: Sequence[Sequence[MetaRow]], resampled: Sequence[Sequence[Draws]], draws: int
) -> list[str]:
    """Warn of rows without an interval, and of intervals on clearly fewer resamples than were drawn."""
    shares, without = [], 0
    for row, drawn in zip(chain(*rows), chain(*resampled), strict=True):
        figure = row.figures["spearman"]
        if figure.ci:
            shares.append(float(np.isnan(drawn["spearman"]).mean()))
        elif figure.value is not None and draws:
            without += 1
    few = [share for share in shares if share > _TOLERATED]
    warnings = [f"{without} rows have no interval: their items are one cluster"] if without else []
    if few:
        warning = f"{len(few)} rows: up to {max(few):.0%} of the resamples have no coefficient"
        warnings.append(f"{warning}; distrust those intervals")
    return warnings


def _row(table: _Items, pair: _Pair, draws: Draws) -> MetaRow:
    if pair.judge is None:
        coefficients = {name: ceiling_of(pair.columns, function) for name, function in COEFFICIENTS.items()}
        failed = {}
    else:
        coefficients = {name: function(*pair.columns[0]) for name, function in COEFFICIENTS.items()}
        failures = table.failures[pair.judge]
        failed = dict(Counter(status for item in pair.members if (status := failures[item])))
    n, by = coefficients["spearman"].n, table.named(pair.group)
    missing = len(pair.members) - n
    return MetaRow(
        pair.judge, pair.against, by, n, missing, _figures(coefficients, draws), _reason(coefficients), failed
    )


def _average_row(
    table: _Items, rule: str, rows: Sequence[MetaRow], draws: Sequence[Draws], shares: Floats | None
) -> MetaRow:
    coefficients = {
        name: average_coefficients([Coefficient(row.figures[name].value, row.n) for row in rows], rule)
        for name in COEFFICIENTS
    }
    sampled = {name: average_rows(np.stack([d[name] for d in draws]), rule, shares) for name in COEFFICIENTS}
    defined = [row for row in rows if row.figures["spearman"].value is not None]
    return MetaRow(
        prediction=rows[0].prediction,
        against=rows[0].against,
        by=dict.fromkeys(table.by, f"average:{rule}"),
        n=sum(row.n for row in defined),
        n_missing=sum(row.n + row.n_missing for row in rows) - sum(row.n for row in defined),
        figures=_figures(coefficients, sampled),
        undefined=_reason(coefficients),
        n_failed=dict(sum((Counter(row.n_failed) for row in rows), Counter())),
    )


def _figures(coefficients: Mapping[str, Coefficient], draws: Draws) -> dict[str, Figure]:
    return {
        name: Figure(c.value, c.p, percentile_interval(draws[name]) if c.value is not None else None)
        for name, c in coefficients.items()
    }


def _reason(coefficients: Mapping[str, Coefficient]) -> str | None:
    """Why figures are undefined: once where all share the reason, else figure by figure."""
    undefined = {name: c.undefined for name, c in coefficients.items() if c.undefined}
    if len(undefined) == len(coefficients) and len(set(undefined.values())) == 1:
        return next(iter(undefined.values()))
    return "; ".join(f"{name}: {reason}" for name, reason in undefined.items()) or None


def _agreement(table: _Items, group: Group) -> AgreementRow:
    ratings = table.ratings[table.groups[group]]
    alphas = {level: krippendorff_alpha(ratings, level) for level in ALPHA_LEVELS}
    fleiss, shares = fleiss_kappa(ratings), percent_agreement(ratings)
    coefficients = {"fleiss_kappa": fleiss, **{f"alpha {level}": alpha for level, alpha in alphas.items()}}
    raters = int((~np.isnan(ratings)).any(axis=0).sum())
    return AgreementRow(
        by=table.named(group),
        n_items=shares.n,
        n_items_complete=fleiss.n,
        n_raters=raters,
        fleiss_kappa=fleiss.value,
        krippendorff_alpha={level: alpha.value for level, alpha in alphas.items()},
        percent_agreement=shares.value,
        undefined="one rater" if raters == 1 else shares.undefined or _reason(coefficients),
    )


def _votes(table: _Items, verdicts: Mapping[Any, Sequence[str | None]], votes: Sequence[str | None]) -> list[VoteRow]:
    rows = []
    for group, members in table.groups.items():
        for judge, cells in verdicts.items():
            accuracy = asdict(vote_accuracy([cells[i] for i in members], [votes[i] for i in members]))
            if judge is None:
                accuracy |= {"four_class_accuracy": None, "pairwise_accuracy_decided": None, "n_unparsed": 0}
            rows.append(VoteRow(judge, table.named(group), **accuracy))
    return rows


def _columns(values: Columns | Sequence[Any] | None, name: str) -> dict[str, Floats]:
    """Named float columns from a mapping, from one number an item, or from a list of numbers an item (gaps padded)."""
    if values is None:
        return {}
    if isinstance(values, Mapping):
        return {key: np.array(as_floats(column)) for key, column in values.items()}
    lists = [isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) for value in values]
    if not any(lists):
        return {name: np.array(as_floats(values))}
    rows = [list(value) if is_list else [value] for value, is_list in zip(values, lists, strict=True)]
    width = max(map(len, rows))
    padded = as_floats([row + [None] * (width - len(row)) for row in rows])
    return {f"{name}_{i + 1}": padded[:, i].copy() for i in range(width)}


def _rounded(scores: Floats, digits: int | None) -> Floats:
    """Scores to so many decimals, as `numpy.round`; one that is too large to have decimals stays as it is."""
    if digits is None:
        return scores
    if not -15 <= digits <= 15:
        raise UserError(f"rounding to {digits} decimals", "float64 holds 15 digits", "give 0 to 15")
    with np.errstate(over="ignore"):
        rounded = np.round(scores, digits)
    return np.where(np.isfinite(rounded), rounded, scores)


def _failures(scores: Floats, statuses: Sequence[str | None] | None) -> list[str | None]:
    """Per item None where the score counts, else the status under which it is missing."""
    words = list(statuses) if statuses is not None else [None] * len(scores)
    if len(words) != len(scores):
        raise UserError(f"{len(words)} statuses for {len(scores)} items", "", "give one status an item")
    stated = [str(status) if status not in (None, "", "ok") else None for status in words]
    return [status or ("missing" if np.isnan(score) else None) for status, score in zip(stated, scores, strict=True)]


def _size(columns: Sequence[Mapping[str, Any]]) -> int:
    named = {name: column for some in columns for name, column in some.items() if column is not None}
    lengths = {name: len(column) for name, column in named.items()}
    if len(set(lengths.values())) > 1:
        raise UserError("columns differ in length", ", ".join(f"{k}: {v}" for k, v in lengths.items()), "align them")
    if not any(lengths.values()):
        raise UserError("there are no items", "nothing can be measured", "give at least one item")
    return next(iter(lengths.values()))


def _cluster_labels(clusters: Sequence[Hashable] | None) -> list[Hashable] | None:
    """Labels with every None made a cluster of its own."""
    if clusters is None:
        return None
    return [(None, item) if label is None else label for item, label in enumerate(clusters)]


def _no_verdicts(verdicts: Mapping[str, Sequence[str | None]]) -> list[str]:
    strange = [judge for judge, cells in verdicts.items() if any(cells) and not any(cell in VERDICTS for cell in cells)]
    return [f"no cell of {judge} is a verdict ({', '.join(VERDICTS)}): all count as wrong" for judge in strange]


def _different_items(judges: Mapping[str, Floats], intersect: bool) -> list[str]:
    present = {name: ~np.isnan(scores) for name, scores in judges.items()}
    if intersect or len({mask.tobytes() for mask in present.values()}) < 2:
        return []
    counts = ", ".join(f"{name} {mask.sum()}" for name, mask in present.items())
    common = np.logical_and.reduce(list(present.values())).sum()
    return [f"judges stand on different items ({counts}); --intersect compares them on the {common} that all scored"]
