"""Regenerate published figures from the tables they were made of, and say which are equal, which not, which cannot be.

A folder holds the tables, `published.json` (the figures as published, numbers in any nesting; keys that start with "_"
and texts are notes) and `figures.yaml`, which says how each is computed (`figure_rules`).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, nearest
from ..inputs.tables import Table, read_table
from ..stats.agreement import rater_mean, vote_accuracy
from ..stats.coefficients import COEFFICIENTS, Floats
from ..stats.resampling import check_draws
from .answers import POLICIES, item_scores, read_answers
from .evaluation import meta_evaluate
from .report import MetaRow
from .rules import Rules, at_precision, filled, matched, read_rules

PUBLISHED, FIGURES = "published.json", "figures.yaml"
HUMAN_MEAN = "human_mean"

_HERE = Path(__file__).parents[1]
_PLACES = (_HERE / "published", _HERE.parents[1] / "recipes" / "published")
_P_VALUE = "_p"
_COMPUTED = (*COEFFICIENTS, *(name + _P_VALUE for name in COEFFICIENTS), "four_class_accuracy", "mean")


@dataclass(frozen=True)
class Outcome:
    """One published figure: its path, what was printed, what the data give, and how they compare.

    status: "equal", "different", "explained" (different, for a known reason) or "not computable"; note: the reason.
    """

    path: str
    group: str
    published: float
    computed: float | None
    status: str
    note: str = ""


@dataclass(frozen=True)
class Reproduction:
    """All figures of a folder, and the same item scores under each policy for what to do with unscored items."""

    name: str
    title: str
    outcomes: list[Outcome]
    policies: dict[str, list[MetaRow]]

    @property
    def faithful(self) -> bool:
        """Is every computable figure equal to its published value, or different for a stated reason?"""
        return all(outcome.status != "different" for outcome in self.outcomes)


def folder_of(name: str) -> Path:
    """The folder of a shipped set, or the folder that was named. Raises `UserError` that lists the shipped sets."""
    for place in (*_PLACES, Path()):
        if (place / name / PUBLISHED).is_file():
            return place / name
    if Path(name).is_dir():
        raise UserError(
            f"{name} has no {PUBLISHED}", "it holds the figures to regenerate", "write one beside the tables"
        )
    raise UserError(f"no published set '{name}'", "", f"use one of {', '.join(shipped())}, or a folder")


def shipped() -> list[str]:
    """Names of the sets that come with this package."""
    place = next((place for place in _PLACES if place.is_dir()), None)
    return sorted(found.parent.name for found in place.glob(f"*/{PUBLISHED}")) if place else []


def reproduce(name: str, draws: int = 2000, seed: int = 0) -> Reproduction:
    """Compute every computable figure of a shipped set or folder.

    Args:
        name: a shipped set, or a folder with published.json. A folder without figures.yaml is read by the rules of the
            shipped set whose tables it holds.
        draws, seed: bootstrap for the intervals of the policy comparison.

    Raises:
        UserError: no such set; published.json, figures.yaml or a table that cannot be read or does not fit.
    """
    check_draws(draws)
    folder = folder_of(name)
    data = _Data(folder, *_rules(folder))
    outcomes = [_outcome(data, path, value) for path, value in _published(folder / PUBLISHED, data.spec)]
    return Reproduction(folder.resolve().name, str(data.spec.get("title", "")), outcomes, _policies(data, draws, seed))


def _rules(folder: Path) -> tuple[Rules, Path]:
    """The rules of a folder and where they lie."""
    candidates = [folder, *(folder_of(name) for name in shipped())]
    for place in candidates:
        if (place / FIGURES).is_file():
            spec = read_rules(place / FIGURES)
            if place == folder or (folder / spec["table"]).is_file():
                return spec, place
    raise UserError(f"{folder} has no {FIGURES}", "it says how each figure is computed", "copy one of a shipped set")


def _published(path: Path, spec: Rules) -> list[tuple[tuple[str, ...], float]]:
    try:
        figures = list(_leaves(json.loads(path.read_text(encoding="utf-8")), spec.get("lists", [])))
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f"cannot read {path}", str(error), "mend it") from error
    if not figures:
        raise UserError(f"{path} holds no figure", "a figure is a number", "write the published numbers")
    for place, value in figures:
        if not math.isfinite(value):
            raise UserError(f"{path}, {'/'.join(place)}: {value}", "a figure is a finite number", "correct it")
    return figures


def _leaves(node: Any, positions: Sequence[str], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every number below a node with its path; notes (keys that start with "_", texts) are passed over."""
    if isinstance(node, list):
        node = {str(positions[i]) if i < len(positions) else str(i): value for i, value in enumerate(node)}
    for key, value in node.items() if isinstance(node, dict) else ():
        if not key.startswith("_"):
            yield from _leaves(value, positions, (*path, key))
    if isinstance(node, int | float) and not isinstance(node, bool):
        yield path, float(node)


