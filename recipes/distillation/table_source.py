"""Turns the user's own images, a CSV, JSONL or parquet of prompts and image files, into the items of a build."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from recipes.distillation.image_check import Picture, copies_among, hashes_of, inspect, require_whole
from recipes.distillation.image_metadata import without_metadata
from recipes.distillation.splits import Candidate, require_apart, split_by_share
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import resolve
from recipes.recipe.items import SPLITS, TRAIN, Item, path_below, task_of
from recipes.recipe.markers import sha256
from recipes.recipe.sections import TableData
from t2i_judge.errors import UserError, nearest, quoted
from t2i_judge.files import write_atomic
from t2i_judge.inputs.places import is_below
from t2i_judge.inputs.readers import iter_rows

_FIX = "Replace them, or leave them out and count them with data.broken_images: skip"


@dataclass(frozen=True)
class Row:
    """One image of a table, as its row says it; `split` and `id` None where the table has no such column."""

    number: int
    prompt: str
    image: Path
    reference: Path | None
    generator: str | None
    id: str | None
    split: str | None
    attributes: Mapping[str, str] | None


@dataclass(frozen=True)
class Table:
    """A table that was read, with the SHA-256 of every image that it names (None: cannot be read).

    `folder` is where image paths start.
    """

    path: Path
    folder: Path
    rows: Sequence[Row]
    hashes: Mapping[Path, str | None]

    @cached_property
    def digest(self) -> str:
        """Of all that items are made from: the table's bytes and those of its images."""
        images = [[path_below(path, self.folder) or path.name, digest] for path, digest in self.hashes.items()]
        return hashlib.sha256(json.dumps([sha256(self.path), images]).encode()).hexdigest()


def read_table(data: TableData) -> Table:
    """Read a table and hash its images; none is opened.

    Raises:
        UserError: the table cannot be read, lacks a column, or has a row without prompt or image, an id twice, a split
            that is none or an image that lies outside the folder.
    """
    table = resolve(data.path)
    folder = resolve(data.images) if data.images else table.parent
    lines = islice(iter_rows(table), data.limit)
    rows = [_Line(table, number, cells).row(data, folder) for number, cells in enumerate(lines, 1)]
    if not rows:
        raise UserError(f"{table.name} has no rows", "There is nothing to judge", "Add rows, or use another table")
    ids = Counter(row.id for row in rows if row.id is not None)
    if twice := next((name for name, count in ids.items() if count > 1), None):
        raise UserError(
            f"{table.name} has the id {quoted(twice)} twice", "An id names one image", "Make the ids unique"
        )
    if data.split and all(row.split != TRAIN for row in rows):
        raise UserError(
            f"{table.name} has no row of the split train",
            "There is nothing to learn from",
            "Give some rows the split train",
        )
    return Table(table, folder, rows, hashes_of(path for row in rows for path in _files(row)))


def table_items(table: Table, data: TableData, build: BuildFolder) -> list[Item]:
    """The items of a build, every image opened and every split decided.

    Image files stay where they are; written is the memory of the checks, and stripped copies where asked for.

    Raises:
        UserError: images are broken (all are listed) and the recipe does not skip them, an image is named twice for
            one prompt, or splits cannot be made or share something.
    """
    pictures = inspect(table.hashes, build.inspected)
    if data.broken_images == "refuse":
        require_whole(pictures.values(), _FIX)
    rows = [row for row in table.rows if not any(pictures[path].broken for path in _files(row))]
    if not rows:
        require_whole(pictures.values(), "replace them")
    candidates = [_candidate(row, pictures) for row in rows]
    torn = data.split or data.held_out or data.held_out_min  # else all is learnt from
    copies = copies_among((one.picture for one in candidates), build.copies) if torn else ()
    if data.split:
        splits = [str(row.split) for row in rows]
        require_apart(candidates, splits, copies)
    else:
        splits = split_by_share(candidates, data.held_out, data.held_out_min, copies)
    ids = _ids(table, rows, candidates)
    return [
        _item(row, candidate, split, identity, table.path.name, build.root, data.strip_metadata)
        for row, candidate, split, identity in zip(rows, candidates, splits, ids, strict=True)
    ]


def _item(row: Row, candidate: Candidate, split: str, identity: str, source: str, folder: Path, strip: bool) -> Item:
    image, reference = (row.image, candidate.picture.sha256), (row.reference, candidate.reference_sha256)
    shown, digest = _stripped(*image, folder) if strip else image
    beside, beside_digest = _stripped(*reference, folder) if strip else reference
    return Item(
        id=identity,
        prompt=row.prompt,
        image=os.path.relpath(str(shown), folder),
        generator=row.generator,
        split=split,
        source=source,
        reference_image=os.path.relpath(beside, folder) if beside else None,
        attributes=row.attributes,
        sha256=digest,
        reference_sha256=beside_digest,
    )


