"""Where a file lies: whoever made a folder or a table has no say over what lies elsewhere on this machine."""

from __future__ import annotations

from os.path import realpath
from pathlib import Path

_BLOBS, _SNAPSHOTS = "blobs", "snapshots"  # of the Hub's cache


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
