"""`t2i-judge label-plan TABLE|RUN --width W`: how many images people have to label next, and which.

Prompts are drawn at random. All unlabelled images of a drawn prompt are listed, so that every difference of two
generators becomes more precise.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import written_file
from ..boards.items import read_items
from ..boards.judging import ITEMS, finished
from ..boards.people import read_labels
from ..errors import UserError, nearest, quoted
from ..files import open_text
from ..inputs.shapes import matching, table_names
from ..inputs.spreadsheets import guarded
from ..inputs.tables import column_names
from ..layout import one_line, plain_table, terminal_width
from ..meta.report import number, write_report
from ..records import ALL_ASPECTS, OVERALL, Status
from ..stats.agreement import rater_mean
from ..stats.coefficients import Floats, as_floats
from ..stats.label_plan import Need, need, next_units
from ..stats.resampling import check_seed
from ..stats.units import Units, by_unit, check_systems, columns, differences
from ..wording import counted
from .numbers import Finite
from .places import TABLES_OR_COLUMNS
from .results import add_json, show
from .run_files import RESULTS_OR_TABLE
from .table_arguments import add_table_arguments, blank_cells, judged_numbers, read_stated, source_of, status_column

Row = dict[str, Any]
_LISTED = ("id", "item_id", "image_id", "image", "generator", "prompt", "prompt_id", "seed", "sha256")
_LABEL = "label"  # the column, the last, that people fill in
MEANS, DIFFERENCES = "means", "differences"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `label-plan`."""
    parser.add_argument(
        "source", type=RESULTS_OR_TABLE, help="table with one row per image, or a folder that leaderboard wrote"
    )
    parser.add_argument(
        "--width",
        type=float,
        action=Finite,
        required=True,
        metavar="W",
        help="how wide the 95%% interval may be: upper end minus lower end",
    )
    parser.add_argument("--prediction", metavar="COL", help="column of the judge's scores (of a run: overall)")
    parser.add_argument(
        "--labels",
        type=TABLES_OR_COLUMNS,
        metavar="COL,COL",
        help="columns of people's labels so far; for a run: a table of labels",
    )
    parser.add_argument(
        "--label-columns", metavar="COL,COL", help="for a run: the columns of people's labels in that table"
    )
    parser.add_argument(
        "--systems", default="generator", metavar="COL", help="column of generators (default: %(default)s)"
    )
    parser.add_argument(
        "--unit", default="prompt", metavar="COL", help="column of what is sampled (default: %(default)s)"
    )
    parser.add_argument("--only", metavar="NAME,NAME", help="only these generators (default: all)")
    parser.add_argument(
        "--for", dest="goal", choices=(MEANS, DIFFERENCES), help="plan for means, or for differences (default: both)"
    )
    parser.add_argument(
        "--sd", type=float, action=Finite, metavar="S", help="standard deviation of labels between prompts, if known"
    )
    parser.add_argument(
        "--correlation", type=float, action=Finite, metavar="R", help="correlation of labels and scores, with --sd"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw; keep it when you plan again")
    parser.add_argument(
        "--out",
        type=written_file,
        metavar="CSV",
        help="write the images to label to this file, with an empty column for labels",
    )
    add_table_arguments(parser)
    add_json(parser)


@dataclass(frozen=True)
class _Images:
    """One row per image: its name, its generator, its unit, its score, and its label (nan if there is none)."""

    rows: list[Row]
    systems: list[Hashable]
    units: list[Hashable]
    scores: Floats
    labels: Floats
    remarks: Sequence[str] = ()


def run(args: argparse.Namespace) -> int:
    """Print what each figure needs and list the images to label. Returns 0, or 3 if a width cannot be reached."""
    check_seed(args.seed)
    if args.out:
        _refuse_filled(Path(args.out))
    if (args.sd is None) != (args.correlation is None):
        raise UserError("--sd and --correlation belong together", "A width depends on both", "Give both, or neither")
    images = _of_run(Path(args.source), args) if Path(args.source, ITEMS).is_file() else _of_table(args)
    names = column_names(args.only) or [str(name) for name in dict.fromkeys(images.systems) if name is not None]
    units = by_unit(images.systems, images.units, images.scores, images.labels)
    if lacking := [name for name in names if name not in units]:
        raise UserError(
            f"No image of {quoted(lacking[0])} has a prompt and a score",
            f"The generators are {', '.join(map(str, units))}",
            "Check --only",
        )
    known = None if args.sd is None else (args.sd, args.correlation)
    candidates = _open_units(images, names)
    wanted = {
        name: (need(*columns(own), args.width, known), _are_unlabelled(candidates, own))
        for name, own in _figures({name: units[name] for name in names}, args.goal)
    }
    needs = {name: one for name, (one, _) in wanted.items()}
    chosen = next_units(list(wanted.values()), candidates, args.seed)
    listed = _listed(images, names, chosen)
    of = counted(len(chosen), args.unit)
    draw = f"label next: {counted(len(listed), 'image')} of {of}, drawn at random (seed {args.seed})"
    record = {
        "width": args.width, "seed": args.seed, "unit": args.unit, "units": chosen, "images": len(listed),
        "figures": [{"name": name, **asdict(one), "more": one.more} for name, one in needs.items()],
    }  # fmt: skip
    if args.out:
        write_report(args.out, _csv(listed))
        draw += f"\nwritten: {args.out}"
    show(args, "\n".join([*images.remarks, _text(needs, args.width), "", draw]), record)
    return 3 if any(one.needed is None for one in needs.values()) else 0


def _of_table(args: argparse.Namespace) -> _Images:
    if not args.prediction:
        raise UserError("--prediction names no column", "A table may hold several scores", "Name the judge's column")
    named = [args.prediction, args.systems, args.unit, *column_names(args.labels)]
    known = table_names(source_of(args, args.source), named)
    labels = matching(column_names(args.labels), known)
    listed = [name for name in _LISTED if name in known]
    wanted = [args.prediction, *labels, args.systems, args.unit, *listed]
    wanted += filter(None, [status_column(args.prediction, known)])
    table = read_stated(args, args.source, wanted)
    people = [table.numbers(name) for name in labels] or [np.full(table.rows, np.nan)]
    cells = {name: table.column(name) for name in dict.fromkeys([args.systems, args.unit, *listed])}
    rows = [{name: column[row] for name, column in cells.items()} for row in range(table.rows)]
    systems, units = (table.labels(name) for name in (args.systems, args.unit))
    scores, left_out = judged_numbers(table, args.prediction)
    blank = blank_cells(table, dict.fromkeys((args.systems, args.unit), "is left out"))
    return _Images(
        rows,
        _texts(systems),
        _texts(units),
        scores,
        rater_mean(np.column_stack(people)),
        [*table.remarks.lines, *map(one_line, [*left_out, *blank])],
    )


def _of_run(folder: Path, args: argparse.Namespace) -> _Images:
    """Images of a leaderboard's run folder, with people's labels from a table of their own."""
    items, aspect = read_items(folder / ITEMS), args.prediction or OVERALL
    if aspect not in ALL_ASPECTS:
        raise UserError(f"A run has no scores {quoted(aspect)}", nearest(aspect, ALL_ASPECTS), "Correct --prediction")
    lines = [line for _, line in finished(folder, items)]  # scores.csv may be an earlier list's
    scores = [line["scores"].get(aspect) if line["status"] == Status.OK.value else None for line in lines]
    labels = read_labels(args.labels, args.label_columns, items).means if args.labels else {}
    rows = [{name: value for name, value in asdict(item).items() if name in _LISTED} for item in items]
    return _Images(
        rows,
        [item.generator for item in items],
        [item.prompt for item in items],
        as_floats(scores),
        np.asarray([labels.get(item.id, np.nan) for item in items]),
    )


def _texts(cells: Sequence[Hashable]) -> list[Hashable]:
    return [None if cell is None else str(cell) for cell in cells]


def _figures(units: Mapping[Hashable, Units], goal: str | None) -> Iterator[tuple[str, Units]]:
    """Name of each figure, and its units, one at a time: those of all pairs may not fit into the memory."""
    if goal != MEANS:
        check_systems(len(units), "Name fewer with --only, or use --for means")
        if goal and len(units) < 2:
            raise UserError("One generator has no difference", "--for differences compares two", "Use --for means")
    if goal != DIFFERENCES:
        yield from ((str(name), own) for name, own in units.items())
    if goal != MEANS:
        yield from ((f"{a} - {b}", own) for (a, b), own in differences(units))


def _are_unlabelled(candidates: Sequence[str], own: Units) -> NDArray[np.bool_]:
    """Which of these units count for a figure, and have no label for it."""
    open_to = {str(unit) for unit, (label, _) in own.items() if math.isnan(label)}
    return np.asarray([unit in open_to for unit in candidates], dtype=bool)


def _open_units(images: _Images, names: Sequence[str]) -> list[str]:
    """Units, sorted, in which some image of these generators has a score and no label."""
    is_open = np.isnan(images.labels) & ~np.isnan(images.scores)
    named = zip(images.units, images.systems, is_open, strict=True)
    return sorted({str(unit) for unit, system, is_ in named if is_ and unit is not None and system in names})


def _listed(images: _Images, names: Sequence[str], chosen: Sequence[str]) -> list[Row]:
    """The images to label, unit by unit in the order of the draw."""
    place = {unit: number for number, unit in enumerate(chosen)}
    rows = [
        (place[str(unit)], number)
        for number, unit in enumerate(images.units)
        if unit in place and images.systems[number] in names and np.isnan(images.labels[number])
    ]
    return [images.rows[number] for _, number in sorted(rows)]


def _refuse_filled(path: Path) -> None:
    """Raise `UserError` for a file that is there and no empty form: what people typed in is not written over."""
    if not path.is_file():
        return
    try:
        with open_text(path, newline="") as file:
            header, *rows = list(csv.reader(file)) or [[_LABEL]]
    except (ValueError, csv.Error, OSError):
        header, rows = [], []
    if header[-1:] != [_LABEL] or any(row[len(header) - 1 :] != [""] for row in rows if row):
        fact = f"{path} is there, and is no empty form"
        fix = "Name another file; labels that are known are given to --labels"
        raise UserError(fact, "Labels that were typed in would be lost", fix)


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, [*(rows[0] if rows else _LISTED), _LABEL], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: guarded(cell) for name, cell in row.items()} for row in rows)
    return out.getvalue()


def _text(needs: Mapping[str, Need], width: float) -> str:
    header = ["figure", "prompts", "labelled", "width now", f"needed for {width:g}", "likely", "to label next"]
    rows = [
        [
            name,
            str(one.units),
            str(one.labelled),
            number(one.width_now),
            "–" if one.needed is None else str(one.needed),
            f"{one.likely[0]}-{one.likely[1]}" if one.likely else "",
            str(one.more),
        ]
        for name, one in needs.items()
    ]
    notes = [one_line(f"{name}: {one.note}") for name, one in needs.items() if one.note]
    return "\n".join([plain_table([header, *rows], terminal_width()), *notes])
