"""The prompts of a board, from a table, a text file or a published set.

Which image belongs to which of them is told by the images' names (`matching`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError, quoted
from ..files import read_text
from ..inputs.numerals import is_blank
from ..inputs.readers import Row, iter_rows
from ..records import Question
from .prompt_sets import PromptSet, find_set, read_set


@dataclass(frozen=True)
class Prompts:
    """Prompts from a table, from a text file in the order of the images' names, or from a published set.

    Attributes:
        path: the file, or the set's name.
        rows: prompt, and image, id, category, seed, prompt_sent where they are known.
        by_order: line k belongs to the k-th image.
        published: the set that they are of.
        questions: prompt -> questions that the set asks.
    """

    path: str
    rows: tuple[Row, ...]
    by_order: bool
    published: PromptSet | None = None
    questions: Mapping[str, Sequence[Question]] = field(default_factory=dict)


def read_prompts(source: str, folder: Path | None = None) -> Prompts:
    """A table with the column `prompt`, a text file with a prompt per line, or a published set by name.

    Args:
        source: a file, or the name of a set; an existing file wins.
        folder: folder with the files of a set; None: they are fetched.

    Raises:
        UserError: it cannot be read, lacks the column or holds no prompt, or there is no such file or set.
    """
    path = Path(source)
    if not path.exists() and not path.suffix and "/" not in source:
        return _published(source, folder)
    if folder is not None:
        raise UserError(
            f"--from cannot be used with {path}",
            "It names the files of a published prompt set",
            "Leave it out, or name the set",
        )
    by_order = path.suffix.lower() == ".txt" or (path.is_file() and not path.suffix)
    rows = _lines(path) if by_order else list(iter_rows(source))
    if not all("prompt" in row for row in rows):
        raise UserError(f"{path} has no column 'prompt'", "Each image needs its prompt", "Rename the column of prompts")
    if not any(map(prompt_of, rows)):
        raise UserError(f"{path} has no prompts", "There is nothing to compare by", "Add prompts to it")
    if not by_order:
        _check_distinct(path, rows)
    return Prompts(str(path), tuple(rows), by_order)


def _lines(path: Path) -> list[Row]:
    lines = read_text(path, "Give a UTF-8 text file, one prompt per line").rstrip().split("\n")
    return [{"prompt": line.strip()} for line in lines]


def image_of(row: Row) -> str | None:
    """The file that a row names; None if it names none."""
    return None if is_blank(row.get("image")) else Path(str(row["image"])).as_posix()


def id_of(row: Row) -> str | None:
    """A row's id; None if it has none."""
    return None if is_blank(row.get("id")) else str(row["id"])


def prompt_of(row: Row) -> str:
    """A row's prompt; empty if it has none."""
    return "" if is_blank(row["prompt"]) else str(row["prompt"]).strip()


def _check_distinct(path: Path, rows: Iterable[Row]) -> None:
    """Raise `UserError` if one image would have two prompts."""
    seen: dict[str, str] = {}
    for row in rows:
        key, prompt = image_of(row) or id_of(row), prompt_of(row)
        if key is not None and seen.setdefault(key, prompt) != prompt:
            raise UserError(f"{path} has two prompts for {quoted(key)}", "", "Remove one of them")


def _published(name: str, folder: Path | None) -> Prompts:
    found = find_set(name)
    prompts = read_set(found, folder)
    rows = tuple({"prompt": p.prompt, "id": p.id, "category": p.category} for p in prompts)
    questions = {p.prompt: p.questions for p in prompts if p.questions}
    return Prompts(found.name, rows, False, found, questions)
