"""The one way a user hears that something is wrong: fact, reason, fix."""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend, told in one line.

    Args:
        fact: what happened, with the value that caused it.
        reason: why that cannot work.
        fix: what to do instead.
    """

    def __init__(self, fact: str, reason: str = "", fix: str = "") -> None:
        self.fact, self.reason, self.fix = fact, reason, fix
        super().__init__(" ".join(f"{part.rstrip('.')}." for part in (fact, reason, fix) if part).replace("\n", " "))
