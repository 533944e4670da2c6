"""How much a command prints: results and errors (`--quiet`), also progress and notes, or also libraries' words (`-v`).

The level is kept in the environment, so that processes which a command starts print as much as it does.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

from . import libraries
from .arguments import refuse_empty, refuse_overwriting
from .errors import printable
from .logins import hidden

VERBOSITY = "T2I_JUDGE_VERBOSITY"  # of the environment
QUIET, NORMAL, VERBOSE = "quiet", "normal", "verbose"


class Parser(argparse.ArgumentParser):
    """A command line with `-v` and `--quiet`, also in every subcommand. Parsing it sets how much is printed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        volume = self.add_argument_group("what is printed").add_mutually_exclusive_group()
        for flags, level, words in (
            (("-v", "--verbose"), VERBOSE, "also print what the libraries say"),
            (("--quiet",), QUIET, "print results and errors only"),
        ):
            volume.add_argument(
                *flags, dest="verbosity", action="store_const", const=level, default=argparse.SUPPRESS, help=words
            )

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse as argparse does, and print as much as is asked for, or as the process that started this one.

        Raises:
            UserError: a word is empty, or what is to be written is also read (see `arguments`).
        """
        refuse_empty(sys.argv[1:] if args is None else args)
        parsed = super().parse_args(args, namespace)
        refuse_overwriting(self, parsed)
        settle(getattr(parsed, "verbosity", None) or os.environ.get(VERBOSITY, NORMAL))
        return parsed

    def error(self, message: str) -> NoReturn:
        """End as argparse does, without the logins of addresses in what was typed."""
        super().error(hidden(message))


def settle(level: str) -> None:
    """Print this much from now on, in this process and in those that it starts."""
    os.environ[VERBOSITY] = level
    if level != VERBOSE:
        libraries.hush()


@contextmanager
def restored() -> Iterator[None]:
    """Put the level and the libraries' settings back at the end."""
    level = os.environ.get(VERBOSITY)
    with libraries.restored():
        try:
            yield
        finally:
            os.environ.pop(VERBOSITY, None)
            os.environ.update({} if level is None else {VERBOSITY: level})


def verbose() -> bool:
    """Whether libraries print their own messages."""
    return os.environ.get(VERBOSITY) == VERBOSE


def quiet() -> bool:
    """Whether only results and errors are printed."""
    return os.environ.get(VERBOSITY) == QUIET


def say(text: str, file: TextIO | None = None, flush: bool = False) -> None:
    """Print for a person, without logins. Text from elsewhere cannot steer the terminal."""
    print("\n".join(map(printable, hidden(text).split("\n"))), file=file, flush=flush)


def note(text: str) -> None:
    """Print on stderr what is neither a result nor an error; nothing with `--quiet`."""
    if not quiet():
        say(text, file=sys.stderr, flush=True)


def step(text: str) -> None:
    """Print on stdout what a command of many steps is doing; nothing with `--quiet`."""
    if not quiet():
        say(text, flush=True)
