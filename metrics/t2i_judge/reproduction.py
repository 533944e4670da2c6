"""Regenerate published figures from the tables they were made of, and say which are equal, which not, which cannot be.

A folder holds the tables, `published.json` (the figures as published, in any nesting; keys that start with "_" are
notes) and `figures.yaml`, which says how each is computed:

    title, table, cluster, raters (their mean is the column human_mean), votes
    join: {table, key}           columns of another table, by a key column
    answers: {table, item, set, judges, scores: {NAME: {set, rule}}, policy, compare_policies}
                                 raw answers -> columns NAME/JUDGE (`answer_table`)
    names: {printed: column}     what placeholders stand for
    lists: [name, name]          what the positions of published lists are called in paths
    figures: a list of rules; the first that matches a figure's path computes it:
        match: [part, "{placeholder}", "{placeholder:one|other}"], group
        compute: spearman, kendall_tau_b, pearson (each also with _p), four_class_accuracy (per cent), mean
        prediction, against (human_mean unless said), where: {column: value}; all may use the placeholders
        equal: {decimals: n} | {significant: n} | {log10_decimals: n}     what counts as the printed precision
        not_computable: the reason why the data cannot give it
    explained: {path: why it differs}
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .agreement import rater_mean, vote_accuracy
from .answer_table import POLICIES, item_scores, read_answers
from .coefficients import COEFFICIENTS, Floats
from .errors import UserError
from .meta_evaluation import meta_evaluate
from .meta_report import MetaRow
from .tables import Table, read_table

PUBLISHED, FIGURES = "published.json", "figures.yaml"
HUMAN_MEAN = "human_mean"

_HERE = Path(__file__).parent
_PLACES = (_HERE / "published", _HERE.parents[1] / "recipes" / "published")
_PLACEHOLDER = re.compile(r"\{(\w+)(?::([^}]*))?\}")
_EXACT_P = "_p"


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
    """
    folder = folder_of(name)
    data = _Data(folder, *_rules(folder))
    published = _leaves(_json(folder / PUBLISHED), data.spec.get("lists", []))
    outcomes = [_outcome(data, path, value) for path, value in published]
    return Reproduction(folder.resolve().name, str(data.spec.get("title", "")), outcomes, _policies(data, draws, seed))


def _rules(folder: Path) -> tuple[dict[str, Any], Path]:
    """The rules of a folder and where they lie."""
    candidates = [folder, *(folder_of(name) for name in shipped())]
    for place in candidates:
        if (place / FIGURES).is_file():
            spec = _yaml(place / FIGURES)
            if place == folder or (folder / spec["table"]).is_file():
                return spec, place
    raise UserError(f"{folder} has no {FIGURES}", "it says how each figure is computed", "copy one of a shipped set")


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {path}", str(error), "mend it") from error
    _check_rules(spec, path)
    return spec


_KEYS = {
    "": {"title", "table", "cluster", "raters", "votes", "join", "answers", "names", "lists", "figures", "explained"},
    "join": {"table", "key"},
    "answers": {"table", "item", "set", "judges", "scores", "policy", "compare_policies"},
    "rule": {"match", "group", "compute", "prediction", "against", "where", "equal", "not_computable"},
}
_NEEDED = {"": {"table", "figures"}, "join": {"table", "key"}, "answers": _KEYS["answers"] - {"compare_policies"}}


def _check_rules(spec: Any, path: Path) -> None:
    """Raise for a key that is unknown or missing, by name."""
    if not isinstance(spec, dict) or not isinstance(spec.get("figures", []), list):
        raise UserError(f"{path} is not a mapping with a list of figures", "", "see the one of a shipped set")
    parts = [("", spec, _NEEDED[""])]
    parts += [(key, spec[key], _NEEDED[key]) for key in ("join", "answers") if key in spec]
    for rule in spec.get("figures", []):
        parts.append(("rule", rule, {"match"} if "not_computable" in rule else {"match", "compute", "equal"}))
    for kind, mapping, needed in parts:
        wrong = (mapping.keys() - _KEYS[kind]) | (needed - mapping.keys())
        if wrong:
            fact = f"{path}: '{min(wrong)}' is unknown or missing{' in ' + kind if kind else ''}"
            raise UserError(fact, f"keys are {', '.join(sorted(_KEYS[kind]))}", "correct it")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}", str(error), "mend it") from error


