"""Assigns items to annotators: nothing twice, and items begun by others first, so that agreement is known soon."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from math import nan

from annotation_store import AnnotationStore
from benchmark import BenchItem
from leases import Leases
from raters import Raters
from t2i_judge.records import ASPECTS, OVERALL, PERSONALISED_ASPECTS
from t2i_judge.stats.agreement import krippendorff_alpha
from t2i_judge.stats.coefficients import Coefficient

RATERS = 3  # wanted for every picture


def scale_of(item: BenchItem) -> str:
    """`personalised` (DreamBench++'s two scales) for items with a reference picture, `general` for the others."""
    return "personalised" if item.has_reference else "general"


def aspects_of(item: BenchItem) -> list[str]:
    """The aspects to score: those that the questions ask about and overall, or DreamBench++'s two."""
    if item.has_reference:
        return list(PERSONALISED_ASPECTS)
    asked = {question.aspect for question in item.questions}
    return [aspect for aspect in ASPECTS if aspect in asked] + [OVERALL]


class Assignments:
    """Hands out items of one scale at a time. Open forms are leased in memory; saved ones are in the store.

    Annotators go by the id of their registration, and by the mark of their visitor (`raters.Marks`).
    """

    def __init__(
        self,
        items: Sequence[BenchItem],
        store: AnnotationStore,
        raters: int = RATERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.items, self.store, self.raters = list(items), store, raters
        self._leases = Leases(clock)  # of (annotator, scale)
        self._lock = threading.Lock()

    def next(self, annotator: str, scale: str, mark: str = "") -> BenchItem | None:
        """The annotator's open item, else a new one; None if all items have their raters or this one's rating.

        Order: items that others have rated or hold, the most first, up to `raters` names each; then untouched ones, in
        an order that is the same for everybody and says nothing about generators; then those that have as many names,
        but not from as many places.
        """
        with self._lock:
            saved = self.store.all()
            done = {each.item for each in saved if each.annotator_id == annotator}
            held = self._leases.of((annotator, scale))
            busy = Raters()
            for each in saved:
                busy.add(each.item, each.annotator_id, each.visitor)
            for opened in self._leases.of_others(annotator):
                busy.add(*opened)
            free = [
                item for item in self.items
                if scale_of(item) == scale and item.id not in done and busy.has_place(item.id, self.raters, mark)
            ]  # fmt: skip
            chosen = next((item for item in free if item.id == held), None)
            chosen = chosen or min(free, key=lambda item: self._place(item, busy), default=None)
            if chosen is not None:
                self._leases.hold((annotator, scale), chosen.id, annotator, mark)
            return chosen

    def _place(self, item: BenchItem, busy: Raters) -> tuple[bool, int, str]:
        names = busy.names(item.id)
        return names >= self.raters, -names, _shuffled(item.id)

    def progress(self, annotator: str, scale: str) -> tuple[int, int]:
        """How many items of the scale this annotator has saved, and how many there are."""
        ids = {item.id for item in self.items if scale_of(item) == scale}
        done = {each.item for each in self.store.all() if each.annotator_id == annotator}
        return len(ids & done), len(ids)


def _shuffled(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def agreement(store: AnnotationStore) -> dict[str, Coefficient]:
    """Krippendorff's alpha (interval) of every aspect's whole scores over all annotators so far."""
    scores: dict[str, dict[tuple[str, str], float]] = {}
    for annotation in store.all():
        for rating in annotation.ratings:
            if rating.question_id is None:
                scores.setdefault(rating.aspect, {})[annotation.item, annotation.annotator_id] = rating.score
    return {aspect: _alpha(cells) for aspect, cells in scores.items()}


def _alpha(cells: dict[tuple[str, str], float]) -> Coefficient:
    items, raters = sorted({item for item, _ in cells}), sorted({rater for _, rater in cells})
    ratings = [[cells.get((item, rater), nan) for rater in raters] for item in items]
    return krippendorff_alpha(ratings, "interval")
