"""The one way a user hears that something is wrong: fact, reason, fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_LISTED, _LONGEST = 100, 100  # names, and characters of one, in a line
_JOINERS = "\u200c\u200d"  # of Persian words, Indic letters and emoji


class UserError(Exception):
    """A mistake the user can mend, told in one line.

    Args:
        fact: what happened, with the value that caused it.
        reason: why that cannot work.
        fix: what to do instead.
    """

    def __init__(self, fact: str, reason: str = "", fix: str = "") -> None:
        self.fact, self.reason, self.fix = fact, reason, fix
        super().__init__(printable(" ".join(f"{part.rstrip('.')}." for part in (fact, reason, fix) if part)))


def printable(text: str) -> str:
    """A text as one line that moves no cursor and sets no colour: what a terminal would obey stands as its escape."""
    if text.isprintable():
        return text
    return "".join(" " if c.isspace() else c if c.isprintable() or c in _JOINERS else ascii(c)[1:-1] for c in text)


class Undecided(UserError):
    """Not a mistake: what was to be decided could not be, or the run that it takes could not be made. Exit code 3."""


def nearest(name: object, known: Iterable[object]) -> str:
    """Half a sentence for a wrong name: the known one nearest to it, whatever its case, else all that are known."""
    names = sorted(map(str, known))
    folded = [other.casefold() for other in names]
    close = difflib.get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.5)
    return f"the nearest is {names[folded.index(close[0])]!r}" if close else _listed(names)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"known: {', '.join(name[:_LONGEST] for name in names[:_LISTED])}{more}"
