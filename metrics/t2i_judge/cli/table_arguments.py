"""Arguments that say how a table is written. All commands that read people's tables share them."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..inputs.numerals import Numerals
from ..inputs.shapes import ITEM_NAMES
from ..inputs.tables import Table, read_table
from ..inputs.workbooks import ENDINGS
from ..records import Status
from ..stats.coefficients import Floats
from ..wording import counted

STATUS = "status"
# What tells a table's rows from each other, beside what is measured.
_TOLD_BY = (
    *ITEM_NAMES, "generator", "model", "system", "method", "prompt", "prompt_id", "seed", "run", "task", "aspect",
    "question", "question_id",
)  # fmt: skip


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--sheet`, `--levels` and `--decimal`."""
    how = parser.add_argument_group("how the table is written")
    how.add_argument("--sheet", metavar="NAME", help="which sheet of a workbook, where several have cells")
    how.add_argument("--levels", metavar="WORD=N,...", help='what words are worth: "bad=1,fair=2,good=3"')
    how.add_argument("--decimal", choices=("point", "comma"), help="comma: 4,5 is a number (default: point)")


def source_of(args: argparse.Namespace, source: str) -> str:
    """A table's name with its sheet, as `inputs.readers` takes it. Raises `UserError` if it has no sheets."""
    if not args.sheet:
        return source
    if Path(source).suffix.lower() not in ENDINGS:
        raise UserError(f"--sheet: {source} is not a workbook", "Only workbooks have sheets", "Leave out --sheet")
    return f"{source}:{args.sheet}"


def stated_numerals(args: argparse.Namespace) -> Numerals:
    """How the table writes numbers, by the arguments. Raises `UserError` for levels that cannot be read."""
    return Numerals.stated(args.levels, args.decimal)


def read_stated(args: argparse.Namespace, source: str, columns: Sequence[str]) -> Table:
    """Some columns of a table, each once, read as the arguments say. Raises `UserError` as `read_table`."""
    return read_table(source_of(args, source), list(dict.fromkeys(columns)), stated_numerals(args))


def status_column(prediction: str, names: Iterable[str]) -> str | None:
    """The column with a judge's status, PREDICTION_status or else status; None if there is none."""
    names = list(names)
    return next((name for name in (f"{prediction}_{STATUS}", STATUS) if name in names), None)


def judged_numbers(table: Table, prediction: str) -> tuple[Floats, list[str]]:
    """A judge's scores, nan where its status is not ok, and a remark on what is left out for that.

    Args:
        table: with the column that `status_column` names, where it has one.
    """
    scores, column = table.numbers(prediction), status_column(prediction, table.columns)
    statuses = [] if column is None else table.column(column)
    failed = [
        (row, str(cell).strip())
        for row, cell in enumerate(statuses)
        if cell is not None and str(cell).strip() != Status.OK.value and not np.isnan(scores[row])
    ]
    if not failed:
        return scores, []
    kept = scores.copy()
    kept[[row for row, _ in failed]] = np.nan
    words = ", ".join(f"{count} {status[:50]!r}" for status, count in Counter(own for _, own in failed).most_common(9))
    return kept, [f"{table.path}: {counted(len(failed), 'score')} left out by '{column}', which is not ok: {words}"]


def blank_cells(table: Table, columns: Mapping[str, str]) -> list[str]:
    """A remark on each of these columns that has blank cells.

    Args:
        columns: name -> what becomes of such a row, behind "each".
    """
    blank = {name: sum(cell is None for cell in table.column(name)) for name in columns if name in table.columns}
    return [
        f"{table.path}: '{name}' is blank in {counted(number, 'row')} (of merged cells, only the first has the text): "
        f"each {columns[name]}"
        for name, number in blank.items()
        if number
    ]


def telling_columns(names: Iterable[str]) -> list[str]:
    """The columns by which rows can be known again; none where no column names the item."""
    names = list(names)
    return [name for name in _TOLD_BY if name in names] if any(name in names for name in ITEM_NAMES) else []


def repeated_rows(table: Table, measured: Sequence[str]) -> list[str]:
    """A remark on rows that say of the same item what an earlier one says; each of them counts again."""
    names = list(dict.fromkeys([*telling_columns(table.columns), *measured]))
    if not telling_columns(table.columns):
        return []
    different = len(set(map(repr, zip(*(table.column(name) for name in names), strict=True))))
    if different == table.rows:
        return []
    again = counted(table.rows - different, "row repeats", "rows repeat")
    return [f"{table.path}: {again} an earlier one ({', '.join(names[:9])}); what is doubled counts twice"]
