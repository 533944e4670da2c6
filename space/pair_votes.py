"""Which of two pictures is better: the pairs of a benchmark, who is shown which next, and how far people agree.

A pair is two generators' pictures for one prompt. Which one stands on the left is drawn for each annotator and pair.
Gold pairs are those that the benchmark's own raters decided clearly; every tenth comparison is one, and
looks like any other.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import nan

from annotation_store import AnnotationStore
from annotations import A_BETTER, B_BETTER, BOTH_BAD, BOTH_GOOD, PairVote
from benchmark import BenchItem
from leases import Leases
from raters import Raters
from t2i_judge.records import OVERALL
from t2i_judge.stats.agreement import krippendorff_alpha
from t2i_judge.stats.coefficients import Coefficient

VOTES = (A_BETTER, B_BETTER, BOTH_GOOD, BOTH_BAD)
RATERS = 3  # wanted for every pair
GOLD_EVERY, GOLD_GAP, GOLD_RATERS = 10, 4.0, 2  # points of ten between the means of at least two raters
SEPARATOR = "\n"  # between the ids of a pair's key: no id has it


@dataclass(frozen=True)
class Pair:
    """Two items of one prompt; `gold` is the vote that people gave already, None where they did not decide clearly."""

    a: BenchItem
    b: BenchItem
    gold: str | None

    @property
    def key(self) -> str:
        """What a vote names the pair by."""
        return f"{self.a.id}{SEPARATOR}{self.b.id}"

    def swapped(self, annotator: str) -> bool:
        """Whether this annotator sees b on the left."""
        return _hash(f"{annotator}/{self.key}") % 2 == 1


def pairs_of(items: Sequence[BenchItem]) -> list[Pair]:
    """Every two pictures of different generators for one prompt, without those that have a reference."""
    by_prompt: dict[str, list[BenchItem]] = {}
    for item in items:
        if not item.has_reference:
            by_prompt.setdefault(item.prompt, []).append(item)
    return [
        Pair(a, b, _gold(a, b))
        for own in by_prompt.values()
        for a, b in combinations(own, 2)
        if a.generator != b.generator
    ]


def _gold(a: BenchItem, b: BenchItem) -> str | None:
    first, second = a.human_mean(OVERALL), b.human_mean(OVERALL)
    raters = min(len(a.people(OVERALL)), len(b.people(OVERALL)))
    if first is None or second is None or raters < GOLD_RATERS or abs(first - second) < GOLD_GAP:
        return None
    return A_BETTER if first > second else B_BETTER


class PairDesk:
    """Hands out pairs: nobody gets one twice, and what others have voted on comes first, up to `raters` votes each.

    A pair that lies open counts as voted on for the time of a lease.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        store: AnnotationStore,
        raters: int = RATERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pairs, self.store, self.raters = {pair.key: pair for pair in pairs}, store, raters
        self._leases = Leases(clock)  # of annotators
        self._lock = threading.Lock()

    def next(self, annotator: str, mark: str = "") -> Pair | None:
        """The open pair, else a new one; a gold pair in every tenth place; None when nothing is left.

        `mark` is the visitor's (`raters.Marks`): votes are counted by where they come from.
        """
        with self._lock:
            votes = self.store.votes()
            own = {vote.pair for vote in votes if vote.annotator_id == annotator}
            held = self._leases.of(annotator)
            busy = Raters()
            for vote in votes:
                busy.add(vote.pair, vote.annotator_id, vote.visitor)
            for opened in self._leases.of_others(annotator):
                busy.add(*opened)
            golden = len(own) % GOLD_EVERY == GOLD_EVERY - 1
            free = [
                pair for pair in self.pairs.values()
                if pair.key not in own
                and (pair.gold is not None or pair.key == held or busy.has_place(pair.key, self.raters, mark))
            ]  # fmt: skip

            def place(pair: Pair) -> tuple[bool, bool, int, int]:
                is_gold, names = pair.gold is not None, busy.names(pair.key)
                return is_gold != golden, not is_gold and names >= self.raters, -names, _hash(pair.key)

            chosen = next((pair for pair in free if pair.key == held), None) or min(free, key=place, default=None)
            if chosen is not None:
                self._leases.hold(annotator, chosen.key, annotator, mark)
            return chosen

    def undo(self, annotator: str, mark: str = "") -> Pair | None:
        """Take this annotator's last vote back and open its pair again; None without one. Raises `UserError`."""
        last = self.store.last_vote(annotator)
        if last is None or last.pair not in self.pairs:
            return None
        self.store.withdraw(last, mark)
        with self._lock:
            self._leases.hold(annotator, last.pair, annotator, mark)
        return self.pairs[last.pair]

    def progress(self, annotator: str) -> tuple[int, int]:
        """How many pairs this annotator has voted on, and how many there are."""
        own = {vote.pair for vote in self.store.votes() if vote.annotator_id == annotator}
        return len(own & self.pairs.keys()), len(self.pairs)

    def gold(self, annotator: str) -> tuple[int, int]:
        """Gold pairs that this annotator decided as others had, and how many were voted on."""
        own = [vote for vote in self.store.votes() if vote.annotator_id == annotator]
        known = [(vote.vote, pair.gold) for vote in own if (pair := self.pairs.get(vote.pair)) and pair.gold]
        return sum(vote == gold for vote, gold in known), len(known)


def agreement_on_pairs(votes: Sequence[PairVote]) -> Coefficient:
    """Krippendorff's alpha (nominal: a, b, both good, both bad) of all votes that count."""
    cells = {(vote.pair, vote.annotator_id): VOTES.index(vote.vote) for vote in votes if vote.vote in VOTES}
    pairs, raters = sorted({pair for pair, _ in cells}), sorted({rater for _, rater in cells})
    return krippendorff_alpha([[cells.get((pair, rater), nan) for rater in raters] for pair in pairs], "nominal")


def _hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)
