"""What a board compares: every generator's images, each with the prompt it was made for.

From folders, one per generator, with a prompts file or prompts where `inputs.folders` finds them; or from one table
with a column that names the generator. The unit of comparison is the prompt's text: several images of one generator
for one prompt are its seeds.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..errors import UserError, quoted
from ..files import append_jsonl, beside, read_jsonl, sha256, write_atomic
from ..inputs.cells import ImageError, is_path, read_cell
from ..inputs.folders import distinct, folder_rows, named_so
from ..inputs.numerals import is_blank
from ..inputs.places import as_text, is_text
from ..inputs.readers import Row, iter_rows
from ..inputs.rows import Columns
from ..stats.units import check_systems
from ..wording import counted
from .matching import check_same_places, matched
from .prompts import Prompts, prompt_of

IMAGES = "images"  # folder of a run that keeps pictures which lay in a table's cells, or whose names are no text
_SHOWN = 5  # names in a warning


@dataclass(frozen=True)
class BoardItem:
    """One image of one generator.

    Attributes:
        id: unique on the board.
        generator: who made it.
        prompt: what it is judged by; the unit of comparison.
        prompt_id: the prompts table's id, else the file's stem.
        image: path of the file.
        sha256: of the file's bytes; None where it cannot be read, which its judgement will say.
        category: of the prompt; None: none.
        seed: tells several images of a prompt apart; None: only one, or not known.
        prompt_sent: what a rewriter gave the generator in place of the prompt; kept apart from what is judged.
    """

    id: str
    generator: str
    prompt: str
    prompt_id: str
    image: str
    sha256: str | None = None
    category: str | None = None
    seed: str | None = None
    prompt_sent: str | None = None


def items_of_folders(
    folders: Mapping[str, str], prompts: Prompts | None, run: Path, prompts_from: str | None = None
) -> tuple[list[BoardItem], list[str]]:
    """Items from one folder per generator, and warnings that name what matched nothing.

    A picture whose path is no text is copied into the run's folder.

    Raises:
        UserError: a folder has no images, a text file has another length or does not fit the names of all folders, or
            no image matches a prompt.
    """
    items: list[BoardItem] = []
    warnings: list[str] = []
    for generator, folder in folders.items():
        if prompts is None:
            rows = list(folder_rows(folder, iter_rows, prompts_from))
            if told := named_so(rows):
                warnings.append(f"{generator}: {told}")
        else:
            rows, unmatched, decided = matched(prompts, folder)
            if decided:
                warnings.append(f"{generator}: {decided}")
            if unmatched:
                warnings.append(f"{generator}: left out, without a prompt in {prompts.path}: {_named(unmatched)}")
        unsaid = [row["image"] for row in rows if not row.get("prompt")]
        if unsaid:
            warnings.append(f"{generator}: left out, without a prompt: {_named(unsaid)}")
        items += [
            _item(generator, {**row, "image": _named_by_text(row["image"], run)}) for row in rows if row.get("prompt")
        ]
    if prompts is not None and prompts.by_order:
        own = ((name, (item.image for item in items if item.generator == name)) for name in folders)
        check_same_places({name: [_below(image, folders[name]) for image in images] for name, images in own})
    if prompts is not None:
        used = {item.prompt for item in items}
        unused = [text for row in prompts.rows if (text := prompt_of(row)) and text not in used]
        if unused:
            warnings.append(f"no image for {counted(len(unused), 'prompt')} of {prompts.path}: {_named(unused)}")
    return _distinct(items), warnings


def _below(image: str, folder: str) -> str:
    """An image's path in its generator's folder; the whole path of what a glob found."""
    path = Path(image)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def items_of_table(source: str, columns: Columns, generator: str, run: Path) -> tuple[list[BoardItem], list[str]]:
    """Items from one table. Pictures in its cells are written into the run's folder.

    Raises:
        UserError: it cannot be read, or lacks a column.
    """
    items, nameless = [], 0
    for number, row in enumerate(iter_rows(source)):
        if number == 0:
            columns.check(row, source)
            if generator not in row:
                raise UserError(
                    f"{source} has no column {quoted(generator)}", f"It has {', '.join(row)}", "Use one of its columns"
                )
        image, prompt, _, identity = columns.item(row, number)
        if is_blank(row.get(generator)):
            nameless += 1
            continue
        known = {name: row.get(name) for name in ("category", "seed", "prompt_sent")}
        stored = _stored(image, run)
        is_file = isinstance(image, str) and is_path(image)
        prompt_id = identity if columns.id else Path(stored).stem if is_file else prompt
        record = {**known, "prompt": prompt, "image": stored, "id": prompt_id}
        items.append(_item(str(row[generator]).strip(), record))
    warnings = [f"left out: {counted(nameless, 'row')} without a generator"] if nameless else []
    unsaid = sum(not item.prompt for item in items)
    if unsaid:
        warnings.append(f"left out: {counted(unsaid, 'row')} without a prompt")
    return _distinct([item for item in items if item.prompt]), warnings


def _stored(image: Any, run: Path) -> str:
    """Path of an image; bytes become a file called by their hash, so that no name comes from the table."""
    return _named_by_text(image, run) if isinstance(image, str) and is_path(image) else _copied(image, run)


def _named_by_text(image: str, run: Path) -> str:
    """The path of a picture's file, or of its copy in the run's folder: the list of items can only name it by text."""
    return image if is_text(image) else _copied(image, run)


def _copied(image: Any, run: Path) -> str:
    """Path of a picture's copy in the run's folder, which is called by its hash.

    What cannot be read stays as it is written, and its judgement says why.
    """
    folder = run / IMAGES
    if not is_text(folder):
        reason = "Its name is not UTF-8, and pictures of this run are to lie in it"
        raise UserError(f"The list of pictures cannot name {as_text(folder)}", reason, "Use another --out")
    try:
        data = read_cell(image)
    except ImageError:
        return as_text(str(image or ""))
    assert isinstance(data, bytes)  # neither a file nor a table's cell holds pixels
    digest = hashlib.sha256(data).hexdigest()
    path = folder / f"{digest}.img"
    if not path.is_file() or sha256(path) != digest:  # it has the name; what it holds may be another's
        write_atomic(path, data)
    return str(path)


def _item(generator: str, row: Row) -> BoardItem:
    def text(name: str) -> str | None:
        return None if is_blank(row.get(name)) else str(row[name])

    prompt_id, prompt, sent = str(row["id"]), (text("prompt") or "").strip(), text("prompt_sent")
    return BoardItem(
        id=f"{generator}/{prompt_id}",
        generator=generator,
        prompt=prompt,
        prompt_id=prompt_id,
        image=row["image"],
        sha256=_digest(row["image"]),
        category=text("category"),
        seed=text("seed"),
        prompt_sent=None if sent is None or sent.strip() == prompt else sent,
    )


def _digest(image: str) -> str | None:
    try:
        return sha256(image)
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return None


def _distinct(items: Sequence[BoardItem]) -> list[BoardItem]:
    """The same items with distinct ids: seeds of a prompt are numbered if they share an id."""
    return [replace(item, id=name) for item, name in zip(items, distinct(item.id for item in items))]


def write_items(path: Path, items: Sequence[BoardItem]) -> None:
    """Write the items as JSON Lines and replace older ones."""
    partial = beside(path)
    append_jsonl(partial, [asdict(item) for item in items])
    partial.replace(path)


def read_items(path: Path) -> list[BoardItem]:
    """Inverse of `write_items`. Raises `UserError` if the file is not such a list."""
    names = {field.name for field in fields(BoardItem)}
    try:
        return [BoardItem(**{name: row[name] for name in names}) for row in read_jsonl(path)]
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path} is not the item list of a leaderboard", repr(error), "Run t2i-judge leaderboard"
        ) from error


def check_generators(items: Sequence[BoardItem], named: Sequence[str]) -> list[str]:
    """Names of the generators in their order. Raises `UserError` if there are no items, or too many generators."""
    names = list(named) or list(dict.fromkeys(item.generator for item in items))
    if not items:
        raise UserError("There is nothing to judge", "No image has a prompt", "See the messages above")
    check_systems(len(names))
    return names


def input_warnings(items: Sequence[BoardItem], generators: Sequence[str]) -> list[str]:
    """Warnings about a board's inputs: missing prompts, images that occur twice, rewritten prompts."""
    warnings = []
    prompts = dict.fromkeys(item.prompt for item in items)
    images = {name: Counter(item.prompt for item in items if item.generator == name) for name in generators}
    most = {prompt: max(images[name][prompt] for name in generators) for prompt in prompts}
    for name in generators:
        if missing := [prompt for prompt in prompts if not images[name][prompt]]:
            of = counted(len(prompts), "prompt")
            warnings.append(f"{name} has no image for {len(missing)} of {of}: {_named(missing)}")
        if fewer := [prompt for prompt in prompts if 0 < images[name][prompt] < most[prompt]]:
            where = counted(len(fewer), "prompt")
            warnings.append(f"{name} has fewer images than others for {where}: {_named(fewer)}")
    sent = {name: Counter(item.prompt_sent is not None for item in items if item.generator == name) for name in images}
    if any(count[True] for count in sent.values()) and any(count[False] for count in sent.values()):
        parts = [f"{name} {count[True]} of {count.total()}" for name, count in sent.items()]
        warnings.append(f"rewritten prompts (prompt_sent) and prompts as they stand are mixed: {', '.join(parts)}")
    shared = Counter(digest for digest in _once_a_generator(items))
    if twice := sum(count > 1 for count in shared.values()):
        warnings.append(f"{counted(twice, 'image is', 'images are')} the same file in more than one generator")
    return warnings


def _once_a_generator(items: Sequence[BoardItem]) -> Iterator[str]:
    yield from (digest for _, digest in {(item.generator, item.sha256) for item in items} if digest)


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
