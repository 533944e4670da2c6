"""Parts, mirror images and turned or painted-over copies of a picture, by local features.

ORB (Rublee et al., ICCV 2011; OpenCV's) finds a few hundred corners in a picture and describes each in 256 bits that
stay when it is turned, scaled or darkened. Two pictures are looked at together when they share the same bits at several
corners; what then decides is their pixels, laid over one another: most of the squares that show something must agree.
Pictures with hardly anything in them (a flat shape on white) are compared as a whole only (`copies`): a circle is a
part of every other picture with a circle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

_SIDE = 512  # pixels that the longer side is brought down to
_SMALL = 256  # and up to: a small cut-out has corners, too
_CORNERS, _WORDS = 700, 200  # that are compared, and the strongest of them, by which pictures are looked up
_FOUND, _PARTS = 2000, 5  # corners at first, and parts a side among which they are chosen evenly
_BYTES = 3  # of a description that have to be the same for a vote: 24 bits, at each of ten places
_COMMON = 40  # descriptions with the same 24 bits, from which they say nothing
_PLACES = range(0, 30, _BYTES)
_VOTES, _LOOKED_AT = 5, 3  # votes for a pair to be looked at, and how many pictures for each one
_DIFFERING = 64  # bits of two descriptions of one corner
_OFF = 4.0  # pixels that a corner may be off
_INLIERS = 8  # corners that one movement takes to one another
_SCALES = (0.15, 7.0)
_CELLS = 12  # squares a side
_CONTRAST = 6.0  # grey levels, standard deviation of a square that shows something
_CHANGE = 1.5  # grey levels, from a pixel to the mean of its neighbours
_SHOWN, _RICH = 40, 60  # squares that must show something in an overlap, and in one of the two pictures
_SOME, _MUCH = 25, 45  # squares that must be full of detail in each picture, and in one of the two
_ALIKE, _AGREEING = 0.75, 0.65  # correlation of two squares that agree, and the share of squares that must
_COVERED, _PART = 0.5, 0.05  # of the smaller picture and of the larger that the overlap must cover


@dataclass(frozen=True)
class Sketch:
    """What is kept of a picture: itself in grey, and its corners.

    Attributes:
        grey: JPEG, at most 512 pixels a side.
        places: of the corners, in its pixels, shape (corners, 2).
        words: what they are described by, shape (corners, 32), the first 200 of them for looking up.
        rich: whether there is enough in it to be known by a part; drawings of a few flat shapes are not.
    """

    grey: bytes
    places: NDArray[np.float32]
    words: NDArray[np.uint8]
    rich: bool

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """Grey, shape (height, width)."""
        import cv2

        return np.asarray(cv2.imdecode(np.frombuffer(self.grey, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)

    @property
    def mirrored(self) -> Sketch:
        """The same, left and right exchanged."""
        return _sketch(np.ascontiguousarray(self.pixels[:, ::-1]))


def sketch(picture: Image.Image) -> Sketch:
    """The sketch of an RGB picture; one with hardly anything in it has no corners."""
    import cv2

    grey = np.asarray(picture.convert("L"))
    scale = min(1.0, _SIDE / max(grey.shape)) if max(grey.shape) > _SMALL else _SMALL / max(grey.shape)
    if scale != 1:
        size = tuple(max(4, round(side * scale)) for side in grey.shape[::-1])
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return _sketch(grey)


def _sketch(grey: NDArray[np.uint8]) -> Sketch:
    import cv2

    encoded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    whole = grey.astype(np.float32)
    shown, _ = _squares(whole, whole, np.ones(grey.shape, bool))
    detailed = _detailed(whole)
    corners = _corners(grey, _CORNERS if shown >= _SHOWN and detailed >= _SOME else 0)
    return Sketch(encoded, *corners, rich=shown >= _RICH and detailed >= _MUCH)


def _detailed(grey: NDArray[np.float32]) -> int:
    """Squares in most of whose pixels something changes: photographs have many, flat drawings few."""
    import cv2

    changes = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    strips = (strip for rows in np.array_split(changes, _CELLS) for strip in np.array_split(rows, _CELLS, axis=1))
    return sum(bool(strip.size and np.median(strip) >= _CHANGE) for strip in strips)


def _corners(grey: NDArray[Any], count: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Places (n, 2) in pixels, and descriptions (n, 32): the strongest of each part of the picture before any second.

    So a caption with its sharp edges does not take all of them.
    """
    import cv2

    orb: Any = cv2.ORB_create(nfeatures=_FOUND, edgeThreshold=12, fastThreshold=8)  # type: ignore[attr-defined]
    points, words = orb.detectAndCompute(grey, None)
    if words is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8)
    places = np.array([point.pt for point in points], np.float32)
    strength = np.array([point.response for point in points])
    parts = (places / (np.array(grey.shape[::-1]) / _PARTS)).astype(int).clip(0, _PARTS - 1)
    part = parts[:, 0] * _PARTS + parts[:, 1]
    order = np.lexsort((-strength, part))
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order)) - np.searchsorted(part[order], part[order])
    chosen = np.lexsort((-strength, rank))[:count]
    return places[chosen], words[chosen]


