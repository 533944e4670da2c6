"""What an SQLite file that came with a stranger's folder could do as it is opened, and what keeps it from that."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import UserError

_BESIDE = ("-journal", "-wal", "-shm")  # SQLite reads, writes and removes these as it likes
# The last bytes of a journal that names a super-journal, a file that SQLite removes once it has rolled back. Only
# transactions over several files have one, which we never make. (A process that is killed while it switches a new
# file to write-ahead logging leaves a journal without.)
_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")


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
