"""The prompts of a board, from a table, a text file or a published set, and which image belongs to which prompt.

A table's row belongs to the image of its file name (column `image`), else to the image whose stem is its `id`, also
behind leading zeros, before a seed (`ID_0003.png`) or as a folder (`ID/0003.png`). Line k of a text file belongs to
the k-th image in order of name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError, quoted
from ..files import read_text
from ..inputs.folders import image_files
from ..inputs.places import as_text
from ..inputs.readers import Row, iter_rows
from ..records import Question
from ..wording import counted
from .prompt_sets import PromptSet, find_set, read_set

_SEED = re.compile(r"(?<![ _+-])[ _+-]++(?:seed|s)?[ _-]?(\d{1,10})$", re.IGNORECASE)
_TABLE = "give a table with the columns image and prompt"
_NUMBERS, _DIGITS = re.compile(r"[0-9]+"), 300  # of which so many digits count


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
    if not any(row["prompt"] for row in rows):
        raise UserError(f"{path} has no prompts", "There is nothing to compare by", "Add prompts to it")
    if not by_order:
        _check_distinct(path, rows)
    return Prompts(str(path), tuple(rows), by_order)


def _lines(path: Path) -> list[Row]:
    lines = read_text(path, "Give a UTF-8 text file, one prompt per line").rstrip().split("\n")
    return [{"prompt": line.strip()} for line in lines]


def _check_distinct(path: Path, rows: Iterable[Row]) -> None:
    """Raise `UserError` if one image would have two prompts."""
    seen: dict[str, str] = {}
    for row in rows:
        key, prompt = next(_keys(row), None), str(row["prompt"] or "").strip()
        if key is not None and seen.setdefault(key, prompt) != prompt:
            raise UserError(f"{path} has two prompts for {quoted(key.removeprefix('stem:'))}", "", "Remove one of them")


def _published(name: str, folder: Path | None) -> Prompts:
    found = find_set(name)
    prompts = read_set(found, folder)
    rows = tuple({"prompt": p.prompt, "id": p.id, "category": p.category} for p in prompts)
    questions = {p.prompt: p.questions for p in prompts if p.questions}
    return Prompts(found.name, rows, False, found, questions)


def matched(prompts: Prompts, folder: str) -> tuple[list[Row], list[str]]:
    """Rows of a folder's images with their prompts, and the images without a prompt.

    Raises:
        UserError: no images, a text file of another length or names whose order is not that of their numbers, or no
            image that matches a prompt.
    """
    root, files = image_files(folder)
    names = [file.relative_to(root) for file in files]
    if prompts.by_order:
        if len(names) != len(prompts.rows):
            raise UserError(
                f"{prompts.path} has {counted(len(prompts.rows), 'line')}, {folder} {counted(len(names), 'image')}",
                "Line k is the prompt of the k-th image, in the order of names",
                f"Give one line per image, or {_TABLE}",
            )
        _check_order(folder, names)
        return [{**row, "image": str(file), "id": as_text(file.stem)} for row, file in zip(prompts.rows, files)], []
    rows, unmatched = [], []
    for file, name, (row, seed) in zip(files, names, _rows_of(names, prompts.rows)):
        if row is None:
            unmatched.append(name.as_posix())
        else:
            identity = str(row["id"]) if row.get("id") not in (None, "") else as_text(file.stem)
            rows.append({"seed": None if seed is None else as_text(seed), **row, "image": str(file), "id": identity})
    if not rows:
        raise UserError(
            f"{prompts.path}: no prompt matches an image of {folder}",
            f"The first image is {names[0].as_posix()}",
            "Put the file name into a column image, or the file name without extension into a column id",
        )
    return rows, unmatched


def _check_order(folder: str, names: Sequence[Path]) -> None:
    """Raise `UserError` where names alike but for their numbers are not in the order of these: 10.png before 2.png."""
    last: dict[str, tuple[list[int], Path]] = {}
    for name in names:
        text, numbers = name.as_posix(), [int(digits[:_DIGITS]) for digits in _NUMBERS.findall(name.as_posix())]
        before, other = last.get(alike := _NUMBERS.sub("#", text), (numbers, name))
        if numbers < before:
            fact = f"{folder}: in the order of names {quoted(other.as_posix())} stands before {quoted(text)}"
            reason = "Line k of a text file is the prompt of the k-th image, and this is not the order of their numbers"
            raise UserError(
                fact, reason, "Write the numbers with as many digits each, or give a table with image and prompt"
            )
        last[alike] = numbers, name


def check_same_places(folders: Mapping[str, Sequence[str]]) -> None:
    """Raise `UserError` where an image's name has one place in a generator's folder and another one in another's.

    Args:
        folders: generator -> the names of its images, whose k-th belongs to line k of a text file.
    """
    first: dict[str, tuple[int, str]] = {}
    for generator, names in folders.items():
        for place, name in enumerate(names, 1):
            known, other = first.setdefault(name, (place, generator))
            if known != place:
                fact = f"{quoted(name)} is image {known} of {other} and image {place} of {generator}"
                reason = (
                    "Line k of a text file is the prompt of the k-th image: one of them would have another's prompt"
                )
                raise UserError(
                    fact, reason, "Add the image that lacks, or give a table with the columns image and prompt"
                )


def _rows_of(names: Sequence[Path], rows: Sequence[Row]) -> Iterator[tuple[Row | None, str | None]]:
    """For each image its row and the seed in its name. A row whose own file exists has no other image."""
    by_key: dict[str, Row] = {}
    present = {key for name in names for key in (name.as_posix(), name.name)}
    bare = Counter(Path(str(row["image"])).name for row in rows if row.get("image"))
    for row in rows:
        keys = list(_keys(row))
        if row.get("image") and bare[name_alone := Path(keys[0]).name] == 1:
            keys.insert(1, name_alone)
        for key in [k for k in keys if k in present][:1] or keys:
            by_key.setdefault(key, row)
    for name in names:
        yield next(((by_key[key], seed) for key, seed in _candidates(name) if key in by_key), (None, None))


def _keys(row: Row) -> Iterator[str]:
    """The name of this row's image: the file's name, or else the id as the file's stem."""
    if row.get("image"):
        yield Path(str(row["image"])).as_posix()
    if row.get("id") not in (None, ""):
        yield f"stem:{row['id']}"


def _candidates(name: Path) -> Iterator[tuple[str, str | None]]:
    """Pairs (key, seed) that an image's name may mean, the best first."""
    yield name.as_posix(), None
    yield name.name, None
    stem = name.stem
    yield f"stem:{name.with_suffix('').as_posix()}", None
    yield from _stems(stem, None)
    if seed := _SEED.search(stem):
        yield from _stems(stem[: seed.start()], seed[1])
    for parent in name.parts[-2::-1]:  # ID/0003.png, ID/samples/0003.png
        yield from _stems(parent, stem)


def _stems(stem: str, seed: str | None) -> Iterator[tuple[str, str | None]]:
    yield f"stem:{stem}", seed
    if stem.isdecimal():
        yield f"stem:{stem.lstrip('0') or '0'}", seed
