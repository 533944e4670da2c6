"""The items from which every figure is computed: judges' and people's columns, groups, clusters, and failures."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..stats.agreement import leave_one_out, rater_mean
from ..stats.coefficients import Floats, as_floats, rows_by_group
from ..stats.columns import Column
from ..wording import counted

MEAN, CEILING = "mean", "ceiling"
MISSING = "missing"
Columns = Mapping[str, Any]  # name -> a sequence or array with one value per item
Group = tuple[Hashable, ...]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Failures:
    """For each item 0 where a score counts, else 1 + the place in `words` of the status under which it is missing."""

    codes: NDArray[np.int16]
    words: list[str]

    @classmethod
    def of(cls, scores: Floats, statuses: Sequence[str | None] | None) -> Failures:
        """Raises `UserError` for statuses of another number."""
        if statuses is not None and len(statuses) != len(scores):
            given = f"{counted(len(statuses), 'entry', 'entries')} for {counted(len(scores), 'item')}"
            raise UserError(f"The list statuses has {given}", "", "Give one status per item")
        codes, words = np.zeros(len(scores), dtype=np.int16), {MISSING: 1}
        codes[np.isnan(scores)] = 1
        for item, status in enumerate(statuses or ()):
            if status not in (None, "", "ok"):
                codes[item] = words.setdefault(str(status), len(words) + 1)
        return cls(codes, list(words))

    def counts(self, items: Rows) -> dict[str, int]:
        """Status -> number of these items, in order of first appearance."""
        codes = self.codes[items]
        values, first, counts = np.unique(codes, return_index=True, return_counts=True)
        order = [place for place in np.argsort(first) if values[place]]
        return {self.words[values[place] - 1]: int(counts[place]) for place in order}


@dataclass(frozen=True)
class Items:
    """Columns of `size` items.

    `clusters` numbers each item's cluster, None where every item is its own; `left_out` marks the items that the
    ceiling is not to stand on, because judges are compared on the others.
    """

    size: int
    judges: dict[str, Column]
    raters: dict[str, Column]
    failures: dict[str, Failures]
    by: dict[str, Sequence[Any]]
    clusters: NDArray[np.intp] | None
    left_out: NDArray[np.bool_] | None = None

    @cached_property
    def groups(self) -> dict[Group, Rows]:
        """Combination of group values -> its items; one nameless group without `by`."""
        if not self.by:
            return {(): np.arange(self.size)}
        return rows_by_group(list(zip(*self.by.values(), strict=True)))

    @cached_property
    def ratings(self) -> Floats:
        """Items x raters."""
        return np.column_stack([column.values for column in self.raters.values()])

    @cached_property
    def mean(self) -> Column:
        """The raters' mean."""
        return Column.of(rater_mean(self.ratings))

    @cached_property
    def held_out(self) -> list[tuple[Column, Column]]:
        """Each rater, and the mean of all others."""
        own = list(self.raters.values())
        if self.left_out is not None:
            own = [column.without(self.left_out) for column in own]
        if len(self.raters) == 1:  # nobody to compare with
            return [(column, column.without(column.present)) for column in own]
        means = [Column.of(others) for _, others in leave_one_out(self.ratings)]
        return list(zip(own, means, strict=True))

    def named(self, group: Group) -> dict[str, Any]:
        """Group column -> value."""
        return dict(zip(self.by, group, strict=True))

    def cluster_labels(self, items: Rows) -> list[Hashable] | None:
        """The clusters of these items, as the resampling wants them."""
        return None if self.clusters is None else self.clusters[items].tolist()


def named_columns(values: Columns | Sequence[Any] | None, name: str) -> dict[str, Floats]:
    """Named float columns from a mapping, from one number per item, or a list of numbers per item (gaps padded)."""
    if values is None:
        return {}
    if isinstance(values, Mapping):
        return {key: np.array(as_floats(column)) for key, column in values.items()}
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype != object:
        return {name: np.array(as_floats(values))}
    lists = [isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) for value in values]
    if not any(lists):
        return {name: np.array(as_floats(values))}
    rows = [list(value) if is_list else [value] for value, is_list in zip(values, lists, strict=True)]
    width = max(map(len, rows))
    padded = as_floats([row + [None] * (width - len(row)) for row in rows])
    return {f"{name}_{i + 1}": padded[:, i].copy() for i in range(width)}


def rounded(scores: Floats, digits: int | None) -> Floats:
    """Scores to so many decimals, as `numpy.round`; one that is too large to have decimals stays as it is."""
    if digits is None:
        return scores
    if not -15 <= digits <= 15:
        raise UserError(f"Scores cannot be rounded to {digits} decimals", "A float64 has 15 digits", "Give 0 to 15")
    with np.errstate(over="ignore"):
        values = np.round(scores, digits)
    return np.where(np.isfinite(values), values, scores)


def common_size(columns: Sequence[Mapping[str, Any]]) -> int:
    """The length that all columns share. Raises `UserError` where there is none."""
    named = {name: column for some in columns for name, column in some.items() if column is not None}
    lengths = {name: len(column) for name, column in named.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(
            "The columns differ in length",
            ", ".join(f"{k}: {v}" for k, v in lengths.items()),
            "Give one value per item in each",
        )
    if not any(lengths.values()):
        raise UserError("There are no items", "Nothing can be measured", "Give at least one item")
    return next(iter(lengths.values()))


def cluster_codes(clusters: Sequence[Hashable] | None) -> NDArray[np.intp] | None:
    """Labels numbered in order of first appearance; None is a cluster of its own."""
    if clusters is None:
        return None
    numbers: dict[Hashable, int] = {}
    keys = ((None, item) if label is None else label for item, label in enumerate(clusters))
    return np.asarray([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)