class _Data:
    """The columns of a folder, its own, joined and derived."""

    def __init__(self, folder: Path, spec: Rules, rules: Path) -> None:
        self.folder, self.spec, self._rules = folder, spec, rules

    def table(self, name: str) -> Table:
        """A table beside the figures; one that the folder lacks is taken from beside the rules."""
        own = self.folder / name
        return read_table(own if own.is_file() else self._rules / name)

    @cached_property
    def main(self) -> Table:
        """The table whose rows are the items."""
        return self.table(self.spec["table"])

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
                raise UserError(fact, nearest(score["set"], self._answers), "correct it")
        return {
            f"{name}/{judge}": item_scores(self._answers[score["set"]], items, judge, score["rule"], policy)
            for name, score in how["scores"].items()
            for judge in how["judges"]
        }

    @cached_property
    def _answers(self) -> Any:
        how = self.spec["answers"]
        own = self.folder / how["table"]
        path = own if own.is_file() else self._rules / how["table"]
        return read_answers(path, how["item"], how["set"], how["judges"])

    @cached_property
    def _joined(self) -> tuple[Table, list[int]] | None:
        """The other table and, for each item, the row there."""
        how = self.spec.get("join")
        if not how:
            return None
        other = self.table(how["table"])
        keys, wanted = other.labels(how["key"]), self.main.labels(how["key"])
        rows = {key: row for row, key in enumerate(keys)}
        twice = [key for key, count in Counter(keys).items() if count > 1]
        if unmatched := [*twice, *(key for key in wanted if key not in rows)]:
            fact = f"{other.path} has the {how['key']} {unmatched[0]!r} {'twice' if twice else 'nowhere'}"
            raise UserError(fact, "a joined table has one row an item", "mend it")
        return other, [rows[key] for key in wanted]

    def has(self, column: str) -> bool:
        """Is there such a column, whatever it comes from?"""
        joined = self._joined is not None and column in self._joined[0].columns
        return column in self._derived or column in self.main.columns or joined

    def numbers(self, column: str) -> Floats:
        """A column as numbers, in the order of the items."""
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


def _outcome(data: _Data, path: tuple[str, ...], published: float) -> Outcome:
    for rule in data.spec["figures"]:
        found = matched(rule["match"], path)
        if found is not None:
            break
    else:
        return _not_computable(path, "figures", published, f"no rule of {FIGURES} matches it")
    group, printed = rule.get("group", "figures"), data.spec.get("names", {})
    if "not_computable" in rule:
        return _not_computable(path, group, published, rule["not_computable"])
    figure = _Figure.of(rule, {key: str(printed.get(value, value)) for key, value in found.items()}, data.spec)
    if not all(map(data.has, figure.columns)):
        return _not_computable(path, group, published, "the table has no column for it")
    computed = figure.value(data)
    if computed is None:
        return _not_computable(path, group, published, "undefined on these data")
    name = "/".join(path)
    if at_precision(computed, rule["equal"]) == at_precision(published, rule["equal"]):
        return Outcome(name, group, published, computed, "equal")
    explanation = str(data.spec.get("explained", {}).get(name, ""))
    return Outcome(name, group, published, computed, "explained" if explanation else "different", explanation)


def _not_computable(path: tuple[str, ...], group: str, published: float, reason: str) -> Outcome:
    return Outcome("/".join(path), group, published, None, "not computable", reason)


@dataclass(frozen=True)
class _Figure:
    """What one figure is computed from: `columns` is (prediction, standard), for a mean one column."""

    how: str
    columns: tuple[str, ...]
    where: dict[str, str]

    @classmethod
    def of(cls, rule: Mapping[str, Any], names: Mapping[str, str], spec: Rules) -> _Figure:
        """The figure that a rule means once its placeholders stand for these names."""
        how = filled(rule["compute"], names)
        if how not in _COMPUTED:
            raise UserError(f"{FIGURES} computes '{how}'", "there is no such figure", f"use {', '.join(_COMPUTED)}")
        standard = spec.get("votes") if how == "four_class_accuracy" else rule.get("against", HUMAN_MEAN)
        if standard is None:
            raise UserError(f"{FIGURES} computes '{how}'", "it names no column of votes", "add votes: COLUMN")
        if how != "mean" and "prediction" not in rule:
            raise UserError(f"{FIGURES} computes '{how}'", "the rule names no prediction", "add it")
        columns = [filled(rule["prediction"], names)] if "prediction" in rule else []
        if how != "mean" or not columns:
            columns.append(filled(standard, names))
        where = {str(column): filled(value, names) for column, value in rule.get("where", {}).items()}
        return cls(how, tuple(columns), where)

    def value(self, data: _Data) -> float | None:
        """The figure on these data, None where it is undefined."""
        rows = data.rows(self.where)
        if self.how == "four_class_accuracy":
            verdicts, votes = ([data.main.column(name)[row] for row in rows] for name in self.columns)
            share = vote_accuracy(verdicts, votes).four_class_accuracy
            return None if share is None else 100 * share
        values = [data.numbers(name)[rows] for name in self.columns]
        if self.how == "mean":
            known = values[0][~np.isnan(values[0])]
            return float(known.mean()) if len(known) else None
        found = COEFFICIENTS[self.how.removesuffix(_P_VALUE)](*values)
        return found.p if self.how.endswith(_P_VALUE) else found.value


def _policies(data: _Data, draws: int, seed: int) -> dict[str, list[MetaRow]]:
    """Policy -> the judges against the raters' mean, intervals clustered by prompt."""
    wanted = data.spec.get("answers", {}).get("compare_policies", [])
    found: dict[str, list[MetaRow]] = {}
    for policy in POLICIES if wanted else ():
        scored = {name: both for name, both in data.scored(policy).items() if name.split("/")[0] in wanted}
        result = meta_evaluate(
            {name: scores for name, (scores, _) in scored.items()},
            {HUMAN_MEAN: data.numbers(HUMAN_MEAN)},
            statuses={name: statuses for name, (_, statuses) in scored.items()},
            clusters=data.main.labels(data.spec["cluster"]) if "cluster" in data.spec else None,
            draws=draws,
            seed=seed,
        )
        found[policy] = [row for row in result.rows if row.against == HUMAN_MEAN]
    return found
