"""People's votes on pairs of images, against a judge's verdicts on them, or against its scores of both images."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .coefficients import Floats, as_floats

HUMAN_VOTES = {"leftvote": "A>B", "rightvote": "B>A", "tievote": "A=B=Good", "bothbad_vote": "A=B=Bad"}
VERDICTS = ("A>B", "B>A", "A=B=Good", "A=B=Bad", "A=B")
FOLDS = 5  # of the cross-fitted threshold

# How judges and people write them, in lower case, without spaces, hyphens and underscores.
_WORDS = {
    "A>B": "a>b a>>b b<a a left leftvote modela imagea first",
    "B>A": "b>a b>>a a<b b right rightvote modelb imageb second",
    "A=B=Good": "a=b=good bothgood tie(bothgood) bothgoodvote",
    "A=B=Bad": "a=b=bad bothbad bothbadvote tie(bothbad)",
    "A=B": "a=b b=a tie draw equal same",
}
_VERDICT_OF = {word: verdict for verdict, words in _WORDS.items() for word in words.split()}
_SIGNS = {"A>B": 1, "B>A": -1}


def parse_verdict(text: str | None) -> str | None:
    """One of `VERDICTS`, whichever way it is written (`[[A>B]]`, `A > B`, `A`, `left`, `tie`); None where it is none.

    A text around one pair of double brackets is passed over; two pairs of brackets are no verdict.
    """
    if text is None:
        return None
    inside = [part.partition("[[")[2] for part in text.split("]]")[:-1] if "[[" in part]
    if len(inside) > 1:
        return None
    return _VERDICT_OF.get(re.sub(r"[\s_-]", "", inside[0] if inside else text).lower())


def parse_vote(text: str | None) -> str | None:
    """A person's vote as one of `VERDICTS`; None is a gap. Raises `UserError` for words that are no vote.

    `tievote` is what GenAI-Arena calls two good images; a plain `tie` says nothing about how good they are.
    """
    if text is None or not text.strip():
        return None
    verdict = HUMAN_VOTES.get(text.strip()) or parse_verdict(text)
    if verdict is None:
        known = ", ".join((*HUMAN_VOTES, "A>B", "A", "left", "tie"))
        fix = f"Use {known} or similar, or --sides if votes name models, and leave gaps empty"
        raise UserError(f"'{text}' is not a vote", "", fix)
    return verdict


def hits_of(verdicts: Sequence[str | None], votes: Sequence[str]) -> NDArray[np.bool_]:
    """Whether each verdict is the vote; a bare A=B, said by either, stands for both kinds of tie."""
    ties = ("A=B", "A=B=Good", "A=B=Bad")
    return np.asarray(
        [
            verdict == vote or (verdict in ties and vote in ties and "A=B" in (verdict, vote))
            for verdict, vote in zip(verdicts, votes, strict=True)
        ],
        dtype=bool,
    )


@dataclass(frozen=True)
class VoteAccuracy:
    """A judge's verdicts against people's votes on pairs of images; a share lies in [0, 1], None when of no pair.

    n: pairs with a vote. four_class_accuracy: verdicts equal to the vote. pairwise_accuracy_decided: the same over the
    n_decided pairs where people preferred one image; a judge's tie is wrong there. majority_class_accuracy: what always
    saying the commonest vote scores. n_unparsed: pairs without a verdict, wrong in every figure.
    """

    n: int
    four_class_accuracy: float | None
    pairwise_accuracy_decided: float | None
    n_decided: int
    majority_class_accuracy: float | None
    n_unparsed: int


def vote_accuracy(verdicts: Sequence[str | None], votes: Sequence[str | None]) -> VoteAccuracy:
    """Four-class accuracy, hits / votes, as GenAI-Bench publishes it, and preference accuracy under its own name.

    Exactly as upstream spells them: votes leftvote, rightvote, tievote, bothbad_vote (or the verdict that each stands
    for), None or "" a gap; verdicts `VERDICTS`, a bare A=B counting for both tie classes, anything else unparsed and
    wrong. `parse_vote` and `parse_verdict` make these of other spellings. Constant verdicts are scored like any others.
    Source: Jiang et al. 2024, arXiv 2406.04485; TIGER-AI-Lab/GenAI-Bench.
    """
    pairs = [(verdict, _vote(vote)) for verdict, vote in zip(verdicts, votes, strict=True) if vote]
    hits = hits_of([verdict for verdict, _ in pairs], [vote for _, vote in pairs]).tolist()
    decided = [hit for hit, (_, vote) in zip(hits, pairs, strict=True) if vote in _SIGNS]
    commonest = Counter(vote for _, vote in pairs).most_common(1)
    return VoteAccuracy(
        n=len(pairs),
        four_class_accuracy=sum(hits) / len(hits) if hits else None,
        pairwise_accuracy_decided=sum(decided) / len(decided) if decided else None,
        n_decided=len(decided),
        majority_class_accuracy=commonest[0][1] / len(pairs) if pairs else None,
        n_unparsed=sum(verdict not in VERDICTS for verdict, _ in pairs),
    )


def _vote(vote: str) -> str:
    verdict = HUMAN_VOTES.get(vote, vote)
    if verdict not in VERDICTS:
        raise UserError(f"'{vote}' is not a vote", "", f"Use one of {', '.join(HUMAN_VOTES)}")
    return verdict


class ScoredPairs:
    """A judge's scores of both images of each pair, and people's votes on the pairs.

    Args:
        score_a, score_b: of the n pairs, complete.
        votes: `VERDICTS` of people; all ties are alike here.
        folds: 0 .. FOLDS - 1 for each pair; pairs of one prompt share theirs.

    Raises:
        UserError: two scores of a pair are further apart than float64's largest number.
    """

    def __init__(self, score_a: ArrayLike, score_b: ArrayLike, votes: Sequence[str], folds: NDArray[np.intp]) -> None:
        with np.errstate(over="ignore"):
            gaps = as_floats(score_a) - as_floats(score_b)
        if np.isinf(gaps).any():
            fact, reason = "Two scores of a pair are too far apart", "Their difference is beyond float64"
            raise UserError(fact, reason, "Correct the scores")
        signs = np.asarray([_SIGNS.get(vote, 0) for vote in votes])
        order = np.argsort(np.abs(gaps), kind="stable")
        self._order, self._folds = order, folds[order]
        self._distance, self.signs = np.abs(gaps)[order], signs
        self._right = ((np.sign(gaps) == signs) & (signs != 0))[order].astype(np.float64)
        self._tie = (signs == 0)[order].astype(np.float64)
        self.ties_of_scores = int((gaps == 0).sum())
        self._last = np.append(self._distance[1:] != self._distance[:-1], True) if len(gaps) else np.empty(0, bool)

    def figures(self, weights: Floats) -> dict[str, Floats]:
        """Each figure under each column of `weights` (pairs x resamples), in [0, 1]; nan where it is of no pair.

        pairwise_accuracy: of the pairs that people decided, those whose preferred image scores higher; equal scores are
        wrong. accuracy_with_ties: of all pairs, those where scores and vote agree, only equal scores being a tie.
        tie_calibrated_accuracy: the same with scores tying up to the threshold that makes it largest, fitted on these
        very pairs, in each resample anew (Deutsch, Foster & Freitag 2023, arXiv 2305.14324). cross_fitted_accuracy: the
        threshold of each fold is fitted on the other folds.
        """
        w = np.asarray(weights, dtype=np.float64)[self._order]
        total = w.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            figures = {"pairwise_accuracy": self._right @ w / (total - self._tie @ w)}
            gains = self._gains(w)
            figures["accuracy_with_ties"] = self._at(gains, np.zeros(w.shape[1], dtype=np.intp)) / total
            figures["tie_calibrated_accuracy"] = self._at(gains, self._best(gains, total)) / total
            cross = np.zeros(w.shape[1])
            for fold in range(FOLDS):
                inside = np.where((self._folds == fold)[:, None], w, 0)
                rest = self._gains(w - inside)
                cross += self._at(self._gains(inside), self._best(rest, total))
            figures["cross_fitted_accuracy"] = cross / total
        return figures

    def threshold(self) -> float:
        """The smallest best threshold on all pairs, in units of the score."""
        gains = self._gains(np.ones((len(self._order), 1)))
        return float(self._thresholds[self._best(gains, np.full(1, len(self._order)))[0]])

    def agreement_at_threshold(self) -> dict[str, Floats]:
        """Figure -> for each pair 1 where it agrees (nan: not counted), the fitted threshold taken as given."""
        tied = self._distance <= self.threshold()
        equal = self._distance == 0
        decided = np.where(self._tie == 1, np.nan, self._right)
        by_place = {
            "pairwise_accuracy": decided,
            "accuracy_with_ties": np.where(equal, self._tie, self._right),
            "tie_calibrated_accuracy": np.where(tied, self._tie, self._right),
            "cross_fitted_accuracy": np.where(tied, self._tie, self._right),
        }
        places = np.argsort(self._order)
        return {name: values[places] for name, values in by_place.items()}

    @property
    def _thresholds(self) -> Floats:
        """0, and every distance of two scores: the ends of the runs that tie or do not."""
        ends = self._distance[self._last]
        return ends if len(ends) and ends[0] == 0 else np.append(0.0, ends)

    def _gains(self, w: Floats) -> Floats:
        """Weight of agreeing pairs at each threshold: pairs up to it tie, those beyond are ordered."""
        gained = np.cumsum((self._tie - self._right)[:, None] * w, axis=0)[self._last]
        if not len(self._distance[self._last]) or self._distance[self._last][0] != 0:
            gained = np.concatenate([np.zeros((1, w.shape[1])), gained])
        gains: Floats = self._right @ w + gained
        return gains

    @staticmethod
    def _best(gains: Floats, total: Floats) -> NDArray[np.intp]:
        """The first best threshold; sums that are equal but for rounding are equal."""
        return np.asarray(np.argmax((gains / np.maximum(total, 1)).round(12), axis=0))

    @staticmethod
    def _at(gains: Floats, thresholds: NDArray[np.intp]) -> Floats:
        chosen: Floats = gains[thresholds, np.arange(gains.shape[1])]
        return chosen


def best_hits(scores: Floats, ratings: Floats) -> tuple[float, float]:
    """Of K images of one prompt: whether the judge's single best is people's, and whether every two are ordered alike.

    Each is 1, 0, or nan where people do not say: no single best, or two images alike. A judge's tie for the best is
    wrong. Items with a gap in either make the set nan. The second is how multi-way comparisons are scored.
    """
    if len(scores) < 2 or np.isnan(scores).any() or np.isnan(ratings).any():
        return np.nan, np.nan
    best = np.flatnonzero(ratings == ratings.max())
    chosen = np.flatnonzero(scores == scores.max())
    first = float(len(chosen) == 1 and chosen[0] == best[0]) if len(best) == 1 else np.nan
    if len(np.unique(ratings)) < len(ratings):
        return first, np.nan
    order = np.argsort(ratings)
    return first, float((np.diff(scores[order]) > 0).all())
