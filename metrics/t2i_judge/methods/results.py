"""The whole report on personalised generators as plain data: agreement, leaderboards and bias of any number of judges.

Every score is first mapped linearly from its declared range onto [0, 1], people's too, so that judges on different
scales stand in one table. Alpha at interval level and all correlations are the same on either scale.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from ..errors import UserError, quoted
from ..judges.dreambench import SCORE_RANGE as PEOPLE_RANGE
from ..judges.embedding import COSINE_RANGE
from ..layout import plain_table
from ..meta.report import number
from ..records import PERSONALISED_ASPECTS
from ..stats.resampling import Interval
from ..stats.units import check_systems
from ..wording import counted
from .report import (
    COLUMNS,
    PARTS,
    RANDOM_SEED,
    MethodItem,
    Rating,
    Scores,
    agreement_report,
    leaderboard,
    scored_aspects,
    signed_bias,
    to_unit,
)

PEOPLE = "people"
_ALL = "all"  # methods together
UNIT = (0.0, 1.0)
MOST_PAIRS = 200_000  # of annotators, each method, aspect and judge: half a minute
_PARTS = (None, "family", *PARTS)
Run = Mapping[str, Scores]  # aspect -> item -> score


@dataclass(frozen=True)
class Judged:
    """A judge's scores of the items, in one or several runs.

    Attributes:
        name: of the judge.
        runs: aspect -> item -> score, once per run; None and missing items are failures.
        score_range: the judge's declared range. A cosine's [-1, 1] is read as [0, 1], where DreamBench++ (section 4.2)
            compares the levels of DINO and CLIP scores with people's.
    """

    name: str
    runs: Sequence[Run]
    score_range: tuple[float, float]

    @property
    def common_range(self) -> tuple[float, float]:
        """The range that is mapped onto [0, 1]."""
        return UNIT if tuple(self.score_range) == COSINE_RANGE else self.score_range


def method_results(
    items: Mapping[str, MethodItem],
    ratings: Iterable[Rating],
    judges: Sequence[Judged],
    people_range: tuple[float, float] = PEOPLE_RANGE,
    *,
    draws: int = 2000,
    seed: int = RANDOM_SEED,
) -> dict[str, Any]:
    """DreamBench++'s report for several judges, joined by item.

    Args:
        items: item -> method, prompt, family, category, difficulty, subject.
        ratings: people's scores, on `people_range`.
        judges: each with its runs.
        people_range: lowest and highest point of people's scale.
        draws, seed: of the bootstrap, which resamples prompts.

    Returns:
        `people_range`; `agreement`: rows of `agreement_report` for every judge (`judge`, `runs`); `leaderboard`: rows
        of `leaderboard` in [0, 1] for people and every judge (`scorer`), for all tasks and by family, category,
        difficulty and subject; `bias`: judge minus people in [0, 1], mean and sd over runs.

    Raises:
        UserError: a score is outside its declared range, a range has no length, an annotator rated an aspect of an
            item twice, a judge or a method has the name of something else in the report, or there are too many methods
            or annotators to compare every two.
    """
    _check_once(ratings := list(ratings))
    _check_names(items.values(), judges)
    _check_size(items, ratings, len(judges))
    for name, ends in ((PEOPLE, people_range), *((judge.name, judge.common_range) for judge in judges)):
        _check_range(name, ends)
    known = [rating for rating in ratings if rating.item in items]  # of others, no figure knows anything
    people = [rating._replace(score=_mapped(PEOPLE, rating.score, people_range)) for rating in known]
    by_judge = {judge.name: [_unit_run(judge, run, items) for run in judge.runs] for judge in judges}
    means = _means(people)
    parts = [part for part in _PARTS if part is None or any(getattr(item, part) for item in items.values())]
    scorers = {PEOPLE: means, **{name: _over_runs(runs) for name, runs in by_judge.items()}}
    return {
        "people_range": list(people_range),
        "agreement": [
            {"judge": name, "runs": len(runs), **asdict(row)}
            for name, runs in by_judge.items()
            for row in agreement_report(items, people, runs)
        ],
        "leaderboard": [
            {"scorer": name, **asdict(row)}
            for name, scores in scorers.items()
            for part in parts
            for row in leaderboard(items, scores, part, draws=draws, seed=seed)
        ],
        "bias": [row for name, runs in by_judge.items() for row in _bias(name, runs, means)],
    }


def _check_once(ratings: Iterable[Rating]) -> None:
    """Raise `UserError` for a rating that is given twice: it would count twice in means, and once in agreement."""
    given = set()
    for item, annotator, aspect, _ in ratings:
        if (item, annotator, aspect) in given:
            fact = f"{quoted(annotator)} rated {aspect} of {quoted(item)} twice"
            raise UserError(fact, "A person gives an item one score on each axis", "Keep one of them")
        given.add((item, annotator, aspect))


def _check_names(items: Iterable[MethodItem], judges: Iterable[Judged]) -> None:
    """Raise `UserError` for a judge whose scores would stand in people's place, or a method in that of all."""
    for judge in judges:
        if judge.name.strip().casefold() == PEOPLE:
            fact, reason = f"A judge is called {quoted(judge.name)}", "Its scores would stand in the place of people's"
            raise UserError(fact, reason, "Give it another name")
    for item in items:
        if item.method.strip().casefold() == _ALL:
            fact = f"A method is called {quoted(item.method)}"
            raise UserError(fact, "The rows of all methods together have this name", "Give it another name")


