"""`figures.yaml`: the rules by which published figures are computed, read and checked as a whole before anything is.

A table is a file beside the rules or a table of `sources.json` (`sources`).

title, table, cluster, raters (their mean is the column human_mean), votes
join: {table, key}           columns of another table, by a key column
answers: {table, item, set, judges, scores: {NAME: {set, rule}}, policy, compare_policies}
                             raw answers -> columns NAME/JUDGE (`answers`)
names: {printed: column}     what placeholders stand for
lists: [name, name]          what the positions of published lists are called in paths
figures: a list of rules; the first that matches a figure's path computes it:
    match: [part, "{placeholder}", "{placeholder:one|other}"], group
    compute: spearman, kendall_tau_b, pearson (each also with _p); mean, sum, count (of the prediction where one is
                 named, of the items' means over `raters` where they are, else of against); distinct (values of it);
                 fleiss_kappa, percent_agreement, alpha_LEVEL, ceiling_COEFFICIENT, raters_std (of `raters`);
                 four_class_accuracy, pairwise_accuracy, accuracy_with_ties, tie_calibrated_accuracy (per cent, against
                 votes); system_COEFFICIENT and system_footrule, sum |difference of ranks| (of the means of each of
                 `systems`: a column)
    prediction, against (human_mean unless said), raters, scores: [score_a, score_b], where: {column: value}; all may
                 use the placeholders
    average: {over: [column, ...], rule: mean, nested: false}    the figure in each group, averaged
                 (coefficients.average); nested: by the last column inside the one before it, these then by theirs;
                 digits: n, groups' figures rounded first, as who averages a printed table does
    ceiling: mean                the rule by which ceiling_COEFFICIENT averages the raters
    equal: {decimals: n} | {significant: n} | {log10_decimals: n}     what counts as the printed precision
    not_computable: the reason why the data cannot give it
explained: {path: why it differs}
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest, quoted
from ..files import read_yaml
from ..stats.coefficients import check_rule

Rules = dict[str, Any]

FIGURES = "figures.yaml"

_SHAPES: dict[str, dict[str, type]] = {
    "": {
        "title": str, "table": str, "cluster": str, "raters": list, "votes": str, "join": dict, "answers": dict,
        "names": dict, "lists": list, "figures": list, "explained": dict,
    },
    "join": {"table": str, "key": str},
    "answers": {
        "table": str, "item": list, "set": str, "judges": list, "scores": dict, "policy": str, "compare_policies": list,
    },
    "scores": {"set": str, "rule": str},
    "rule": {
        "match": list, "group": str, "compute": str, "prediction": str, "against": str, "where": dict, "equal": dict,
        "not_computable": str, "raters": list, "scores": list, "average": dict, "ceiling": str, "systems": str,
    },
    "average": {"over": list, "rule": str, "nested": bool, "digits": int},
}  # fmt: skip
_NEEDED = {
    "": {"table", "figures"},
    "join": {"table", "key"},
    "answers": {"table", "item", "set", "judges", "scores", "policy"},
    "scores": {"set", "rule"},
    "rule": {"match", "compute", "equal"},
    "rule not computable": {"match"},
    "average": {"over"},
}
_CALLED: dict[type, str] = {
    str: "text",
    list: "a list",
    dict: "a mapping",
    bool: "true or false",
    int: "a whole number",
}
_PATTERN = re.compile(r"\{(\w+)(?::([^{}]*))?\}")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_MOST_MATCHED = 100_000_000  # letters of rules times letters of figures: some seconds; shipped sets have 9 million
_PLACEHOLDERS = 2  # in one part: trying how a name splits among more takes hours
_PRECISION: dict[str, Callable[[float, int], str]] = {
    "decimals": lambda value, digits: f"{value:z.{digits}f}",
    "significant": lambda value, digits: f"{value:z.{digits}g}",
    "log10_decimals": lambda value, digits: f"1e{math.log10(value):.{digits}f}" if value > 0 else f"{value:g}",
}


def read_rules(path: Path) -> Rules:
    """The rules as plain data: every key known and of its kind, nothing needed missing, every placeholder matched.

    Raises:
        UserError: naming file, place, key and fix.
    """
    rules: Rules = read_yaml(path)
    _check(path, "", "", rules)
    for key in ("join", "answers"):
        if key in rules:
            _check(path, key, key, rules[key])
    for name, score in rules.get("answers", {}).get("scores", {}).items():
        _check(path, "scores", f"answers.scores.{name}", score)
    for number, rule in enumerate(rules["figures"], 1):
        _check_rule(path, f"figure rule {number}", rule)
    return rules


def _check(path: Path, kind: str, place: str, mapping: Any, needed: set[str] | None = None) -> None:
    shapes = _SHAPES[kind]
    where = f" in {place}" if place else ""
    if not isinstance(mapping, dict):
        raise UserError(f"{path}: {place or 'it'} is not a mapping", "", "Follow the one of a shipped set")
    wrong = (mapping.keys() - shapes.keys()) | ((_NEEDED[kind] if needed is None else needed) - mapping.keys())
    if wrong:
        fact = f"{path}: '{min(wrong, key=str)}' is unknown or missing{where}"
        raise UserError(fact, f"Keys are {', '.join(sorted(shapes))}", "Correct it")
    for key, value in mapping.items():
        if not isinstance(value, shapes[key]):
            raise UserError(
                f"{path}: '{key}'{where} is {quoted(value)}", f"It must be {_CALLED[shapes[key]]}", "Correct it"
            )


def _check_rule(path: Path, place: str, rule: Any) -> None:
    impossible = isinstance(rule, dict) and "not_computable" in rule
    _check(path, "rule", place, rule, _NEEDED["rule not computable" if impossible else "rule"])
    if any(len(_PATTERN.findall(str(part))) > _PLACEHOLDERS for part in rule["match"]):
        reason = f"A part has at most {_PLACEHOLDERS} placeholders"
        raise UserError(f"{path}: 'match' in {place} is {quoted(rule['match'])}", reason, "Correct it")
    try:
        known = {name for part in rule["match"] for name in re.compile(_regex(str(part))).groupindex}
    except re.error as error:
        raise UserError(f"{path}: 'match' in {place} is {quoted(rule['match'])}", str(error), "Correct it") from error
    if "average" in rule:
        _check(path, "average", f"average of {place}", rule["average"])
        check_rule(rule["average"].get("rule", "mean"))
    check_rule(rule.get("ceiling", "mean"))
    texts = [rule.get(key, "") for key in ("compute", "prediction", "against")]
    texts += [str(column) for key in ("raters", "scores") for column in rule.get(key, [])]
    for text in [*texts, *map(str, rule.get("where", {}).values())]:
        for name in _PLACEHOLDER.findall(text):
            if name not in known:
                reason = nearest(name, known) if known else "'match' has no placeholder"
                raise UserError(f"{path}: {quoted(f'{{{name}}}')} in {place} is not matched", reason, "Correct it")
    if impossible:
        return
    kinds = [kind for kind in rule["equal"] if kind in _PRECISION]
    digits = rule["equal"].get(kinds[0]) if kinds else None
    if len(rule["equal"]) != 1 or type(digits) is not int or not 0 <= digits <= 30:
        fact = f"{path}: 'equal' in {place} is {quoted(rule['equal'])}"
        raise UserError(fact, f"It must be one of {', '.join(_PRECISION)}, with a number of digits", "Correct it")


class RuleBook:
    """The rules that compute figures, their patterns built once and tried only where they can match."""

    def __init__(self, rules: Sequence[Rules]) -> None:
        self._letters = sum(len(str(part)) + 1 for rule in rules for part in rule["match"])
        self._by_length: dict[int, list[tuple[Rules, list[re.Pattern[str]]]]] = defaultdict(list)
        for rule in rules:
            patterns = [re.compile(_regex(str(part)), re.DOTALL) for part in rule["match"]]
            self._by_length[len(patterns)].append((rule, patterns))

    def check(self, paths: Iterable[Sequence[str]]) -> None:
        """Raises `UserError` if matching all these figures takes too long: a stranger's folder may have any number."""
        if self._letters * sum(len(text) + 1 for path in paths for text in path) > _MOST_MATCHED:
            fact = f"The rules of {FIGURES} are too many for the published figures"
            raise UserError(fact, "Each rule is tried for each figure", "Use placeholders, or split the set")

    def rule_of(self, path: Sequence[str]) -> tuple[Rules, dict[str, str]] | None:
        """The first rule that matches a figure's path, and what its placeholders stand for; None without one."""
        for rule, patterns in self._by_length[len(path)]:
            names: dict[str, str] = {}
            for pattern, text in zip(patterns, path, strict=True):
                match = pattern.fullmatch(text)
                if match is None:
                    break
                names |= match.groupdict()
            else:
                return rule, names
        return None


def _regex(part: str) -> str:
    """The pattern of a part. It first looks at the end: a name that ends otherwise is split in no way at all."""
    literals = _PATTERN.split(part)  # text, name, alternatives, text, name, alternatives, ... text
    built = f"(?=.*{re.escape(literals[-1])}\\Z)" + re.escape(literals[0])
    for name, alternatives, text in zip(literals[1::3], literals[2::3], literals[3::3], strict=True):
        one_of = "|".join(map(re.escape, alternatives.split("|"))) if alternatives else ".+?"
        built += f"(?P<{name}>{one_of}){re.escape(text)}"
    return built


def filled(text: Any, names: Mapping[str, str]) -> str:
    """A text of a rule with its placeholders replaced."""
    return _PLACEHOLDER.sub(lambda placeholder: names[placeholder[1]], str(text))


def at_precision(value: float, equal: Mapping[str, int]) -> str:
    """A value as text at the printed precision: equal figures are equal texts."""
    ((kind, digits),) = equal.items()
    return _PRECISION[kind](value, digits)
