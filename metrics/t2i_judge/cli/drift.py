"""`t2i-judge drift RUN_A RUN_B`: the same items judged twice; did the judge change?

Exit codes: 0, the change is within --tolerance (or no tolerance is given); 1, it is larger; 2, a mistake in the
command; 3, it could not be decided, or a run is still empty.
"""

from __future__ import annotations

import argparse
from typing import Any

from ..boards.drift import asked_otherwise, drift, read_run
from ..errors import UserError, quoted
from ..wording import counted
from .numbers import Finite
from .results import add_json, show
from .run_files import RESULTS

WITHIN, BEYOND, UNDECIDED = 0, 1, 3
_SHOWN = 5  # ids in the text; --json has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("first", type=RESULTS, metavar="RUN_A", help="folder that score or leaderboard wrote")
    parser.add_argument("second", type=RESULTS, metavar="RUN_B", help="the same items, judged again")
    parser.add_argument(
        "--tolerance", type=float, action=Finite, help="exit code 1 if the mean certainly changed by more (95%% bound)"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print what changed. The exit code says whether it is within the tolerance."""
    if args.tolerance is not None and not args.tolerance >= 0:
        raise UserError(f"--tolerance is {args.tolerance}", "It is the size of a change", "Give 0 or more")
    figures = drift(read_run(args.first), read_run(args.second), args.tolerance)
    figures["asked_otherwise"] = asked_otherwise(args.first, args.second)
    show(args, _report(figures), figures)
    if args.tolerance is None:
        return WITHIN
    return UNDECIDED if figures["within"] is None else WITHIN if figures["within"] else BEYOND


def _report(figures: dict[str, Any]) -> str:
    lines = [f"{figures['changed']} of {counted(figures['items'], 'item')} changed{_named(figures['changed_items'])}."]
    for run, name in (("first", "RUN_A"), ("second", "RUN_B")):
        if figures["unscored"][run]:
            lines.append(f"Without a score only in {name}: {counted(figures['unscored'][run], 'item')}.")
        if figures[f"only_{run}"]:
            lines.append(f"Left out: {counted(figures[f'only_{run}'], 'item')} only in {name}.")
    if figures["other_images"]:
        others = counted(figures["other_images"], "item has", "items have")
        lines.append(f"Left out: {others} another image in RUN_B.")
    if figures["difference"] is not None:
        interval = f" [{figures['ci'][0]:+.3f}, {figures['ci'][1]:+.3f}]" if figures["ci"] else ""
        over = counted(figures["n"], "prompt")
        lines.append(f"Overall changed by {figures['difference']:+.3f}{interval} over {over}.")
    if asked := figures["asked_otherwise"]:
        values = "; ".join(f"{name} was {quoted(was)} and is {quoted(now)}" for name, (was, now) in asked.items())
        lines.append(f"RUN_B asked its judge otherwise than RUN_A, which changes scores: {values}.")
    if order := figures["order"]:
        first, second = (" > ".join(map(" = ".join, order[run])) for run in ("first", "second"))
        kept = "is kept" if order["kept"] else f"was {first}, is {second}"
        lines.append(f"The order of the generators {kept}.")
    if figures["tolerance"] is not None:
        lines.append(_verdict(figures))
    return "\n".join(lines)


def _named(items: list[str]) -> str:
    """The first few of them, in brackets."""
    if not items:
        return ""
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f" ({', '.join(items[:_SHOWN])}{more})"


def _verdict(figures: dict[str, Any]) -> str:
    if figures["within"] is None:
        return "Undecided: fewer than two prompts have a score in both runs."
    if figures["within"]:
        return f"Within the tolerance of {figures['tolerance']:g}: no larger change is shown."
    return f"Beyond the tolerance of {figures['tolerance']:g}: the change is at least {figures['bound']:.3f}."