def _leaves(node: Any, positions: Sequence[str], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every number below a node with its path; notes (keys that start with "_") are passed over."""
    if isinstance(node, list):
        node = {positions[i] if i < len(positions) else str(i): value for i, value in enumerate(node)}
    for key, value in node.items() if isinstance(node, dict) else ():
        if not key.startswith("_"):
            yield from _leaves(value, positions, (*path, key))
    if isinstance(node, int | float) and not isinstance(node, bool):
        yield path, float(node)


class _Data:
    """The columns of a folder, its own, joined and derived."""

    def __init__(self, folder: Path, spec: dict[str, Any], rules: Path) -> None:
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
            derived[HUMAN_MEAN] = rater_mean(self.ratings)
        for name, (scores, _) in self.scored(self.spec.get("answers", {}).get("policy", "")).items():
            derived[name] = np.asarray(scores, dtype=np.float64)
        return derived

    @property
    def ratings(self) -> Floats:
        """Items x raters."""
        return np.column_stack([self.main.numbers(rater) for rater in self.spec["raters"]])

    def scored(self, policy: str) -> dict[str, tuple[list[float | None], list[str]]]:
        """Score column -> scores and statuses of the items under a policy; empty without raw answers."""
        how = self.spec.get("answers")
        if not how:
            return {}
        items = list(zip(*(self.main.labels(column) for column in how["item"]), strict=True))
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
        rows = {key: row for row, key in enumerate(other.labels(how["key"]))}
        return other, [rows[key] for key in self.main.labels(how["key"])]

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

    def rows(self, where: Mapping[str, str]) -> NDArray[np.bool_]:
        """Which items have these values."""
        kept = np.ones(self.main.rows, dtype=bool)
        for column, value in where.items():
            kept &= np.asarray([str(label) == value for label in self.main.labels(column)])
        return kept


def _outcome(data: _Data, path: tuple[str, ...], published: float) -> Outcome:
    for rule in data.spec["figures"]:
        names = _matched(rule["match"], path)
        if names is not None:
            break
    else:
        return _not_computable(path, "figures", published, f"no rule of {FIGURES} matches it")
    names = {key: data.spec.get("names", {}).get(value, value) for key, value in names.items()}
    group = rule.get("group", "figures")
    missing = [column for column in _columns(data, rule, names) if not data.has(column)]
    if "not_computable" in rule or missing:
        reason = rule.get("not_computable", "the table has no column for it")
        return _not_computable(path, group, published, reason)
    computed = _compute(data, rule, names)
    if computed is None:
        return _not_computable(path, group, published, "undefined on these data")
    name = "/".join(path)
    if _at_precision(computed, rule["equal"]) == _at_precision(published, rule["equal"]):
        return Outcome(name, group, published, computed, "equal")
    explanation = data.spec.get("explained", {}).get(name, "")
    return Outcome(name, group, published, computed, "explained" if explanation else "different", explanation)


def _not_computable(path: tuple[str, ...], group: str, published: float, reason: str) -> Outcome:
    return Outcome("/".join(path), group, published, None, "not computable", reason)


def _matched(pattern: list[str], path: tuple[str, ...]) -> dict[str, str] | None:
    """What the placeholders of a rule stand for in this path; None where the rule does not match."""
    if len(pattern) != len(path):
        return None
    names: dict[str, str] = {}
    for part, text in zip(pattern, path, strict=True):
        found = re.fullmatch(_regex(part), text)
        if found is None:
            return None
        names |= found.groupdict()
    return names


def _regex(part: str) -> str:
    literals = _PLACEHOLDER.split(part)  # text, name, alternatives, text, name, alternatives, ... text
    built = re.escape(literals[0])
    for name, alternatives, text in zip(literals[1::3], literals[2::3], literals[3::3], strict=True):
        built += f"(?P<{name}>{alternatives or '.+?'}){re.escape(text)}"
    return built


def _columns(data: _Data, rule: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    prediction = [rule["prediction"].format(**names)] if "prediction" in rule else []
    against = [] if "votes" in data.spec or "not_computable" in rule else [rule.get("against", HUMAN_MEAN)]
    return [*prediction, *against]


def _compute(data: _Data, rule: Mapping[str, Any], names: Mapping[str, str]) -> float | None:
    rows = data.rows({column: value.format(**names) for column, value in rule.get("where", {}).items()})
    how, prediction = (rule.get(key, "").format(**names) for key in ("compute", "prediction"))
    if how == "four_class_accuracy":
        verdicts, votes = (data.main.column(name) for name in (prediction, data.spec["votes"]))
        share = vote_accuracy(verdicts, votes).four_class_accuracy
        return None if share is None else 100 * share
    ratings = data.numbers(rule.get("against", HUMAN_MEAN))[rows]
    if how == "mean":
        return float(np.nanmean(ratings)) if len(ratings) else None
    name, _, p_value = how.partition(_EXACT_P)
    if name not in COEFFICIENTS:
        raise UserError(f"{FIGURES} computes '{how}'", "there is no such figure", f"use {', '.join(COEFFICIENTS)}, ...")
    found = COEFFICIENTS[name](data.numbers(prediction)[rows], ratings)
    return found.p if how.endswith(_EXACT_P) else found.value


_PRECISION: dict[str, Callable[[float, int], str]] = {
    "decimals": lambda value, digits: f"{value:.{digits}f}",
    "significant": lambda value, digits: f"{value:.{digits}g}",
    "log10_decimals": lambda value, digits: f"1e{math.log10(value):.{digits}f}",
}


def _at_precision(value: float, equal: Mapping[str, int]) -> str:
    """A value as text at the printed precision: equal figures are equal texts."""
    ((kind, digits),) = equal.items()
    return _PRECISION[kind](value, digits)


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
            clusters=data.main.labels(data.spec["cluster"]),
            draws=draws,
            seed=seed,
        )
        found[policy] = [row for row in result.rows if row.against == HUMAN_MEAN]
    return found
