"""Maps a judge's scores to people's scale, by an isotonic or a linear map that is fitted on a calibration split only.

A map changes the scale but not the order (isotonic maps may create ties), so it changes errors and bias and hardly
changes correlations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .errors import UserError, quoted
from .stats.coefficients import LARGE
from .wording import counted

Kind = Literal["isotonic", "linear"]
KINDS = ("isotonic", "linear")


@dataclass(frozen=True)
class Calibration:
    """A monotone, piecewise linear map through knots; constant beyond the outermost knots of an isotonic map.

    Attributes:
        kind: "isotonic" or "linear".
        scores: knots on the judge's scale, ascending; for a linear map its two ends on the judge's range.
        humans: their values on the human scale.
        n: number of items it was fitted on.
        scale: lowest and highest possible rating, if they were told. Mapped scores end there.
    """

    kind: Kind
    scores: tuple[float, ...]
    humans: tuple[float, ...]
    n: int
    scale: tuple[float, float] | None = None

    def apply(self, score: float) -> float:
        """A judge's score on the human scale."""
        if self.kind == "linear":
            (a, b), (ya, yb) = self.scores, self.humans
            rating = float(ya + (score - a) * (yb - ya) / (b - a))
        else:
            rating = float(np.interp(score, self.scores, self.humans))
        return rating if self.scale is None else min(max(rating, self.scale[0]), self.scale[1])

    def range_of(self, low: float, high: float) -> tuple[float, float]:
        """Lowest and highest possible mapped score, for a judge whose scores lie between these two."""
        return self.scale or (self.apply(low), self.apply(high))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Calibration:
        """Inverse of `to_json`; other keys are ignored. Raises `ValueError` for what is no such map."""
        try:
            kind, n, scale = record["kind"], record["n"], record.get("scale")
            scores, humans = numbers(record["scores"]), numbers(record["humans"])
            ends = None if scale is None else ends_of(scale)
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"a part is missing, or of another type: {error!r}") from error
        if kind not in KINDS or not is_count(n):
            raise ValueError(f"its kind is {quoted(kind)} and its n {quoted(n)}")
        if len(scores) != len(humans) or len(scores) < 2 or (kind == "linear" and len(scores) > 2):
            raise ValueError(f"it maps {counted(len(scores), 'score')} to {counted(len(humans), 'rating')}")
        if not (_rises(scores, strictly=True) and _rises(humans, strictly=kind == "linear")):
            raise ValueError("its scores or ratings do not rise")
        return cls(kind, scores, humans, n, ends)

    @classmethod
    def from_card(cls, name: str, card: Mapping[str, Any]) -> Calibration:
        """The calibration in a judge's judge.json. Raises `UserError` if there is none, or one that is no map."""
        if "calibration" not in card:
            raise UserError(
                f"The judge {quoted(name)} has no calibration",
                "Its judge.json has none",
                "Run t2i-judge calibrate",
            )
        try:
            return cls.from_json(card["calibration"])
        except ValueError as error:
            fact = f"The calibration of the judge {quoted(name)} cannot be used"
            raise UserError(fact, f"In its judge.json {error}", "Run t2i-judge calibrate again") from error


def numbers(values: Any) -> tuple[float, ...]:
    """Numbers out of JSON. Raises `TypeError` for anything else, and for numbers too large to reckon with."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGE <= value <= LARGE:
            raise TypeError(f"{quoted(value)} is no number")
    return tuple(map(float, values))


def ends_of(scale: Any) -> tuple[float, float]:
    """A scale out of JSON. Raises `ValueError` or `TypeError` unless it is a lower and a higher number."""
    ends = numbers(scale)
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise ValueError("its scale is no lower and higher number")
    return ends[0], ends[1]


def is_count(value: Any) -> bool:
    """Whether something out of JSON is a number of things that there are: 1 or more, and few enough for a table."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**63


def _rises(values: Sequence[float], strictly: bool) -> bool:
    return all(a < b or (a == b and not strictly) for a, b in pairwise(values))


def fit(
    scores: ArrayLike, humans: ArrayLike, kind: Kind = "isotonic", scale: tuple[float, float] | None = None
) -> Calibration:
    """Least-squares monotone map from scores to human ratings, each shape (n,); nan in either leaves an item out.

    Isotonic: pool-adjacent-violators on the means of tied scores, weighted by their number. Linear: ordinary least
        squares; the line must rise. `scale`: lowest and highest possible rating, where mapped scores end.

    Raises:
        UserError: unknown kind, fewer than 3 items, constant scores, a rating outside the scale, or a linear map that
            falls.
    """
    x, y = paired(scores, humans)
    if scale is not None and len(y) and not scale[0] <= y.min() <= y.max() <= scale[1]:
        fact = f"A rating lies outside the scale from {scale[0]:g} to {scale[1]:g}"
        raise UserError(fact, f"Ratings go from {y.min():g} to {y.max():g}", "Correct the scale or the ratings")
    if kind not in KINDS:
        raise UserError(
            f"The calibration {quoted(kind)} is unknown", "There are two kinds", f"Use one of {', '.join(KINDS)}"
        )
    if len(x) < 3 or np.ptp(x) == 0:
        raise UserError(
            f"A map cannot be fitted to {counted(len(x), 'item')} with {counted(len(set(x)), 'different score')}",
            "That is too few",
            "Give more items",
        )
    if kind == "linear":
        slope, intercept = np.polyfit(x, y, 1)
        if slope <= 0:
            raise UserError(
                f"The linear map has a negative slope ({slope:.3g})",
                "Higher scores must mean better images",
                "Check the judge with t2i-judge meta-eval",
            )
        ends = (float(x.min()), float(x.max()))
        return Calibration("linear", ends, tuple(float(slope * end + intercept) for end in ends), len(x), scale)
    from scipy.optimize import isotonic_regression

    knots, group, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=y) / counts
    fitted = isotonic_regression(means, weights=counts.astype(float)).x
    return Calibration("isotonic", tuple(map(float, knots)), tuple(map(float, fitted)), len(x), scale)


def paired(scores: ArrayLike, humans: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64, without the items where either is nan. Raises `UserError` for numbers too large to add up."""
    x, y = np.asarray(scores, dtype=float), np.asarray(humans, dtype=float)
    known = np.isfinite(x) & np.isfinite(y)
    if np.abs([x[known], y[known]]).max(initial=0.0) > LARGE:
        reason = "Sums of their squares would be beyond float64"
        raise UserError(f"A score or a rating is larger than {LARGE:g}", reason, "Correct the table")
    return x[known], y[known]


def errors(scores: ArrayLike, humans: ArrayLike) -> dict[str, float | int | None]:
    """Mean absolute error and bias (mean of score minus rating) in rating units, and n; None without items."""
    x, y = paired(scores, humans)
    if not len(x):
        return {"n": 0, "mae": None, "bias": None}
    return {"n": len(x), "mae": float(np.abs(x - y).mean()), "bias": float((x - y).mean())}
