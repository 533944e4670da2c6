"""How much of a long series of random cases a run does: a fifth, or all with --hypothesis-profile=thorough."""

from __future__ import annotations

from hypothesis import settings

_ALL = 500  # examples by default in that profile


def part(whole: int) -> int:
    """How many of so many cases this run does, one at least."""
    return max(1, whole * settings.default.max_examples // _ALL)
