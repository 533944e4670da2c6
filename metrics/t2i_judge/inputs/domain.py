"""Does an image belong to what a judge was trained on, and a prompt? The embedded judge declines what is no rendered
scene, and does not break down a prompt with words that it never read: what it would ask was never trained.

An image is described by the square roots of two histograms, of colours and of brightness steps between neighbours. The
training images give a Gaussian in that space. An image is out of the domain if its Mahalanobis distance from the
Gaussian is larger than that of any training image from a Gaussian fitted without it. No photograph sets the threshold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..wording import counted

if TYPE_CHECKING:
    from PIL import Image

REASON = (
    "out_of_domain: this judge knows only rendered scenes; use one that sees photographs and generated images: "
    "hf:MODEL, openai:MODEL[@BASE_URL], or ocr:rapidocr for text in pictures"
)
UNREAD = (
    "out_of_domain: this judge has never read {words}; use words of its own prompts, or a judge that reads any words: "
    "hf:MODEL, openai:MODEL[@BASE_URL]"
)
_WORD = re.compile(r"\w+")
_NAMED = 3  # words that a reason names
_SIDE = 112
_COLOR_LEVELS = 3  # a channel
_STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 256)  # edges of the brightness-step histogram, of 255
_SIZE = _COLOR_LEVELS**3 + len(_STEPS) - 1
_RIDGE = 1e-3  # variance added to each dimension: colours that never occur in training are far away, not infinitely
_MARGIN = 1.05
_FOLDS = 5
_DIGITS = 6


def describe(image: Image.Image) -> np.ndarray:
    """The (35,) descriptor of an RGB image: root frequencies of 27 colours and of 8 brightness steps."""
    from PIL import Image

    pixels = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.int64)
    colors = (pixels * _COLOR_LEVELS // 256) @ np.array([_COLOR_LEVELS**2, _COLOR_LEVELS, 1])
    brightness = pixels.mean(-1)
    steps = np.concatenate([np.abs(np.diff(brightness, axis=axis)).ravel() for axis in (0, 1)])
    frequencies = [
        np.bincount(colors.ravel(), minlength=_COLOR_LEVELS**3) / colors.size,
        np.histogram(steps, bins=_STEPS)[0] / steps.size,
    ]
    roots: NDArray[Any] = np.sqrt(np.concatenate(frequencies))
    return roots


@dataclass(frozen=True)
class Domain:
    """The Gaussian of the training images, and the words of their prompts.

    Attributes:
        mean, precision, threshold: (35,), (35, 35), and a Mahalanobis distance.
        words: in small letters; None: of a judge from before they were kept, which takes every prompt.
    """

    mean: np.ndarray
    precision: np.ndarray
    threshold: float
    words: frozenset[str] | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Domain:
        """Read what `fit` returns. Raises `UserError` for anything else."""
        try:
            mean, precision = (np.array(record[name], dtype=float) for name in ("mean", "precision"))
            threshold = float(record["threshold"])
            words = frozenset(map(str, record["words"])) if "words" in record else None
            if mean.shape != (_SIZE,) or precision.shape != (_SIZE, _SIZE):
                raise ValueError(f"a mean of shape {mean.shape}, a precision of shape {precision.shape}")
            if not (np.isfinite(mean).all() and np.isfinite(precision).all() and np.isfinite(threshold)):
                raise ValueError("a number that is not finite, from which nothing is far")
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            raise UserError(
                "The domain in judge.json has an unknown format", repr(error), "Download judge.json again"
            ) from error
        return cls(mean, precision, threshold, words)

    def distance(self, image: Image.Image) -> float:
        """Mahalanobis distance of an RGB image from the training images."""
        return float(_distances(describe(image)[None], self.mean, self.precision)[0])

    def declines(self, image: Image.Image) -> str | None:
        """Why an image is not judged, or None if it may be."""
        return None if self.distance(image) <= self.threshold else REASON  # nan, of huge numbers, is no distance

    def unread(self, prompt: str) -> str | None:
        """Why a prompt is not decomposed, or None if it may be."""
        new = [] if self.words is None else [word for word in _words(prompt) if word not in self.words]
        if not new:
            return None
        more = f" and {counted(len(new) - _NAMED, 'word')} more" if len(new) > _NAMED else ""
        return UNREAD.format(words=", ".join(f"'{word[:20]}'" for word in new[:_NAMED]) + more)


def _words(text: str) -> list[str]:
    """The different words of a text in small letters, in their order."""
    return list(dict.fromkeys(_WORD.findall(text.casefold())))


def fit(images: Sequence[Image.Image], prompts: Iterable[str] = ()) -> dict[str, Any]:
    """Statistics of a judge's training images and the words of their prompts, as judge.json has them under "domain".

    The threshold is 1.05 times the largest distance of an image from the Gaussian of the four fifths without it.

    Raises:
        ValueError: fewer than 20 images.
    """
    if len(images) < 20:
        raise ValueError(
            f"{counted(len(images), 'image is', 'images are')} too few for a domain; at least 20 are needed"
        )
    descriptors = np.array([describe(image) for image in images])
    folds = np.arange(len(descriptors)) % _FOLDS
    unseen = [
        _distances(descriptors[folds == fold], *_gaussian(descriptors[folds != fold])).max() for fold in range(_FOLDS)
    ]
    mean, precision = _gaussian(descriptors)
    return {
        "mean": [_rounded(value) for value in mean],
        "precision": [[_rounded(value) for value in row] for row in precision],
        "threshold": _rounded(_MARGIN * max(unseen)),
        "n": len(images),
        **({"words": words} if (words := sorted({word for prompt in prompts for word in _words(prompt)})) else {}),
    }


def _gaussian(descriptors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    covariance = np.cov(descriptors.T) + _RIDGE * np.eye(descriptors.shape[1])
    return descriptors.mean(0), np.linalg.inv(covariance)


def _distances(descriptors: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    away = descriptors - mean
    distances: NDArray[Any] = np.sqrt(np.einsum("ni,ij,nj->n", away, precision, away))
    return distances


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
