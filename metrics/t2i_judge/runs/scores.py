"""The table scores.csv of a run, and the cells of its rows that a line keeps for it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from ..errors import UserError, quoted
from ..files import beside, open_new
from ..inputs.folders import is_image_folder
from ..inputs.places import as_text
from ..inputs.readers import iter_rows, unknown_column
from ..inputs.rows import Columns
from ..inputs.spreadsheets import SCORES_COLUMNS, guarded
from ..inputs.workbooks import book_and_sheet
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


def kept_cells(row: Row, keep: Iterable[str], source: str) -> Row:
    """The cells of a row that are kept. Raises `UserError`, as `as_json`."""
    return {name: as_json(row.get(name), source, name) for name in keep}


def check_kept(
    source: str, columns: Columns, keep: Sequence[str], limit: int | None = None, prompts_from: str | None = None
) -> None:
    """Raise `UserError` for a column to keep that no row has (the nearest is named), or a cell that cannot be kept.

    So it does for a column of the table that is another one of scores.csv.

    All rows are looked at, except those of a dataset, which may have to be downloaded.
    """
    same = {"prompt": columns.prompt, "id": columns.id}
    for name in keep:
        if name in SCORES_COLUMNS and same.get(name) != name:
            fact = f"Column {quoted(name)} cannot be kept"
            fix = "Name it with --id-column" if name == "id" else "Rename it"
            raise UserError(fact, "The file scores.csv has a column of its own with this name", fix)
    missing, known = dict.fromkeys(keep), dict[str, None]()
    read = keep if Path(source).suffix.lower() == ".parquet" else None
    rows = iter_rows(source, read, 0, limit, prompts_from) if missing else ()
    near = book_and_sheet(source)[0].is_file() or is_image_folder(source)
    for row in rows:
        known |= dict.fromkeys(row)
        missing = {name: None for name in missing if name not in row}
        if not (missing or near):
            break
        kept_cells(row, keep, source)
    for name in missing:
        raise unknown_column(source, name, known)


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
