"""Compares two judges: which agrees better with people, and could that be chance?"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from ..errors import UserError
from ..stats.coefficients import COEFFICIENTS
from ..stats.resampling import holm, paired_bootstrap, permutation_test
from ..stats.williams import williams_test
from .items import Items
from .report import ComparisonRow
from .sampling import ANALYTIC_ITEMS

_MOST = 100  # judges: 4,950 pairs


def comparison_rows(items: Items, draws: int, seed: int) -> list[ComparisonRow]:
    """Compare every two judges on the items that both scored, against the raters' mean, by each coefficient.

    p-values: paired bootstrap, paired permutation, and for Pearson Williams' test, each also by Holm over all pairs of
    judges. Williams' test supposes independent items: with clusters it is refused, with the reason in the row.

    Raises:
        UserError: fewer than two judges, or too many, no resamples, or more items than can be resampled in time.
    """
    if len(items.judges) < 2:
        raise UserError(
            "One judge cannot be compared", "A comparison needs two judges", "Name another one with --prediction"
        )
    if len(items.judges) > _MOST:
        fact = f"There are {len(items.judges):,} judges; at most {_MOST} can be compared"
        raise UserError(fact, "Every two are compared, each by resampling", "Name fewer with --prediction")
    if not draws:
        raise UserError("Judges are compared by resampling", "There are 0 resamples", "Leave out --bootstrap")
    if items.size > ANALYTIC_ITEMS:
        reason = f"Resampling more than {ANALYTIC_ITEMS} items takes too long"
        raise UserError(
            f"Judges are not compared on {items.size} items", reason, "Compare them on fewer items (--where)"
        )
    labels = items.cluster_labels(np.arange(items.size))
    rows = [
        row for a, b in itertools.combinations(items.judges, 2) for row in _compared(items, a, b, labels, draws, seed)
    ]
    for name in COEFFICIENTS:
        for test in ("bootstrap", "permutation", "williams"):
            places = [place for place, row in enumerate(rows) if row.coefficient == name]
            adjusted = holm([rows[place].p[test] for place in places])
            for place, p in zip(places, adjusted, strict=True):
                rows[place] = replace(rows[place], p_holm={**rows[place].p_holm, test: p})
    return rows


def _compared(items: Items, a: str, b: str, labels: list[object] | None, draws: int, seed: int) -> list[ComparisonRow]:
    columns = items.judges[a].values, items.judges[b].values, items.mean.values
    resampled = paired_bootstrap(*columns, draws, seed, labels)
    exchanged = permutation_test(*columns, draws, seed, labels)
    rows = []
    for name in COEFFICIENTS:
        found, note, williams = resampled[name], None, None
        if name == "pearson" and labels is not None:
            note = "no Williams' test: items of a cluster are not independent"
        elif name == "pearson":
            test = williams_test(*columns)
            williams, note = test.p, test.undefined
        p = {"bootstrap": found.p, "permutation": exchanged[name].p, "williams": williams}
        rows.append(ComparisonRow(a, b, name, found.n, found.difference, found.ci, p, {}, found.undefined, note))
    return rows
