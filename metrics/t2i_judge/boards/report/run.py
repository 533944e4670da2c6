"""Writes RUN/report.html from a run folder: leaderboard.json, the list of items, the shards of judgements."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from ...errors import UserError
from ...files import read_object, write_atomic
from ...inputs.cells import read_cell
from ...inputs.images import ImageError, load_image
from ..comparisons import FILE as COMPARISONS
from ..comparisons import current, read_comparisons
from ..items import BoardItem, read_items
from ..judging import ITEMS, finished
from ..leaderboard import COVERS, ranked
from .board import sections
from .page import render
from .pictures import EMBEDDED, Source, cut, pictures

Row = dict[str, Any]
BOARD, PAGE = "leaderboard.json", "report.html"
_SCRIPTS = ("plots.js", "pictures.js", "deciding.js")
_COMPARISONS = 2_000  # direct comparisons in the page
_PLACES = ("image_a", "image_b")  # of a comparison: paths, which the page does not need
Decode = Callable[[bytes], Image.Image]


def write_report(run: Path, progress: bool = False) -> Path:
    """Write RUN/report.html and return its path. Raises `UserError` if RUN holds no board."""
    path = run / PAGE
    write_atomic(path, report_of_run(run, progress))
    return path


def report_of_run(
    run: Path, progress: bool = False, most: int = EMBEDDED, links: bool = True, decode: Decode = load_image
) -> str:
    """The report of a run folder as HTML. Whoever made the folder chose what stands in it.

    So a picture is shown only where the file that the list of items names is the one that was judged, by its hash:
    nobody knows that of a file which they do not have.

    Args:
        run: the folder.
        progress: show a bar.
        most: pictures inside the page.
        links: name the pictures' places, for a page that stays on this machine.
        decode: makes pixels of a picture's bytes, or raises `ImageError`.

    Raises:
        UserError: the folder holds no board that a run wrote, or one that is not finished.
    """
    try:
        board = read_object(run / BOARD, "Name a folder that t2i-judge leaderboard wrote")
    except UserError as error:
        raise UserError(f"{run} has no {BOARD}", f"{error.fact}. {error.reason}", error.fix) from error
    try:
        items = read_items(run / ITEMS)
        compared = current(read_comparisons(run / COMPARISONS), items) if board.get("comparisons") else []
        link = partial(_link, run=run) if links else lambda item: None
        source = Source(partial(finished, run, items), partial(_load, decode=decode), link, most)
        return report(board, source, compared, progress)
    except UserError:
        raise
    except Exception as error:  # whatever is missing, or of another type, somewhere in a folder that anybody may edit
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{run} holds no board that a run wrote", reason, "Run t2i-judge leaderboard again") from error


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
    lines = [{name: value for name, value in line.items() if name not in _PLACES} for line in lines]
    return sorted(lines, key=lambda line: line["prompt"] not in carried)[:_COMPARISONS]


def _load(item: BoardItem, decode: Decode) -> Image.Image | None:
    """The picture that was judged; None where it cannot be read, or another one has its name."""
    try:
        data = read_cell(Path(item.image))
        known = isinstance(data, bytes) and hashlib.sha256(data).hexdigest() == item.sha256
        return decode(data) if known and isinstance(data, bytes) else None
    except ImageError:
        return None


def _link(item: BoardItem, run: Path) -> str | None:
    """Address of an image relative to the page; None if it is not a file."""
    if item.sha256 is None or not item.image:
        return None
    return quote(os.fsencode(Path(os.path.relpath(item.image, run)).as_posix()), safe="/")
