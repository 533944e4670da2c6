"""How far a judge ranks whole systems (generators) as people do: rank correlations, and soft pairwise accuracy."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .coefficients import Floats, as_floats, exact_means, rows_by_group, tame

PERMUTATIONS = 1000
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

    def pairs(self) -> list[tuple[int, int]]:
        """Every two systems that share a prompt."""
        shared = ~np.isnan(self.judge)
        return [(i, j) for i, j in itertools.combinations(range(len(self.systems)), 2) if (shared[i] & shared[j]).any()]


def permutation_p(differences: Floats, signs: NDArray[np.int8]) -> float:
    """One-sided p of a paired permutation test that the first system is better: the share of permutations of the
    differences' signs (permutations x prompts, +-1) whose mean is at least the observed one."""
    permuted = signs @ differences
    observed = differences.sum()
    return float((permuted >= observed - _EQUAL * max(1.0, float(np.abs(differences).sum()))).mean())


def soft_pairwise_accuracy(table: SystemTable, permutations: int = PERMUTATIONS, seed: int = 0) -> float | None:
    """Mean over pairs of systems of 1 - |p_people - p_judge|, in [0, 1]; None without two systems on a common prompt.

    p: `permutation_p` of the paired differences over the prompts that both systems have, judge and people under the
    same permutations. 1 where the judge is as sure of each difference as people are; .5 is about what noise scores.
    Source: Thompson, Mathur, Deutsch & Khayrallah 2024, arXiv 2409.09598.
    """
    rng = np.random.default_rng(seed)
    signs = (1 - 2 * rng.integers(0, 2, size=(permutations, table.judge.shape[1]), dtype=np.int8)).astype(np.int8)
    agreements = []
    for i, j in table.pairs():
        common = ~np.isnan(table.judge[i] + table.judge[j])
        p = [permutation_p((scores[i] - scores[j])[common], signs[:, common]) for scores in (table.people, table.judge)]
        agreements.append(1 - abs(p[0] - p[1]))
    return float(np.mean(agreements)) if agreements else None


def resampled_accuracy(table: SystemTable, weights: Floats) -> Floats:
    """Soft pairwise accuracy under each column of `weights` (prompts x resamples).

    p is then the normal distribution's with the permutations' own variance, sum(w d) / sqrt(sum(w d^2)): permuting
    within each resample would take hours, and differs in the third decimal.
    """
    from scipy import special

    total, pairs = np.zeros(weights.shape[1]), table.pairs()
    for i, j in pairs:
        p = []
        for scores in (table.people, table.judge):
            d = np.nan_to_num(scores[i] - scores[j])
            with np.errstate(invalid="ignore", divide="ignore"):
                z = d @ weights / np.sqrt(d * d @ weights)
            p.append(special.ndtr(-np.nan_to_num(z)))
        total += 1 - np.abs(p[0] - p[1])
    accuracy: Floats = total / len(pairs) if pairs else np.full(weights.shape[1], np.nan)
    return accuracy


def resampled_means(scores: Floats, weights: Floats) -> Floats:
    """Each system's mean over the prompts it has, under each column of `weights`: systems x resamples."""
    present = ~np.isnan(scores)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Floats = np.nan_to_num(scores) @ weights / (present.astype(np.float64) @ weights)
    return means
