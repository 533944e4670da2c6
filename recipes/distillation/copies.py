"""Finds copies of images, for the splits before a training and for the gate after it.

Copies are the same bytes, or a 256-bit perceptual hash (`imagehash.phash`) that is near, confirmed by comparing pixels:
a resized or re-encoded copy is caught, a scene that merely looks alike is not. What was mirrored, turned, cut, framed
or written on is found by its places (`local_features`). `python -m recipes.leakage --measure` says how often both err.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recipes.distillation.local_features import Sketch, shared_pictures, sketch
from t2i_judge.inputs.images import ImageError, load_image

if TYPE_CHECKING:
    from PIL import Image

FINDER = "phash, SIFT 3"  # changes with what is found: results of another finder are not reused
HASH_SIDE = 16  # 16 x 16 = 256 bits, kept as four words of 64
_WORDS = HASH_SIDE**2 // 64
NEAR = 30  # bits that may differ for a pair to be looked at (altered copies of 400 scenes: at most 28)
SAME = 0.9  # difference of pixels, as a share of the pictures' own contrast, up to which two are one
_PIXELS = 32
_BATCH = 64  # images in memory at a time, as files
_PAIRS = 20_000_000  # pairs compared at a time: bounds memory, whatever the sizes of the two sets
Copies = Collection[tuple[str, str, str]]  # kind (`image` or `part`) and the SHA-256 of two files that are copies
_Look = tuple[NDArray[np.uint64], NDArray[np.float32], Sketch]


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
            "broken": "an image that cannot be opened or compared",
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


@dataclass
class Groups:
    """Union-find over numbers: whatever belongs together, directly or by way of others, has one root."""

    parents: list[int] = field(default_factory=list)

    def root(self, member: int) -> int:
        """The member that stands for the group."""
        while self.parents[member] != member:
            self.parents[member] = self.parents[self.parents[member]]
            member = self.parents[member]
        return member

    def join(self, a: int, b: int) -> None:
        """Make one group of two."""
        a, b = sorted((self.root(a), self.root(b)))
        self.parents[b] = a


@dataclass(frozen=True)
class Prints:
    """What images are compared by: id, SHA-256, 256 bits, and 32 x 32 RGB pixels of each; None where it is broken."""

    ids: list[str]
    digests: list[str]
    bits: NDArray[np.uint64]
    pixels: list[NDArray[np.float32] | None]
    sketches: list[Sketch | None]

    @property
    def broken(self) -> list[str]:
        """Ids of the images that cannot be decoded."""
        return [identity for identity, pixels in zip(self.ids, self.pixels) if pixels is None]


def fingerprints(images: Iterable[tuple[str, bytes]]) -> Prints:
    """Prints of (id, file bytes) pairs, made on all cores. Images that cannot be decoded are near to none."""
    ids: list[str] = []
    digests: list[str] = []
    looks: list[_Look | None] = []
    waiting = iter(images)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        while batch := list(islice(waiting, _BATCH)):
            ids += [identity for identity, _ in batch]
            digests += [hashlib.sha256(data).hexdigest() for _, data in batch]
            looks += threads.map(_look, [data for _, data in batch])
    bits = [look[0] if look else np.zeros(_WORDS, np.uint64) for look in looks]
    pixels, sketches = ([look[place] if look else None for look in looks] for place in (1, 2))
    return Prints(ids, digests, np.array(bits, np.uint64), pixels, sketches)  # type: ignore[arg-type]


def _look(data: bytes) -> _Look | None:
    try:
        picture = load_image(data)
    except ImageError:
        return None
    return bits_of(picture), pixels_of(picture), sketch(picture)


def image_overlaps(train: Prints, bench: Prints) -> Iterator[Overlap]:
    """Every pair of images that is one image, exact copies named as such, then altered ones by their places."""
    for kind, theirs, mine in _copies(train, bench, lambda a, b: True):
        yield Overlap(kind, train.ids[theirs], bench.ids[mine])


def links(prints: Prints) -> Iterator[tuple[str, int, int]]:
    """(kind, number, number) of copies among images; n that are copies of one another have n - 1 links."""
    groups = Groups(list(range(len(prints.ids))))
    for kind, one, other in _copies(prints, prints, lambda a, b: groups.root(a) != groups.root(b)):
        groups.join(one, other)
        yield kind, min(one, other), max(one, other)


def _copies(train: Prints, bench: Prints, asked: Callable[[int, int], bool]) -> Iterator[tuple[str, int, int]]:
    """(kind, number of train, number of bench) of copies, among the pairs that are asked about."""
    known = set()
    for theirs, mine in near_pairs(train.bits, bench.bits):
        a, b = train.pixels[theirs], bench.pixels[mine]
        same = train.digests[theirs] == bench.digests[mine]
        if asked(theirs, mine) and (same or (a is not None and b is not None and pixel_difference(a, b) <= SAME)):
            known.add((theirs, mine))
            yield "bytes" if same else "image", theirs, mine

    def open_pair(a: int, b: int) -> bool:
        return (a, b) not in known and asked(a, b)

    yield from (("part", *pair) for pair in shared_pictures(train.sketches, bench.sketches, open_pair))
