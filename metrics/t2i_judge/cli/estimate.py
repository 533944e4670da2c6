"""`t2i-judge estimate TABLE`: what people think of each generator, from many judgements and few of their labels."""

from __future__ import annotations

import argparse
import json
from collections.abc import Hashable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ..errors import UserError
from ..inputs.shapes import Condition, kept_rows, matching, table_names
from ..inputs.tables import column_names, read_table
from ..meta.report import number, plain_table, write_report
from ..running import say
from ..stats.agreement import rater_mean
from ..stats.estimates import BY_HAND, Estimate
from ..stats.units import by_unit, differences, estimates


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `estimate`."""
    parser.add_argument("table", help="a row an image: generator, prompt, the judge's score, people's labels (few)")
    parser.add_argument("--prediction", required=True, metavar="COL", help="the judge's score of every image")
    parser.add_argument("--labels", required=True, metavar="COL,COL", help="people's columns; blank: not labelled")
    parser.add_argument("--systems", default="generator", metavar="COL", help="the generator (default: %(default)s)")
    parser.add_argument("--unit", default="prompt", metavar="COL", help="what was sampled (default: %(default)s)")
    parser.add_argument("--where", action="append", default=[], metavar="COL=VALUE", help="only these rows (repeat)")
    parser.add_argument("--by-hand", action="store_true", help="the labelled prompts were not drawn at random")
    parser.add_argument("--json", metavar="OUT", help="write every figure to this file")


def run(args: argparse.Namespace) -> int:
    """Print each generator's mean and every difference of two; returns 0."""
    labels = matching(column_names(args.labels), table_names(args.table))
    if not labels:
        raise UserError("--labels names no column", "", "name people's columns")
    conditions = [Condition.parse(text) for text in args.where]
    wanted = [args.prediction, *labels, args.systems, args.unit, *(condition.column for condition in conditions)]
    table = kept_rows(read_table(args.table, list(dict.fromkeys(wanted))), conditions)
    people = rater_mean(np.column_stack([table.numbers(name) for name in labels]))
    units = by_unit(table.labels(args.systems), table.labels(args.unit), table.numbers(args.prediction), people)
    if not units:
        raise UserError("no image has a generator, a unit and a score", "", "check --systems, --unit, --prediction")
    means, pairs = estimates(units), estimates(differences(units))
    say(_text("People's mean of each generator", ["generator"], {(name,): e for name, e in means.items()}))
    if pairs:
        say("\n" + _text("Differences", ["generator", "minus"], {(a, b): e for (a, b), e in pairs.items()}))
    if args.by_hand:
        say(f"\n{BY_HAND}")
    if args.json:
        report: dict[str, Any] = {
            "means": [{"system": name, **asdict(estimate)} for name, estimate in means.items()],
            "differences": [{"a": a, "b": b, **asdict(estimate)} for (a, b), estimate in pairs.items()],
            "unit": args.unit,
            "chosen_by_hand": args.by_hand,
            "table": {"path": table.path, "sha256": table.sha256, "rows": table.rows},
        }
        write_report(args.json, json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n")
    return 0


def _text(title: str, names: list[str], estimates: Mapping[tuple[Hashable, ...], Estimate]) -> str:
    header = [*names, "mean", "people's labels alone", "labelled", "judged only", "weight of the judge", "note"]
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
    return f"{title} [95% interval]\n{plain_table([header, *rows])}"


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    return number(value) + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
