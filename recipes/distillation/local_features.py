"""Parts, mirror images and turned or painted-over copies of a picture, by local features.

SIFT (Lowe, IJCV 2004; OpenCV's), as RootSIFT (Arandjelovic and Zisserman, CVPR 2012), finds a few hundred places in a
picture and describes what each looks like, turned, scaled or darkened. Two pictures are looked at together when the
same descriptions stand at several places that are moved alike (a Hough transform, as Lowe's). What then decides is one
movement for many places, and the pixels, laid over one another: most of the squares that show something must agree.
Pictures with hardly anything in them (a flat shape on white) are compared as a whole only (`copies`): a circle is a
part of every other picture with a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

_SIDE = 384  # pixels that the longer side is brought down to
_SMALL = 256  # and up to: a small cut-out has places, too
_KEPT = 600  # places of a picture, the most distinct ones
_FAINT, _EDGE = 0.01, 12  # contrast and edge thresholds of SIFT: faint places count in a dark or misty photograph
_ORIENTATIONS = 8  # of the 4 x 4 x 8 numbers of a description
_TABLES, _BITS = 16, 20  # by which descriptions are looked up: all bits of a table have to be the same
_COMMON = 40  # descriptions with the same bits, from which they say nothing
_ALIKE_IN = 2  # tables for a pair of places to have a vote
_TURNS, _ZOOMS = 12, 3.4  # classes of turns (30 degrees), and how many octaves two scales may be apart
_NEIGHBOURHOOD = 96  # pixels, within which a middle comes to lie
_CLASSES = _TURNS * 16 * 64 * 64  # of movements
_VOTES, _MISSES = 5, 4  # places in one class for a pair to be looked at, and how many in vain for each one
_SIMILAR = 0.85  # product of two descriptions of one place; equal ones have 1
_OFF = 3.0  # pixels that a place may be off
_INLIERS = 9  # places that one movement takes to one another; pairs of unrelated photographs have up to 6
_SCALES = (0.15, 7.0)
_CELLS = 12  # squares a side
_CONTRAST = 3.0  # grey levels, standard deviation of a square that shows something
_CHANGE = 1.5  # grey levels, from a pixel to the mean of its neighbours
_SHOWN, _RICH = 20, 60  # squares that must show something in an overlap, and in one of the two pictures
_SOME, _MUCH = 10, 45  # squares that must be full of detail in each picture, and in one of the two
_NOISE = 1.0  # pixels, standard deviation of the blur that takes noise and losses of encoding away
_ALIKE, _AGREEING = 0.85, 0.63  # correlation of two squares that agree, and the share of squares that must
_COVERED, _PART = 0.5, 0.05  # of the smaller picture and of the larger that the overlap must cover

_PAIRS = np.random.default_rng(0).permuted(np.tile(np.arange(128), (_TABLES * _BITS, 1)), axis=1)[:, :2].T
_MIRRORED = np.arange(128).reshape(4, 4, _ORIENTATIONS)[::-1][..., -np.arange(_ORIENTATIONS)].ravel()


@dataclass(frozen=True)
class Sketch:
    """What is kept of a picture, up to 0.1 MB: itself in grey, and its distinct places.

    Attributes:
        grey: JPEG, at most 384 pixels a side.
        width: of it, in pixels.
        places: x, y (pixels), direction (degrees) and size (pixels) of each, shape (places, 4).
        words: what they are described by, shape (places, 128), 255 times the root of a share.
        rich: whether there is enough in it to be known by a part; drawings of a few flat shapes are not.
        flipped: whether left and right of `grey` are exchanged.
    """

    grey: bytes
    width: int
    places: NDArray[np.float32]
    words: NDArray[np.uint8]
    rich: bool
    flipped: bool = False

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """Grey, shape (height, width)."""
        import cv2

        pixels = np.asarray(cv2.imdecode(np.frombuffer(self.grey, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
        return np.ascontiguousarray(pixels[:, ::-1]) if self.flipped else pixels

    @property
    def mirrored(self) -> Sketch:
        """The same, left and right exchanged: a description's numbers change places, nothing is sought again."""
        x, y, direction, size = self.places.T
        places = np.stack([self.width - 1 - x, y, (180 - direction) % 360, size], 1)
        return replace(self, places=places, words=self.words[:, _MIRRORED], flipped=not self.flipped)


