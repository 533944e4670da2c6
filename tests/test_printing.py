"""What people read is printed by `t2i_judge.terminal`, so that no text from the Hub or a file steers their terminal."""

from __future__ import annotations

import ast
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
READ_BY_PROGRAMS = {
    "recipes/loopback/http.py",
    "recipes/loopback/hub/__main__.py",
    "recipes/performance/client.py",
    "recipes/publish/doors.py",
}


def prints(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.Name) and node.id == "print" for node in ast.walk(tree))


def test_nothing_that_people_read_is_printed_as_it_is() -> None:
    code = [path for folder in ("recipes", "space") for path in (CHECKOUT / folder).rglob("*.py")]
    assert {path.relative_to(CHECKOUT).as_posix() for path in code if prints(path)} == READ_BY_PROGRAMS
