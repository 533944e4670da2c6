"""`t2i-judge calibrate TABLE`: fit a judge's scores to the human scale on one half, report on the other, save the map.

With --interval, also fit intervals for single scores (`conformal`), which judgements then carry.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import written_file
from ..calibration import KINDS, Calibration, errors, fit
from ..conformal import KEY, RESPLITS, TARGETS, conformal, resplit_coverage
from ..errors import UserError
from ..files import read_object
from ..inputs.shapes import Condition, matching, table_names
from ..inputs.tables import Table, column_names
from ..layout import one_line
from ..local.weights import CARD
from ..meta.report import write_report
from ..stats.agreement import rater_mean
from ..stats.coefficients import Floats
from ..stats.resampling import check_seed
from ..wording import counted
from .numbers import Finite
from .places import JUDGE_FOLDER, TABLE
from .results import add_json, show
from .table_arguments import (
    add_table_arguments,
    blank_cells,
    judged_numbers,
    read_stated,
    repeated_rows,
    source_of,
    status_column,
    telling_columns,
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("table", type=TABLE, help="CSV, JSONL, parquet or a Hub dataset with scores and ratings")
    parser.add_argument("--prediction", required=True, metavar="COL", help="column of the judge's scores")
    parser.add_argument(
        "--ratings",
        required=True,
        metavar="COL,COL",
        help="columns of the annotators' ratings; the map predicts their mean",
    )
    parser.add_argument("--kind", choices=KINDS, default="isotonic", help="form of the map (default: isotonic)")
    parser.add_argument("--split", metavar="COL=VALUE", help="fit on these rows (default: on a random half)")
    parser.add_argument("--group", metavar="COL", help="column whose equal values (the same prompt) stay in one half")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random half")
    parser.add_argument(
        "--interval",
        type=float,
        action=Finite,
        metavar="LEVEL",
        help="also give single scores intervals of this level, such as 0.9",
    )
    parser.add_argument(
        "--target", choices=TARGETS, default=TARGETS[0], help="what the ratings are (default: %(default)s)"
    )
    parser.add_argument(
        "--scale", metavar="LOW,HIGH", help="lowest and highest possible rating, where mapped scores and intervals end"
    )
    parser.add_argument("--judge", type=JUDGE_FOLDER, metavar="FOLDER", help="save the map in this judge's judge.json")
    parser.add_argument("--out", type=written_file, metavar="FILE", help="save the map and the report as JSON")
    add_table_arguments(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Fit, report, save."""
    if args.judge is not None and not args.judge.is_dir():
        raise UserError(
            f"{args.judge} is not a folder", "The map is saved in a judge's folder", "Name such a folder, or use --out"
        )
    if args.split is not None and "=" not in args.split:
        raise UserError(f"--split is {args.split}", "It does not name a value", "Write COLUMN=VALUE")
    check_seed(args.seed)
    if not column_names(args.ratings):
        raise UserError("--ratings names no column", "", "Name the annotators' columns")
    named = [column for column in (args.group, args.split and args.split.partition("=")[0]) if column]
    named.append(args.prediction)
    known = table_names(source_of(args, args.table), [*named, *column_names(args.ratings)])
    raters = matching(column_names(args.ratings), known)
    beside = [*filter(None, [status_column(args.prediction, known)]), *telling_columns(known)]
    table = read_stated(args, args.table, [*named, *raters, *beside])
    scores, left_out = judged_numbers(table, args.prediction)
    left_out += repeated_rows(table, [*named, *raters])
    left_out += blank_cells(table, {args.group: "belongs to one group of all these rows"} if args.group else {})
    humans = rater_mean(np.column_stack([table.numbers(rater) for rater in raters]))
    chosen = calibration_rows(table, args.split, args.group, args.seed)
    calibration = fit(scores[chosen], humans[chosen], args.kind, _scale(args.scale))
    report = {
        name: before_and_after(calibration, scores[rows], humans[rows])
        for name, rows in (("calibration", chosen), ("evaluation", ~chosen))
    }
    saved = {**calibration.to_json(), "report": report}
    found: dict[str, Any] = {}
    told: list[str] = []
    if args.interval is not None:
        groups = table.labels(args.group) if args.group else None
        record, words = _intervals(args, scores, humans, groups, chosen)
        found, told = {KEY: record}, [words]
    if args.judge is not None:
        path = args.judge / CARD
        card = read_object(path) if path.is_file() else {}
        write_report(path, json.dumps({**card, "calibration": saved, **found}, indent=1) + "\n")
    if args.out is not None:
        write_report(args.out, json.dumps({**saved, **found}, indent=1) + "\n")
    show(args, "\n\n".join([*table.remarks.lines, *map(one_line, left_out), _table(report), *told]), {**saved, **found})
    return 0


