"""Votes by a model's name are votes for its side, or an error; never a guess."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_judge.errors import UserError
from t2i_judge.inputs.sides import Sides, two_names
from t2i_judge.inputs.tables import Table

NAMES = st.sampled_from(["flux", "SDXL", "model_a", "A", "b", "tie", "left", "1", "x>y"])
OTHERS = [None, "A>B", "B>A", "tie", "bothbad_vote", "?", "left"]


@given(st.lists(st.tuples(NAMES, NAMES, st.sampled_from([*OTHERS, 0, 1])), min_size=1, max_size=8))
def test_a_name_is_its_side_and_all_else_stays(rows):
    """The third of a row is a cell of votes: the name of one side (0, 1), or whatever else."""
    cells = [row[row[2]] if isinstance(row[2], int) else row[2] for row in rows]
    try:
        said = Sides(Table("t", "", len(rows), {}), [row[0] for row in rows], [row[1] for row in rows]).said(cells)
    except UserError as error:
        assert "may mean either image" in str(error) or "has both images" in str(error)
        return
    for (first, second, what), cell, side in zip(rows, cells, said, strict=True):
        if what in (0, 1):
            assert side == ("A>B", "B>A")[what] and first.lower() != second.lower()
        elif cell not in (first, second) and str(cell).lower() not in (first.lower(), second.lower()):
            assert side == cell


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ([["flux", "sdxl", "tie", None, "Flux"], ["sdxl", "flux"]], ("flux", "sdxl")),
        ([["flux", "sdxl"], ["A>B", "B>A"]], None),  # whose A is, is not known
        ([["flux", "sdxl", "dalle"]], None),
        ([["flux", "tievote"]], None),
        ([["1", "2"]], None),
        ([["left", "right"]], None),
    ],
)
def test_two_names_need_no_sides_where_everybody_says_names(columns, names):
    assert two_names(columns) == names
