"""A table's rows as items to judge: which column holds what, and the questions that exist for the prompts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..decompose import check
from ..errors import UserError
from ..files import read_jsonl, sha256
from ..records import Question, question_from_json
from .cells import REASON, ImageError, is_file, is_path, read_cell, unwrapped
from .folders import is_image_folder
from .numerals import is_blank
from .places import dataset_parts, is_below
from .readers import Row, iter_rows, unknown_column
from .shared import SharedImages
from .workbooks import book_and_sheet


def read_decompositions(path: str | Path) -> dict[str, list[Question]]:
    """Prompt -> questions, from JSON Lines of {prompt, questions}. Prompts without questions are left out.

    Raises:
        UserError: the file cannot be read, a line has the wrong shape or questions that cannot be judged, or a prompt
            has other questions in another line.
    """
    found: dict[str, list[Question]] = {}
    try:
        for row in read_jsonl(path, whole=True):
            if row["questions"]:
                questions = check([question_from_json(record) for record in row["questions"]])
                if found.setdefault(row["prompt"], questions) != questions:
                    raise ValueError(f"two lines have different questions for {row['prompt']!r}")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:  # of another shape
        raise UserError(
            f"Cannot read decompositions from {path}", repr(error), "Each line needs a prompt and its questions"
        ) from error
    return found


def identity(source: str, prompts_from: str | None = None) -> Row:
    """Identifies a source: the hash of a file or of all files in a folder of images, else its name."""
    path, sheet = book_and_sheet(source)
    if path.is_file():
        return {"sha256": sha256(path), **({"sheet": sheet} if sheet else {})}
    if not is_image_folder(source):
        return {"name": source}
    whole = hashlib.sha256()
    for row in iter_rows(source, prompts_from=prompts_from):
        file = Path(row["image"])
        known = {name: value for name, value in row.items() if name != "image"}
        content = sha256(file) if file.is_file() else None
        whole.update(json.dumps([content, known], sort_keys=True, default=str).encode())
    return {"sha256": whole.hexdigest()}


def image_hash(image: Any) -> str | None:
    """SHA-256 of an image as it is stored, or of its pixels if it has no file; None if it cannot be read."""
    try:
        data = read_cell(image)
    except ImageError:
        return None
    return hashlib.sha256(data if isinstance(data, bytes) else data.tobytes()).hexdigest()


def images_folder(source: str) -> Path | None:
    """Where a table's relative paths start: the folder of the file, or of the dataset; None: a dataset of the Hub."""
    path, _ = book_and_sheet(source)
    if path.is_file():
        return path.parent
    folder = Path(dataset_parts(source)[0])
    return folder if folder.is_dir() else None


@dataclass(frozen=True)
class Columns:
    """Which column holds what; relative image paths start at the folder `images`, and lead nowhere else.

    A path that is written in full may lead anywhere, except if a user named the folder (`named`), or in a dataset: one
    of the Hub has no file here. An image that is stored in another row is looked up in `table`; None: every row has its
    own image, and its path is no stranger's.
    """

    prompt: str = "prompt"
    image: str = "image"
    id: str | None = None
    reference_image: str | None = None
    images: Path | None = None
    named: bool = False
    table: str | None = None

    def check(self, row: Row, source: str) -> None:
        """Raise `UserError` if a row lacks a column, and name the nearest one."""
        for column in (self.prompt, self.image, self.id, self.reference_image):
            if column is not None and column not in row:
                raise unknown_column(source, column, row)

    def item(self, row: Row, number: int) -> tuple[Any, str, Any, str]:
        """(image, prompt, reference image, id) of row `number`. Without a column of ids, the id is the number."""
        name = row.get(self.id) if self.id else None
        reference = self._image(row.get(self.reference_image)) if self.reference_image else None
        prompt = row.get(self.prompt)
        prompt = prompt if isinstance(prompt, str) else ""  # what is no text is no prompt
        image = self._shared.cell(row) if self._shared else row.get(self.image)
        return self._image(image), prompt, reference, f"{number:08d}" if is_blank(name) else str(name)

    @cached_property
    def _shared(self) -> SharedImages | None:
        return SharedImages(self.table, self.image, self.images) if self.table else None

    @cached_property
    def _is_dataset(self) -> bool:
        """Whether the rows are of a dataset, here or on the Hub: it came as a whole, and has its pictures."""
        return self.table is not None and not book_and_sheet(self.table)[0].is_file()

    def _image(self, value: Any) -> Any:
        """An image cell; a relative path is taken from the folder of images."""
        value = unwrapped(value)
        if isinstance(value, str) and value and (is_path(value) or is_file(value)):
            return self._file(value)
        return None if value == "" else value

    def _file(self, name: str) -> Any:
        """The path of an image file that a table names, or why it may not be read."""
        is_free = Path(name).is_absolute() and not (self.named or self._is_dataset)
        if is_free or (self.images is None and self.table is None):
            return name
        if self.images is None:
            return {REASON: f"{name} is a path; name the folder of images with --images"}
        if is_below(path := self.images / name, self.images):
            return str(path)
        if self.named:
            return {REASON: f"{name} is outside the folder of --images; name the folder that has it"}
        if self._is_dataset:
            return {REASON: f"{name} is outside the dataset's folder; name the folder of images with --images"}
        fix = "name the folder of images with --images, or write its whole path"
        return {REASON: f"{name} is outside the table's folder; {fix}"}