def _check_range(name: str, ends: tuple[float, float]) -> None:
    """Raise `UserError` for a range that has no length, or none that a float holds."""
    if not 0 < ends[1] - ends[0] < math.inf:
        fact = f"{name} declares the range {ends[0]:g} to {ends[1]:g}"
        raise UserError(fact, "It is mapped onto [0, 1]", "Declare the lowest and the highest score, the lower first")


def _check_size(items: Mapping[str, MethodItem], ratings: Iterable[Rating], judges: int) -> None:
    """Raise `UserError` where there are more pairs, of methods or of annotators, than can be compared."""
    check_systems(len({item.method for item in items.values()}), "Leave some of them out of the table of items")
    people: dict[tuple[str, str | None], set[str]] = {}
    raters: dict[tuple[str, str | None], Counter[str]] = {}
    for item, annotator, aspect, _ in ratings:
        for method in (items[item].method, None) if item in items else ():
            people.setdefault((aspect, method), set()).add(annotator)
            raters.setdefault((aspect, method), Counter())[item] += 1
    shared = (
        min(math.comb(len(people[key]), 2), sum(math.comb(n, 2) for n in of.values())) for key, of in raters.items()
    )
    if (pairs := sum(shared) * max(1, judges)) > MOST_PAIRS:
        found = counted(pairs, "pair of annotators", "pairs of annotators", ",")
        fact = f"There are {found}, over methods, aspects and judges; at most {MOST_PAIRS:,}"
        reason = "Every two who rated the same item are compared"
        raise UserError(f"{fact} can be compared", reason, "Leave out annotators, or give --scores of fewer judges")


def _mapped(name: str, score: float | None, score_range: tuple[float, float], declared: Interval | None = None) -> Any:
    """A score on [0, 1]. Raises `UserError` outside the declared range."""
    low, high = declared or score_range
    if score is None:
        return None
    if not low <= score <= high:
        raise UserError(
            f"{name} gave the score {score:g}", f"Its range is {low:g} to {high:g}", "Declare the range it uses"
        )
    return to_unit(score, score_range)


def _unit_run(judge: Judged, run: Run, items: Mapping[str, MethodItem]) -> dict[str, dict[str, float | None]]:
    """A run's scores of these items on [0, 1]."""
    return {
        aspect: {
            item: _mapped(judge.name, score, judge.common_range, judge.score_range)
            for item, score in run.get(aspect, {}).items()
            if item in items
        }
        for aspect in PERSONALISED_ASPECTS
    }


def _means(ratings: Iterable[Rating]) -> dict[str, dict[str, float | None]]:
    """Aspect -> item -> mean of the people who rated it."""
    by_item: dict[str, dict[str, list[float]]] = {}
    for rating in ratings:
        if rating.score is not None:
            by_item.setdefault(rating.aspect, {}).setdefault(rating.item, []).append(rating.score)
    return {aspect: {item: fmean(scores) for item, scores in rated.items()} for aspect, rated in by_item.items()}


