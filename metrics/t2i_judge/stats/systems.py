"""How far a judge ranks whole systems (generators) as people do: rank correlations, and soft pairwise accuracy."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .coefficients import Floats, as_floats, exact_means, rows_by_group, tame

PERMUTATIONS = 1000
_CELLS = 4_000_000  # of the permutations' signs that are multiplied at a time
_EQUAL = 1e-12  # a permuted mean this near to the observed one is as extreme


@dataclass(frozen=True)
class SystemTable:
    """Mean score of each system on each prompt, nan where it has none: systems x prompts, for judge and people.

    Huge scores are scaled (`coefficients.tame`): no figure computed from them depends on their scale.
    """

    systems: list[Hashable]
    judge: Floats
    people: Floats

    @classmethod
    def of(cls, x: ArrayLike, y: ArrayLike, systems: Sequence[Hashable], prompts: Sequence[Hashable]) -> SystemTable:
        """From one score, one rating, one system and one prompt per item; an item with a gap in either is left out."""
        x, y = as_floats(x), as_floats(y)
        if not len(x) == len(y) == len(systems) == len(prompts):
            raise UserError("The columns differ in length", "Systems are compared item by item", "Align them by item")
        both = np.flatnonzero(~(np.isnan(x) | np.isnan(y))).tolist()
        names, columns = (list(dict.fromkeys(labels[i] for i in both)) for labels in (systems, prompts))
        row, column = ({label: place for place, label in enumerate(labels)} for labels in (names, columns))
        tables = np.full((2, len(names), len(columns)), np.nan)
        for cell, members in rows_by_group([(systems[i], prompts[i]) for i in both]).items():
            place = row[cell[0]], column[cell[1]]
            tables[0][place], tables[1][place] = exact_means([x[both][members], y[both][members]])
        return cls(names, *map(tame, tables))

    def pairs(self) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """Each system, and those behind it with which it shares a prompt, where there are any."""
        has = ~np.isnan(self.judge)
        for i in range(len(self.systems)):
            others = i + 1 + np.flatnonzero((has[i + 1 :] & has[i]).any(axis=1))
            if len(others):
                yield i, others


def permutation_p(differences: Floats, signs: NDArray[np.int8]) -> Floats:
    """One-sided p of paired permutation tests, each of a row of differences, that the first system is better: the share
    of permutations of the differences' signs (permutations x prompts, +-1) whose mean is at least the observed one."""
    block = max(1, _CELLS // max(1, signs.shape[1]))  # NumPy has its signs as float64, eight times as large
    permuted = np.concatenate([signs[at : at + block] @ differences.T for at in range(0, len(signs), block)])
    observed, size = differences.sum(axis=1), np.abs(differences).sum(axis=1)
    share: Floats = (permuted >= observed - _EQUAL * np.maximum(1.0, size)).mean(axis=0)
    return share


def soft_pairwise_accuracy(table: SystemTable, permutations: int = PERMUTATIONS, seed: int = 0) -> float | None:
    """Mean over pairs of systems of 1 - |p_people - p_judge|, in [0, 1]; None without two systems on a common prompt.

    p: `permutation_p` of the paired differences over the prompts that both systems have, judge and people under the
    same permutations. 1 where the judge is as sure of each difference as people are; .5 is about what noise scores.
    Source: Thompson, Mathur, Deutsch & Khayrallah 2024, arXiv 2409.09598.
    """
    rng = np.random.default_rng(seed)
    signs = (1 - 2 * rng.integers(0, 2, size=(permutations, table.judge.shape[1]), dtype=np.int8)).astype(np.int8)
    agreements = []
    for i, others in table.pairs():
        p = [permutation_p(_differences(scores, i, others), signs) for scores in (table.people, table.judge)]
        agreements.append(1 - np.abs(p[0] - p[1]))
    return float(np.concatenate(agreements).mean()) if agreements else None


def _differences(scores: Floats, i: int, others: NDArray[np.intp]) -> Floats:
    """What system i has more than each of the others: others x prompts, 0 where they do not share a prompt."""
    found: Floats = np.nan_to_num(scores[i] - scores[others])
    return found


def resampled_accuracy(table: SystemTable, weights: Floats) -> Floats:
    """Soft pairwise accuracy under each column of `weights` (prompts x resamples).

    p is then the normal distribution's with the permutations' own variance, sum(w d) / sqrt(sum(w d^2)): permuting
    within each resample would take hours, and differs in the third decimal.
    """
    from scipy import special

    total, pairs = np.zeros(weights.shape[1]), 0
    for i, others in table.pairs():
        p = []
        for scores in (table.people, table.judge):
            d = _differences(scores, i, others)
            with np.errstate(invalid="ignore", divide="ignore"):
                z = d @ weights / np.sqrt(d * d @ weights)
            p.append(special.ndtr(-np.nan_to_num(z)))
        total += (1 - np.abs(p[0] - p[1])).sum(axis=0)
        pairs += len(others)
    accuracy: Floats = total / pairs if pairs else np.full(weights.shape[1], np.nan)
    return accuracy


def resampled_means(scores: Floats, weights: Floats) -> Floats:
    """Each system's mean over the prompts it has, under each column of `weights`: systems x resamples."""
    present = ~np.isnan(scores)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Floats = np.nan_to_num(scores) @ weights / (present.astype(np.float64) @ weights)
    return means
