"""Estimates what people would say on average from many judgements and few labels (prediction-powered inference)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import UserError
from ..wording import counted
from .coefficients import LARGE, Floats, as_floats
from .resampling import Interval

REFUSED, APPROXIMATE = 30, 100  # labelled units below which there is no estimate, and below which it says so
BY_HAND = "the labelled prompts were chosen by hand: the estimates apply only to prompts like them"


@dataclass(frozen=True)
class Estimate:
    """People's mean with its 95% interval, in units of their labels.

    n_labelled, n_unlabelled: units (prompts). weight: how far the judge is believed, 0 (not at all: people's own mean)
    to 1. people_only: mean and interval of the labels alone. note: why there is none, or that it is approximate.
    """

    value: float | None
    ci: Interval | None
    n_labelled: int
    n_unlabelled: int
    weight: float | None = None
    people_only: float | None = None
    people_only_ci: Interval | None = None
    note: str | None = None


def check_size(labels: Floats, judged: Floats) -> None:
    """Raise `UserError` for numbers whose squares have no sum. nan: none is known."""
    if max(np.nanmax(np.abs(column), initial=0.0) for column in (labels, judged)) > LARGE:
        fact = f"A label or a score is larger than {LARGE:g}"
        raise UserError(fact, "Its square is more than float64 holds", "Correct it, or scale the column")


def people_mean(labels: ArrayLike, judged: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean label over all units, labelled or not, when the labelled ones were chosen at random.

    Args:
        labels: one per unit, nan where people did not label it.
        judged: the judge's score of each unit; units without one are left out. The scale does not matter, nor does a
            bias: the labelled units correct both.

    The estimate is mean(weight f) over the unlabelled plus mean(y - weight f) over the labelled units; the weight is
    the one of least variance, kept in [0, 1]. Its interval is normal: below 100 labelled units approximate, below 30
    refused. Source: Angelopoulos, Duchi & Zrnic 2023, PPI++, arXiv 2311.01453 (ppi_mean_ci of ppi-python).
    """
    labels, judged = as_floats(labels), as_floats(judged)
    if labels.shape != judged.shape:
        raise UserError("The columns differ in length", "Each unit has one label and one score", "Align them by unit")
    check_size(labels, judged)
    labels, judged = labels[~np.isnan(judged)], judged[~np.isnan(judged)]
    known = ~np.isnan(labels)
    y, f, rest = labels[known], judged[known], judged[~known]
    n, m = len(y), len(rest)
    units = counted(n, "labelled unit")
    if n < REFUSED:
        return Estimate(None, None, n, m, note=f"{units}: at least {REFUSED} are needed for an interval")
    notes = [f"approximate: {units}"] if n < APPROXIMATE else []
    if np.ptp(y) == 0:  # thirty thumbs up: how many are down elsewhere, the normal interval does not know
        notes.append("all labels are alike, so the interval is too narrow")
    note = "; ".join(notes) or None
    alone, error = float(y.mean()), float(y.std() / math.sqrt(n))
    own = _interval(alone, error, level)
    if m < 2:
        return Estimate(alone, own, n, m, 0.0, alone, own, "; ".join(filter(None, [note, "all are labelled"])))
    weight = _weight(y, f, rest)
    value = float(weight * rest.mean() + (y - weight * f).mean())
    error = math.hypot(weight * rest.std() / math.sqrt(m), (y - weight * f).std() / math.sqrt(n))
    return Estimate(value, _interval(value, error, level), n, m, weight, alone, own, note)


def _weight(y: np.ndarray, f: np.ndarray, rest: np.ndarray) -> float:
    """Covariance of label and score over (1 + n/N) times the score's variance, in [0, 1]."""
    spread = np.concatenate([f, rest]).var(ddof=1) * (1 + len(f) / len(rest))
    covariance = float(((y - y.mean()) * (f - f.mean())).mean())
    return float(np.clip(covariance / spread, 0, 1)) if spread > 0 else 0.0


def _interval(value: float, error: float, level: float) -> Interval:
    from scipy import special

    width = float(special.ndtri((1 + level) / 2)) * error
    return value - width, value + width
