"""Folders that a command fills beside what people keep: its own, which a mark tells, are removed, and no others.

The mark lies in the folder from its first moment on, so that what a killed command left is known the next time.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from t2i_judge.errors import UserError
from t2i_judge.files import write_atomic

MARK = ".being-written"


def begin_folder(folder: Path, *also: str) -> None:
    """Make an empty folder with the mark in it, in place of one that has the mark, or a file with one of these names.

    Raises:
        UserError: something else stands there.
    """
    remove_folder(folder, *also)
    folder.mkdir(parents=True)
    write_atomic(folder / MARK, "")


def finish_folder(folder: Path, place: Path) -> None:
    """Give a folder that is filled its final name, without the mark."""
    (folder / MARK).unlink()
    folder.rename(place)


def remove_folder(folder: Path, *also: str) -> None:
    """Remove a folder that is empty, has the mark, or a file with one of these names. Raises `UserError` for others."""
    if not os.path.lexists(folder):
        return
    is_folder = folder.is_dir() and not folder.is_symlink()
    if not is_folder or (any(folder.iterdir()) and not any((folder / name).is_file() for name in (MARK, *also))):
        fact = f"{folder} is in the way"
        raise UserError(fact, "This command did not make it, and would replace it", "Move it away, or rename it")
    discard(folder)


def discard(folder: Path) -> None:
    """Remove a folder that is known to be ours. The mark goes last: a killed removal is known and ended the next time.

    Raises `OSError` for what the system does not let go.
    """
    write_atomic(folder / MARK, "")
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARK:
            path.unlink()
    (folder / MARK).unlink()
    folder.rmdir()
