"""Turns tables of people's ratings (wide, long, with lists, or a benchmark) into one column per rater and judge.

wide       one row per item, one column per rater; a pattern (`r*_SC`) may name several, or a cell may hold a list
long       one row per rating: item, rater, score, and perhaps aspect and question
benchmark  one row per item with the lists `human_scores` and `baselines`, as `build_benchmark` writes them
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from ..errors import UserError, nearest, quoted
from ..files import whole_number
from ..wording import counted
from .numerals import Numerals, is_blank, number_or_gap
from .readers import is_spreadsheet, iter_rows
from .tables import Table

HUMAN_SCORES, BASELINES, OVERALL = "human_scores", "baselines", "overall"
ASPECT, QUESTIONS = "aspect", ("question", "question_id")
_TOLD_BY = (ASPECT, "question_id", "annotator", "judge", "revision", "status")  # of an entry in a benchmark's lists
# What columns are called where they are not named.
ITEM_NAMES = ("item", "item_id", "image_id", "id", "sample_id", "image")
RATER_NAMES = ("annotator", "rater", "annotator_id", "rater_id", "worker", "worker_id", "user", "user_id")
SCORE_NAMES = ("score", "rating", "human_score", "value", "answer")

_CONDITION = re.compile(r"(?P<column>.+?)(?P<sign>!=|<=|>=|=|<|>)(?P<value>.*)", re.DOTALL)
_MOST, _MOST_CELLS = 2_000, 100_000_000  # raters (or judges) with a column each, and cells of these columns
_LIST_THEM = "Keep fewer with --where; or list each item's scores in one cell, as 4|5|3, whoever they are from"
_BETWEEN = re.compile(r"[|;]")  # the numbers of a list


@dataclass(frozen=True)
class Long:
    """Columns of a long table: those that together name the item, the rater's, the score's."""

    item: list[str]
    rater: str
    score: str


def table_names(source: str, wanted: Iterable[str] = ()) -> list[str]:
    """Names of the columns (of the first row, where rows have names of their own).

    The names and patterns in `wanted` distinguish the header from titles above it (`headers.header_place`).

    Raises:
        UserError: there are no rows.
    """
    first = next(iter_rows(source, list(wanted) if is_spreadsheet(source) else None), None)
    if first is None:
        raise UserError(f"{source} has no rows", "There is nothing to measure", "Check how the table was made")
    return list(first)


def matching(wanted: Iterable[str], names: Sequence[str]) -> list[str]:
    """The columns that match names and patterns, each once. Raises `UserError` for a pattern without a match."""
    chosen: dict[str, None] = {}
    for pattern in wanted:
        is_pattern = pattern not in names and any(sign in pattern for sign in "*?[")
        matches = [name for name in names if fnmatchcase(name, pattern)] if is_pattern else [pattern]
        if not matches:
            raise UserError(f"No column matches '{pattern}'", nearest(pattern, names), "Correct the pattern")
        chosen |= dict.fromkeys(matches)
    return list(chosen)


def long_columns(names: Sequence[str], item: Sequence[str], rater: str | None, score: str | None) -> Long | None:
    """The columns of a long table, as given or by their usual names; None if the table is not long.

    Raises:
        UserError: one of the three is given, and another one cannot be found.
    """
    usual = [next((name for name in usual if name in names), None) for usual in (RATER_NAMES, SCORE_NAMES, ITEM_NAMES)]
    found = Long(list(item) or ([usual[2]] if usual[2] else []), rater or usual[0] or "", score or usual[1] or "")
    if found.item and found.rater and found.score:
        return found
    if item or rater or score:
        lacking = "--item" if not found.item else "--rater" if not found.rater else "--score"
        raise UserError(
            "A long table needs columns of items, raters and scores",
            "One of them was not found",
            f"Name it with {lacking}",
        )
    return None


@dataclass(frozen=True)
class Condition:
    """COL=VALUE, COL!=VALUE, or COL<NUMBER with <, <=, >, >=.

    = compares numbers if both are numbers, else text. A blank cell equals only an empty VALUE.
    """

    column: str
    sign: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition. Raises `UserError` if it is none."""
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise UserError(f"'{text}' is not a condition", "It has no =", "Write --where COLUMN=VALUE")
        return cls(match["column"].strip(), match["sign"], match["value"].strip())

    def holds(self, cell: Any, numerals: Numerals | None = None) -> bool:
        """Whether a cell meets the condition. `numerals` say how the table writes numbers, for < and >."""
        if self.sign in ("=", "!="):
            return self._equals(cell) == (self.sign == "=")
        a, b = _number(cell, numerals), _number(self.value)
        if a is None or b is None:
            return False
        return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[self.sign]

    def _equals(self, cell: Any) -> bool:
        if cell is None:
            return self.value == ""
        a, b = _number(cell), _number(self.value)
        return str(cell).strip() == self.value if a is None or b is None else a == b


