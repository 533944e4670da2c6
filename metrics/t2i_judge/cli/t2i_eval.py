"""`t2i-judge t2i-eval scores.json --result METHOD=FILE`: T2I-Eval's table by its own arithmetic, and the honest one.

Its arithmetic replaces missing scores by the mean of their column (`t2i_eval_legacy`), which biases the result. The
table also shows the figures with missing scores left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..layout import plain_table, terminal_width
from ..meta.report import number
from ..meta.t2i_eval import CATEGORIES, MANUAL, t2i_eval_columns
from ..stats.coefficients import Coefficient, as_floats, kendall_tau_b, spearman, t2i_eval_legacy
from ..wording import counted
from .places import FILE_BY_NAME
from .results import add_json, show

_FIGURES = {"spearman": spearman, "kendall_tau_b": kendall_tau_b}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `t2i-eval`."""
    parser.add_argument("scores", type=Path, help="T2I-Eval-Bench's scores.json")
    parser.add_argument(
        "--result",
        type=FILE_BY_NAME,
        action="append",
        default=[],
        metavar="METHOD=FILE",
        help="a method's summarize-result-score.jsonl; can be repeated",
    )
    parser.add_argument("--category", choices=CATEGORIES, action="append", help="can be repeated (default: all)")
    parser.add_argument(
        "--against", choices=MANUAL, default=MANUAL[-1], help="whose scores are the standard (default: %(default)s)"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table of each category; returns 0."""
    results = dict(_named(text) for text in args.result)
    report: dict[str, Any] = {}
    parts = []
    for category in args.category or CATEGORIES:
        columns = t2i_eval_columns(args.scores, results, category)
        legacy = t2i_eval_legacy({args.against: columns[args.against], **columns})
        people = as_floats([_number(value) for value in columns[args.against]])
        rows = {}
        for name in columns:
            if name != args.against:
                scores = as_floats([_number(value) for value in columns[name]])
                published = legacy[name, args.against]
                rows[name] = {
                    figure: {"published_way": published[figure].value, **_honest(compute(scores, people))}
                    for figure, compute in _FIGURES.items()
                }
        report[category] = rows
        parts.append(f"{category}, against {args.against}, {counted(len(people), 'sample')}\n{_table(rows)}")
    show(args, "\n\n".join(parts), report)
    return 0


def _named(text: str) -> tuple[str, str]:
    name, separator, file = text.partition("=")
    if not separator or not name or not file:
        raise UserError(f"--result is {text}", "A method needs a name", "Write METHOD=FILE")
    return name, file


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _honest(coefficient: Coefficient) -> dict[str, Any]:
    return {"value": coefficient.value, "n": coefficient.n, "undefined": coefficient.undefined}


def _table(rows: dict[str, dict[str, dict[str, Any]]]) -> str:
    header = ["", "Spearman, filled as published", "left out", "tau-b, filled as published", "left out", "n"]
    cells = [
        [
            name,
            *(number(own[figure][way]) for figure in _FIGURES for way in ("published_way", "value")),
            str(own["spearman"]["n"]),
        ]
        for name, own in rows.items()
    ]
    return plain_table([header, *cells], terminal_width())
