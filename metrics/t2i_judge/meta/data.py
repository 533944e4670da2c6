"""What published figures are computed from: a set's own tables, or those that upstream published, joined and scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, nearest, quoted
from ..inputs.places import is_below
from ..inputs.tables import Table, read_table
from ..stats.agreement import rater_mean
from ..stats.coefficients import Floats
from .answers import Item, ItemAnswers, item_scores, read_answers
from .rules import FIGURES, Rules
from .sources import Source, obtain, read_sources
from .upstream import LAYOUTS, read_upstream

HUMAN_MEAN = "human_mean"


class Data:
    """The columns of a set of figures: its own, joined and derived.

    Args:
        spec: the rules.
        places: folders with tables or a sources.json, the set's own first.
        folder: where to look for published files instead of fetching them.
    """

    def __init__(self, spec: Rules, places: Sequence[Path], folder: Path | None = None) -> None:
        self.spec, self._places, self._folder = spec, places, folder
        self.sources: list[Source] = []  # what was read, in this order
        self._numbers: dict[str, Floats] = {}

    def _table(self, name: str) -> Table:
        """A table of this name in the first place that has one, or says where it is published.

        Raises:
            UserError: it leads out of that place, by `..` or a link: rules may be a stranger's. Or it cannot be read.
        """
        for place in self._places:
            if not is_below(place / name, place):
                reason = "Its rules would have what lies elsewhere on this machine read and printed"
                raise UserError(f"The table {quoted(name)} leads out of {place}", reason, "Copy it into the folder")
            if (place / name).is_file():
                return read_table(place / name)
            origin = read_sources(place, LAYOUTS).get(name)
            if origin is not None:
                files = {source.path: obtain(source, self._folder) for source in origin.files}
                self.sources += (source for source in origin.files if source not in self.sources)
                return read_upstream(origin.layout, files)
        return read_table(self._places[0] / name)

    @cached_property
    def main(self) -> Table:
        """The table whose rows are the items."""
        return self._table(self.spec["table"])

    @cached_property
    def _derived(self) -> dict[str, Floats]:
        derived = {}
        if "raters" in self.spec:
            raters = [self.main.numbers(str(rater)) for rater in self.spec["raters"]]
            derived[HUMAN_MEAN] = rater_mean(np.column_stack(raters))
        for name, (scores, _) in self.scored(self.spec.get("answers", {}).get("policy", "")).items():
            derived[name] = np.asarray(scores, dtype=np.float64)
        return derived

    def scored(self, policy: str) -> dict[str, tuple[list[float | None], list[str]]]:
        """Score column -> scores and statuses of the items under a policy; empty without raw answers."""
        how = self.spec.get("answers")
        if not how:
            return {}
        items = list(zip(*(self.main.labels(column) for column in how["item"]), strict=True))
        for name, score in how["scores"].items():
            if score["set"] not in self._answers:
                fact = f"'{name}' in {FIGURES} is of the questions '{score['set']}', which {how['table']} lacks"
                raise UserError(fact, nearest(score["set"], self._answers), "Correct it")
        return {
            f"{name}/{judge}": item_scores(self._answers[score["set"]], items, judge, score["rule"], policy)
            for name, score in how["scores"].items()
            for judge in how["judges"]
        }

    @cached_property
    def _answers(self) -> dict[str, dict[Item, ItemAnswers]]:
        how = self.spec["answers"]
        return read_answers(self._table(how["table"]), how["item"], how["set"], how["judges"])

    @cached_property
    def _joined(self) -> tuple[Table, list[int]] | None:
        """The other table and, for each item, the row there."""
        how = self.spec.get("join")
        if not how:
            return None
        other = self._table(how["table"])
        keys, wanted = other.labels(how["key"]), self.main.labels(how["key"])
        rows = {key: row for row, key in enumerate(keys)}
        twice = [key for key, count in Counter(keys).items() if count > 1]
        if unmatched := [*twice, *(key for key in wanted if key not in rows)]:
            fact = f"{other.path} has the {how['key']} {quoted(unmatched[0])} {'twice' if twice else 'nowhere'}"
            raise UserError(fact, "A joined table has one row per item", "Correct it")
        return other, [rows[key] for key in wanted]

    def has(self, column: str) -> bool:
        """Is there such a column, whatever it comes from?"""
        joined = self._joined is not None and column in self._joined[0].columns
        return column in self._derived or column in self.main.columns or joined

    def numbers(self, column: str) -> Floats:
        """A column as numbers, in the order of the items."""
        if column not in self._numbers:
            self._numbers[column] = self._read(column)
        return self._numbers[column]

    def _read(self, column: str) -> Floats:
        if column in self._derived:
            return self._derived[column]
        if column in self.main.columns or self._joined is None:
            return self.main.numbers(column)
        other, rows = self._joined
        return other.numbers(column)[rows]

    def rows(self, where: Mapping[str, str]) -> NDArray[np.intp]:
        """The items that have these values."""
        kept = np.ones(self.main.rows, dtype=bool)
        for column, value in where.items():
            kept &= np.asarray([str(label) == value for label in self.main.labels(column)])
        return np.flatnonzero(kept)
