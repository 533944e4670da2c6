"""Every judge against every annotator, against their mean and the human ceiling: figures and intervals.

Each figure comes with the number of items behind it. Items on which a judge failed are left out and counted by status,
never filled in. An undefined figure is None, with the reason. `sampling` says what the intervals resample.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..stats.agreement import ALPHA_LEVELS, fleiss_kappa, krippendorff_alpha, percent_agreement
from ..stats.coefficients import Floats
from ..stats.columns import Column
from ..stats.resampling import check_draws
from ..stats.spread import NOTHING
from ..wording import counted
from .averages import Rules, average_rules, averages, depth
from .items import (
    CEILING,
    MEAN,
    Columns,
    Failures,
    Group,
    Items,
    Rows,
    cluster_codes,
    common_size,
    named_columns,
    rounded,
)
from .judges import comparison_rows
from .pairs import candidate_rows, pair_rows, vote_rows, without_verdicts
from .report import AgreementRow, Figure, MetaRow, group_name
from .rows import Comparison, Spreads, comparisons, contributed, drawn, figures_of, reason_of, row_of
from .sampling import Design
from .systems import system_rows
from .tables import MetaEvaluation

__all__ = ["CEILING", "MEAN", "meta_evaluate"]

_TOLERATED = 0.05  # share of resamples without a coefficient that is passed over in silence
_NAMED = 10  # groups that a warning names


def meta_evaluate(
    predictions: Columns | Sequence[Any] | None,
    ratings: Columns | Sequence[Any] | None,
    *,
    verdicts: Mapping[str, Sequence[str | None]] | None = None,
    votes: Sequence[str | None] | None = None,
    pair_scores: Mapping[str, tuple[Any, Any]] | None = None,
    by: Columns | None = None,
    clusters: Sequence[Hashable] | None = None,
    groups: str | None = None,
    statuses: Mapping[str, Sequence[str | None]] | None = None,
    intersect: bool = False,
    average: str | Sequence[str] | None = None,
    systems: Sequence[Hashable] | None = None,
    candidates: Sequence[Hashable] | None = None,
    compare: bool = False,
    draws: int = 2000,
    seed: int = 0,
    digits: int | None = None,
) -> MetaEvaluation:
    """Measure how well judges agree with people, item by item.

    Args:
        predictions: judge -> one score per item (None, nan: it failed), or one judge's; None: only raters are measured.
        ratings: rater -> one rating per item; or per item one number, or a list of the annotators' numbers.
        votes: people's vote on each pair of images (`preferences.parse_vote`).
        verdicts: judge -> its verdict on each pair (`preferences.parse_verdict`).
        pair_scores: judge -> its scores of the first and of the second image of each pair.
        by: column -> group of each item. Figures are computed inside each combination of groups; None is a group, too.
        clusters: cluster of each item, such as its prompt; intervals resample them whole. None: one by itself.
        groups: what an average resamples: "sampled" whole groups, "fixed" inside each. None: `Design.of` decides.
        statuses: judge -> status of each item. A score with another status than "ok" is left out and counted.
        intersect: use only the items that every judge has scored, also for the ceiling.
        average: also average the groups by this rule (`coefficients.average`); or one per column of `by`, last first.
        systems: generator of each item, for rank correlations of their means and soft pairwise accuracy.
        candidates: the set of images that each item belongs to, for best-of-K accuracy.
        compare: also test every two judges against each other.
        draws, seed: number of resamples for the intervals, and their seed; 0 resamples give no intervals.
        digits: round predictions to this many decimals before ranking.

    Raises:
        UserError: columns differ in length, a rule is unknown, or one of several raters is called "mean".
    """
    check_draws(draws)
    rules = average_rules(average, list(by or {}))
    judges = {name: rounded(scores, digits) for name, scores in named_columns(predictions, "prediction").items()}
    raters = named_columns(ratings, "annotator")
    beside = _Beside(verdicts or {}, votes, pair_scores or {}, systems, candidates, compare)
    items, warnings = _items(judges, raters, by or {}, clusters, statuses or {}, intersect, beside.columns())
    design = Design.of(items, groups)
    rows, more, ceilings = _rows(items, design, rules, draws, seed) if raters else ([], [], {})
    return MetaEvaluation(
        rows=rows if judges else [row for row in rows if depth(row) and row.figures["spearman"].value is not None],
        agreement=[_agreement(items, group, ceiling) for group, ceiling in ceilings.items()],
        agreement_overall=_overall(items) if raters and by else None,
        warnings=[*warnings, *without_verdicts(verdicts or {}), *(more if judges else [])],
        sampling=design.to_json(draws, seed),
        footnote=design.sentence(draws, bool(rules and by)),
        **beside.rows(items, design, draws, seed),
    )


@dataclass(frozen=True)
class _Beside:
    """What is measured besides single items: pairs, choices among images, generators, and judge against judge."""

    verdicts: Mapping[str, Sequence[str | None]]
    votes: Sequence[str | None] | None
    scores: Mapping[str, tuple[Any, Any]]  # of both images of a pair
    systems: Sequence[Hashable] | None
    candidates: Sequence[Hashable] | None
    compare: bool

    def columns(self) -> dict[str, Any]:
        """All columns by name."""
        sides = {f"{name} {side}": pair[i] for name, pair in self.scores.items() for i, side in enumerate("ab")}
        return {"votes": self.votes, "systems": self.systems, "candidates": self.candidates, **self.verdicts, **sides}

    def rows(self, items: Items, design: Design, draws: int, seed: int) -> dict[str, list[Any]]:
        """Fields of `MetaEvaluation`; empty where there is nothing to measure."""
        found: dict[str, list[Any]] = {"votes": [], "pairs": [], "candidates": [], "systems": [], "comparisons": []}
        if self.votes is not None and self.scores:
            found["pairs"] = pair_rows(items, design, self.scores, self.votes, draws, seed)
        elif self.votes is not None:
            found["votes"] = vote_rows(items, design, self.verdicts or None, self.votes, draws, seed)
        if items.judges and items.raters:
            if self.candidates is not None:
                found["candidates"] = candidate_rows(items, design, self.candidates, draws, seed)
            if self.systems is not None:
                found["systems"] = system_rows(items, self.systems, draws, seed)
            if self.compare:
                found["comparisons"] = comparison_rows(items, draws, seed)
        return found


def _items(
    judges: Mapping[str, Floats],
    raters: Mapping[str, Floats],
    by: Columns,
    clusters: Sequence[Hashable] | None,
    statuses: Mapping[str, Sequence[str | None]],
    intersect: bool,
    others: Columns,
) -> tuple[Items, list[str]]:
    """The table of items without failures, and a warning where judges have different items.

    Raises:
        UserError: columns of unequal length (`others` among them), or a rater called "mean" beside others.
    """
    if MEAN in raters and len(raters) > 1:
        raise UserError('A rater has the name "mean"', "This name is used for the raters' mean", "Rename the column")
    size = common_size([judges, raters, by, {"clusters": clusters, **others}])
    failures = {name: Failures.of(scores, statuses.get(name)) for name, scores in judges.items()}
    gaps = {name: failed.codes > 0 for name, failed in failures.items()}
    left_out = np.logical_or.reduce(list(gaps.values())) if intersect and gaps else None
    items = Items(
        size,
        {name: Column.of(np.where(_or(gaps[name], left_out), np.nan, scores)) for name, scores in judges.items()},
        {name: Column.of(ratings) for name, ratings in raters.items()},
        failures,
        dict(by),
        cluster_codes(clusters),
        left_out,
    )
    return items, _different_items(judges, failures, intersect)


def _or(own: NDArray[np.bool_], every: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    return own if every is None else every


def _rows(
    items: Items, design: Design, rules: Rules, draws: int, seed: int
) -> tuple[list[MetaRow], list[str], dict[Group, MetaRow]]:
    """Rows, warnings, and the ceiling of each group."""
    groups = list(comparisons(items))
    spreads = [_spreads(items, design, group, draws, [seed, number]) for number, group in enumerate(groups)]
    rows = [
        [row_of(items, design, one, spread) for one, spread in zip(group, spread_of, strict=True)]
        for group, spread_of in zip(groups, spreads, strict=True)
    ]
    ceilings = {group[-1].group: row[-1] for group, row in zip(groups, rows, strict=True)}
    listed, warnings = [row for members in rows for row in members], _interval_warnings(rows, spreads, draws)
    if rules and not items.by:
        warnings.append("there is nothing to average without groups (--by)")
    elif rules:
        listed += averages(items, design, groups, rows, spreads, rules, draws, seed)
        warnings += _left_out(rows)
    return listed, warnings, ceilings


def _spreads(
    items: Items, design: Design, group: Sequence[Comparison], draws: int, seed: Sequence[int]
) -> list[Spreads]:
    if not draws:
        return [dict.fromkeys(("spearman", "kendall_tau_b", "pearson"), NOTHING) for _ in group]
    return [contributed(items, one) for one in group] if design.analytic else drawn(items, group, draws, seed)


def _interval_warnings(
    rows: Sequence[Sequence[MetaRow]], spreads: Sequence[Sequence[Spreads]], draws: int
) -> list[str]:
    """Warn of rows without an interval, and of intervals that rest on clearly fewer resamples than were drawn."""
    shares, without = [], 0
    for row, spread in zip((r for group in rows for r in group), (s for group in spreads for s in group), strict=True):
        figure = row.figures["spearman"]
        if figure.ci:
            shares.append(spread["spearman"].share_undefined)
        elif figure.value is not None and draws:
            without += 1
    few = [share for share in shares if share > _TOLERATED]
    alone = counted(without, "row has no interval: all its items", "rows have no interval: all their items")
    warnings = [f"{alone} are in one cluster"] if without else []
    if few:
        warning = f"{counted(len(few), 'row')}: up to {max(few):.0%} of the resamples have no coefficient"
        warnings.append(f"{warning}; do not rely on these intervals")
    return warnings


def _left_out(rows: Sequence[Sequence[MetaRow]]) -> list[str]:
    """Warn of groups that an average leaves out. If all are undefined, the row of the average says so itself."""
    left_out: dict[str, list[str]] = {}
    for members in zip(*rows, strict=True):
        undefined = [
            " ".join(map(group_name, row.by.values())) for row in members if row.figures["spearman"].value is None
        ]
        if undefined and len(undefined) < len(members):
            which = ", ".join(undefined[:_NAMED])
            which += f" and {len(undefined) - _NAMED} more" if len(undefined) > _NAMED else ""
            left_out.setdefault(which, []).append(f"{members[0].prediction or 'people'} against {members[0].against}")
    return [f"undefined, left out of an average: {which} ({'; '.join(who)})" for which, who in left_out.items()]


def _agreement(items: Items, group: Group, ceiling: MetaRow) -> AgreementRow:
    row = _agreement_of(items, items.groups[group], items.named(group), ceiling.figures)
    return replace(row, note=ceiling.note)


def _overall(items: Items) -> AgreementRow:
    """Agreement on all items, groups aside, with the ceiling and no interval."""
    whole = np.arange(items.size)
    ceiling = Comparison.of((), None, CEILING, whole, items.held_out)
    figures = figures_of(ceiling.coefficients(), dict.fromkeys(ceiling.coefficients(), NOTHING))
    return _agreement_of(items, whole, {}, figures)


def _agreement_of(items: Items, members: Rows, by: dict[str, Any], ceiling: dict[str, Figure]) -> AgreementRow:
    ratings = items.ratings[members]
    alphas = {level: krippendorff_alpha(ratings, level) for level in ALPHA_LEVELS}
    fleiss, shares = fleiss_kappa(ratings), percent_agreement(ratings)
    coefficients = {"fleiss_kappa": fleiss, **{f"alpha {level}": alpha for level, alpha in alphas.items()}}
    raters = int((~np.isnan(ratings)).any(axis=0).sum())
    return AgreementRow(
        by=by,
        n_items=shares.n,
        n_items_complete=fleiss.n,
        n_raters=raters,
        fleiss_kappa=fleiss.value,
        krippendorff_alpha={level: alpha.value for level, alpha in alphas.items()},
        percent_agreement=shares.value,
        undefined="one rater" if raters == 1 else shares.undefined or reason_of(coefficients),
        ceiling=ceiling,
    )


def _different_items(judges: Columns, failures: Mapping[str, Failures], intersect: bool) -> list[str]:
    present = {name: failures[name].codes == 0 for name in judges}
    if intersect or len({mask.tobytes() for mask in present.values()}) < 2:
        return []
    counts = ", ".join(f"{name} {mask.sum()}" for name, mask in present.items())
    common = np.logical_and.reduce(list(present.values())).sum()
    return [
        f"judges have scores for different items ({counts}); --intersect compares them on the {common} that all scored"
    ]