def _over_runs(runs: Sequence[Run]) -> dict[str, dict[str, float | None]]:
    """Mean over the runs; an item that failed in any of them has none."""
    averages: dict[str, dict[str, float | None]] = {}
    for aspect in PERSONALISED_ASPECTS:
        for item in dict.fromkeys(item for run in runs for item in run[aspect]):
            scores = [score for run in runs if (score := run[aspect].get(item)) is not None]
            averages.setdefault(aspect, {})[item] = fmean(scores) if len(scores) == len(runs) else None
    return averages


def _bias(name: str, runs: Sequence[Run], people: Mapping[str, Scores]) -> list[dict[str, Any]]:
    """Signed bias of each axis that the judge is about: mean over the runs, sample sd for several."""
    rows = []
    for aspect in scored_aspects(runs):
        biases = [signed_bias(run[aspect], people.get(aspect, {}), UNIT, UNIT) for run in runs]
        values = [bias for bias in biases if bias is not None]
        whole = len(values) == len(runs) > 0
        rows.append(
            {
                "judge": name,
                "aspect": aspect,
                "bias": fmean(values) if whole else None,
                "sd": stdev(values) if whole and len(values) > 1 else None,
            }
        )
    return rows


def tables(results: Mapping[str, Any]) -> list[tuple[str, list[list[str]]]]:
    """The report as titled tables of text, header first: agreement, bias, and one leaderboard per scorer and part."""
    parts = [("Agreement: Krippendorff's alpha (interval)", _agreement_table(results["agreement"]))]
    parts.append(("Signed bias against people, on [0, 1]", _bias_table(results["bias"])))
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in results["leaderboard"]:
        part = next(iter(row["by"]), "family" if row["method"] is None else "")
        groups.setdefault((row["scorer"], part), []).append(row)
    for (scorer, part), rows in groups.items():
        title = f"Leaderboard by {scorer}" + (f", by {part}" if part else "")
        parts.append((title, _leaderboard_table(rows)))
    return [(title, cells) for title, cells in parts if len(cells) > 1]


def to_text(results: Mapping[str, Any], width: int | None = None) -> str:
    """`tables` for a terminal, columns aligned, no line longer than `width`."""
    return "\n\n".join(f"{title}\n{plain_table(cells, width)}" for title, cells in tables(results))


def in_brief(results: Mapping[str, Any]) -> dict[str, Any]:
    """The report over all tasks and methods only: agreement of all methods together, bias, whole leaderboards."""
    whole = [row for row in results["leaderboard"] if row["method"] is not None and not row["by"]]
    agreement = [row for row in results["agreement"] if row["method"] is None]
    return {**results, "agreement": agreement, "leaderboard": whole}


def _agreement_table(rows: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    header = ["judge", "aspect", "method", "people, by pairs", "people, jointly", "judge-people", "sd", "ratio"]
    header += ["runs", "items", "failed", "note"]
    return [
        header,
        *(
            [
                row["judge"],
                row["aspect"],
                row["method"] or _ALL,
                number(row["human_human"]),
                number(row["human_human_joint"]),
                number(row["judge_human"]),
                number(row["judge_human_sd"]),
                number(row["ratio"]),
                str(row["runs"]),
                str(row["n"]),
                str(row["n_failed"]),
                row["undefined"] or "",
            ]
            for row in rows
        ),
    ]


def _bias_table(rows: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    cells = [[row["judge"], row["aspect"], number(row["bias"]), number(row["sd"])] for row in rows]
    return [["judge", "aspect", "bias", "sd"], *cells]


def _leaderboard_table(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    part = next(iter(rows[0]["by"]), None)
    header = ["method", "family", *([part] if part else []), *COLUMNS, "items", "failed"]
    return [
        header,
        *(
            [
                row["method"] or _ALL,
                row["family"] or "-",
                *(value or "-" for value in row["by"].values()),
                *(_estimate(row["scores"][column], row["intervals"][column]) for column in COLUMNS),
                str(row["n"]),
                str(row["n_failed"]),
            ]
            for row in rows
        ),
    ]


def _estimate(value: float | None, interval: Interval | None) -> str:
    return number(value) + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