def _intervals(
    args: argparse.Namespace, scores: Floats, humans: Floats, groups: list[Hashable] | None, chosen: NDArray[np.bool_]
) -> tuple[dict[str, Any], str]:
    """Calibrate intervals on the chosen rows. Returns the record, and in words how often they hold."""

    def of(rows: NDArray[np.bool_]) -> tuple[Floats, Floats, list[Hashable] | None]:
        kept = np.flatnonzero(rows & np.isfinite(scores) & np.isfinite(humans))
        return scores[kept], humans[kept], None if groups is None else [groups[row] for row in kept]

    own, others = of(chosen), of(~chosen)
    intervals = conformal(*own, args.interval, args.kind, args.target, _scale(args.scale))
    within = resplit_coverage(*own, args.interval, args.kind, seed=args.seed)
    transfer = float(intervals.holds(*others[:2]).mean()) if len(others[0]) else None
    unit = args.group or "row"
    inside = "not known: fewer than 100 images" if within is None else f"{within:.1%} over {RESPLITS} halves by {unit}"
    words = (
        f"{args.interval:.0%} intervals for the {args.target.replace('_', ' ')}: +- {intervals.half_width:.3f}, "
        f"from {intervals.n} images ({intervals.groups} of {unit})\n"
        f"coverage within the calibration split: {inside}\n"
        f"on the evaluation split (measured, not promised): {'-' if transfer is None else f'{transfer:.1%}'}"
    )
    return intervals.to_json() | {"coverage": {"within": within, "resplits": RESPLITS, "evaluation": transfer}}, words


def _scale(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(end) for end in text.split(","))
    except ValueError:
        raise UserError(f"--scale is {text}", "A scale has two numbers", "Write LOW,HIGH") from None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(f"--scale is {text}", "Its ends must be finite numbers", "Leave it out where there are no ends")
    if not low < high:
        raise UserError(f"--scale is {text}", "The lower number comes first", "Write LOW,HIGH")
    return low, high


def calibration_rows(table: Table, split: str | None, group: str | None, seed: int) -> np.ndarray:
    """Boolean (rows,): the rows to fit on, from a split, or a random half of the groups or rows.

    Raises:
        UserError: the split has no rows, or no row is left to report on.
    """
    if split:
        column, _, value = split.partition("=")
        wanted = Condition(column, "=", value)
        chosen = np.array([wanted.holds(cell) for cell in table.column(column)])
    else:
        labels = table.labels(group) if group else list(range(table.rows))
        different = list(dict.fromkeys(labels))
        order = np.random.default_rng(seed).permutation(len(different))
        half = {different[index] for index in order[: len(different) // 2]}
        chosen = np.array([label in half for label in labels])
    if chosen.all() or not chosen.any():
        raise UserError(
            f"The calibration split has {int(chosen.sum())} of {counted(table.rows, 'row')}",
            "Both a calibration and an evaluation split are needed",
            "Use another --split or --group",
        )
    return chosen


def before_and_after(calibration: Calibration, scores: np.ndarray, humans: np.ndarray) -> dict[str, Any]:
    """MAE and bias against the ratings, before and after the map. Items with a nan are left out."""
    mapped = np.array([calibration.apply(score) if np.isfinite(score) else np.nan for score in scores])
    return {"before": errors(scores, humans), "after": errors(mapped, humans)}


def _table(report: dict[str, Any]) -> str:
    lines = [f"{'split':<12} {'n':>6} {'MAE before':>11} {'after':>8} {'bias before':>12} {'after':>8}"]
    for name, rows in report.items():
        before, after = rows["before"], rows["after"]
        figures = [before["mae"], after["mae"], before["bias"], after["bias"]]
        shown = ["-" if figure is None else f"{figure:.3f}" for figure in figures]
        lines.append(f"{name:<12} {before['n']:>6} {shown[0]:>11} {shown[1]:>8} {shown[2]:>12} {shown[3]:>8}")
    return "\n".join(lines)
