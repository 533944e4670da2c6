"""Guards text in CSV files that a spreadsheet would run as a formula.

A spreadsheet runs a cell that begins with = + - or @, so a stranger's prompt could send neighbouring cells to an
address. This project writes such text with an apostrophe in front, as OWASP advises ("CSV Injection"), and removes the
apostrophe when it reads its own files. Numbers stay numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..records import ALL_ASPECTS

SCORES_COLUMNS = ("id", "prompt", "status", "reason", *ALL_ASPECTS)  # of scores.csv, before those that were kept
RATINGS_COLUMNS = ("item", "annotator", "aspect", "question_id", "score", "explanation")  # of the Space
VOTES_COLUMNS = ("item_a", "item_b", "annotator", "vote", "shown_first")
_TASK = ("family", "category", "subject", "difficulty", "keyword")
IMPORTED_COLUMNS = (  # of DreamBench++'s tables: items with and without pictures, scores of judges and embeddings
    ("id", "prompt", "image", "reference_image", "generator", *_TASK),
    ("id", "prompt", "generator", *_TASK),
    ("item", "judge", "run", "aspect", "score"),
    ("item", "judge", "aspect", "score", "low", "high"),
)
_WHOLE = (RATINGS_COLUMNS, VOTES_COLUMNS, *IMPORTED_COLUMNS)
_FORMULA = re.compile(r"'*(?:\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])")  # signs of full width, too
_NUMBER = re.compile(r"\s*+[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?\s*")


def guarded(cell: Any) -> Any:
    """A cell for a CSV file. Text that a spreadsheet would run gets an apostrophe in front."""
    is_run = isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if is_run else cell


def unguarded(cell: Any) -> Any:
    """Inverse of `guarded`."""
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and guarded(cell[1:]) == cell else cell


def is_ours(columns: Sequence[str]) -> bool:
    """Whether this project wrote a CSV with these columns. In other CSV files, an apostrophe is part of the text."""
    return tuple(columns[: len(SCORES_COLUMNS)]) == SCORES_COLUMNS or tuple(columns) in _WHOLE
