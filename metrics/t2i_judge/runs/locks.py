"""Allows one process at a time in a folder of results. Two would pay for the same calls and overwrite each other.

Whoever holds a folder also removes what a killed process left half written there: its name tells (`files.beside`).

The lock is the system's own (`flock`). It ends with the process that holds it, however that ends, so it is never stale.
FOLDER/.holder.json tells people who holds it.
"""

from __future__ import annotations

import json
import os
import platform
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ..errors import UserError
from ..files import is_temporary, read_object, write_atomic

LOCK, HOLDER = ".lock", ".holder.json"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made if necessary. One process may hold it several times.

    Raises:
        UserError: another process uses it. The message says which, on which machine, and since when.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, is_singleton=True)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(
            f"{folder} is in use", _who(folder), "Wait for that process, end it, or use another folder"
        ) from None
    except NotImplementedError:  # a file system without locks
        print(f"{folder} cannot be locked: make sure that no other process uses it", file=sys.stderr)
        yield
        return
    try:
        if lock.lock_counter == 1:
            for leftover in _leftovers(folder):
                leftover.unlink(missing_ok=True)
            _sign(folder)
        yield
    finally:
        lock.release()


def _leftovers(folder: Path) -> Iterator[Path]:
    """What a killed process wrote half in a folder, but not in those below it that have a lock of their own."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not Path(place, name, LOCK).exists()]
        yield from (Path(place, name) for name in files if is_temporary(name))


def refuse_links(folder: Path) -> None:
    """Raise `UserError` for what is neither a file nor a folder below a folder of results, which may be a stranger's.

    Through a link they would land elsewhere, and a pipe or a device may have no end. To be called before `held`, which
    writes, too.
    """
    for path in folder.rglob("*"):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:  # another process has just removed it
            continue
        if stat.S_ISLNK(mode):
            reason = f"It leads to {path.readlink()}, and results would be written there"
            raise UserError(f"{path} is a link", reason, "Remove the link, or choose another folder")
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise UserError(f"{path} is not a plain file", "No run wrote it", "Remove it, or choose another folder")


def _sign(folder: Path) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_atomic(folder / HOLDER, json.dumps({"process": os.getpid(), "machine": platform.node(), "since": now}))


def _who(folder: Path) -> str:
    try:
        holder = read_object(folder / HOLDER)
    except UserError:  # it is just about to sign
        return "Another process uses it"
    return f"Process {holder.get('process')} on {holder.get('machine')} has used it since {holder.get('since')}"
