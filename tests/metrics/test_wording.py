"""A number and its noun, as people read them."""

from __future__ import annotations

import pytest

from t2i_judge.wording import counted


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1, "row"), "1 row"),
        ((2, "row"), "2 rows"),
        ((0, "row"), "0 rows"),
        ((21, "labelled image"), "21 labelled images"),
        ((1, "reply", "replies"), "1 reply"),
        ((3, "reply", "replies"), "3 replies"),
        ((1, "row was", "rows were"), "1 row was"),
        ((0, "row was", "rows were"), "0 rows were"),
        ((1234, "row"), "1234 rows"),
        ((1234, "row", "", ","), "1,234 rows"),
        ((0.9, "call", "", ",.0f"), "1 call"),
        ((1.2, "call", "", ".1f"), "1.2 calls"),
    ],
)
def test_only_what_is_written_1_has_a_singular(arguments: tuple, text: str) -> None:
    assert counted(*arguments) == text
