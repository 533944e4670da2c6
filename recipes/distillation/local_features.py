"""Parts, mirror images and turned or painted-over copies of a picture, by local features.

SIFT (Lowe, IJCV 2004; OpenCV's), as RootSIFT (Arandjelovic and Zisserman, CVPR 2012), finds a few hundred places in a
picture and describes what each looks like, turned, scaled or darkened. Two pictures are looked at together when the
same descriptions stand at several places that are moved alike (a Hough transform, as Lowe's). What then decides is one
movement for several places, refined by all that fit it, and the pixels, laid over one another: half of the squares that
show something must be the same. Parts of other pictures agree in next to no square, other places of a printed pattern
in a third, a picture with text over it in two thirds.
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

_SIDE = 320  # pixels that the longer side is brought down to; larger ones cost more and find no more cuts
_SMALL = 256  # and up to: a small cut-out has places, too
_KEPT, _REGIONS = 600, 5  # places of a picture, the most distinct ones of 5 x 5 regions
_FAINT, _EDGE = 0.01, 25  # contrast and edge thresholds of SIFT: faint places count in a dark or misty photograph
_ORIENTATIONS = 8  # of the 4 x 4 x 8 numbers of a description
_TABLES, _BITS = 16, 20  # by which descriptions are looked up: all bits of a table have to be the same
_COMMON = 40  # descriptions with the same bits, from which they say nothing
_ALIKE_IN = 2  # tables for a pair of places to have a vote
_TURNS, _ZOOMS = 12, 3.4  # classes of turns (30 degrees), and how many octaves two scales may be apart
_NEIGHBOURHOOD = 96  # pixels, within which a middle comes to lie
_CLASSES = _TURNS * 16 * 64 * 64  # of movements
_VOTES, _MISSES = 4, 12  # places in one class for a pair to be looked at, and how many in vain for each picture
_SIMILAR = 0.85  # product of two descriptions of one place; equal ones have 1
_NEAR, _OFF = 6.0, 1.5  # pixels of the coarser picture that a place may be off by the votes, and in the end
_PLACES, _TRIES = 4, 200  # that one movement takes to one another: few, as the pixels decide; and drawings of them
_SCALES = (0.15, 7.0)
_CELLS, _LEAST = 12, 4  # squares a side, fewer where they would have less pixels than this
_CONTRAST = 3.0  # grey levels, standard deviation of a square that shows something
_CHANGE = 1.5  # grey levels, from a pixel to the mean of its neighbours
_SHOWN, _RICH = 20, 60  # squares that must show something in an overlap, and in one of the two pictures
_FULL = 80  # squares of one of the two from which on there need be no detail: mist, and the sky of an evening
_SOME, _MUCH = 5, 45  # squares that must be full of detail in each picture, and in one of the two
_NOISE = 1.0  # pixels, standard deviation of the blur that takes noise and losses of encoding away
_ALIKE, _AGREEING = 0.95, 0.5  # correlation of two squares that agree, and the share of squares that must
_COVERED, _PART = 0.5, 0.05  # of the smaller picture and of the larger that the overlap must cover

_PAIRS = np.random.default_rng(0).permuted(np.tile(np.arange(128), (_TABLES * _BITS, 1)), axis=1)[:, :2].T
_MIRRORED = np.arange(128).reshape(4, 4, _ORIENTATIONS)[::-1][..., -np.arange(_ORIENTATIONS)].ravel()
Movement = NDArray[np.float64]  # 2 x 3: turned, scaled, shifted


@dataclass(frozen=True)
class Sketch:
    """What is kept of a picture, up to 0.1 MB: itself in grey, and its distinct places.

    Attributes:
        grey: JPEG, at most 320 pixels per side.
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
    return Sketch(encoded, grey.shape[1], places, words, rich=shown >= (_RICH if detailed >= _MUCH else _FULL))


def _detailed(grey: NDArray[np.float32]) -> int:
    """Squares in most of whose pixels something changes: photographs have many, flat drawings few."""
    import cv2

    changes = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    pixels, changing = _sums(np.ones_like(changes), changes >= _CHANGE)
    return int((changing >= 0.5 * pixels).sum())


_NOTHING = np.zeros((0, 4), np.float32), np.zeros((0, 128), np.uint8)


