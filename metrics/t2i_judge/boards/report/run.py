"""Writes RUN/report.html from a run folder: leaderboard.json, the list of items, the shards of judgements."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from ...errors import UserError
from ...files import read_bytes, write_atomic
from ...inputs.images import ImageError, load_image
from ...runs.lines import run_lines
from ..comparisons import FILE as COMPARISONS
from ..comparisons import current, read_comparisons
from ..items import BoardItem, read_items
from ..judging import ITEMS
from ..leaderboard import COVERS
from .board import ranked, sections
from .page import render
from .pictures import EMBEDDED, Source, cut, pictures

Row = dict[str, Any]
BOARD, PAGE = "leaderboard.json", "report.html"
_SCRIPTS = ("plots.js", "pictures.js", "deciding.js")
_COMPARISONS = 2_000  # direct comparisons in the page


def write_report(run: Path, progress: bool = False) -> Path:
    """Write RUN/report.html and return its path. Raises `UserError` if RUN holds no board."""
    path = run / PAGE
    write_atomic(path, report_of_run(run, progress))
    return path


def report_of_run(run: Path, progress: bool = False, most: int = EMBEDDED) -> str:
    """The report of a run folder as HTML, with `most` pictures inside. Raises `UserError` where RUN holds no board."""
    try:
        board = json.loads(read_bytes(run / BOARD))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(
            f"{run} has no {BOARD}", str(error), "Name a folder that t2i-judge leaderboard wrote"
        ) from error
    items = read_items(run / ITEMS)

    def judged() -> Iterator[tuple[BoardItem, Row]]:
        yield from zip(items, run_lines(run), strict=True)

    compared = current(read_comparisons(run / COMPARISONS), items) if board.get("comparisons") else []
    try:
        return report(board, Source(judged, _load, lambda item: _link(item, run), most), compared, progress)
    except ValueError as error:
        raise UserError(
            f"{run} is not finished", "Some of its items are not judged", "Run t2i-judge leaderboard again"
        ) from error


def report(board: Mapping[str, Any], source: Source, compared: Sequence[Row] = (), progress: bool = False) -> str:
    """The report of a board and its images as HTML: one file, no network."""
    names = [generator["name"] for generator in ranked(board)]
    shown = pictures(source, names, progress)
    data = {"board": {**board, "boards": []}, "generators": names, **shown, "compared": _compared(shown, compared)}
    return render(
        "board.html", {"report": data}, _SCRIPTS, plots=True, covers=COVERS, carried=shown["carried"], **sections(board)
    )


def _compared(shown: Row, compared: Sequence[Row]) -> list[Row]:
    """The comparisons in the page, each with its prompt as the page has it: first those whose pictures are there."""
    carried = {shown["prompts"][image["prompt"]]["text"] for image in shown["images"] if "thumbnail" in image}
    lines = [{**line, "prompt": cut(line["prompt"])} for line in compared]
    return sorted(lines, key=lambda line: line["prompt"] not in carried)[:_COMPARISONS]


def _load(item: BoardItem) -> Image.Image | None:
    try:
        return load_image(item.image)
    except ImageError:
        return None


def _link(item: BoardItem, run: Path) -> str | None:
    """Address of an image relative to the page; None if it is not a file."""
    if item.sha256 is None or not item.image:
        return None
    return quote(os.fsencode(Path(os.path.relpath(item.image, run)).as_posix()), safe="/")
