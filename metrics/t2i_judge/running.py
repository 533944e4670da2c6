"""How every command ends: an error is one line and an exit code; T2I_JUDGE_TRACEBACK=1 shows the traceback."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Protocol

from .errors import Undecided, UserError, faults
from .terminal import restored

USER, UNDECIDED, DEFECT, INTERRUPTED, UNREAD = 2, 3, 70, 130, 141  # exit codes
TRACEBACK = "T2I_JUDGE_TRACEBACK"  # of the environment


class Main(Protocol):
    """A command's function: arguments (None: the process's) in, exit code out."""

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Run the command."""
        ...


def command(name: str, again: str = "Run the same command again to continue.") -> Callable[[Main], Main]:
    """Make a `main` end well.

    Exit codes: 0 fine, 1 finished with failures, 2 a mistake that the user can mend, 3 could not be decided, 70 a
    defect of this program, 130 interrupted, 141 the reader of the output has gone.

    Args:
        name: the word with which lines on stderr begin.
        again: how to continue after an interruption.
    """

    def decorate(main: Main) -> Main:
        @wraps(main)
        def run(argv: Sequence[str] | None = None) -> int:
            if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name that is no UTF-8 is no reason to stop
                sys.stdout.reconfigure(errors="backslashreplace")
            try:
                with restored():
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
            except faults() as error:
                if os.environ.get(TRACEBACK):
                    raise
                code, told = _told(error)
                return _end(code, f"{name}: {told} {again}")

        return run

    return decorate


def _told(error: BaseException) -> tuple[int, UserError]:
    """Exit code and line for an unforeseen error: the state of the machine, else a defect."""
    file = getattr(error, "filename", None)
    if disk_is_full(error):
        return USER, UserError(f"The disk is full{f' ({file})' if file else ''}", "", "Free some space")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
        return USER, UserError("There is not enough memory", "", "Use a machine with more memory, or smaller batches")
    if isinstance(error, RecursionError):
        reason = "Following it would exhaust the stack"
        return USER, UserError("A folder or a file is nested too deep", reason, "Use one with fewer levels")
    if isinstance(error, UnicodeEncodeError):
        if error.encoding != "utf-8":  # of the locale: of the names of files, and of the terminal
            fact = f"A text or a file's name cannot be written as {error.encoding}"
            return USER, UserError(
                fact, "It is this locale's encoding", "Run export LC_ALL=C.UTF-8, and the command again"
            )
        return USER, UserError("A text or a file's name cannot be written as UTF-8", str(error), "Correct or rename it")
    if isinstance(error, OSError) and error.strerror:
        return USER, UserError(
            f"Cannot use {file or 'a file'}", error.strerror, "Use another file, or correct this one"
        )
    frame = traceback.extract_tb(error.__traceback__)[-1]
    reason = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}: {str(error)[:300]}"
    return DEFECT, UserError(
        "This is a bug in t2i-judge", reason, f"Report it, with the traceback that {TRACEBACK}=1 shows"
    )


def disk_is_full(error: BaseException) -> bool:
    """Whether an error means that the disk is full. Arrow, SQLite and safetensors have their own words for it."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left on device" in str(error) or "disk is full" in str(error)


def _end(code: int, line: str) -> int:
    print(line, file=sys.stderr)
    return code
