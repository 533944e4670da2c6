"""Regenerates published figures from their tables, and says which are equal, which differ, and which cannot be
computed.

A set is a folder of `published.json` (the figures as published, numbers in any nesting; keys that start with "_" and
texts are notes), `figures.yaml`, which says how each is computed (`rules`), and its tables, or `sources.json`, which
says where these are published (`sources`). No table of anybody's is shipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError, quoted
from ..files import read_json
from ..stats.resampling import check_draws
from .answers import POLICIES
from .data import HUMAN_MEAN, Data
from .evaluation import meta_evaluate
from .figures import PublishedFigure
from .report import MetaRow
from .rules import FIGURES, RuleBook, Rules, at_precision, read_rules
from .sources import SILENCE_SECONDS, Source, obtain, read_sources
from .upstream import LAYOUTS

PUBLISHED = "published.json"
_LONGEST = 500  # characters of a name, which rules split

_SHIPPED = Path(__file__).parent / "published"


@dataclass(frozen=True)
class Regenerated:
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
    """All figures of a set, the same item scores under each policy for unscored items, and the published files read."""

    name: str
    title: str
    outcomes: list[Regenerated]
    policies: dict[str, list[MetaRow]]
    sources: list[Source]

    @property
    def faithful(self) -> bool:
        """Is every computable figure equal to its published value, or different for a stated reason?"""
        return all(outcome.status != "different" for outcome in self.outcomes)


def folder_of(name: str) -> Path:
    """The folder of a shipped set, or the folder that was named. Raises `UserError` that lists the shipped sets."""
    for place in (_SHIPPED, Path()):
        if (place / name / PUBLISHED).is_file():
            return place / name
    if Path(name).is_dir():
        raise UserError(
            f"{name} has no {PUBLISHED}", "That file has the figures to regenerate", "Write one beside the tables"
        )
    raise UserError(f"There is no published set '{name}'", "", f"Use one of {', '.join(shipped())}, or a folder")


def shipped() -> list[str]:
    """Names of the sets that come with this package."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{PUBLISHED}"))


def obtain_tables(name: str, silence: float = SILENCE_SECONDS) -> None:
    """Fetch every published file of a set into the cache. Raises `UserError` for the first that is not available."""
    for origin in read_sources(folder_of(name), LAYOUTS).values():
        for source in origin.files:
            obtain(source, silence=silence)


def reproduce(name: str, draws: int = 2000, seed: int = 0, source_folder: Path | None = None) -> Reproduction:
    """Compute every computable figure of a shipped set or folder.

    Args:
        name: a shipped set, or a folder with published.json. A folder without figures.yaml is read by the rules of the
            shipped set whose tables it holds.
        draws, seed: bootstrap for the intervals of the policy comparison.
        source_folder: where published files are; None takes them from the cache, or fetches them.

    Raises:
        UserError: the set does not exist; a published file is not available (`sources.obtain`); or published.json,
            figures.yaml or a table cannot be read or does not fit.
    """
    check_draws(draws)
    folder = folder_of(name)
    spec, beside = _rules(folder)
    data = Data(spec, list(dict.fromkeys([folder, beside])), source_folder)
    published, book = _published(folder / PUBLISHED, spec), RuleBook(spec["figures"])
    book.check(path for path, _ in published)
    outcomes = [_outcome(data, book, path, value) for path, value in published]
    policies = _policies(data, draws, seed)
    return Reproduction(folder.resolve().name, str(spec.get("title", "")), outcomes, policies, data.sources)


def _rules(folder: Path) -> tuple[Rules, Path]:
    """The rules of a folder and where they lie."""
    candidates = [folder, *(folder_of(name) for name in shipped())]
    for place in candidates:
        if (place / FIGURES).is_file():
            spec = read_rules(place / FIGURES)
            if place == folder or (folder / spec["table"]).is_file():
                return spec, place
    raise UserError(
        f"{folder} has no {FIGURES}", "That file says how each figure is computed", "Copy the one of a shipped set"
    )


def _published(path: Path, spec: Rules) -> list[tuple[tuple[str, ...], float]]:
    try:
        figures = list(_leaves(read_json(path, "Correct it"), spec.get("lists", [])))
    except (ValueError, OverflowError) as error:
        raise UserError(f"Cannot read {path}", str(error), "Correct it") from error
    if not figures:
        raise UserError(f"{path} has no figures", "A figure is a number", "Write the published numbers")
    for place, value in figures:
        if long := next((name for name in place if len(name) > _LONGEST), None):
            reason = f"A name has at most {_LONGEST} characters"
            raise UserError(f"{path} names a figure {quoted(long)}", reason, "Correct it")
        if not math.isfinite(value):
            raise UserError(f"{path}, {'/'.join(place)}: {value}", "A figure is a finite number", "Correct it")
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


def _outcome(data: Data, book: RuleBook, path: tuple[str, ...], published: float) -> Regenerated:
    found = book.rule_of(path)
    if found is None:
        return _not_computable(path, "figures", published, f"no rule of {FIGURES} matches it")
    rule, names = found
    group, printed = rule.get("group", "figures"), data.spec.get("names", {})
    if "not_computable" in rule:
        return _not_computable(path, group, published, rule["not_computable"])
    figure = PublishedFigure.of(rule, {key: str(printed.get(value, value)) for key, value in names.items()}, data.spec)
    if not all(map(data.has, figure.columns)):
        return _not_computable(path, group, published, "the table has no column for it")
    computed = figure.value(data)
    if computed is None:
        return _not_computable(path, group, published, "undefined on these data")
    name = "/".join(path)
    if at_precision(computed, rule["equal"]) == at_precision(published, rule["equal"]):
        return Regenerated(name, group, published, computed, "equal")
    explanation = str(data.spec.get("explained", {}).get(name, ""))
    return Regenerated(name, group, published, computed, "explained" if explanation else "different", explanation)


def _not_computable(path: tuple[str, ...], group: str, published: float, reason: str) -> Regenerated:
    return Regenerated("/".join(path), group, published, None, "not computable", reason)


def _policies(data: Data, draws: int, seed: int) -> dict[str, list[MetaRow]]:
    """Policy -> the judges against the raters' mean, intervals clustered by prompt."""
    wanted = data.spec.get("answers", {}).get("compare_policies", [])
    compared: dict[str, list[MetaRow]] = {}
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
        compared[policy] = [row for row in result.rows if row.against == HUMAN_MEAN]
    return compared
