"""`t2i-judge meta-eval TABLE`: agreement of any scores with human ratings, straight from a table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import Any

from ..errors import UserError
from ..inputs.tables import Table, column_names, read_table
from ..meta.evaluation import meta_evaluate
from ..meta.report import write_report
from ..stats.agreement import VERDICTS
from ..stats.coefficients import AVERAGES
from ..stats.resampling import check_seed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `meta-eval`."""
    parser.add_argument("table", help="CSV, TSV, JSONL, JSON, parquet, or OWNER/NAME[:CONFIG[:SPLIT]] on the Hub")
    parser.add_argument(
        "--prediction", action="append", default=[], metavar="COL", help="a judge's column (repeat for more judges)"
    )
    parser.add_argument("--ratings", metavar="COL,COL", help="the annotators' columns; blank cells are gaps")
    parser.add_argument(
        "--votes", metavar="COL", help="people's votes on pairs: leftvote, rightvote, tievote, bothbad_vote"
    )
    parser.add_argument("--by", metavar="COL,COL", help="report each combination of these columns by itself")
    parser.add_argument("--cluster", metavar="COL", help="resample whole clusters (the prompt, say) for the intervals")
    parser.add_argument("--intersect", action="store_true", help="compare judges on the items that all of them scored")
    parser.add_argument("--average", choices=list(AVERAGES), help="also average the groups of --by by this rule")
    parser.add_argument(
        "--bootstrap", type=int, default=2000, metavar="N", help="resamples; 0: no intervals (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the resamples (%(default)s)")
    parser.add_argument("--round", type=int, metavar="DIGITS", help="round predictions to this many decimals first")
    parser.add_argument("--json", metavar="OUT", help="write every figure, p-values included, to this file")
    parser.add_argument("--markdown", metavar="OUT", help="write the tables to this file")


def run(args: argparse.Namespace) -> int:
    """Read the table, print the figures, write them where asked; returns 0."""
    raters, groups = column_names(args.ratings), column_names(args.by)
    judges = list(dict.fromkeys(args.prediction))
    if not raters and not args.votes:
        raise UserError("no human judgements are named", "", "name the annotators' columns with --ratings, or --votes")
    check_seed(args.seed)
    single = [name for name in (args.votes, args.cluster) if name]
    table = read_table(args.table, [*judges, *raters, *groups, *single])
    verdicts = [name for name in judges if args.votes and (not raters or _holds_verdicts(table, name))]
    result = meta_evaluate(
        {name: table.numbers(name) for name in judges if name not in verdicts},
        {name: table.numbers(name) for name in raters},
        verdicts={name: _texts(table, name) for name in verdicts} or None,
        votes=_texts(table, args.votes) if args.votes else None,
        by={name: table.labels(name) for name in groups},
        clusters=table.labels(args.cluster) if args.cluster else None,
        intersect=args.intersect,
        average=args.average,
        draws=args.bootstrap,
        seed=args.seed,
        digits=args.round,
    )
    print(result.to_text())
    if args.json:
        report = {**result.to_json(), "table": {"path": table.path, "sha256": table.sha256, "rows": table.rows}}
        write_report(args.json, json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n")
    if args.markdown:
        write_report(args.markdown, result.to_markdown())
    return 0


def _holds_verdicts(table: Table, name: str) -> bool:
    return any(cell in VERDICTS for cell in _texts(table, name))


def _texts(table: Table, name: str) -> list[str | None]:
    cells: Iterable[Any] = table.column(name)
    return [None if cell is None else str(cell).strip() for cell in cells]
