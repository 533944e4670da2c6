"""A number before its noun: "1 row", "2 rows"."""

from __future__ import annotations


def counted(number: float, one: str, many: str = "", form: str = "") -> str:
    """A number and what it counts: "1 row", "2 rows", "1,000 rows".

    Args:
        number: what is counted, 0 or more.
        one: what follows a 1, with its verb if it has one: "row", "row was".
        many: what follows every other number; by default `one` with an s.
        form: how `format` writes the number, for example "," or ",.0f". What is written 1 is followed by `one`.
    """
    shown = format(number, form)
    return f"{shown} {one if shown == '1' else many or f'{one}s'}"
