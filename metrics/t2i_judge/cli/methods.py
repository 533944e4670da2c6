"""`t2i-judge methods ITEMS --ratings TABLE --scores FILE`: DreamBench++'s report on personalised generators.

Tables are joined by the item's id, never by the order of their rows.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import UserError, quoted
from ..inputs.numerals import is_blank, number_or_gap, parse_number
from ..inputs.readers import Row, iter_rows
from ..inputs.tables import column_names
from ..layout import terminal_width
from ..methods.report import PARTS, MethodItem, Rating
from ..methods.results import Judged, method_results, to_text
from ..records import PERSONALISED_ASPECTS, SCORE_RANGE, Status
from ..runs.lines import SHARDS, fault, run_lines
from ..stats.resampling import check_draws, check_seed
from ..terminal import say
from ..wording import counted
from .places import TABLE
from .results import add_json, show
from .run_files import RESULTS_OR_TABLES
from .table_arguments import STATUS

_ATTRIBUTES = ("family", *PARTS)
_RUN = "run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `methods`."""
    parser.add_argument(
        "items",
        type=TABLE,
        help="table with id, prompt, the method, and family, category, difficulty, subject if known",
    )
    parser.add_argument("--method-column", default="generator", help="column of methods (default: %(default)s)")
    parser.add_argument(
        "--ratings", type=TABLE, required=True, help="table with item (or id), annotator, aspect, score"
    )
    parser.add_argument(
        "--scores",
        type=RESULTS_OR_TABLES,
        action="append",
        default=[],
        metavar="FILE",
        help="folder of `t2i-judge score`, judgements as JSON Lines, or a table with item, judge, aspect, score; "
        "several of one judge are its runs, as are values of a column `run`; FILE,FILE are parts of one run",
    )
    parser.add_argument(
        "--aspects",
        metavar="OWN=ASPECT,...",
        help=f"what your tables call an axis, such as SC=concept_preservation; axes: {', '.join(PERSONALISED_ASPECTS)}",
    )
    parser.add_argument(
        "--range",
        default="0,4",
        metavar="LOW,HIGH",
        help="range of scores in tables without columns low and high (default: %(default)s)",
    )
    parser.add_argument(
        "--people-range", default="0,4", metavar="LOW,HIGH", help="range of the ratings (default: %(default)s)"
    )
    parser.add_argument(
        "--bootstrap",
        type=int,
        default=2000,
        metavar="N",
        help="number of resamples; 0: no intervals (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the resamples (default: %(default)s)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Read the tables, print the report; returns 0."""
    check_draws(args.bootstrap)
    check_seed(args.seed)
    items = read_items(args.items, args.method_column)
    called, unknown = _called(args.aspects), Counter[str]()
    ratings = list(read_ratings(args.ratings, called, unknown))
    _check_aspects(args.ratings, unknown, bool(ratings))
    if strangers := {rating.item for rating in ratings} - items.keys():
        say(
            f"Left out: {counted(len(strangers), 'rated item')} not in {args.items}, {min(strangers)!r} for one.",
            file=sys.stderr,
        )
    unknown.clear()
    judges = read_judges(args.scores, _range(args.range), called, unknown)
    _check_aspects(", ".join(args.scores), unknown, bool(judges))
    people = _range(args.people_range)
    results = method_results(items, ratings, judges, people, draws=args.bootstrap, seed=args.seed)
    show(args, to_text(results, terminal_width()), results)
    return 0


def _called(text: str | None) -> dict[str, str]:
    """A table's own word -> the axis. Raises `UserError` for a word that is no axis."""
    called = {name: name for name in PERSONALISED_ASPECTS}
    for pair in column_names(text):
        own, _, aspect = pair.partition("=")
        if aspect not in PERSONALISED_ASPECTS:
            raise UserError(f"--aspects has {pair}", f"Axes are {', '.join(PERSONALISED_ASPECTS)}", "Write OWN=AXIS")
        called[own] = aspect
    return called


def _check_aspects(source: str, unknown: Counter[str], any_known: bool) -> None:
    """Say which aspects were left out. Raises `UserError` if nothing else is there."""
    if not unknown:
        return
    words = ", ".join(f"{aspect} ({count})" for aspect, count in unknown.most_common(9))
    if not any_known:
        fix = f"Name them: --aspects {next(iter(unknown))}={PERSONALISED_ASPECTS[0]},..."
        raise UserError(f"{source} has no known aspect", f"It has {words}", fix)
    say(f"{source}: unknown aspects were left out: {words}; name them with --aspects", file=sys.stderr)


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = (parse_number(part) for part in text.split(","))
    except ValueError:
        low = high = 0.0
    if low >= high:
        raise UserError(
            f"{quoted(text)} is not a range", "A range is two numbers, the lower first", "Write for example 0,4"
        )
    return low, high


def read_items(source: str, method_column: str = "generator") -> dict[str, MethodItem]:
    """Item id -> method, prompt and attributes. Raises `UserError` for a missing or repeated id."""
    items: dict[str, MethodItem] = {}
    for number, row in enumerate(iter_rows(source), 1):
        identity, method, prompt = (_cell(source, number, row, name) for name in ("id", method_column, "prompt"))
        if identity in items:
            raise UserError(
                f"{source}, row {number}: the id {quoted(identity)} appears twice",
                "An id names one image",
                "Give each image its own id",
            )
        of_recipe = row.get("attributes")  # where a recipe's items.jsonl keeps them
        cells = {**of_recipe, **row} if isinstance(of_recipe, Mapping) else row
        known = {name: str(cells[name]) for name in _ATTRIBUTES if not is_blank(cells.get(name))}
        items[identity] = MethodItem(method, prompt, **known)
    return items


def read_ratings(
    source: str, called: Mapping[str, str] | None = None, unknown: Counter[str] | None = None
) -> Iterator[Rating]:
    """People's scores of whole images on the two axes; blank cells are gaps.

    Args:
        called: the table's word -> axis; None: their own names. Rows of other words are passed over, and counted in
            `unknown`.
    """
    for number, row in enumerate(iter_rows(source), 1):
        item, person, aspect = (_cell(source, number, row, name) for name in (_key(row), "annotator", "aspect"))
        if not (is_blank(row.get("question")) and is_blank(row.get("question_id"))):
            continue
        if known := _aspect(aspect, called, unknown):
            yield Rating(item, person, known, _score(source, number, row))


def _aspect(word: str, called: Mapping[str, str] | None, unknown: Counter[str] | None) -> str | None:
    aspect = called.get(word) if called is not None else word if word in PERSONALISED_ASPECTS else None
    if aspect is None and unknown is not None:
        unknown[word] += 1
    return aspect


def read_judges(
    sources: Iterable[str],
    plain_range: tuple[float, float],
    called: Mapping[str, str] | None = None,
    unknown: Counter[str] | None = None,
) -> list[Judged]:
    """Judges by name. Each source is a run of the judges in it; in plain tables, so is each value of `run`.

    A source is a file or a folder, or several separated by commas, such as one with subjects and one with styles.

    Raises:
        UserError: a run scores an aspect of an item twice, or a judge changes its declared range.
    """
    runs: dict[str, dict[tuple[str, str], dict[str, dict[str, float | None]]]] = {}
    ranges: dict[str, tuple[float, float]] = {}
    for source in sources:
        parts = (_scores(part, plain_range, called, unknown) for part in source.split(","))
        for judge, declared, run, item, aspect, score in chain.from_iterable(parts):
            if score is not None and ranges.setdefault(judge, declared) != declared:
                raise UserError(f"{judge} declares two ranges", f"{ranges[judge]} and {declared}", "Give it two names")
            scores = runs.setdefault(judge, {}).setdefault((source, run), {}).setdefault(aspect, {})
            if item in scores:
                raise UserError(
                    f"{source}: {judge} scored {aspect} of {quoted(item)} twice",
                    "",
                    "Add a column run that names the runs",
                )
            scores[item] = score
    return [Judged(name, list(by_run.values()), ranges.get(name, plain_range)) for name, by_run in runs.items()]


def _scores(
    source: str,
    plain_range: tuple[float, float],
    called: Mapping[str, str] | None,
    unknown: Counter[str] | None,
) -> Iterator[tuple[str, Any, str, str, str, float | None]]:
    """Judge, declared range, run, item, aspect, score. A failed judgement gives no score."""
    failed = Counter[str]()
    for number, row in enumerate(_rows(source), 1):
        if "image_id" in row:
            judge, declared = _judge(source, number, row)
            ok = row["status"] == Status.OK.value
            failed.update([] if ok else [row["status"]])
            for aspect in PERSONALISED_ASPECTS:
                yield judge, declared, "", row["image_id"], aspect, row["scores"].get(aspect) if ok else None
        else:
            item, judge, aspect = (_cell(source, number, row, name) for name in (_key(row), "judge", "aspect"))
            if known := _aspect(aspect, called, unknown):
                declared, status = _declared(source, number, row) or plain_range, row.get(STATUS)
                ok = is_blank(status) or str(status).strip() == Status.OK.value
                failed.update([] if ok else [str(status).strip()[:50]])
                score = _score(source, number, row)
                yield judge, declared, str(row.get(_RUN) or ""), item, known, score if ok else None

    if failed:
        statuses = ", ".join(f"{count} {status}" for status, count in failed.most_common())
        say(f"{source}: {counted(failed.total(), 'judgement')} count as failed: {statuses}", file=sys.stderr)


def _judge(source: str, number: int, row: Mapping[str, Any]) -> tuple[str, tuple[float, float]]:
    """A judgement's judge and declared range. Raises `UserError` for a row that is no judgement."""
    judge = row.get("judge")
    name = judge.get("name") if isinstance(judge, Mapping) else None
    problem = fault(row)
    if problem is None and not all(isinstance(text, str) and text for text in (name, row["image_id"])):
        problem = "the name of its judge or its image_id is no text"
    if problem:
        reason = f"No run wrote this line: {problem}"
        raise UserError(f"{source}, row {number}: not a judgement", reason, "Write it with t2i-judge score")
    low, high = row.get("score_range", SCORE_RANGE)
    return str(name), (float(low), float(high))


def _declared(source: str, number: int, row: Mapping[str, Any]) -> tuple[float, float] | None:
    """The range in a row's columns low and high."""
    ends = [number_or_gap(row.get(name), f"{source}, row {number}, {name}") for name in ("low", "high")]
    return None if ends[0] is None or ends[1] is None else (ends[0], ends[1])


def _rows(source: str) -> Iterator[Row]:
    """The rows of a table, or of the shards that are done in a folder that `t2i-judge score` wrote."""
    if not (Path(source) / SHARDS).is_dir():
        yield from iter_rows(source)
        return
    lines = run_lines(Path(source))
    if (first := next(lines, None)) is None:
        raise UserError(f"{source} has no judged items", "None of its shards is done", "Finish the run, then compare")
    yield from chain([first], lines)


def _key(row: Mapping[str, Any]) -> str:
    """The table's column for the item: `item` as in the benchmark's ratings, or `id` as in a recipe's."""
    return "item" if "item" in row else "id"


def _cell(source: str, number: int, row: Mapping[str, Any], name: str) -> str:
    if is_blank(row.get(name)):
        raise UserError(
            f"{source}, row {number}: no {quoted(name)}", f"Its columns are {', '.join(row)}", f"Fill in {name}"
        )
    return str(row[name]).strip()


def _score(source: str, number: int, row: Mapping[str, Any]) -> float | None:
    return number_or_gap(row.get("score"), f"{source}, row {number}, score")
