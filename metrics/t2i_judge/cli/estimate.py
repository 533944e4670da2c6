"""`t2i-judge estimate TABLE`: what people think of each generator, from many judgements and few labels."""

from __future__ import annotations

import argparse
import math
from collections.abc import Hashable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ..errors import UserError
from ..inputs.shapes import Condition, kept_rows, matching, table_names
from ..inputs.tables import column_names
from ..layout import one_line, plain_table, terminal_width
from ..meta.report import number
from ..stats.agreement import rater_mean
from ..stats.estimates import BY_HAND, Estimate
from ..stats.units import by_unit, check_systems, differences, estimates
from .places import TABLE
from .results import add_json, show
from .table_arguments import add_table_arguments, blank_cells, judged_numbers, read_stated, source_of, status_column


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `estimate`."""
    parser.add_argument(
        "table",
        type=TABLE,
        help="table with one row per image: generator, prompt, score, and for some images people's labels",
    )
    parser.add_argument(
        "--prediction", required=True, metavar="COL", help="column of the judge's scores, for every image"
    )
    parser.add_argument(
        "--labels", required=True, metavar="COL,COL", help="columns of people's labels; blank where there is none"
    )
    parser.add_argument(
        "--systems", default="generator", metavar="COL", help="column of generators (default: %(default)s)"
    )
    parser.add_argument(
        "--unit", default="prompt", metavar="COL", help="column of what was sampled (default: %(default)s)"
    )
    parser.add_argument(
        "--where", action="append", default=[], metavar="COL=VALUE", help="only these rows; can be repeated"
    )
    parser.add_argument("--by-hand", action="store_true", help="the labelled prompts were not drawn at random")
    add_table_arguments(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print each generator's mean and every difference of two; returns 0."""
    named = [args.prediction, args.systems, args.unit, *column_names(args.labels)]
    known = table_names(source_of(args, args.table), named)
    labels = matching(column_names(args.labels), known)
    if not labels:
        raise UserError("--labels names no column", "", "Name people's columns")
    conditions = [Condition.parse(text) for text in args.where]
    wanted = [args.prediction, *labels, args.systems, args.unit, *(condition.column for condition in conditions)]
    wanted += filter(None, [status_column(args.prediction, known)])
    table = kept_rows(read_stated(args, args.table, wanted), conditions)
    scores, left_out = judged_numbers(table, args.prediction)
    blank = blank_cells(table, dict.fromkeys((args.systems, args.unit), "is left out"))
    remarks = [*table.remarks.lines, *left_out, *blank]
    people = rater_mean(np.column_stack([table.numbers(name) for name in labels]))
    units = by_unit(table.labels(args.systems), table.labels(args.unit), scores, people)
    if not units:
        raise UserError("No image has a generator, a unit and a score", "", "Check --systems, --unit, --prediction")
    check_systems(len(units), "Keep some of them with --where, or name their column with --systems")
    means, pairs = estimates(units.items()), estimates(differences(units))
    parts = ["\n".join(map(one_line, remarks))] if remarks else []
    parts += [_text("People's mean of each generator", ["generator"], {(name,): e for name, e in means.items()})]
    if pairs:
        parts.append(_text("Differences", ["generator", "minus"], {(a, b): e for (a, b), e in pairs.items()}))
    if args.by_hand:
        parts.append(BY_HAND)
    report: dict[str, Any] = {
        "means": [{"system": _name(name), **asdict(estimate)} for name, estimate in means.items()],
        "differences": [{"a": _name(a), "b": _name(b), **asdict(estimate)} for (a, b), estimate in pairs.items()],
        "unit": args.unit,
        "chosen_by_hand": args.by_hand,
        "table": {"path": table.path, "sha256": table.sha256, "rows": table.rows},
        "remarks": remarks,
    }
    show(args, "\n\n".join(parts), report)
    return 0


def _name(system: Hashable) -> Hashable:
    """A generator's name as JSON holds it: a column of numbers may have infinity in it."""
    return str(system) if isinstance(system, float) and not math.isfinite(system) else system


def _text(title: str, names: list[str], estimates: Mapping[tuple[Hashable, ...], Estimate]) -> str:
    header = [*names, "mean", "people's labels only", "labelled", "judged only", "weight of the judge", "note"]
    rows = [
        [
            *map(str, key),
            _with_interval(e.value, e.ci),
            _with_interval(e.people_only, e.people_only_ci),
            str(e.n_labelled),
            str(e.n_unlabelled),
            number(e.weight),
            e.note or "",
        ]
        for key, e in estimates.items()
    ]
    return f"{title} [95% interval]\n{plain_table([header, *rows], terminal_width())}"


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    return number(value) + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
