"""Generators as a judge ranks them and as people do: correlations of their means, soft pairwise accuracy."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..stats.coefficients import COEFFICIENTS, Floats, system_level
from ..stats.spread import Spread
from ..stats.systems import SystemTable, resampled_accuracy, resampled_means, soft_pairwise_accuracy
from ..stats.units import check_systems
from ..stats.weighted import WeightedPair
from .items import Items
from .report import Figure, SystemRow
from .rows import few_units, reason_of
from .sampling import ANALYTIC_ITEMS, FEW_UNITS

_BLOCK = 64  # resamples in hand


def system_rows(items: Items, systems: Sequence[Hashable], draws: int, seed: int) -> list[SystemRow]:
    """Each judge against the raters' mean over the systems (one label per item, None left out).

    With clusters, prompts are resampled for all systems at once, and soft pairwise accuracy pairs them; without, it
    has no pairs and is None with the reason, and items are resampled inside each system. Raises `UserError` for more
    systems than can be compared.
    """
    check_systems(len({label for label in systems if label is not None}), "Keep some of them with --where")
    known = np.asarray([label is not None for label in systems])
    rows = []
    for judge, column in items.judges.items():
        x, y = np.where(known, column.values, np.nan), items.mean.values
        coefficients = {name: system_level(x, y, systems, function) for name, function in COEFFICIENTS.items()}
        both = ~(np.isnan(x) | np.isnan(y))
        few = items.size <= ANALYTIC_ITEMS
        own = list(range(items.size)) if few else [None] * items.size  # many are not resampled, and need no columns
        labels = items.clusters.tolist() if items.clusters is not None else own
        table = SystemTable.of(x, y, systems, labels)
        paired = items.clusters is not None and any(table.pairs())
        soft = soft_pairwise_accuracy(table, seed=seed) if paired else None
        inside = items.clusters is None
        alone = _alone(table) if few or items.clusters is not None else None  # it has no columns to count
        drawn, soft_draws = _draws(table, draws if few and not alone else 0, seed, paired, inside)
        figures = {
            name: Figure(c.value, c.p, Spread(drawn[name]).interval(c.value)) for name, c in coefficients.items()
        }
        units = table.judge.shape[1] if items.clusters is not None else int(both.sum())
        unit = "clusters" if items.clusters is not None else "items"
        notes = [
            f"fewer than two {unit} of {alone}: no interval" if draws and alone else None,
            few_units(units, unit) if draws and not alone and units < FEW_UNITS else None,
            None if few or not draws else f"no interval: resampling more than {ANALYTIC_ITEMS} items takes too long",
            None if paired else "soft pairwise accuracy pairs the images of one prompt: name it with --cluster",
        ]
        rows.append(
            SystemRow(
                prediction=judge,
                n_systems=len(table.systems),
                n=int(both.sum()),
                figures=figures,
                soft_pairwise_accuracy=soft,
                soft_pairwise_accuracy_ci=Spread(soft_draws).interval(soft),
                undefined=reason_of(coefficients),
                note="; ".join(filter(None, notes)) or None,
            )
        )
    return rows


def _alone(table: SystemTable) -> str | None:
    """A system whose mean stands on one unit, so that nobody knows how far it would vary; None if there is none."""
    counts = (~np.isnan(table.judge)).sum(axis=1).tolist()
    return next((str(name) for name, count in zip(table.systems, counts, strict=True) if count < 2), None)


def _draws(table: SystemTable, draws: int, seed: int, paired: bool, inside: bool) -> tuple[dict[str, Floats], Floats]:
    """Coefficients of the systems' means, and soft pairwise accuracy, in each resample of prompts (or items)."""
    found: dict[str, list[Floats]] = {name: [] for name in COEFFICIENTS}
    soft: list[Floats] = []
    owners = np.argmax(~np.isnan(table.judge), axis=0) if inside and table.systems else None  # an item is of one system
    for weights in _weights(table, draws, seed, owners):
        means = [resampled_means(scores, weights) for scores in (table.judge, table.people)]
        values = [_of_means(x, y) for x, y in zip(means[0].T, means[1].T, strict=True)]
        for name in COEFFICIENTS:
            found[name].append(np.asarray([value[name] for value in values]))
        if paired:
            soft.append(resampled_accuracy(table, weights))
    empty = [np.empty(0)]
    return {name: np.concatenate(parts or empty) for name, parts in found.items()}, np.concatenate(soft or empty)


def _weights(table: SystemTable, draws: int, seed: int, owners: NDArray[np.intp] | None) -> Iterator[Floats]:
    """Blocks of weights, prompts x resamples; where each item has an owner, it is drawn inside that system."""
    n, rng = table.judge.shape[1], np.random.default_rng(seed)
    strata = [np.arange(n)] if owners is None else [np.flatnonzero(owners == owner) for owner in np.unique(owners)]
    for start in range(0, draws if n > 1 else 0, _BLOCK):
        weights = np.zeros((n, min(_BLOCK, draws - start)))
        for members in strata:
            drawn = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=weights.shape[1])
            weights[members] = drawn.T
        yield weights


def _of_means(x: Floats, y: Floats) -> dict[str, float]:
    """The coefficients of systems' means; means are equal where they are as decimals."""
    known = ~(np.isnan(x) | np.isnan(y))
    x, y = (np.asarray([float(f"{value:.12g}") for value in values[known]]) for values in (x, y))
    if len(x) < 3:
        return dict.fromkeys(COEFFICIENTS, np.nan)
    found = WeightedPair(x, y).coefficients(np.ones((len(x), 1)))
    return {name: float(found[name][0]) for name in COEFFICIENTS}
