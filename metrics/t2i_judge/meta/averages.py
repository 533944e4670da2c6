"""Averages over groups, one level or nested (models, then tasks, then all), with the spread of the design."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..stats.coefficients import COEFFICIENTS, Coefficient, Floats, check_rule
from ..stats.coefficients import average as average_coefficients
from ..stats.resampling import bootstrap, bootstrap_weights
from ..stats.spread import PERFECT, Spread, averaged, of_sampled_groups
from ..wording import counted
from .items import Group, Items
from .report import MetaRow, group_name
from .rows import Comparison, Spreads, contributed, few_units, figures_of, reason_of
from .sampling import ACROSS, BOOTSTRAP, FEW_UNITS, GROUPS, Design

Rules = tuple[str, ...]  # one for all groups at once, or one per column of `by`, the last column's first


def average_rules(average: str | Sequence[str] | None, by: Sequence[str]) -> Rules:
    """The rules as they were written: RULE, or RULE,RULE,... for averages of averages.

    Raises:
        UserError: an unknown rule, or several rules of another number than the columns of groups.
    """
    if average is None:
        return ()
    rules = tuple(rule.strip() for rule in average.split(",")) if isinstance(average, str) else tuple(average)
    for rule in rules:
        check_rule(rule)
    if len(rules) > 1 and len(rules) != len(by):
        reason = f"The groups have {counted(len(by), 'column')}, the innermost last"
        raise UserError(f"There are {len(rules)} averaging rules", reason, "Give one rule, or one per column of --by")
    return rules


@dataclass(frozen=True)
class Averaged:
    """A judge against a standard in one group of groups: the row, its figures, and their spreads."""

    group: Group
    row: MetaRow
    spreads: Spreads


def averages(
    items: Items,
    design: Design,
    compared: Sequence[Sequence[Comparison]],
    rows: Sequence[Sequence[MetaRow]],
    row_spreads: Sequence[Sequence[Spreads]],
    rules: Rules,
    draws: int,
    seed: int,
) -> list[MetaRow]:
    """Rows of averages, the innermost first; `compared`, `rows`, `row_spreads` are groups x comparisons."""
    spreads = _group_spreads(items, design, compared, row_spreads, draws, seed)
    shares = _shares(items, design, draws, seed) if design.scheme == GROUPS and draws else None
    found: list[MetaRow] = []
    width = len(items.by)
    for place in range(len(compared[0])):
        level = [
            Averaged(one[place].group, row[place], spread[place])
            for one, row, spread in zip(compared, rows, spreads, strict=True)
        ]
        for number, rule in enumerate(rules):
            kept = 0 if len(rules) == 1 else width - number - 1
            sampled = design.scheme == GROUPS and number == 0
            level = _averaged_level(design, level, rule, kept, rules[: number + 1], (sampled, shares), draws)
            found += [one.row for one in level]
    order = {rule: place for place, rule in enumerate(dict.fromkeys(map(depth, found)))}
    return sorted(found, key=lambda row: order[depth(row)])


def depth(row: MetaRow) -> int:
    """Over how many of its columns a row is an average."""
    return sum(str(value).startswith("average:") for value in row.by.values())


def _averaged_level(
    design: Design,
    level: Sequence[Averaged],
    rule: str,
    kept: int,
    rules: Rules,
    sampling: tuple[bool, Floats | None],
    draws: int,
) -> list[Averaged]:
    """Average the groups that share their first `kept` values; `sampling`: are they sampled, and their shares."""
    parents: dict[Group, list[int]] = {}
    for number, one in enumerate(level):
        parents.setdefault(one.group[:kept], []).append(number)
    result = []
    for parent, numbers in parents.items():
        members = [level[number] for number in numbers]
        coefficients, spreads = {}, {}
        for name in COEFFICIENTS:
            values = [one.row.figures[name].value for one in members]
            coefficients[name] = average_coefficients([Coefficient(value, 1) for value in values], rule)
            if sampling[0]:
                known = np.asarray([np.nan if value is None else value for value in values])
                own = None if sampling[1] is None else sampling[1][numbers]
                spreads[name] = of_sampled_groups(known, rule, own) if draws else Spread(np.empty(0))
            else:
                each = [one.spreads[name] for one in members]
                spreads[name] = averaged(each, values, rule, shared=design.scheme == ACROSS)
        row = _average_row(design, [one.row for one in members], coefficients, spreads, parent, rules)
        result.append(Averaged(parent, row, spreads))
    return result


def _group_spreads(
    items: Items,
    design: Design,
    compared: Sequence[Sequence[Comparison]],
    row_spreads: Sequence[Sequence[Spreads]],
    draws: int,
    seed: int,
) -> Sequence[Sequence[Spreads]]:
    """The spreads that averages are made of: those of the rows, unless the design wants others."""
    if not draws or design.scheme == GROUPS:
        return row_spreads
    if design.average_method != BOOTSTRAP:
        shared = design.scheme == ACROSS
        return [[contributed(items, one, shared) for one in group] for group in compared]
    if design.scheme == ACROSS:
        return _drawn_across(items, compared, draws, seed)
    return row_spreads


def _drawn_across(items: Items, compared: Sequence[Sequence[Comparison]], draws: int, seed: int) -> list[list[Spreads]]:
    """Resamples of all clusters at once, for groups that share them."""
    flat = [one for group in compared for one in group]
    columns = [((x.values[one.members], y.values[one.members]), one.members) for one in flat for x, y in one.columns]
    labels = items.cluster_labels(np.arange(items.size))
    found = iter(bootstrap([pair for pair, _ in columns], draws, seed, labels, [rows for _, rows in columns]))
    every = [
        one.mean_over_raters(
            [{name: Spread(d[name]) for name in COEFFICIENTS} for _, d in zip(one.columns, found, strict=False)]
        )
        for one in flat
    ]
    width = len(compared[0])
    return [every[start : start + width] for start in range(0, len(every), width)]


def _shares(items: Items, design: Design, draws: int, seed: int) -> Floats | None:
    """How often each group is drawn, groups x resamples; None where their average is worked out instead."""
    if design.average_method != BOOTSTRAP:
        return None
    labels = None
    if items.clusters is not None and design.average_units[0] == "clusters":
        labels = [items.clusters[members[0]] for members in items.groups.values()]
    blocks = bootstrap_weights(design.n_groups, draws, [seed, 0], labels)
    return np.concatenate([block.astype(np.float64) for block in blocks], axis=1)


def _average_row(
    design: Design,
    rows: Sequence[MetaRow],
    coefficients: dict[str, Coefficient],
    spreads: Spreads,
    parent: Group,
    rules: Rules,
) -> MetaRow:
    names = list(rows[0].by)
    over = names[len(parent) :]
    labels = [f"average:{rule}" for rule in (rules * len(over) if len(rules) == 1 else reversed(rules))]
    by = dict(zip(names, [*parent, *labels], strict=True))
    defined = [row for row in rows if row.figures["spearman"].value is not None]
    unit, units = _units(design, rows)
    figures = figures_of(coefficients, spreads)
    few = units < FEW_UNITS and any(figure.ci for figure in figures.values())
    notes = [few_units(units, unit) if few else None, _alone(design, defined), _perfect_groups(rows, rules[-1])]
    return MetaRow(
        prediction=rows[0].prediction,
        against=rows[0].against,
        by=by,
        n=sum(row.n for row in defined),
        n_missing=sum(row.n + row.n_missing for row in rows) - sum(row.n for row in defined),
        figures=figures,
        undefined=reason_of(coefficients),
        n_failed=dict(sum((Counter(row.n_failed) for row in rows), Counter())),
        unit=unit,
        n_units=units,
        method=design.average_method,
        note="; ".join(filter(None, notes)) or None,
    )


def _units(design: Design, rows: Sequence[MetaRow]) -> tuple[str, int]:
    """What this average resamples, and how many of them it stands on."""
    unit, total = design.average_units
    if unit == "groups":
        defined = [row for row in rows if row.figures["spearman"].value is not None]
        return unit, len(defined) if all(row.unit != "groups" for row in rows) else sum(
            row.n_units or 0 for row in rows
        )
    if design.scheme in (ACROSS, GROUPS):
        return unit, min(total, sum(row.n_units or 0 for row in rows)) if design.scheme == ACROSS else total
    return unit, sum(row.n_units or 0 for row in rows)


def _alone(design: Design, rows: Sequence[MetaRow]) -> str | None:
    """Why an average over groups that stay has no interval: a group in which nothing can be drawn."""
    alone = [" ".join(map(group_name, row.by.values())) for row in rows if row.n_units == 1]
    return f"no interval: {_listed(alone)} in one cluster" if alone and design.scheme != GROUPS else None


def _perfect_groups(rows: Sequence[MetaRow], rule: str) -> str | None:
    """Why an average by Fisher's z is 1 or -1: the groups whose own coefficient is."""
    if rule != "fisher_z":
        return None
    perfect: dict[str, list[str]] = {}
    for row in rows:
        whole = [
            name for name, figure in row.figures.items() if figure.value is not None and abs(figure.value) > PERFECT
        ]
        if whole:
            group = " ".join(map(group_name, row.by.values()))
            perfect.setdefault(", ".join(whole), []).append(f"{group} (n {row.n})")
    parts = [f"{names} of {_listed(groups)}" for names, groups in perfect.items()]
    return f"fisher_z is as large as one group's +-1: {'; '.join(parts)}" if parts else None


def _listed(groups: Sequence[str]) -> str:
    return ", ".join(groups[:3]) + (f" and {len(groups) - 3} more" if len(groups) > 3 else "")
