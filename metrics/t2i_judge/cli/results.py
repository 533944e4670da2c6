"""Prints the results of a command: tables that fit the terminal, or with `--json` the figures for a program."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..arguments import written_file
from ..layout import fitted, terminal_width
from ..meta.report import write_report
from ..terminal import say

STDOUT = "-"


def add_json(parser: argparse._ActionsContainer) -> None:
    """The argument that asks for the figures as JSON."""
    parser.add_argument(
        "--json",
        nargs="?",
        const=STDOUT,
        type=written_file,
        metavar="OUT",
        help="print every figure as JSON and nothing else, or print as usual and write them to the file OUT",
    )


def for_people(args: argparse.Namespace) -> bool:
    """Whether stdout is for a person and not for a program."""
    return bool(args.json != STDOUT)


def show(args: argparse.Namespace, text: str, figures: Any) -> None:
    """Print a command's results as text or as JSON, and write the file that `--json` names.

    Raises:
        UserError: the file cannot be written.
    """
    written = json.dumps(figures, indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"
    if not for_people(args):
        print(written, end="")
        return
    say(fitted(text, terminal_width()))
    if args.json:
        write_report(args.json, written)
