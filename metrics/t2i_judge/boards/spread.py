"""Variety over seeds: how similar one generator's images of a prompt are, and how far their scores lie apart.

A generator whose scores rise while its variety falls has learnt what the judge likes. Two images of a prompt are
near-identical if their thumbnails of 32 x 32 RGB pixels differ by less than 8 of 255 levels (root mean square).
Compression and scaling change less than that.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..inputs.images import ImageError, load_image
from ..progress import Progress
from ..stats.coefficients import Floats
from ..stats.paired import mean_interval
from ..wording import counted
from .items import BoardItem
from .scores import Scores

Row = dict[str, Any]
SIDE, NEARLY = 32, 8.0
MOST = 2_000  # images of a prompt that are compared with each other: work grows with their square
_ROWS = 256  # of them at once


def thumbnail(path: str) -> NDArray[np.float32] | None:
    """Pixels of a small copy, shape (32, 32, 3); None if it is not an image."""
    try:
        image = load_image(path)
    except ImageError:
        return None
    return np.asarray(image.resize((SIDE, SIDE)), dtype=np.float32)


def near_identical(items: Sequence[BoardItem], progress: bool = False) -> dict[str, Floats]:
    """Generator -> share of near-identical images in each of its prompts with at least two readable ones.

    Of more than `MOST` images of a prompt, so many are drawn at random, and their share is smaller (`drawn`).
    """
    several = {place: group for place, group in _groups(items).items() if len(group) > 1}
    shares: dict[str, list[float]] = defaultdict(list)
    for (generator, _), group in Progress(
        several.items(), desc="variety", unit="prompt", disable=not progress, leave=False
    ):
        some = group if len(group) <= MOST else random.Random(0).sample(group, MOST)
        small = [pixels for item in some if (pixels := thumbnail(item.image)) is not None]
        if len(small) > 1:
            shares[generator].append(_share(small))
    return {generator: np.asarray(values) for generator, values in shares.items()}


def drawn(items: Sequence[BoardItem]) -> list[str]:
    """What to say on a board where only some images of a prompt are compared: a twin outside the draw is not seen."""
    names = {generator for (generator, _), group in _groups(items).items() if len(group) > MOST}
    if not names:
        return []
    whose = counted(len(names), "generator has", "generators have")
    return [
        f"variety: {whose} more than {MOST:,} images of a prompt, of which so many are compared, drawn at random; "
        "of all images, more may be near-identical than the board says"
    ]


def _groups(items: Sequence[BoardItem]) -> dict[tuple[str, str], list[BoardItem]]:
    """Each generator's images of each prompt."""
    groups: dict[tuple[str, str], list[BoardItem]] = defaultdict(list)
    for item in items:
        groups[item.generator, item.prompt].append(item)
    return groups


def _share(thumbnails: Sequence[NDArray[np.float32]]) -> float:
    """Share of images that have a near-identical one beside them."""
    pixels = np.stack(thumbnails).reshape(len(thumbnails), -1).astype(np.float64)  # whole numbers: sums are exact
    lengths, alike = (pixels**2).sum(axis=1), 0
    for start in range(0, len(pixels), _ROWS):
        part = pixels[start : start + _ROWS]
        apart = lengths[start : start + _ROWS, None] + lengths - 2 * part @ pixels.T
        np.fill_diagonal(apart[:, start:], np.inf)
        alike += int((apart < NEARLY**2 * pixels.shape[1]).any(axis=1).sum())
    return alike / len(pixels)


def add_spread(board: Row, scores: Scores, alike: dict[str, Floats]) -> None:
    """Add each generator's spread to the board, and a warning if a better generator has less variety."""
    for generator in board["generators"]:
        name = generator["name"]
        if name in alike:
            generator["spread"] = {
                "near_identical": _described(alike[name]),
                "score_sd": _described(scores.spread(name)),
            }
    by_name = {generator["name"]: generator["spread"] for generator in board["generators"]}
    for pair in board["pairs"]:
        if pair["decided"]:
            better, worse = (pair["a"], pair["b"]) if pair["difference"] > 0 else (pair["b"], pair["a"])
            if _above(by_name[better], by_name[worse]):
                board["warnings"].append(
                    f"{better} scores higher than {worse} and has less variety: "
                    "more of its images of the same prompt are near-identical"
                )


def _described(values: Floats) -> Row:
    interval = mean_interval(values)
    mean = float(values.mean()) if len(values) else None
    return {"mean": mean, "ci": list(interval) if interval else None, "n": len(values)}


def _above(first: Row | None, second: Row | None) -> bool:
    """Whether the first generator clearly has more near-identical images: the intervals do not overlap."""
    if first is None or second is None:
        return False
    a, b = first["near_identical"]["ci"], second["near_identical"]["ci"]
    return a is not None and b is not None and bool(a[0] > b[1])
