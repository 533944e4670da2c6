"""Maps a judge's scores to people's scale, by an isotonic or a linear map that is fitted on a calibration split only.

A map changes the scale but not the order (isotonic maps may create ties), so it changes errors and bias and hardly
changes correlations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
    """

    kind: Kind
    scores: tuple[float, ...]
    humans: tuple[float, ...]
    n: int

    def apply(self, score: float) -> float:
        """A judge's score on the human scale."""
        if self.kind == "linear":
            (a, b), (ya, yb) = self.scores, self.humans
            return float(ya + (score - a) * (yb - ya) / (b - a))
        return float(np.interp(score, self.scores, self.humans))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Calibration:
        """Inverse of `to_json`; other keys are ignored."""
        return cls(record["kind"], tuple(record["scores"]), tuple(record["humans"]), record["n"])

    @classmethod
    def from_card(cls, name: str, card: Mapping[str, Any]) -> Calibration:
        """The calibration in a judge's judge.json. Raises `UserError` if there is none."""
        if "calibration" not in card:
            raise UserError(
                f"The judge {quoted(name)} has no calibration",
                "Its judge.json has none",
                "Run t2i-judge calibrate",
            )
        return cls.from_json(card["calibration"])


def fit(scores: ArrayLike, humans: ArrayLike, kind: Kind = "isotonic") -> Calibration:
    """Least-squares monotone map from scores to human ratings, each shape (n,); nan in either leaves an item out.

    Isotonic: pool-adjacent-violators on the means of tied scores, weighted by their number. Linear: ordinary least
        squares; the line must rise.

    Raises:
        UserError: unknown kind, fewer than 3 items, constant scores, or a linear map that falls.
    """
    x, y = paired(scores, humans)
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
        return Calibration("linear", ends, tuple(float(slope * end + intercept) for end in ends), len(x))
    from scipy.optimize import isotonic_regression

    knots, group, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=y) / counts
    fitted = isotonic_regression(means, weights=counts.astype(float)).x
    return Calibration("isotonic", tuple(map(float, knots)), tuple(map(float, fitted)), len(x))


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
