"""One row per judge and standard inside each group: coefficients, their spreads, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..stats.agreement import average
from ..stats.coefficients import COEFFICIENTS, Coefficient
from ..stats.columns import Column, coefficients
from ..stats.influence import unit_contributions
from ..stats.resampling import bootstrap
from ..stats.spread import Spread, averaged
from .items import CEILING, MEAN, Group, Items, Rows
from .report import Figure, MetaRow
from .sampling import FEW_UNITS, Design, units_inside

Spreads = dict[str, Spread]  # coefficient -> spread


@dataclass(frozen=True)
class Comparison:
    """What one row compares, on the items of its group: one pair of columns, for the ceiling one per rater."""

    group: Group
    judge: str | None
    against: str
    members: Rows
    columns: list[tuple[Column, Column]]
    figures: list[dict[str, Coefficient]]  # of each pair of columns

    @classmethod
    def of(
        cls, group: Group, judge: str | None, against: str, members: Rows, columns: list[tuple[Column, Column]]
    ) -> Comparison:
        """Compute its figures."""
        return cls(group, judge, against, members, columns, [coefficients(x, y, members) for x, y in columns])

    def coefficients(self) -> dict[str, Coefficient]:
        """The row's figures: those of its pair, or for the ceiling the mean over raters (`agreement.human_ceiling`)."""
        if self.judge is not None:
            return self.figures[0]
        both = [x.present[self.members] & y.present[self.members] for x, y in self.columns]
        n = int(np.any(both, axis=0).sum())
        return {name: self._ceiling(name, n) for name in COEFFICIENTS}

    def _ceiling(self, name: str, n: int) -> Coefficient:
        mean = average([figures[name] for figures in self.figures])
        if mean.value is not None:
            return Coefficient(mean.value, n)
        one = "one rater" if len(self.columns) < 2 else "no rater's coefficient with the others is defined"
        return Coefficient(None, n, undefined=one)

    def mean_over_raters(self, spreads: Sequence[Spreads]) -> Spreads:
        """The row's spread out of those of its pairs of columns."""
        if self.judge is not None:
            return spreads[0]
        values = {name: [figures[name].value for figures in self.figures] for name in COEFFICIENTS}
        return {
            name: averaged([spread[name] for spread in spreads], values[name], "mean", shared=True)
            for name in COEFFICIENTS
        }


def comparisons(items: Items) -> Iterator[list[Comparison]]:
    """For each group every judge against the mean and every rater, then the ceiling."""
    standards = {MEAN: items.mean, **items.raters}
    for group, members in items.groups.items():
        pairs = [
            Comparison.of(group, judge, against, members, [(scores, ratings)])
            for judge, scores in items.judges.items()
            for against, ratings in standards.items()
        ]
        yield [*pairs, Comparison.of(group, None, CEILING, members, items.held_out)]


def drawn(items: Items, compared: Sequence[Comparison], draws: int, seed: Sequence[int]) -> list[Spreads]:
    """Spreads of one group's rows from resamples of its items or clusters."""
    labels = items.cluster_labels(compared[0].members)
    columns = [(x.values[one.members], y.values[one.members]) for one in compared for x, y in one.columns]
    found = iter(bootstrap(columns, draws, seed, labels))
    every = [
        [{name: Spread(d[name]) for name in COEFFICIENTS} for _, d in zip(one.columns, found, strict=False)]
        for one in compared
    ]
    return [one.mean_over_raters(spreads) for one, spreads in zip(compared, every, strict=True)]


def contributed(items: Items, one: Comparison, shared: bool = False) -> Spreads:
    """Spreads of one row from the contributions of its units; with `shared`, units are the whole table's clusters."""
    if shared and items.clusters is not None:
        units, size = items.clusters[one.members], int(items.clusters.max()) + 1
    else:
        units, size = units_inside(items, one.members)
    spreads = []
    for (x, y), figures in zip(one.columns, one.figures, strict=True):
        both = np.flatnonzero(x.present[one.members] & y.present[one.members])
        freedom = len(np.unique(units[both])) - 1
        if any(figure.value is None for figure in figures.values()) or freedom < 1:
            spreads.append(dict.fromkeys(COEFFICIENTS, Spread(np.zeros(size), 0)))
            continue
        parts = unit_contributions(x, y, one.members[both], units[both], size)
        spreads.append({name: Spread(parts[name], freedom) for name in COEFFICIENTS})
    return one.mean_over_raters(spreads)


def row_of(items: Items, design: Design, one: Comparison, spreads: Spreads) -> MetaRow:
    """The row that is reported."""
    found, failed = one.coefficients(), {}
    if one.judge is not None:
        failed = items.failures[one.judge].counts(one.members)
    n, by = found["spearman"].n, items.named(one.group)
    units = units_of(items, one)
    if units < 2:
        found = {name: replace(figure, p=None) for name, figure in found.items()}  # of independent items
    figures = figures_of(found, spreads)
    few = units < FEW_UNITS and any(figure.ci for figure in figures.values())
    return MetaRow(
        one.judge, one.against, by, n, len(one.members) - n, figures, reason_of(found), failed,
        unit=design.unit, n_units=units, method=design.method, note=few_units(units, design.unit) if few else None,
    )  # fmt: skip


def units_of(items: Items, one: Comparison) -> int:
    """Items, or clusters, that a row's figures stand on."""
    both = np.any([x.present[one.members] & y.present[one.members] for x, y in one.columns], axis=0)
    return int(both.sum()) if items.clusters is None else len(np.unique(items.clusters[one.members[both]]))


def few_units(units: int, unit: str) -> str:
    """The warning that stands beside an interval on few units, or instead of one."""
    return f"{units} {unit}: a rough interval" if units > 1 else f"fewer than two {unit}: no interval"


def figures_of(found: Mapping[str, Coefficient], spreads: Spreads) -> dict[str, Figure]:
    """Coefficients with their intervals."""
    return {name: Figure(c.value, c.p, spreads[name].interval(c.value)) for name, c in found.items()}


def reason_of(found: Mapping[str, Coefficient]) -> str | None:
    """Why figures are undefined: once where all share the reason, else figure by figure."""
    undefined = {name: c.undefined for name, c in found.items() if c.undefined}
    if len(undefined) == len(found) and len(set(undefined.values())) == 1:
        return next(iter(undefined.values()))
    return "; ".join(f"{name}: {reason}" for name, reason in undefined.items()) or None
