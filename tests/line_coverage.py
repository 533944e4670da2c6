"""Print the line coverage that slipcover has measured: of each room, and of all. `make test-fast` ends on it.

    python -m tests.line_coverage build/coverage.json

Only lines that run in the tests' own processes count; what runs in a command that a test starts does not.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path, PurePosixPath

from t2i_judge.layout import plain_table


def rooms(coverage: dict) -> dict[str, tuple[int, int]]:
    """Folder -> (covered, all) lines of slipcover's JSON, by name."""
    covered, every = Counter[str](), Counter[str]()
    for name, file in coverage["files"].items():
        room = PurePosixPath(name).parent.as_posix()
        covered[room] += len(file["executed_lines"])
        every[room] += len(file["executed_lines"]) + len(file["missing_lines"])
    return {room: (covered[room], every[room]) for room in sorted(every) if every[room]}


def text(coverage: dict) -> str:
    """A line for each room, and the total."""
    figures = rooms(coverage)
    total = tuple(map(sum, zip(*figures.values())))
    rows = [[room, f"{got:,}", f"{lines:,}", f"{got / lines:.0%}"] for room, (got, lines) in figures.items()]
    rows.append(["all", f"{total[0]:,}", f"{total[1]:,}", f"{total[0] / total[1]:.1%}"])
    return "Line coverage of the fast tests\n" + plain_table([["room", "covered", "lines", "share"], *rows])


if __name__ == "__main__":
    print(text(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
