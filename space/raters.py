"""Who rated what: marks that tell visitors apart without saying who they are, and how many raters an item has.

Names cost nothing, and neither do cookies, so that an item's raters are counted by where they come from: a range of the
internet is one, whatever names it takes, and else a browser.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from collections import defaultdict
from pathlib import Path

from visitors import Visitor

_FILE, _BYTES = "visitors.key", 32
_BETWEEN = "-"  # the two parts of a mark


class Marks:
    """Marks of visitors, `NETWORK-BROWSER`: nobody without the key can tell an address from one, or try them out.

    A browser's part lasts as long as its cookie, until the Space starts anew; a network's as long as the key.
    """

    def __init__(self, key: bytes = b"") -> None:
        self._key = key or secrets.token_bytes(_BYTES)

    def of(self, visitor: Visitor) -> str:
        """The mark that records carry; "" of whom nothing is known."""
        return _BETWEEN.join(map(self._sign, (visitor.crowd, visitor.account))) if visitor.account else ""

    def _sign(self, name: str) -> str:
        return hashlib.blake2b(name.encode(), key=self._key, digest_size=8).hexdigest() if name else ""


def key_of(token: str | None, folder: Path) -> bytes:
    """The key of marks: made of the Space's token, which outlives its disk, else kept in a folder for its owner."""
    if token:
        return hashlib.blake2b(token.encode(), person=b"visitors", digest_size=_BYTES).digest()
    file = folder / _FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(secrets.token_bytes(_BYTES))
    except FileExistsError:
        pass
    except OSError as error:
        logging.getLogger(__name__).warning("%s cannot be kept: %s", file.name, error.strerror)
        return b""
    return file.read_bytes()[:_BYTES]


class Raters:
    """How many have rated each item, or hold it open."""

    def __init__(self) -> None:
        self._names: defaultdict[str, set[str]] = defaultdict(set)
        self._sources: defaultdict[str, set[str]] = defaultdict(set)
        self._of_mark: defaultdict[tuple[str, str], set[str]] = defaultdict(set)

    def add(self, item: str, annotator: str, mark: str) -> None:
        """One rates it."""
        network, _, browser = mark.partition(_BETWEEN)
        self._names[item].add(annotator)
        self._sources[item].add(network or browser or annotator)
        if mark:
            self._of_mark[item, mark].add(annotator)

    def names(self, item: str) -> int:
        """How many names rated it."""
        return len(self._names[item])

    def has_place(self, item: str, wanted: int, mark: str) -> bool:
        """Whether one more may rate it: unless it has raters from so many places, or so many names of this browser."""
        return len(self._sources[item]) < wanted and len(self._of_mark[item, mark]) < wanted