def _places(grey: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """`Sketch.places` and `Sketch.words` of a picture."""
    import cv2

    finder: Any = cv2.SIFT_create(contrastThreshold=_FAINT, edgeThreshold=_EDGE)  # type: ignore[attr-defined]
    points = finder.detect(grey)
    if not points:
        return _NOTHING
    found = np.array([(*point.pt, point.angle, point.size, point.response) for point in points], np.float32)
    chosen = _spread(found, grey.shape)
    _, described = finder.compute(grey, [points[number] for number in chosen])
    shares = described / np.maximum(described.sum(1, keepdims=True), 1)
    return found[chosen, :4], np.rint(255 * np.sqrt(shares)).astype(np.uint8)


def _spread(found: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Which places are kept: in turn the most distinct ones of every region and size.

    The most distinct ones of all may stand in a few corners, or be the finest grain: a cut shows neither of the whole.

    Args:
        found: x, y, direction, size and distinctness of each, shape (places, 5).
        shape: of the picture.
    """
    x, y = (found[:, :2] * _REGIONS / shape[::-1]).astype(int).T
    group = (np.round(np.log2(found[:, 3])).astype(int) * _REGIONS + y) * _REGIONS + x
    order = np.lexsort((-found[:, 4], group))
    rank = np.arange(len(order)) - np.searchsorted(group[order], group[order])
    return order[np.lexsort((-found[order, 4], rank))][:_KEPT]


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
            for one, *voters in sought.likely(form):
                if one in matched or not asked(one, number):
                    continue
                if one_picture(a[one], form, *voters):  # type: ignore[arg-type]
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
        self.starts = np.zeros((len(self.orders), 2**_BITS + 1), np.int32)  # where each key begins in its order
        for starts, column in zip(self.starts, keys.T):
            np.cumsum(np.bincount(column, minlength=2**_BITS), out=starts[1:])

    def likely(self, other: Sketch) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
        """The pictures that have several places in common with this one, moved alike, the best first.

        With each, its own places and those of `other` that had the votes.
        """
        mine, theirs = self._hits(_keys(other.words))
        middle = other.places[:, :2].mean(0)
        moved = _classes(self.places[theirs], other.places[mine], middle) + self.owners[theirs] * _CLASSES
        once = np.unique(moved * _KEPT + mine) // _KEPT  # a place has one vote in a class
        classes, votes = np.unique(once, return_counts=True)
        best = np.lexsort((classes, -votes))
        best = best[votes[best] >= _VOTES]
        _, first = np.unique(classes[best] // _CLASSES, return_index=True)
        for chosen in classes[best[np.sort(first)]]:
            voters = (moved == chosen).any(0)
            yield int(chosen // _CLASSES), self.places[theirs[voters]], other.places[mine[voters]]

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


def one_picture(a: Sketch, b: Sketch, here: NDArray[np.float32], there: NDArray[np.float32]) -> bool:
    """Whether `b` shows `a`, or a part of it, or more than it: the same places, then the same pixels.

    `here` and `there`: places of `a` and `b` that may be the same, moved alike.
    """
    movement = _movement(there, here, _NEAR / 2) if a.rich or b.rich else None
    exact = None if movement is None else _refined(a, b, movement)
    return exact is not None and _agree(a.pixels, b.pixels, exact)


def _movement(source: NDArray[np.float32], target: NDArray[np.float32], off: float) -> Movement | None:
    """What takes most places to their others, up to `off` pixels of the coarser picture."""
    import cv2

    off *= max(1.0, float(np.median(target[:, 3] / source[:, 3])))
    first, second = (np.ascontiguousarray(places[:, :2]) for places in (source, target))
    matrix, inliers = cv2.estimateAffinePartial2D(first, second, ransacReprojThreshold=off, maxIters=_TRIES)
    if matrix is None or inliers.sum() < _PLACES:
        return None
    movement = np.asarray(matrix, np.float64)
    return movement if _SCALES[0] < _scale(movement) < _SCALES[1] else None


def _refined(a: Sketch, b: Sketch, movement: Movement) -> Movement | None:
    """The movement by all places that are alike where it takes them."""
    moved = b.places[:, :2] @ movement[:, :2].T + movement[:, 2]
    apart = np.abs(_complex(moved)[:, None] - _complex(a.places))
    mine, theirs = np.nonzero(apart <= _NEAR * max(1.0, _scale(movement)))
    alike = (b.words[mine].astype(np.float32) * a.words[theirs]).sum(1) / 255**2
    best = np.argsort(-alike, kind="stable")[: int((alike >= _SIMILAR).sum())]
    for side in (mine, theirs):  # each place once
        best = best[np.sort(np.unique(side[best], return_index=True)[1])]
    if len(best) < _PLACES:
        return None
    return _movement(b.places[mine[best]], a.places[theirs[best]], _OFF)


def _scale(movement: Movement) -> float:
    return float(np.hypot(movement[0, 0], movement[1, 0]))


def _complex(places: NDArray[Any]) -> NDArray[np.complex128]:
    return np.asarray(places[:, 0] + 1j * places[:, 1], np.complex128)


def _agree(first: NDArray[Any], second: NDArray[Any], movement: Movement) -> bool:
    """Whether most squares of the overlap agree, brightness and contrast aside."""
    import cv2

    scale = _scale(movement)
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
    a, b = a - a.mean(), b - b.mean()
    pixels, there, *sums = _sums(np.ones_like(a), inside, a, b, a * a, b * b, a * b)
    first, second, *squared = (values / pixels for values in sums)
    spread, spreads, common = squared[0] - first**2, squared[1] - second**2, squared[2] - first * second
    shown = (there == pixels) & (np.maximum(spread, spreads) >= _CONTRAST**2)
    alike = common >= _ALIKE * np.sqrt(np.maximum(spread * spreads, 1e-6))
    return int(shown.sum()), int((shown & alike).sum())


def _sums(*values: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """The sum of each picture's values in each of the squares, 12 x 12 of them but for small or narrow ones."""
    counts = [max(1, min(_CELLS, side // _LEAST)) for side in values[0].shape]
    rows, columns = (np.arange(count) * side // count for count, side in zip(counts, values[0].shape))
    for each in values:
        yield np.add.reduceat(np.add.reduceat(each, rows, 0, dtype=np.float64), columns, 1)
