"""Images, prompts and annotations of one's own as rows of the benchmark: a table or a folder, wide or long ratings.

Items: id (else the image's path below its folder), prompt, image or file_name, and where there are: reference_image,
generator, source, split, questions, human_scores, baselines (the last three as lists, in CSV as JSON). Annotations are
whatever `recipes.recipe.rating_files` reads, by the item's id or file. Baselines: item, judge, score, and where there
are: revision, aspect, status. Other columns of the items may be annotators' ratings (wide) or attributes.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.distillation.table_source import item_id
from recipes.recipe.items import task_of
from recipes.recipe.markers import sha256
from recipes.recipe.people import ItemNames
from recipes.recipe.rating_files import read_scores
from recipes.recipe.rating_table import HumanScore
from recipes.recipe.sections import RatingsTable
from t2i_judge.errors import UserError, quoted
from t2i_judge.inputs.numerals import is_blank, parse_number
from t2i_judge.inputs.places import is_below
from t2i_judge.inputs.readers import iter_rows, unknown_column
from t2i_judge.records import OVERALL, Status

ITEM_TABLES, ANNOTATION_TABLES, BASELINE_TABLES = ("items", "metadata"), ("annotations", "ratings"), ("baselines",)
FOLDER_FIX = "Copy the file there, or name the folder that has it with --images"
ENDINGS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
_LISTS = ("questions", "human_scores", "baselines")
_TEXTS = ("prompt", "generator")
Line = Mapping[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class OwnTables:
    """Where one's own benchmark lies.

    Attributes:
        items: table of images and prompts, or a folder with `items.*` or `metadata.*` in it.
        images: folder that image paths start from, and that all files lie below; None: the table's.
        annotations, baselines: people's ratings, and a long table of judges' scores; None: `annotations.*` or
            `ratings.*`, `baselines.*` beside the items' table where it was found in a folder.
        ratings: columns of the items' table that hold one annotator's scores each (wide), of `aspect`.
        attributes: columns of the items' table to keep as columns of the benchmark.
        split: of rows that name none.
    """

    items: Path
    images: Path | None = None
    annotations: Path | None = None
    baselines: Path | None = None
    ratings: tuple[str, ...] = ()
    aspect: str = OVERALL
    attributes: tuple[str, ...] = ()
    split: str = "test"


def read_own(tables: OwnTables) -> list[dict[str, Any]]:
    """Rows of the benchmark (plus `split`), in the order of the items' table.

    Raises:
        UserError: naming table, row, column, value and fix.
    """
    in_folder = tables.items.is_dir()
    path = _find(tables.items, ITEM_TABLES, required=True) if in_folder else tables.items
    rows: dict[str, dict[str, Any]] = {}
    lines = [_item(_Line(path, number, line), tables) for number, line in enumerate(iter_rows(path), 1)]
    times = Counter(row["image"] for row in lines if isinstance(row["image"], Path))
    for number, row in enumerate(lines, 1):
        row["id"] = row["id"] or _default_id(number, row, tables.images or path.parent, times)
        if row["id"] in rows:
            raise UserError(
                f"{path.name}, row {number}, column id: {quoted(row['id'])}", "It appears twice", "Make the ids unique"
            )
        rows[row["id"]] = row
    if not rows:
        raise UserError(f"{path.name} has no rows", "It names no images", "Add rows to it")
    annotations = tables.annotations or (_find(path.parent, ANNOTATION_TABLES) if in_folder else None)
    baselines = tables.baselines or (_find(path.parent, BASELINE_TABLES) if in_folder else None)
    names = _names(rows)
    for said in read_scores(annotations, RatingsTable(str(annotations))) if annotations else ():
        rows[_rated(names, said)]["human_scores"].append(said.record())
    for rating in _lines(baselines):
        entries, score = rating.item(rows)["baselines"], _baseline(rating)
        if any(all(other.get(key) == score[key] for key in ("judge", "revision", "aspect")) for other in entries):
            raise rating.refuse(
                "judge",
                score["judge"],
                "The same judge scored it twice",
                "Keep one of the scores, or add a column revision",
            )
        entries.append(score)
    return list(rows.values())


def _default_id(number: int, row: Row, folder: Path, times: Counter[Path]) -> str:
    """What an image is called that has no id: as in a recipe's items; by its row where it is no file."""
    image, reference = row["image"], row["reference_image"]
    if not isinstance(image, Path) or not image.is_file():
        return f"{number:06d}"
    shown = sha256(reference) if isinstance(reference, Path) and reference.is_file() else None
    return item_id(image, folder, sha256(image), task_of(row["prompt"], shown) if times[image] > 1 else None)


def _names(rows: Mapping[str, Row]) -> ItemNames:
    images = {name: str(row["image"]) if isinstance(row["image"], Path) else None for name, row in rows.items()}
    return ItemNames((name, images[name], row["prompt"]) for name, row in rows.items())


def _rated(names: ItemNames, score: HumanScore) -> str:
    """Id of the row that a score is of. Raises `UserError`."""
    if (identity := names.find(score)) is None:
        place = f"{score.place}, column item: {quoted(score.item)}"
        raise UserError(place, "No image has this id or file", "Name an image of the items' table")
    return identity


