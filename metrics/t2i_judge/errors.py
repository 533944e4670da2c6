"""How a user is told that something is wrong: fact, reason, fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from .logins import hidden

_LISTED, _LONGEST = 100, 100  # names, and characters of one, in a line
_JOINERS = "\u200c\u200d"  # of Persian words, Indic letters and emoji


class UserError(Exception):
    """A mistake that the user can correct, in one line of sentences.

    Each part begins with a capital or a name; a missing full stop is added. Logins and keys in addresses are left out:
    such lines end in the logs of others.

    Args:
        fact: what happened, with the value that caused it.
        reason: why that cannot work.
        fix: what to do instead.
    """

    def __init__(self, fact: str, reason: str = "", fix: str = "") -> None:
        self.fact, self.reason, self.fix = map(hidden, (fact, reason, fix))
        super().__init__(printable(sentences(self.fact, self.reason, self.fix)))


def sentences(*parts: str) -> str:
    """The parts of a message as sentences. Each one that is not empty ends with a full stop or a question mark."""
    return " ".join(part if part.endswith("?") else f"{part.rstrip('.')}." for part in parts if part)


def printable(text: str) -> str:
    """A text as one line that cannot steer a terminal: control characters are shown as escapes."""
    if text.isprintable():
        return text
    return "".join(" " if c.isspace() else c if c.isprintable() or c in _JOINERS else ascii(c)[1:-1] for c in text)


def quoted(value: object) -> str:
    """A value as a message repeats it: as Python writes it, without a login, no more than its first 100 characters."""
    text = hidden(repr(value))  # before it is cut: of half a login nothing tells that it is one
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def faults() -> tuple[type[BaseException], ...]:
    """What libraries raise over strangers' files and texts, for `except faults()`.

    Any `Exception`, and the panics of those in Rust, which are none: such as tokenizers', whose engine gives up a
    pattern after ten million steps. Each library has a class of its own, which no module names.
    """
    return (Exception, *(kind for kind in BaseException.__subclasses__() if kind.__name__ == "PanicException"))


class Stopped(UserError):
    """No mistake in what was asked: a server did not answer or take more, or the money is spent."""


class Undecided(UserError):
    """No mistake of the user: something could not be decided, or the run for it could not be made. Exit code 3."""


def nearest(name: object, known: Iterable[object]) -> str:
    """A sentence about a wrong name. It gives the nearest known name, ignoring case, or all known names."""
    names = sorted(map(str, known))
    folded = [other[:_LONGEST].casefold() for other in names]  # of two long names, comparing takes minutes
    close = difflib.get_close_matches(str(name)[:_LONGEST].casefold(), folded, n=1, cutoff=0.5)
    return f"The nearest is {quoted(names[folded.index(close[0])])}" if close else _listed(names)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"Known names are {', '.join(name[:_LONGEST] for name in names[:_LISTED])}{more}"
