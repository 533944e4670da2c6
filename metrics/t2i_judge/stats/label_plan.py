"""How many units people have to label for a wanted width of the 95% interval of `people_mean`, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from ..wording import counted
from .coefficients import LARGE, Floats, as_floats
from .estimates import APPROXIMATE, REFUSED, check_size

_DRAWS, _LIKELY = 200, (0.1, 0.9)  # resamples of the labelled units, and the quantiles of `Need.likely`
_ROOM = 1_000_000  # labels of resamples in memory


@dataclass(frozen=True)
class Spread:
    """What the width depends on, a unit: variances of label and score, and their covariance.

    Label and covariance are numbers, or arrays of one length: those of as many samples.
    """

    label: Floats | float
    score: float
    covariance: Floats | float

    def width(self, labelled: NDArray[np.int_] | int, units: int, level: float = 0.95) -> Floats:
        """Expected width when so many of all units are labelled at random (PPI++ at its best weight, in [0, 1])."""
        from scipy import special

        rest = np.asarray(units - labelled)
        weight: Floats | float = 0.0
        if self.score > 0:
            with np.errstate(divide="ignore"):
                best = self.covariance / (self.score * (1 + labelled / rest))
            weight = np.where(rest > 1, np.clip(best, 0.0, 1.0), 0.0)
        residual = self.label - 2 * weight * self.covariance + weight**2 * self.score
        variance = weight**2 * self.score / np.maximum(rest, 1) + residual / labelled
        width: Floats = 2 * special.ndtri((1 + level) / 2) * np.sqrt(np.maximum(variance, 0.0))
        return width

    def needed(self, width: float, units: int) -> NDArray[np.int_]:
        """Fewest labelled units, at least 30, whose width is small enough; `units` + 1 where all are too few."""
        low, high = np.full(np.shape(self.label), min(REFUSED, units + 1)), np.full(np.shape(self.label), units + 1)
        while (low < high).any():
            middle = (low + high) // 2
            fits = self.width(middle, units) <= width
            low, high = np.where((low < high) & ~fits, middle + 1, low), np.where(fits, middle, high)
        return low


@dataclass(frozen=True)
class Need:
    """Labels for one mean. All in units (prompts), widths in units of the labels.

    labelled, units: labelled now, and all. width_now: expected with the labels there are. needed: in all, None where
    no number is enough, or not known; likely: needed, 10% to 90% of resamples of the labelled units. note: why.
    """

    labelled: int
    units: int
    width_now: float | None
    needed: int | None
    likely: tuple[int, int] | None = None
    note: str | None = None

    @property
    def more(self) -> int:
        """Units to label next."""
        return max(0, (self.needed or 0) - self.labelled)


def need(labels: ArrayLike, judged: ArrayLike, width: float, known: tuple[float, float] | None = None) -> Need:
    """Units to label for an interval of `width`, from those that are labelled already.

    Args:
        labels, judged: one per unit, as for `people_mean`.
        width: of the whole interval, upper less lower end, in units of the labels.
        known: standard deviation of the labels and their correlation with the scores, where too few are labelled.

    With fewer than 30 labelled units and nothing known, the first 100 are needed to know the spread.

    Raises:
        UserError: a width that is not above 0, a correlation outside -1 to 1, columns of different length, numbers
            whose squares have no sum.
    """
    labels, judged = as_floats(labels), as_floats(judged)
    if not (width > 0 and math.isfinite(width)):
        raise UserError(
            f"The width is {width}", "It is the width of an interval, in units of the labels", "Give a number above 0"
        )
    if labels.shape != judged.shape:
        raise UserError("The columns differ in length", "Each unit has one label and one score", "Align them by unit")
    check_size(labels, judged)
    labels, judged = labels[~np.isnan(judged)], judged[~np.isnan(judged)]
    y, f, units = labels[~np.isnan(labels)], judged[~np.isnan(labels)], len(judged)
    score = float(judged.var(ddof=1)) if units > 1 else 0.0
    if len(y) < REFUSED and known is None:
        few = counted(len(y), "labelled unit is", "labelled units are")
        reason = f"{few} too few to plan with: label {APPROXIMATE} drawn at random, then plan again"
        return Need(len(y), units, None, min(APPROXIMATE, units), note=reason)
    spread = _spread(y, f, score) if known is None else _stated(*known, score)
    now = float(spread.width(len(y), units)) if len(y) >= REFUSED else None
    needed = int(spread.needed(width, units))
    if needed > units:
        best = (
            f"all {units} labelled would give {spread.width(units, units):.3g}" if units else "there are no more units"
        )
        return Need(len(y), units, now, None, note=f"cannot be reached with these units: {best}")
    note = f"approximate below {APPROXIMATE} labelled units" if needed < APPROXIMATE else None
    return Need(len(y), units, now, needed, _likely(y, f, score, width, units) if known is None else None, note)


def _spread(y: Floats, f: Floats, score: float) -> Spread:
    """Of labels and scores of the labelled units, in the last axis."""
    y, f, less = y - y.mean(axis=-1, keepdims=True), f - f.mean(axis=-1, keepdims=True), y.shape[-1] - 1
    return Spread((y * y).sum(axis=-1) / less, score, (y * f).sum(axis=-1) / less)


def _stated(deviation: float, correlation: float, score: float) -> Spread:
    if not -1 <= correlation <= 1 or not 0 <= deviation <= LARGE:
        raise UserError(
            f"The correlation is {correlation} and the deviation {deviation}",
            "",
            f"Give a correlation of -1 to 1 and a deviation of 0 to {LARGE:g}",
        )
    return Spread(deviation**2, score, correlation * deviation * math.sqrt(score))


def _likely(y: Floats, f: Floats, score: float, width: float, units: int) -> tuple[int, int]:
    """Quantiles of what resamples of the labelled units would need; one that needs too many counts as all of them."""
    rng, wanted = np.random.default_rng(0), []
    for draws in np.array_split(np.arange(_DRAWS), min(_DRAWS, _DRAWS * len(y) // _ROOM + 1)):
        rows = rng.integers(0, len(y), (len(draws), len(y)))
        wanted.append(_spread(y[rows], f[rows], score).needed(width, units))
    low, high = np.quantile(np.minimum(np.concatenate(wanted), units), _LIKELY)
    return math.floor(low), math.ceil(high)


def next_units(needs: Sequence[tuple[Need, NDArray[np.bool_]]], candidates: Sequence[str], seed: int) -> list[str]:
    """Units to label next, drawn at random until every need is met or none is left.

    Args:
        needs: each with which of the candidates count for it.
        candidates: units that are not labelled yet.
        seed: of the order; the same order is only cut at another place by another width.

    Nothing but chance may choose: units picked for what the judge thinks of them would bias the estimate.
    """
    missing = np.asarray([one.more for one, _ in needs])
    counts = np.asarray([own for _, own in needs], dtype=bool).reshape(len(needs), len(candidates))
    chosen = []
    for place in np.random.default_rng(seed).permutation(len(candidates)):
        if not (missing > 0).any():
            break
        own = np.flatnonzero(counts[:, place])
        if (missing[own] > 0).any():
            chosen.append(candidates[place])
            missing[own] -= 1
    return chosen
