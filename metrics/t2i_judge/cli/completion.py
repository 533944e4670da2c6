"""`t2i-judge completion SHELL`: print the script with which a shell completes commands, options, choices and files."""

from __future__ import annotations

import argparse
from typing import Any

from ..arguments import ReadByName, reads, writes
from ..errors import UserError
from .places import JUDGE

SHELLS = ("bash", "zsh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("shell", choices=SHELLS, help="print the script for this shell")


def run(args: argparse.Namespace) -> int:
    """Print the script; returns 0. Raises `UserError` if shtab, which writes it, is not installed."""
    from . import COMMANDS, command_line

    try:
        import shtab
    except ImportError as error:
        fix = 'Run: pip install "t2i-judge[completion]"'
        raise UserError("Completion needs the package shtab", "It is not installed", fix) from error
    parser = command_line(COMMANDS)
    _complete_files(parser, shtab.FILE)
    print(shtab.complete(parser, shell=args.shell))
    return 0


def _complete_files(parser: argparse.ArgumentParser, files: Any) -> None:
    """Mark the arguments that begin with a path."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name in action.choices:
                _complete_files(action.choices[name], files)
        elif writes(action) or (reads(action) and action.type is not JUDGE and not isinstance(action.type, ReadByName)):
            action.complete = files  # type: ignore[attr-defined]
