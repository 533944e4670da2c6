"""The text that was read in an image, in reading order, and how close a wanted text is to its best passage.

White space counts for nothing: readers drop and invent it. Everything else does, case included unless told otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

_TOKEN = re.compile(r"[぀-ヿ㐀-鿿가-힯]|[^\s぀-ヿ㐀-鿿가-힯]+")
_OUTER = "\"'“”‘’«»‹›「」『』.,;:!?()[]…-–—*•"
_SAME_ROW = 0.6  # centres nearer than so many heights are one row
_LONGER = 2.0  # a passage is at most so many times the wanted text
_MOST_COMPARED = 300_000  # tokens times wanted letters: some seconds; a page of 1,000 words against 300 letters


@dataclass(frozen=True)
class Line:
    """One line of text as a reader found it: four corners (x, y) from the top left, clockwise; confidence in [0, 1]."""

    text: str
    box: tuple[tuple[float, float], ...]
    confidence: float


@dataclass(frozen=True)
class Passage:
    """The part of a reading that comes nearest to a wanted text.

    Attributes:
        text: as it was read.
        similarity: 1 - edit distance / length of the longer of the two, without white space; in [0, 1].
        first, last: the tokens it spans, `last` exclusive; equal where nothing was read.
    """

    text: str
    similarity: float
    first: int
    last: int


def reading_order(lines: Sequence[Line]) -> list[Line]:
    """Lines from top to bottom, those of a row from left to right, along the tilt that they share."""
    if not lines:
        return []
    angle = median(_tilt(line) for line in lines)
    turned = [(line, *_turned(line, -angle)) for line in lines]
    height = median(_height(line) for line in lines)
    rows: list[list[tuple[Line, float, float]]] = []
    for entry in sorted(turned, key=lambda place: place[2]):
        if rows and abs(rows[-1][-1][2] - entry[2]) < _SAME_ROW * height:
            rows[-1].append(entry)
        else:
            rows.append([entry])
    return [line for row in rows for line, _, _ in sorted(row, key=lambda place: place[1])]


def _tilt(line: Line) -> float:
    (x0, y0), (x1, y1) = line.box[0], line.box[1]
    return math.atan2(y1 - y0, x1 - x0)


def _height(line: Line) -> float:
    (x0, y0), (x3, y3) = line.box[0], line.box[3]
    return math.hypot(x3 - x0, y3 - y0) or 1.0


def _turned(line: Line, angle: float) -> tuple[float, float]:
    """The box's centre after a turn about the origin."""
    x = sum(corner[0] for corner in line.box) / len(line.box)
    y = sum(corner[1] for corner in line.box) / len(line.box)
    return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)


def tokens(text: str) -> list[str]:
    """Words, and CJK signs one by one."""
    return _TOKEN.findall(text)


def is_too_much(wanted: Sequence[str], read: Sequence[str]) -> bool:
    """Whether finding the best passages takes too long: from each token on there are many, of different ends."""
    return len(read) * sum(len(text) + 2 for text in wanted) > _MOST_COMPARED


def best_passage(wanted: str, read: Sequence[str], ignore_case: bool = False) -> Passage:
    """The run of tokens nearest to a wanted text; ties go to the first and shortest.

    Args:
        wanted: from the prompt.
        read: tokens in reading order.
        ignore_case: capital and small letters are the same.
    """
    from rapidfuzz.distance import Levenshtein

    target = _folded(wanted, ignore_case)
    best = Passage("", 0.0, 0, 0)
    most = _LONGER * len(target) + 4
    for first in range(len(read)):
        joined = ""
        for last in range(first + 1, len(read) + 1):
            joined += _folded(read[last - 1], ignore_case)
            for candidate in {joined, joined.strip(_OUTER)} - {""}:
                similarity = Levenshtein.normalized_similarity(target, candidate)
                if similarity > best.similarity:
                    best = Passage(" ".join(read[first:last]), similarity, first, last)
            if len(joined) > most:
                break
    return best


def _folded(text: str, ignore_case: bool) -> str:
    joined = "".join(text.split())
    return joined.casefold() if ignore_case else joined
