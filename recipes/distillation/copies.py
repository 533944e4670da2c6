"""Is this picture a copy of that one? The same bytes, or a perceptual hash that is near, confirmed by comparing pixels.

The hash has 256 bits (`imagehash.phash`): a resized or re-encoded copy is caught, a scene that merely looks alike is
not. `recipes.safety.leakage` measures how often both go wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

HASH_SIDE = 16  # 16 x 16 = 256 bits, kept as four words of 64
_WORDS = HASH_SIDE**2 // 64
NEAR = 30  # bits that may differ for a pair to be looked at (altered copies of 400 scenes: at most 28)
SAME = 0.9  # difference of pixels, as a share of the pictures' own contrast, up to which two are one
_PIXELS = 32
_PAIRS = 20_000_000  # pairs compared at a time: bounds memory, whatever the sizes of the two sets


@dataclass(frozen=True)
class Overlap:
    """Something that train and benchmark share: by `kind`: `bytes`, `image`, `part`, `prompt`, `broken`."""

    kind: str
    train: str
    bench: str

    def __str__(self) -> str:
        what = {
            "bytes": "the same image file",
            "image": "a copy of the same image",
            "part": "an altered copy of the same image",
            "prompt": "the same prompt",
            "broken": "an image that nobody can open or compare",
        }
        return f"{what[self.kind]}: train {self.train!r}, benchmark {self.bench!r}"


def bits_of(picture: Image.Image) -> NDArray[np.uint64]:
    """The perceptual hash of an RGB picture: four words, 256 bits."""
    from imagehash import phash

    return np.packbits(phash(picture, hash_size=HASH_SIDE).hash.ravel()).view(np.uint64)


def pixels_of(picture: Image.Image) -> NDArray[np.float32]:
    """An RGB picture as 32 x 32 x 3 values, 0 to 255."""
    from PIL import Image

    shrink = min(picture.size) >= _PIXELS
    method = Image.Resampling.BOX if shrink else Image.Resampling.BICUBIC
    return np.asarray(picture.resize((_PIXELS, _PIXELS), method), np.float32)


def near_pairs(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """(row of a, row of b) whose hashes are so near that their pixels have to be compared, by row of b."""
    if not len(a) or not len(b):
        return
    step = max(1, _PAIRS // len(a))
    for start in range(0, len(b), step):
        chunk = b[start : start + step]
        differing = sum(np.bitwise_count(chunk[:, None, word] ^ a[None, :, word]) for word in range(_WORDS))
        for row, column in np.argwhere(differing <= NEAR):
            yield int(column), start + int(row)


def pixel_difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Mean absolute difference of two pictures as a share of their contrast: 0 equal, about 1 and more unrelated.

    Plain differences would call all pictures with much empty ground alike.
    """
    contrast = (np.abs(a - a.mean((0, 1))).mean() + np.abs(b - b.mean((0, 1))).mean()) / 2
    return float(np.abs(a - b).mean() / max(float(contrast), 1e-6))
