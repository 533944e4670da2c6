"""A message repeats no more of a stranger's value than its beginning."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from t2i_judge.errors import UserError
from t2i_judge.inputs.shapes import long_columns, wide_from_long
from t2i_judge.inputs.tables import Table

ROOT = Path(__file__).parents[1]
# What reads files, tables, requests and forms of strangers.
FOLDERS = (
    *("space", "metrics/t2i_judge"),
    *(f"recipes/{name}" for name in ("benchmarks", "recipe", "training", "distillation", "publish", "safety")),
    *(f"recipes/{name}" for name in ("evaluation", "hub")),
)


PARTS = ("fact", "reason", "fix")  # of such an error, where they are put together before it


def whole(tree: ast.AST) -> Iterator[str]:
    """What a source puts into errors for users as Python writes it, however long."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="UserError" | "Undecided")):
                said: ast.AST = node
            case ast.Assign(targets=targets, value=said) if any(getattr(t, "id", "") in PARTS for t in targets):
                pass
            case _:
                continue
        parts = [part for part in ast.walk(said) if isinstance(part, ast.FormattedValue)]
        yield from (ast.unparse(part.value) for part in parts if part.conversion == ord("r"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_values_in_errors_are_quoted(folder):
    files = [path for path in sorted((ROOT / folder).rglob("*.py")) if "scenes" not in path.parts]
    found = {path.name: names for path in files if (names := list(whole(ast.parse(path.read_text(encoding="utf-8")))))}
    assert files and found == {}, "use errors.quoted"


def test_a_cell_of_a_megabyte_makes_a_short_message():
    item, rater = "x" * 1_000_000, "y" * 1_000_000
    table = Table("t.csv", "", 2, {"item": [item] * 2, "rater": [rater] * 2, "score": [1, 2]})
    with pytest.raises(UserError, match="twice") as told:
        wide_from_long(table, long_columns(["item", "rater", "score"], [], None, None), None)
    assert len(str(told.value)) < 500