def _find(folder: Path, names: Iterable[str], required: bool = False) -> Any:
    """The table of one of these names in a folder, None when there is none."""
    paths = [path for name in names for ending in ENDINGS if (path := folder / f"{name}{ending}").is_file()]
    if len(paths) > 1:
        raise UserError(
            f"{folder} has {paths[0].name} and {paths[1].name}",
            "Only one of them can be the table",
            "Name the table itself",
        )
    if paths and not is_below(paths[0], folder):
        raise UserError(
            f"{paths[0]} leads out of the folder", "What lies there would be published", "Name the table itself"
        )
    if not paths and required:
        raise UserError(
            f"There is no table in {folder}",
            f"It must have the name {' or '.join(names)} and one of the extensions {', '.join(ENDINGS)}",
            "Add one",
        )
    return paths[0] if paths else None


class _Line:
    """A line of a table, with its place for errors."""

    def __init__(self, path: Path, number: int, cells: Line) -> None:
        self.path, self.number, self.cells = path, number, cells

    def refuse(self, column: str, value: Any, reason: str, fix: str) -> UserError:
        return UserError(f"{self.path.name}, row {self.number}, column {column}: {quoted(value)}", reason, fix)

    def cell(self, *names: str, required: bool = False) -> Any:
        """The first of these columns that is there and not blank, else None."""
        for name in names:
            if not is_blank(self.cells.get(name)):
                return self.cells[name]
        if not required:
            return None
        if not any(name in self.cells for name in names):
            raise unknown_column(self.path.name, names[0], self.cells)
        raise self.refuse(names[0], self.cells.get(names[0]), "This cell is required", "Fill it in")

    def text(self, *names: str, required: bool = False) -> str | None:
        value = self.cell(*names, required=required)
        return None if value is None else str(value).strip()

    def number_of(self, column: str) -> float | None:
        value = self.cell(column)
        if value is None:
            return None
        try:
            return parse_number(value)
        except ValueError as error:
            raise self.refuse(column, value, str(error), "Write a number, or leave it blank") from None

    def item(self, rows: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """The row that this line is about."""
        name = str(self.text("item", "id", required=True))
        if name not in rows:
            raise self.refuse("item", name, "No image has this id", "Name an image of the items' table")
        return rows[name]


def _lines(path: Path | None) -> Iterable[_Line]:
    return (_Line(path, number, cells) for number, cells in enumerate(iter_rows(path), 1)) if path else ()


def _item(line: _Line, tables: OwnTables) -> dict[str, Any]:
    folder = tables.images or line.path.parent
    lists = {name: _list(line, name) for name in _LISTS}
    for column in (*tables.ratings, *tables.attributes):
        if column not in line.cells:
            raise unknown_column(line.path.name, column, line.cells)
    lists["human_scores"] += [
        {"annotator": column, "aspect": tables.aspect, "score": line.number_of(column)} for column in tables.ratings
    ]
    return {
        "id": line.text("id"),
        "prompt": line.text("prompt", required=True),
        "image": _image(line, folder, "image", "file_name"),
        "reference_image": _image(line, folder, "reference_image"),
        "generator": line.text("generator"),
        "source": line.text("source") or line.path.name,
        "split": line.text("split") or tables.split,
        "attributes": {column: line.text(column) for column in tables.attributes},
        **lists,
    }


def _image(line: _Line, folder: Path, *columns: str) -> Path | bytes | None:
    """A file below the folder, or the bytes that a dataset's table stores. Raises `UserError` for other files."""
    value = line.cell(*columns)
    if isinstance(value, Mapping):
        if isinstance(stored := value.get("bytes"), bytes):
            return stored
        if stored:
            raise line.refuse(columns[0], type(stored).__name__, "Bytes are no text", "Name a file in `path`")
        value = value.get("path")
    if is_blank(value):
        return None
    if not is_below(path := Path(os.path.normpath(folder / str(value))), folder):
        raise line.refuse(columns[0], value, f"It leads out of {folder}, and would be published", FOLDER_FIX)
    return path


def _list(line: _Line, column: str) -> list[Any]:
    value = line.cell(column)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise line.refuse(
                column, value[:60], f"This is not JSON: {error}", "Write a JSON list, or leave it blank"
            ) from None
    if value is None:
        return []
    if not isinstance(value, Sequence) or not all(isinstance(entry, Mapping) for entry in value):
        raise line.refuse(column, value, "This is not a list of records", "Write [{...}, ...]")
    return [dict(entry) for entry in value]


def _baseline(line: _Line) -> dict[str, Any]:
    if line.number_of("score") is None and (line.text("status") or Status.OK) == Status.OK:
        raise line.refuse(
            "status", line.cell("status"), "There is no score", "Write the status, such as refused or unparsable"
        )
    return {
        "judge": line.text("judge", required=True),
        "revision": line.text("revision"),
        "aspect": line.text("aspect") or OVERALL,
        "score": line.number_of("score"),
        "status": line.text("status") or Status.OK.value,
    }
