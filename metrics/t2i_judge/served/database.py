"""Opens an SQLite file that may have come with a stranger's folder, and bounds what it can do.

Beside it may lie what SQLite writes to or removes. Its pages may lead to each other over and over: 45 kB can say that
they hold more rows than anybody can count, and SQLite would not hear an interrupt while it counts them. So a statement
has no more of the processor's time than an honest file of that size could need.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from .http import LARGEST_REPLY

WAIT_SECONDS = 30.0  # for another process's commit
_SECONDS = 10.0  # of the processor's time for a statement, and
_BYTES_A_SECOND = 4_000_000  # the file's size over this; reading its whole ledger goes 20 times as fast
_STEPS = 1000  # of SQLite's machine between two looks at the clock
_LONGEST = 2 * LARGEST_REPLY  # bytes of a value, which may claim pages over and over, too

_BESIDE = ("-journal", "-wal", "-shm")  # SQLite reads, writes and removes these as it likes
# The last bytes of a journal that names a super-journal, a file that SQLite removes once it has rolled back. Only
# transactions over several files have one, which we never make. (A process that is killed while it switches a new
# file to write-ahead logging leaves a journal without.)
_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")


class Database:
    """A connection whose statements end. Threads may share it, one at a time.

    Args:
        path: the file, made if needed; None for one in memory.

    Raises:
        UserError: as `refuse_what_is_not_ours`.
        sqlite3.Error, OSError: it cannot be opened.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._end = path, 0.0
        if path:
            refuse_what_is_not_ours(path)
            path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(
            path or ":memory:", timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        self._connection.set_progress_handler(self._is_late, _STEPS)
        self.rows("PRAGMA trusted_schema=OFF")

    def rows(self, statement: str, values: Sequence[Any] = (), most: int = 1) -> list[tuple[Any, ...]]:
        """Run a statement; its first rows, `most` at most.

        Raises:
            UserError: it takes too long.
            KeyboardInterrupt: the user ended it.
            sqlite3.Error: it failed.
        """
        self._end = time.thread_time() + _SECONDS + self._size() / _BYTES_A_SECOND
        try:
            return self._connection.execute(statement, values).fetchmany(most)
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
                raise
            if not self._is_late():  # what a signal raises inside of `_is_late`, SQLite hears only as "end this"
                raise KeyboardInterrupt from error
            raise UserError(
                f"The cache {self._path} takes too long to read",
                "Its pages seem to lead to each other, so that they have no end",
                "Remove this file, or name another one",
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _is_late(self) -> bool:
        return time.thread_time() > self._end

    def _size(self) -> int:
        """Bytes on the disk, of the log too; a file can say that it is longer."""
        size = 0
        for path in (self._path, self._path.with_name(f"{self._path.name}-wal")) if self._path else ():
            try:
                size += path.stat().st_blocks * 512
            except FileNotFoundError:
                continue
        return size


def refuse_what_is_not_ours(path: Path) -> None:
    """Look at a database and the files beside it before SQLite does.

    A link would have replies written outside of the folder, a pipe has no end, and a journal can name any file of the
    user for SQLite to remove.

    Raises:
        UserError: one of them is no plain file, or the journal names another file.
        OSError: one cannot be looked at.
    """
    for file in (path, *(path.with_name(path.name + end) for end in _BESIDE)):
        try:
            mode = file.lstat().st_mode
        except FileNotFoundError:  # also one that another process has just removed
            continue
        if not stat.S_ISREG(mode):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "no plain file"
            name = f"The cache {path}" if file == path else f"The file {file.name} beside the cache {path}"
            raise UserError(f"{name} is {kind}", "Replies are written into it", "Remove it, or name another cache")
    journal = path.with_name(f"{path.name}-journal")
    if _end(journal) == _NAMES_ANOTHER:
        raise UserError(
            f"The journal {journal} names another file",
            "SQLite would remove that file, and no journal of t2i-judge names one",
            "Remove the journal and the cache, which are not yours, or name another cache",
        )


def _end(journal: Path) -> bytes:
    """Its last bytes, as many as `_NAMES_ANOTHER` has; none if there is no journal."""
    try:
        with journal.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - len(_NAMES_ANOTHER)))
            return file.read()
    except FileNotFoundError:
        return b""