def shared_pictures(a: Sequence[Sketch | None], b: Sequence[Sketch | None]) -> Iterator[tuple[int, int]]:
    """(index in a, index in b) of pictures that are one, or a part of one; None stands for a broken picture."""
    owners = np.repeat(np.arange(len(a)), [len(one.words[:_WORDS]) if one else 0 for one in a])
    if not len(owners):
        return
    words = np.concatenate([one.words[:_WORDS] for one in a if one])
    tables = [_table(words, place) for place in _PLACES]
    for number, other in enumerate(b):
        matched: set[int] = set()
        for form in (other, other.mirrored) if other and len(other.words) else ():
            for one in _likely(form.words[:_WORDS], tables, owners, len(a)):
                if one not in matched and one_picture(a[one], form):  # type: ignore[arg-type]
                    matched.add(one)
                    yield one, number


def _likely(words: NDArray[np.uint8], tables: Sequence[Any], owners: NDArray[np.intp], pictures: int) -> list[int]:
    """The pictures that share the most descriptions with these."""
    votes = np.zeros(pictures, np.int32)
    for place, (keys, order) in zip(_PLACES, tables):
        votes += _votes(_keys(words, place), keys, owners[order], pictures)
    best = np.argsort(-votes, kind="stable")[:_LOOKED_AT]
    return [int(one) for one in best if votes[one] >= _VOTES]


def _keys(words: NDArray[np.uint8], place: int) -> NDArray[np.uint32]:
    part = words[:, place : place + _BYTES].astype(np.uint32)
    return np.asarray(part[:, 0] << 16 | part[:, 1] << 8 | part[:, 2], np.uint32)


def _table(words: NDArray[np.uint8], place: int) -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
    """The keys at a place in order, and where each stood."""
    keys = _keys(words, place)
    order = np.argsort(keys, kind="stable")
    return keys[order], order


def _votes(
    wanted: NDArray[np.uint32], keys: NDArray[np.uint32], owners: NDArray[np.intp], pictures: int
) -> NDArray[np.int32]:
    """How many of the wanted keys each picture has; keys that stand everywhere are left out."""
    first, last = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
    counts = np.where(last - first <= _COMMON, last - first, 0)
    starts = np.repeat(first, counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.bincount(owners[starts + within], minlength=pictures).astype(np.int32)


def one_picture(a: Sketch, b: Sketch) -> bool:
    """Whether `b` shows `a`, or a part of it, or more than it: the same corners, then the same pixels."""
    movement = _movement(a, b) if a.rich or b.rich else None
    return movement is not None and _agree(a.pixels, b.pixels, movement)


def _movement(a: Sketch, b: Sketch) -> NDArray[np.float64] | None:
    """The 2 x 3 matrix (turned, scaled, shifted) that takes corners of b to those of a; None where there is none."""
    import cv2

    if min(len(a.words), len(b.words)) < _INLIERS:
        return None
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(b.words, a.words)
    matches = [match for match in matches if match.distance <= _DIFFERING]
    if len(matches) < _INLIERS:
        return None
    source = np.array([b.places[match.queryIdx] for match in matches])
    target = np.array([a.places[match.trainIdx] for match in matches])
    matrix, inliers = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=_OFF, maxIters=500)
    if matrix is None or inliers.sum() < _INLIERS:
        return None
    movement = np.asarray(matrix, np.float64)
    return movement if _SCALES[0] < np.hypot(movement[0, 0], movement[1, 0]) < _SCALES[1] else None


def _agree(first: NDArray[Any], second: NDArray[Any], movement: NDArray[np.float64]) -> bool:
    """Whether most squares of the overlap agree, brightness and contrast aside."""
    import cv2

    scale = float(np.hypot(movement[0, 0], movement[1, 0]))
    if scale > 1:  # the second is the coarser one: only what it shows can be compared
        return _agree(second, first, np.asarray(cv2.invertAffineTransform(movement), np.float64))
    size = (first.shape[1], first.shape[0])
    blurred = cv2.GaussianBlur(second, (0, 0), 0.5 / scale) if scale < 0.8 else second
    moved = cv2.warpAffine(blurred, movement, size, flags=cv2.INTER_LINEAR)
    inside = cv2.warpAffine(np.full(second.shape, 255, np.uint8), movement, size, flags=cv2.INTER_NEAREST) > 0
    covered = float(inside.sum())
    whole = (first.size, second.size * scale * scale)
    if covered < _COVERED * min(whole) or covered < _PART * max(whole):
        return False
    rows, columns = np.where(inside.any(1))[0], np.where(inside.any(0))[0]
    cut = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    shown, agreeing = _squares(first[cut].astype(np.float32), moved[cut].astype(np.float32), inside[cut])
    return shown >= _SHOWN and agreeing >= _AGREEING * shown


def _squares(a: NDArray[np.float32], b: NDArray[np.float32], inside: NDArray[np.bool_]) -> tuple[int, int]:
    """How many squares of two pictures show something, and how many of those agree."""
    shown = agreeing = 0
    for rows in np.array_split(np.arange(a.shape[0]), _CELLS):
        for columns in np.array_split(np.arange(a.shape[1]), _CELLS):
            if len(rows) < 4 or len(columns) < 4:
                continue
            cell = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            if not inside[cell].all():
                continue
            one, other = a[cell] - a[cell].mean(), b[cell] - b[cell].mean()
            spread, spreads = float(one.std()), float(other.std())
            if max(spread, spreads) < _CONTRAST:
                continue
            shown += 1
            alike = float((one * other).mean()) / max(spread * spreads, 1e-6)
            agreeing += alike >= _ALIKE
    return shown, agreeing
