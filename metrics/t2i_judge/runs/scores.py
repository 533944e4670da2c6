"""The table scores.csv of a run, and the cells of its rows that a line keeps for it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import beside, open_new
from ..inputs.places import as_text
from ..inputs.spreadsheets import SCORES_COLUMNS, guarded
from ..records import ALL_ASPECTS

Row = dict[str, Any]
_DEEPEST = 100  # lists and structures inside one another, so that lines can be written and read again


def as_json(cell: Any, source: str, column: str, inside: int = 0) -> Any:
    """A cell as JSON holds it: times as ISO 8601, decimals and durations as text.

    Raises:
        UserError: the cell has bytes, or is nested too deep. `inside` says in how many others it lies.
    """
    if inside > _DEEPEST:
        reason = f"A kept cell may have {_DEEPEST} lists or structures inside one another"
        raise UserError(f"Column '{column}' of {source} is nested too deep", reason, "Leave it out of --keep")
    if isinstance(cell, str):
        return cell if cell.isascii() else as_text(cell)  # it may be the name of a file
    if cell is None or isinstance(cell, int | float):
        return cell
    if isinstance(cell, date | time):  # a datetime is a date
        return cell.isoformat()
    if isinstance(cell, Decimal | timedelta):
        return str(cell)
    if isinstance(cell, Mapping):
        return {str(name): as_json(value, source, column, inside + 1) for name, value in cell.items()}
    if isinstance(cell, list | tuple):
        return [as_json(value, source, column, inside + 1) for value in cell]
    kind = type(cell).__name__
    reason = "The file scores.csv can only have text and numbers"
    raise UserError(f"Column '{column}' of {source} has {kind}", reason, "Leave it out of --keep")


def write_scores(path: Path, lines: Iterable[Row], keep: tuple[str, ...]) -> None:
    """One line per item: id, prompt, status, reason, a column per aspect, and the kept columns; complete or absent.

    What a spreadsheet would run is guarded; `iter_rows` and `read_table` give it back as it was.
    """
    keep = tuple(name for name in keep if name not in SCORES_COLUMNS)  # the table's prompt and id stand there already
    temporary = beside(path)
    with open_new(temporary) as file, TextIOWrapper(file, encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow([*SCORES_COLUMNS, *map(guarded, keep)])
        for line in lines:
            scores = [line["scores"].get(aspect) for aspect in ALL_ASPECTS]
            kept = [line["row"].get(name) for name in keep]
            about = [line["image_id"], line["prompt"], line["status"], line["reason"]]
            table.writerow(map(guarded, [*about, *scores, *kept]))
    temporary.replace(path)