def kept_rows(table: Table, conditions: Sequence[Condition]) -> Table:
    """The rows that meet every condition. Raises `UserError` for an unknown column, or if no row is left."""
    if not conditions:
        return table
    kept = np.ones(table.rows, dtype=bool)
    for condition in conditions:
        cells = table.column(condition.column)
        kept &= np.asarray([condition.holds(cell, table.numerals) for cell in cells], dtype=bool)
    if not kept.any():
        stated = " and ".join(f"{c.column}{c.sign}{c.value}" for c in conditions)
        raise UserError(f"No row of {table.path} meets {stated}", "", "Correct --where")
    rows = np.flatnonzero(kept)
    columns = {
        name: [cells[row] for row in rows] if isinstance(cells, list) else cells.take(rows)
        for name, cells in table.columns.items()
    }
    remarks = table.remarks if kept[-1] else replace(table.remarks, last_row="")
    origins = dict.fromkeys(columns, (rows + 1).tolist())
    return replace(table, rows=len(rows), columns=columns, remarks=remarks, origins=origins)


def _number(cell: Any, numerals: Numerals | None = None) -> float | None:
    try:
        number = math.nan if cell is None else (numerals or Numerals()).parse(cell)
    except ValueError:
        return None
    return None if math.isnan(number) else number


def wide_from_long(table: Table, long: Long, aspect: str | None) -> tuple[Table, list[str], str | None]:
    """One row per item and one column per rater. Other columns keep the item's value.

    Returns the table, the raters, and the aspect that was taken (`aspect`, else overall, else the only one).

    Raises:
        UserError: a rater scored an item twice, an item has two values in a column, or no aspect of several is named.
    """
    names = list(table.columns)
    single = {*long.item, long.rater, *QUESTIONS}
    cells = {name: table.labels(name) if name in single else table.column(name) for name in names}
    rows, taken, parts = rows_of_aspect(table, cells, aspect)
    keys = [*long.item, *parts]
    others_of: dict[tuple[Any, ...], dict[str, tuple[Any, int]]] = {}
    others = [name for name in names if name not in (long.rater, long.score, ASPECT, *QUESTIONS)]
    kept: dict[tuple[Any, ...], dict[str, Any]] = {}
    numbers = table.numbers(long.score)
    for row in rows:
        key, who = tuple(_bare(cells[name][row]) for name in keys), cells[long.rater][row]
        rater = "" if who is None else str(who).strip()
        if not rater:
            raise UserError(f"{table.place(row)}: no {long.rater}", "", "Fill it in, or remove the row")
        if blank := next((name for name, part in zip(long.item, key, strict=False) if part is None), None):
            reason = "Each rating needs an item (of merged cells, only the first has the text)"
            raise UserError(f"{table.place(row)}: no {blank}", reason, "Fill it in, or remove the row")
        item = kept.setdefault(key, {})
        if rater in item:
            fact = f"{table.place(row)}: {quoted(rater)} rated {quoted(' '.join(map(str, key)))} twice"
            raise UserError(
                fact,
                "An item is identified by " + ", ".join(keys),
                "Identify it by more columns (--item), or filter the rows",
            )
        item[rater] = numbers[row]
        _add_others(others_of.setdefault(key, {}), {name: _bare(cells[name][row]) for name in others}, table, row)
    raters = sorted({rater for item in kept.values() for rater in item})
    if clash := [rater for rater in raters if rater in others]:
        raise UserError(f"A rater has the name {quoted(clash[0])}", "A column has the same name", "Rename the column")
    found = {name: [own.get(name, (None, 0)) for own in others_of.values()] for name in others}
    _check_wide(table.path, long.rater, len(raters), len(kept))
    columns: dict[str, Any] = {name: [value for value, _ in own] for name, own in found.items()}
    columns |= {rater: [item.get(rater) for item in kept.values()] for rater in raters}
    origins = {name: [table.file_row(row, name) for _, row in own] for name, own in found.items()}
    return replace(table, rows=len(kept), columns=columns, origins=origins), raters, taken