def sketch(picture: Image.Image) -> Sketch:
    """The sketch of an RGB picture; one with hardly anything in it has no places."""
    import cv2

    grey = np.asarray(picture.convert("L"))
    scale = min(1.0, _SIDE / max(grey.shape)) if max(grey.shape) > _SMALL else _SMALL / max(grey.shape)
    if scale != 1:
        size = tuple(max(4, round(side * scale)) for side in grey.shape[::-1])
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    encoded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    whole = grey.astype(np.float32)
    shown, _ = _squares(whole, whole, np.ones(grey.shape, bool))
    detailed = _detailed(whole)
    places, words = _places(grey) if shown >= _SHOWN and detailed >= _SOME else _NOTHING
    return Sketch(encoded, grey.shape[1], places, words, rich=shown >= _RICH and detailed >= _MUCH)


def _detailed(grey: NDArray[np.float32]) -> int:
    """Squares in most of whose pixels something changes: photographs have many, flat drawings few."""
    import cv2

    changes = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    strips = (strip for rows in np.array_split(changes, _CELLS) for strip in np.array_split(rows, _CELLS, axis=1))
    return sum(bool(strip.size and np.median(strip) >= _CHANGE) for strip in strips)


_NOTHING = np.zeros((0, 4), np.float32), np.zeros((0, 128), np.uint8)


