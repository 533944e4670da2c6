"""The spread of a figure, from resamples or from each unit's contribution to its error; and of averages.

A figure of one group has a spread, an average over groups has one made of theirs, and an interval is read off either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .coefficients import AVERAGES, Floats, average_rows
from .resampling import Interval, percentile_interval

LEVEL = 0.95
PERFECT = 1 - 1e-9  # a coefficient beyond is +-1, but for rounding


@dataclass(frozen=True)
class Spread:
    """Draws: the figure in each resample, nan where it is undefined there. Or contributions: independent parts of its
    error, one per unit, whose squares add up to its variance; `freedom` degrees are left to that sum.
    """

    values: Floats
    freedom: int | None = None  # None: values are draws

    def interval(self, value: float | None, level: float = LEVEL) -> Interval | None:
        """Interval of the figure `value`; None where neither draws nor freedom are left.

        Draws: `percentile_interval`. Contributions: value +- t standard errors on the scale of atanh, on which
        coefficients in [-1, 1] are nearer to normal (Fisher 1921); a coefficient of +-1 is its own interval.
        """
        if value is None:
            return None
        if self.freedom is None:
            return percentile_interval(self.values, level)
        if self.freedom < 1 or np.isnan(self.values).any():
            return None
        if abs(value) >= 1:
            return value, value
        from scipy import special

        error = math.sqrt(self.values @ self.values) / (1 - value**2)
        width = float(special.stdtrit(self.freedom, (1 + level) / 2)) * error
        return math.tanh(math.atanh(value) - width), math.tanh(math.atanh(value) + width)

    @property
    def unknown(self) -> bool:
        """Whether nothing is known of it: no draw is defined, or no freedom is left (one unit)."""
        return bool(np.isnan(self.values).all()) if self.freedom is None else self.freedom < 1

    @property
    def share_undefined(self) -> float:
        """Share of the draws on which the figure is not defined."""
        return float(np.isnan(self.values).mean()) if self.freedom is None and len(self.values) else 0.0


NOTHING = Spread(np.empty(0))


def averaged(spreads: Sequence[Spread], values: Sequence[float | None], rule: str, shared: bool) -> Spread:
    """Spread of the average over groups (or raters) that stay what they are, by a rule of `coefficients.average`.

    Args:
        spreads, values: of each group; a group without a value is left out, as it is of the average. One with a value
            and no spread leaves the average without one.
        shared: whether the same units stand behind all of them (raters of the same items, prompts that every model
            had), and not each group's own.
    """
    kept = [(spread, value) for spread, value in zip(spreads, values, strict=True) if value is not None]
    if not kept or any(spread.unknown for spread, _ in kept):
        return NOTHING  # a group of one unit would count as one that is surely where it is
    if any(spread.freedom is None for spread, _ in kept):
        return Spread(average_rows(np.stack([spread.values for spread, _ in kept]), rule))
    if rule == "fisher_z" and any(abs(value) > PERFECT for _, value in kept):
        return Spread(np.empty(0), 0)  # z of +-1 is infinite: the average is that +-1 by one group, without a spread
    outer, inner = _slopes(np.asarray([value for _, value in kept]), rule)
    parts = [outer * slope * spread.values for (spread, _), slope in zip(kept, inner, strict=True)]
    freedoms = [spread.freedom or 0 for spread, _ in kept]
    return Spread(np.sum(parts, axis=0), min(freedoms)) if shared else Spread(np.concatenate(parts), sum(freedoms))


def of_sampled_groups(values: Floats, rule: str, shares: Floats | None) -> Spread:
    """Spread of the average over groups that were sampled themselves: whole groups are drawn, their values untouched.

    Args:
        values: of the groups, nan where undefined.
        shares: groups x resamples, how often each was drawn; None: from the variance of the values.
    """
    known = values[~np.isnan(values)]
    if shares is not None:
        places = np.flatnonzero(~np.isnan(values))
        together = all((shares[place] == shares[places[0]]).all() for place in places)  # one group, or one cluster's
        return NOTHING if together else Spread(average_rows(values[:, None], rule, shares))
    if len(known) < 2:
        return Spread(np.zeros(len(known)), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = AVERAGES[rule][0](known)
        parts = _slopes(known, rule)[0] * (scores - scores.mean()) * math.sqrt(len(known) / (len(known) - 1))
    return Spread(parts, len(known) - 1)


def _slopes(values: Floats, rule: str) -> tuple[float, Floats]:
    """How the average moves with the mean of the transformed values, over their number, and how each of them moves."""
    before, after = AVERAGES[rule]
    with np.errstate(divide="ignore", invalid="ignore"):
        average = float(after(before(values).mean()))
        outer = (1.0 if rule == "mean" else 1 - average**2) / len(values)
        return outer, 1 / (1 - values**2) if rule == "fisher_z" else np.ones(len(values))