def _bare(cell: Any) -> Any:
    """A name without the spaces around it, which nobody sees: "ann " is no other rater than "ann"."""
    return cell.strip() if isinstance(cell, str) else cell


def _check_wide(source: str, who: str, names: int, items: int, fix: str = _LIST_THEM) -> None:
    """Raise `UserError` for more columns than can be made: a small table may name as many raters as it has ratings."""
    if names > _MOST or names * items > _MOST_CELLS:
        fact = f"{source} has {names:,} {who}s and {counted(items, 'item', form=',')}"
        reason = f"Each is a column, a cell for each item; at most {_MOST:,} and {_MOST_CELLS:,} cells are read"
        raise UserError(fact, reason, fix)


def _add_others(own: dict[str, tuple[Any, int]], values: Mapping[str, Any], table: Table, row: int) -> None:
    """Keep an item's values of other columns, each with the row that it stands in first."""
    for name, value in values.items():
        if value is not None and (known := own.setdefault(name, (value, row))[0]) != value:
            fact = f"{table.place(row)}: its item has {quoted(value)} and {quoted(known)} in '{name}'"
            raise UserError(fact, "An item has one value per column", "Identify the item by more columns (--item)")


def rows_of_aspect(
    table: Table, cells: Mapping[str, list[Any]], aspect: str | None = None
) -> tuple[list[int], str | None, list[str]]:
    """The rows about one aspect, that aspect, and the columns that tell its questions from each other."""
    rows = list(range(table.rows))
    taken = None
    if ASPECT in cells:
        labels = table.labels(ASPECT)
        taken = _aspect(table.path, labels, aspect)
        rows = [row for row in rows if labels[row] is not None and str(labels[row]) == taken]
    elif aspect is not None:
        raise UserError(f"{table.path} has no column '{ASPECT}'", "", "Leave out --aspect")
    questions = [name for name in QUESTIONS if name in cells]
    whole = [row for row in rows if all(cells[name][row] is None for name in questions)]
    return (whole, taken, []) if whole else (rows, taken, questions)


def _aspect(path: str, cells: Iterable[Hashable], aspect: str | None) -> str:
    known = [str(name) for name in dict.fromkeys(cells) if name is not None]
    if aspect is None:
        if OVERALL not in known and len(known) != 1:
            reason = f"It has {', '.join(known)}" if known else "Its column is empty"
            raise UserError(f"The aspect in {path} is unclear", reason, "Name one with --aspect")
        return OVERALL if OVERALL in known else known[0]
    if aspect not in known:
        raise UserError(f"{path} has no aspect '{aspect}'", nearest(aspect, known), f"Use one of {', '.join(known)}")
    return aspect


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's lists as columns: rater -> scores, judge -> scores and statuses, of one aspect."""

    table: Table
    raters: dict[str, list[float | None]]
    judges: dict[str, list[float | None]]
    statuses: dict[str, list[str | None]]
    aspect: str


def read_lists(table: Table, aspect: str | None) -> Benchmark:
    """The scores of whole items for one aspect, from `human_scores` and, if it is there, `baselines`.

    Raises:
        UserError: a cell is not a list of scores, the aspect is missing, or a rater or judge occurs twice on an item.
    """
    people = [_entries(table, HUMAN_SCORES, row, cell) for row, cell in enumerate(table.column(HUMAN_SCORES))]
    whole = [[entry for entry in entries if is_blank(entry.get("question_id"))] for entries in people]
    taken = _aspect(table.path, [entry.get(ASPECT) for entries in whole for entry in entries], aspect)
    raters = _columns(table, HUMAN_SCORES, "annotator", whole, taken)
    judged: list[list[dict[str, Any]]] = []
    if BASELINES in table.columns:
        judged = [_entries(table, BASELINES, row, cell) for row, cell in enumerate(table.column(BASELINES))]
        _name_revisions(judged)
    judges = _columns(table, BASELINES, "judge", judged, taken)
    return Benchmark(
        table,
        {name: [entry["score"] if entry else None for entry in entries] for name, entries in raters.items()},
        {name: [entry["score"] if entry else None for entry in entries] for name, entries in judges.items()},
        {name: [str(entry["status"]) if entry and entry.get("status") else None for entry in entries]
         for name, entries in judges.items()},
        taken,
    )  # fmt: skip