def _places(grey: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """`Sketch.places` and `Sketch.words` of a picture."""
    import cv2

    finder: Any = cv2.SIFT_create(nfeatures=_KEPT, contrastThreshold=_FAINT, edgeThreshold=_EDGE)  # type: ignore[attr-defined]
    points, described = finder.detectAndCompute(grey, None)
    if described is None:
        return _NOTHING
    shares = described[:_KEPT] / np.maximum(described[:_KEPT].sum(1, keepdims=True), 1)
    places = np.array([(*point.pt, point.angle, point.size) for point in points[:_KEPT]], np.float32)
    return places, np.rint(255 * np.sqrt(shares)).astype(np.uint8)


def shared_pictures(
    a: Sequence[Sketch | None], b: Sequence[Sketch | None], asked: Callable[[int, int], bool] = lambda a, b: True
) -> Iterator[tuple[int, int]]:
    """(index in a, index in b) of pictures that are one, or a part of one, among the pairs that are asked about.

    None stands for a broken picture.
    """
    sought = _Places(a)
    for number, other in enumerate(b):
        matched: set[int] = set()
        for form in (other, other.mirrored) if other and len(other.words) else ():
            missed = 0
            for one in sought.likely(form):
                if one in matched or not asked(one, number):
                    continue
                if one_picture(a[one], form):  # type: ignore[arg-type]
                    matched.add(one)
                    yield one, number
                elif (missed := missed + 1) == _MISSES:
                    break


class _Places:
    """The places of many pictures, to be looked up by what they look like."""

    def __init__(self, pictures: Sequence[Sketch | None]) -> None:
        whole = [one for one in pictures if one]
        self.count = len(pictures)
        self.owners = np.repeat(np.arange(self.count), [len(one.words) if one else 0 for one in pictures])
        self.places = np.concatenate([_NOTHING[0], *(one.places for one in whole)])
        keys = np.concatenate([np.zeros((0, _TABLES), np.int32), *(_keys(one.words) for one in whole)])
        self.orders = [np.argsort(column, kind="stable").astype(np.int32) for column in keys.T]
        values = np.arange(2**_BITS + 1)
        self.starts = [
            np.searchsorted(column[order], values).astype(np.int32) for column, order in zip(keys.T, self.orders)
        ]

    def likely(self, other: Sketch) -> list[int]:
        """The pictures that have several places in common with this one, moved alike, the best first."""
        mine, theirs = self._hits(_keys(other.words))
        middle = other.places[:, :2].mean(0)
        moved = _classes(self.places[theirs], other.places[mine], middle) + self.owners[theirs] * _CLASSES
        once = np.unique(moved * _KEPT + mine) // _KEPT  # a place has one vote in a class
        classes, votes = np.unique(once, return_counts=True)
        most = np.zeros(self.count, np.int64)
        np.maximum.at(most, classes // _CLASSES, votes)
        enough = np.flatnonzero(most >= _VOTES)
        return [int(one) for one in enough[np.argsort(-most[enough], kind="stable")]]

    def _hits(self, keys: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(place of the other, place here) that are alike in two tables; keys that stand everywhere are left out."""
        pairs = []
        for table, (order, starts) in enumerate(zip(self.orders, self.starts)):
            first = starts[keys[:, table]]
            counts = starts[keys[:, table] + 1] - first
            counts[counts > _COMMON] = 0
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            theirs = order[np.repeat(first, counts) + within]
            pairs.append(np.repeat(np.arange(len(keys)), counts) * len(self.places) + theirs)
        alike, tables = np.unique(np.concatenate(pairs), return_counts=True)
        mine, theirs = np.divmod(alike[tables >= _ALIKE_IN], max(len(self.places), 1))
        return mine, theirs


def _classes(a: NDArray[np.float32], b: NDArray[np.float32], middle: NDArray[np.float32]) -> NDArray[np.int64]:
    """The 16 classes of movements that take each place of b to its one of a, shape (16, places).

    A movement is a turn, a scale, and where the middle of the second picture comes to lie (Lowe 2004, section 7.3).
    """
    turn = (a[:, 2] - b[:, 2]) % 360
    scale = a[:, 3] / b[:, 3]
    zoom = np.log2(scale).clip(-_ZOOMS, _ZOOMS)
    way = (middle - b[:, :2]) @ np.array([1, 1j])
    landing = (a[:, :2] @ np.array([1, 1j])) + scale * np.exp(1j * np.deg2rad(turn)) * way
    landing = landing / (_NEIGHBOURHOOD * 2 ** np.maximum(0, np.round(zoom)))
    exact = np.stack([turn / (360 / _TURNS), zoom, landing.real, landing.imag]) - 0.5
    lower = np.floor(exact).astype(np.int64)
    near = [lower + np.array(step)[:, None] for step in product((0, 1), repeat=4)]
    return np.stack([((t % _TURNS * 16 + z % 16) * 64 + x % 64) * 64 + y % 64 for t, z, x, y in near])


def _keys(words: NDArray[np.uint8]) -> NDArray[np.int32]:
    """A number for each table, shape (places, 16): which of two numbers of a description is larger, twenty times."""
    larger = words[:, _PAIRS[0]] > words[:, _PAIRS[1]]
    return np.asarray(larger.reshape(-1, _TABLES, _BITS) @ (1 << np.arange(_BITS)), np.int32)


def one_picture(a: Sketch, b: Sketch) -> bool:
    """Whether `b` shows `a`, or a part of it, or more than it: the same places, then the same pixels."""
    movement = _movement(a, b) if a.rich or b.rich else None
    return movement is not None and _agree(a.pixels, b.pixels, movement)


def _movement(a: Sketch, b: Sketch) -> NDArray[np.float64] | None:
    """The 2 x 3 matrix (turned, scaled, shifted) that takes places of b to those of a; None where there is none."""
    import cv2

    if min(len(a.words), len(b.words)) < _INLIERS:
        return None
    alike = (b.words.astype(np.float32) / 255) @ (a.words.astype(np.float32) / 255).T
    nearest = alike.argmax(1)
    mutual = alike.argmax(0)[nearest] == np.arange(len(nearest))
    matched = np.flatnonzero(mutual & (alike.max(1) >= _SIMILAR))
    if len(matched) < _INLIERS:
        return None
    source, target = b.places[matched, :2], a.places[nearest[matched], :2]
    matrix, inliers = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=_OFF, maxIters=1000)
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
    one, other = (
        np.asarray(cv2.GaussianBlur(side[cut].astype(np.float32), (0, 0), _NOISE), np.float32)
        for side in (first, moved)
    )
    shown, agreeing = _squares(one, other, inside[cut])
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