def _stripped(image: Path | None, digest: str | None, folder: Path) -> tuple[Path | None, str | None]:
    """The image, or where it carries private metadata a copy without, in the build folder; and its SHA-256."""
    clean = without_metadata(image) if image is not None else None
    if not isinstance(clean, bytes) or image is None:
        return image, digest
    name = hashlib.sha256(clean).hexdigest()
    ending = ".jpg" if image.suffix.lower() in (".heic", ".heif") else image.suffix
    copy = folder / "images" / f"{name}{ending}"
    if not (copy.is_file() and sha256(copy) == name):
        write_atomic(copy, clean)
    return copy, name


def _files(row: Row) -> list[Path]:
    return [path for path in (row.image, row.reference) if path]


def _candidate(row: Row, pictures: Mapping[Path, Picture]) -> Candidate:
    reference = pictures[row.reference].sha256 if row.reference else None
    return Candidate(row.prompt, reference, pictures[row.image])


def _ids(table: Table, rows: Sequence[Row], candidates: Sequence[Candidate]) -> list[str]:
    """The table's own ids, or the images' paths below their folder, with the task's hash where one has several."""
    tasks_of = Counter(row.image for row in rows)
    ids = []
    for row, candidate in zip(rows, candidates, strict=True):
        task = task_of(row.prompt, candidate.reference_sha256) if tasks_of[row.image] > 1 else None
        ids.append(row.id or item_id(row.image, table.folder, candidate.picture.sha256, task))
    _require_unique(table.path.name, rows, ids)
    return ids


def item_id(image: Path, folder: Path, digest: str | None, task: str | None = None) -> str:
    """An image's name: its path below the folder, or its hash where it lies elsewhere; `task`: one of several."""
    name = path_below(image, folder) or f"sha256-{str(digest)[:16]}{image.suffix}"
    return f"{name}-{hashlib.sha256(task.encode()).hexdigest()[:8]}" if task else name


def _require_unique(table: str, rows: Sequence[Row], ids: Iterable[str]) -> None:
    """Raise `UserError` for two rows of one id: the same image for the same prompt."""
    seen: dict[str, Row] = {}
    for row, identity in zip(rows, ids, strict=True):
        if (other := seen.setdefault(identity, row)) is not row:
            raise UserError(
                f"{table}, rows {other.number} and {row.number} have the same id {quoted(identity)}",
                "They have the same image and the same prompt",
                "Remove one of them, or name a column of ids in data.id",
            )


class _Line:
    """A line of the table, with its place for errors."""

    def __init__(self, table: Path, number: int, cells: Mapping[str, Any]) -> None:
        self.table, self.number, self.cells = table, number, cells

    def row(self, data: TableData, folder: Path) -> Row:
        generator = data.generator if data.generator in self.cells or data.generator != TableData.generator else None
        image, reference = self._text(data.image, required=True), self._text(data.reference_image)
        return Row(
            number=self.number,
            prompt=str(self._text(data.prompt, required=True)),
            image=self._file(data.image, str(image), folder),
            reference=self._file(str(data.reference_image), reference, folder) if reference else None,
            generator=self._text(generator),
            id=self._text(data.id, required=True),
            split=self._split(data.split),
            attributes={name: text for name in data.attributes if (text := self._text(name))} or None,
        )

    def _text(self, column: str | None, required: bool = False) -> str | None:
        if column is None:
            return None
        if column not in self.cells:
            known = [str(name) for name in self.cells]
            raise UserError(
                f"{self.table.name} has no column {quoted(column)}",
                nearest(column, known),
                "Correct its name in the recipe",
            )
        cell = self.cells[column]
        if isinstance(cell, dict | list | bytes):
            raise self._refuse(
                column, f"is of the type {type(cell).__name__}", "Write text, or the path of an image file"
            )
        text = str(cell).strip() if cell is not None else ""
        if required and not text:
            raise self._refuse(column, "is empty", "Fill it in")
        return text or None

    def _file(self, column: str, name: str, folder: Path) -> Path:
        """The file below the folder, without detours (`a/../b.png` is `b.png`, under one name). Raises `UserError`."""
        path = Path(os.path.normpath(folder / name))
        if not is_below(path, folder):
            raise UserError(
                f"{self.table.name}, row {self.number}, column {column}: {quoted(name)}",
                f"It leads out of {folder}, and would be published",
                "Copy the file there, or name the folder that has it in data.images",
            )
        return path

    def _split(self, column: str | None) -> str | None:
        split = self._text(column, required=True)
        if split is not None and split not in SPLITS:
            raise self._refuse(str(column), f"is {split!r}. {nearest(split, SPLITS)}", f"Use {', '.join(SPLITS)}")
        return split

    def _refuse(self, column: str, what: str, fix: str) -> UserError:
        return UserError(f"{self.table.name}, row {self.number}: {column} {what}", "Every image needs one", fix)