def _entries(table: Table, column: str, row: int, cell: Any) -> list[dict[str, Any]]:
    try:
        entries = json.loads(cell, parse_int=whole_number) if isinstance(cell, str) else cell or []
        if all(isinstance(entry, Mapping) and _is_plain(entry) for entry in entries):
            return [dict(entry) for entry in entries]
    except (ValueError, TypeError, RecursionError):
        pass
    fact = f"{table.place(row, column)}: '{column}' is not a list of scores"
    raise UserError(fact, "", "See the schema of recipes.build_benchmark")


def _is_plain(entry: Mapping[str, Any]) -> bool:
    """Whether what tells entries from each other are single values."""
    return all(isinstance(entry.get(name), Hashable) for name in _TOLD_BY)


def _name_revisions(judged: Sequence[Sequence[dict[str, Any]]]) -> None:
    """A judge with several revisions is several judges."""
    revisions: dict[str, set[Any]] = {}
    for entry in (entry for entries in judged for entry in entries):
        revisions.setdefault(str(entry.get("judge")), set()).add(entry.get("revision"))
    for entry in (entry for entries in judged for entry in entries):
        name = str(entry.get("judge"))
        entry["judge"] = f"{name} ({entry.get('revision')})" if len(revisions[name]) > 1 else name


def _columns(
    table: Table, column: str, key: str, rows: Sequence[Sequence[dict[str, Any]]], aspect: str
) -> dict[str, list[dict[str, Any] | None]]:
    """Rater or judge -> its entry for each item, None where it has none."""
    names = {str(entry.get(key)) for entries in rows for entry in entries if entry.get(ASPECT) == aspect}
    _check_wide(table.path, key, len(names), len(rows))
    found: dict[str, list[dict[str, Any] | None]] = {}
    for number, entries in enumerate(rows):
        for entry in (entry for entry in entries if entry.get(ASPECT) == aspect):
            name = str(entry.get(key))
            own = found.setdefault(name, [None] * len(rows))
            if own[number] is not None:
                fact = f"{table.place(number, column)}: '{column}' has {quoted(name)} twice for {aspect}"
                raise UserError(fact, "A score is one number", "Keep one of them")
            place = f"{table.place(number, column)}, '{column}'"
            own[number] = {**entry, "score": number_or_gap(entry.get("score"), place)}
    return found


def listed_numbers(table: Table, name: str) -> dict[str, list[float | None]] | None:
    """A column of lists ([1, 2], "[1, 2]", 1|2, 1;2) as numeric columns NAME_1, NAME_2; None if it has no lists."""
    if name in table.columns and not isinstance(table.columns[name], list) and _plain(table, name):
        return None
    cells = table.column(name)
    lists = [_as_list(cell) for cell in cells]
    if not any(isinstance(values, list) for values in lists):
        return None
    width = max(len(values) for values in lists if isinstance(values, list))
    _check_wide(f"A list in '{name}' of {table.path}", "number", width, len(lists), "Shorten it")
    numbers: list[list[float | None]] = []
    for row, values in enumerate(lists):
        listed = values if isinstance(values, list) else [values]
        try:
            numbers.append([*map(table.numerals.parse, listed), *[None] * (width - len(listed))])
        except ValueError as error:
            fact = f"{table.place(row, name)}, column '{name}': a listed value {error}"
            raise UserError(fact, "", "List only numbers") from None
    return {f"{name}_{place + 1}": [row[place] for row in numbers] for place in range(width)}


def _plain(table: Table, name: str) -> bool:
    """Whether an Arrow column holds no list and no text that could be one."""
    import pyarrow as pa
    from pyarrow import compute

    array: Any = table.columns[name]
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return not compute.any(compute.match_substring_regex(array, r"[\[|;]")).as_py()
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return not any(is_kind(array.type) for is_kind in kinds)


def _as_list(cell: Any) -> Any:
    if isinstance(cell, list | tuple):
        return list(cell)
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            return json.loads(cell, parse_int=whole_number)
        except (ValueError, RecursionError):
            return cell
    if isinstance(cell, str) and _BETWEEN.search(cell):
        return [part.strip() for part in _BETWEEN.split(cell)]
    return cell
