"""What the commands write into a folder of results. Each name stands once: the commands, and what may not be written
over, take it from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..arguments import Read, only
from ..boards.comparisons import FILE as COMPARISONS
from ..boards.items import read_items
from ..boards.judging import ITEMS, KNOWN
from ..boards.report.run import BOARD, PAGE
from ..runs.lines import SHARDS
from ..runs.record import PAID, RUN, refuse_foreign
from ..runs.shards import SCORES, SUMMARY
from .places import TABLE, TABLES

CACHE, BATCHES = PAID, "batches"  # a served judge's replies; its batches, as the server takes them
REPORT, OTHERS, QUESTIONS = "leaderboard.md", "judges", "questions.jsonl"  # OTHERS: runs of the judges after the first
RUN_FILES = (RUN, SHARDS, SCORES, SUMMARY, CACHE, BATCHES)
BOARD_FILES = (*RUN_FILES, ITEMS, KNOWN, OTHERS, COMPARISONS, QUESTIONS, BOARD, REPORT, PAGE)
_AT_ONCE = {RUN, SHARDS, CACHE, BATCHES, OTHERS, QUESTIONS, ITEMS}  # may be there of a run that ended before it began

RESULTS = Read(inside=only(*BOARD_FILES), make=Path)
RESULTS_OR_TABLE = Read(TABLE.places, lambda path: (*BOARD_FILES, *TABLE.inside(path)))
RESULTS_OR_TABLES = replace(RESULTS_OR_TABLE, places=TABLES.places)


def refuse_others(out: Path, names: Sequence[str]) -> None:
    """Raise `UserError`, before anything is judged, for a file that a command would write over and no run wrote.

    Args:
        out: the command's folder.
        names: of all that the command writes there, and below `OTHERS` (`RUN_FILES`, `BOARD_FILES`).
    """
    others = (out / OTHERS).glob("[0-9]*") if OTHERS in names else ()
    for folder in (out, *(folder for folder in others if folder.name.isdecimal())):
        refuse_foreign(folder, [name for name in names if name not in _AT_ONCE])
        if ITEMS in names and (folder / ITEMS).exists() and not (folder / RUN).exists():
            read_items(folder / ITEMS)
