"""How every command ends: errors, an interrupt, a full disk and a reader that left are one line and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Protocol

from .errors import Undecided, UserError

USER, UNDECIDED, INTERRUPTED, UNREAD = 2, 3, 130, 141  # exit codes


class Main(Protocol):
    """A command's function: arguments (None: the process's) in, exit code out."""

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Run the command."""
        ...


def command(name: str, again: str = "Run the same command again: it goes on from here.") -> Callable[[Main], Main]:
    """Make a `main` end well: 0 fine, 1 finished with failures, 2 a user's mistake, 3 could not
    be decided, 130 interrupted, 141 unread.

    Args:
        name: what the lines on stderr begin with.
        again: what somebody does who interrupted it.
    """

    def decorate(main: Main) -> Main:
        @wraps(main)
        def run(argv: Sequence[str] | None = None) -> int:
            try:
                code = main(argv)
                sys.stdout.flush()
                return code
            except Undecided as error:
                return _end(UNDECIDED, f"{name}: {error}")
            except UserError as error:
                return _end(USER, f"{name}: {error}")
            except KeyboardInterrupt:
                return _end(INTERRUPTED, f"{name}: interrupted. {again}")
            except BrokenPipeError:  # whoever reads, `head` for one, has seen enough; nothing is left to flush at exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return UNREAD
            except Exception as error:
                if not disk_is_full(error):
                    raise
                where = f" ({file})" if (file := getattr(error, "filename", None)) else ""
                return _end(USER, f"{name}: the disk is full{where}. Free some space. {again}")

        return run

    return decorate


def disk_is_full(error: BaseException) -> bool:
    """Whether that is what an error means: Arrow, SQLite and safetensors say so in words of their own."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left on device" in str(error) or "disk is full" in str(error)


def _end(code: int, line: str) -> int:
    print(line, file=sys.stderr)
    return code
