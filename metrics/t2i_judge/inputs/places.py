"""Where a file lies: whoever made a folder or a table has no say over what lies elsewhere on this machine."""

from __future__ import annotations

import os
import stat
from os.path import realpath
from pathlib import Path

from ..errors import UserError

_BLOBS, _SNAPSHOTS = "blobs", "snapshots"  # of the Hub's cache


def as_text(name: str | Path) -> str:
    """A file's name as text: bytes in it that no text has as `\\xNN`. Text is itself, whatever the locale."""
    return os.fspath(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_text(name: str | Path) -> bool:
    """Whether a file's name can be written down, so that the file is found again by it: it is text."""
    return as_text(name) == os.fspath(name)


def dataset_parts(source: str | Path) -> tuple[str, str | None, str | None]:
    """Name or folder, configuration and split of NAME[:CONFIG[:SPLIT]]. A drive (`C:\\`) is the folder's."""
    drive, rest = os.path.splitdrive(source)
    name, config, split = (*str(rest).split(":"), None, None)[:3]
    return f"{drive}{name}", config or None, split or None


def is_below(file: str | Path, folder: str | Path) -> bool:
    """Whether a file lies below a folder, wherever `..` and links in its path lead.

    A snapshot in the Hub's cache has its files as links to the `blobs` of the same repository: these count as below.
    """
    try:
        target, home = Path(realpath(file)), Path(realpath(folder))
    except ValueError:  # a null byte in the name: there is no such file, as whoever opens it will say
        return True
    if target.is_relative_to(home):
        return True
    return target.parent.name == _BLOBS and home.is_relative_to(target.parent.with_name(_SNAPSHOTS))


def check_places(folder: Path) -> None:
    """Raise `UserError` for a link in a folder of data or of a model that leads out of it, and for a pipe or a device.

    Which of the files a library reads is its own business.
    """
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode) and not is_below(path, folder):
            reason = "It would be read, and may be sent on; whoever made the folder chose it"
            raise UserError(f"{path} leads out of {folder}", reason, "Copy the file into the folder")
        if not (stat.S_ISLNK(mode) or stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise UserError(f"{path} is not a plain file", "It may have no end", "Remove it")
