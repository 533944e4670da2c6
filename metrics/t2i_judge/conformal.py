"""Intervals for single scores: given the judge's score, people's rating lies inside in LEVEL of all cases.

Split conformal prediction on a calibration split: a map from the judge's score to the target (`calibration`), and the
distance of the target from it on prompts for which the map was not fitted. The intervals hold on average over images of
prompts like those of the split, not for each kind of image. For other prompts, generators or people they are a guess.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .calibration import Calibration, Kind, ends_of, fit, is_count, numbers
from .errors import UserError, quoted
from .files import read_object
from .records import OVERALL, Judgement, ScoreInterval
from .wording import counted

Target = Literal["human_mean", "latent"]
TARGETS = ("human_mean", "latent")  # the mean of the ratings an image has; the true quality of a rendered scene
MINIMUM, KEY = 50, "intervals"
RESPLITS, _FOLDS = 200, 10
_ROUNDING = 1e-9  # a rating that lies on the end of an interval is in it
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Conformal:
    """A judge's intervals.

    Attributes:
        target: what the interval is for: "human_mean" or "latent".
        level: share of images whose target lies inside, on average.
        half_width: in units of the target.
        map: from the judge's overall score to the target.
        n, groups: images and prompts that it was calibrated on.
        scale: lowest and highest possible value of the target, or None. Intervals end there.
    """

    target: Target
    level: float
    half_width: float
    map: Calibration
    n: int
    groups: int
    scale: tuple[float, float] | None = None

    def of(self, score: float) -> ScoreInterval:
        """The interval around one overall score."""
        middle = self.map.apply(score)
        low, high = middle - self.half_width, middle + self.half_width
        if self.scale:
            low, high = (min(max(end, self.scale[0]), self.scale[1]) for end in (low, high))
        return ScoreInterval(low, high, self.level, self.target, self.n)

    def carried(self, judgement: Judgement) -> Judgement:
        """The judgement with its interval. One without an overall score stays as it is."""
        score = judgement.scores.get(OVERALL)
        return judgement if score is None else replace(judgement, interval=self.of(score))

    def holds(self, scores: Floats, targets: Floats) -> NDArray[np.bool_]:
        """Whether each target lies in the interval of its score."""
        distance = np.abs(targets - np.asarray([self.map.apply(score) for score in scores]))
        return np.asarray(distance <= self.half_width + _ROUNDING)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        record = asdict(self) | {"map": self.map.to_json()}
        return record | {"scale": list(self.scale) if self.scale else None}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], source: str) -> Conformal:
        """Inverse of `to_json`; other keys are ignored. Raises `UserError` for anything else."""
        try:
            target, n, groups, scale = record["target"], record["n"], record["groups"], record.get("scale")
            level, half_width = numbers([record["level"], record["half_width"]])
            if target not in TARGETS or not (is_count(n) and is_count(groups)):
                raise ValueError(f"its target is {quoted(target)}, its n {quoted(n)} and its groups {quoted(groups)}")
            if not (0 < level < 1 and half_width >= 0):
                raise ValueError(f"its level is {level:g} and its half width {half_width:g}")
            ends = None if scale is None else ends_of(scale)
            return cls(target, level, half_width, Calibration.from_json(record["map"]), n, groups, ends)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            fact, fix = f"{source} has no intervals that can be used", "Run t2i-judge calibrate --interval"
            raise UserError(fact, repr(error) if isinstance(error, LookupError) else str(error), fix) from error


def read_intervals(path: str | Path) -> Conformal:
    """Read what `t2i-judge calibrate --interval LEVEL --out FILE` wrote. Raises `UserError`."""
    record = read_object(path, "Name a file that t2i-judge calibrate --interval wrote")
    return Conformal.from_json(record.get(KEY) or {}, str(path))


def conformal(
    scores: ArrayLike,
    targets: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.9,
    kind: Kind = "isotonic",
    target: Target = "human_mean",
    scale: tuple[float, float] | None = None,
) -> Conformal:
    """Calibrate intervals on a split.

    Args:
        scores, targets: one per image; nan in either leaves it out.
        groups: prompt of each image. Images of one prompt are calibrated and left out together. None: each image is a
            group.
        level: nominal coverage.
        kind: of the map.
        target, scale: see `Conformal`.

    Distances from the map are those of ten folds of prompts, each from a map fitted on the other nine; the half width
    is the smallest within which lie level (n + 1) / n of them. With one image per prompt n is the number of images:
    the conformal quantile. With several it is the effective number, between prompts and images, by how far
    images of one prompt miss together (Kish's design effect). Equal distances make intervals cover more, never less.
    Sources: Vovk et al. 2005, Algorithmic Learning in a Random World; Barber et al. 2021, arXiv 1905.02928 (folds);
    Lee, Barber & Willett 2023, arXiv 2306.06342 (several images per prompt).

    Raises:
        UserError: there are fewer than 50 images or too few prompts for the level, the level is outside (0, 1), or no
            map can be fitted.
    """
    x, y, codes = _known(scores, targets, groups)
    number = int(codes.max()) + 1 if len(codes) else 0
    if not 0 < level < 1:
        raise UserError(
            f"The level is {level}", "A level is a share of images", "Give a number between 0 and 1, such as 0.9"
        )
    if target not in TARGETS:
        raise UserError(f"There is no target {quoted(target)}", "", f"Use one of {', '.join(TARGETS)}")
    if len(x) < MINIMUM:
        reason = f"Intervals of single scores need at least {MINIMUM}"
        raise UserError(
            f"Only {counted(len(x), 'image has', 'images have')} both a score and a rating", reason, "Rate more images"
        )
    if math.ceil(level * (number + 1)) > number:
        raise UserError(
            f"{counted(number, 'prompt is', 'prompts are')} too few for {level:.0%}",
            "No finite interval has this coverage",
            "Rate images of more prompts",
        )
    distances = np.empty(len(x))
    fold = np.random.default_rng(0).permutation(number)[codes] % min(_FOLDS, number)
    for out in range(min(_FOLDS, number)):
        inside = fold != out
        distances[~inside] = np.abs(y[~inside] - _mapped(fit(x[inside], y[inside], kind), x[~inside]))
    half = _quantile(distances, codes, level)
    return Conformal(target, level, half, fit(x, y, kind), len(x), number, scale)


def resplit_coverage(
    scores: ArrayLike,
    targets: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.9,
    kind: Kind = "isotonic",
    resplits: int = RESPLITS,
    seed: int = 0,
) -> float | None:
    """Mean coverage over random halves of the prompts: one calibrates, the other tests. None if too few."""
    x, y, codes = _known(scores, targets, groups)
    number = int(codes.max()) + 1 if len(codes) else 0
    rng = np.random.default_rng(seed)
    covered = []
    for _ in range(resplits):
        first = (rng.permutation(number) < number // 2)[codes]
        if first.sum() < MINIMUM or first.all():
            return None
        try:
            calibrated = conformal(x[first], y[first], codes[first].tolist(), level, kind)
        except UserError:
            return None
        covered.append(float(calibrated.holds(x[~first], y[~first]).mean()))
    return float(np.mean(covered)) if covered else None


def _known(
    scores: ArrayLike, targets: ArrayLike, groups: Sequence[Hashable] | None
) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Both as floats where both are known, and the number of each image's group."""
    x, y = np.asarray(scores, dtype=float), np.asarray(targets, dtype=float)
    if x.shape != y.shape or (groups is not None and len(groups) != len(x)):
        raise UserError(
            "The columns differ in length", "Each image has one score, one rating and one prompt", "Align them by image"
        )
    kept = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    numbers: dict[Hashable, int] = {}
    labels: list[Hashable] = list(kept) if groups is None else [groups[int(row)] for row in kept]
    codes = [numbers.setdefault(label, len(numbers)) for label in labels]
    return x[kept], y[kept], np.asarray(codes, dtype=np.intp)


def _mapped(calibration: Calibration, scores: Floats) -> Floats:
    return np.asarray([calibration.apply(score) for score in scores])


def _quantile(distances: Floats, codes: NDArray[np.intp], level: float) -> float:
    """Smallest distance within which lie level (n + 1) / n of all, n being the effective number of images."""
    ordered = np.sort(distances)
    inside = distances <= ordered[_place(level * len(ordered), len(ordered))]
    share = float(inside.mean())
    of_groups = np.bincount(codes, weights=inside - share)
    spread = float((of_groups**2).sum()) / len(ordered) ** 2  # of the share, prompts drawn whole
    effective = share * (1 - share) / spread if spread > 0 else len(ordered)
    effective = min(max(effective, len(of_groups)), len(ordered))
    return float(ordered[_place(level * (effective + 1) / effective * len(ordered), len(ordered))])


def _place(count: float, size: int) -> int:
    """Position of the count-th smallest value, or of the largest if there are fewer."""
    return min(math.ceil(count - _ROUNDING), size) - 1
