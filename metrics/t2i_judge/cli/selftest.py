"""`t2i-judge selftest TABLE --judge NAME`: the sanity battery on a judge, with measured shifts and verdicts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..errors import UserError
from ..inputs.readers import iter_rows
from ..judges.loading import DEFAULT, load_judge
from ..judges.names import JudgeName
from ..records import write_atomic
from ..runs.selftest import Probe, Sample, selftest
from .score import add_columns, columns_of
from .served_arguments import add_served, check_served, served_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "table", help="good images of the judge's kind with their prompts: CSV, JSONL, parquet, Hub dataset"
    )
    parser.add_argument("--judge", default=DEFAULT, help="name of the judge (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=24, help="how many items (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the shuffled prompts")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the findings")
    parser.add_argument("--ignore-case", action="store_true", help="ocr:... judges: small and capitals are the same")
    add_columns(parser)
    add_served(parser, seed=False)


def run(args: argparse.Namespace) -> int:
    """Exit code 0 when every probe that applies passes, else 1."""
    columns = columns_of(args)
    items = []
    for number, row in enumerate(iter_rows(args.table, count=args.limit, prompts_from=args.prompts_from)):
        columns.check(row, args.table)
        image, prompt, reference, _ = columns.item(row, number)
        items.append(Sample(image, prompt, reference))
    options = served_options(args, seed=False)
    if options:
        check_served(JudgeName.parse(args.judge), args, seed=False)
    if args.ignore_case:
        options["ignore_case"] = True  # of which other judges say that they do not know it
    judge = load_judge(args.judge, **options)
    try:
        probes = selftest(judge, items, args.seed, progress=True)
    except ValueError as error:
        raise UserError(
            str(error), "they could not be read, or the judge declines them", "bring other images"
        ) from error
    print(table(probes))
    if args.json is not None:
        report = {"judge": asdict(judge.info), "probes": [probe.to_json() for probe in probes]}
        write_atomic(args.json, json.dumps(report, indent=1) + "\n")
    return int(any(probe.verdict == "fail" for probe in probes))


def table(probes: Sequence[Probe]) -> str:
    """One line a probe: expectation, mean shift with interval, n, verdict and limit."""
    lines = [f"{'probe':<16} {'a sane score':<14} {'shift':>7} {'95% interval':>18} {'n':>4} {'unscored':>8}  verdict"]
    for probe in probes:
        shift = "-" if probe.shift is None else f"{probe.shift:+.2f}"
        interval = "-" if probe.ci is None else f"[{probe.ci[0]:+.2f}, {probe.ci[1]:+.2f}]"
        failed = sum((probe.n_failed or {}).values())
        lines.append(
            f"{probe.name:<16} {probe.expectation:<14} {shift:>7} {interval:>18} {probe.n:>4} {failed:>8}"
            f"  {probe.verdict} ({probe.reason})"
        )
    return "\n".join(lines)
