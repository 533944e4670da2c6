"""What a release is built from: one row per image, as every later step reads it from build/RECIPE/items.jsonl.

An item is known by its id, and what was said about it by its content: the bytes of its image, its prompt, the bytes of
its reference image. So a judgement finds its item again under another id, and never meets another image under its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path, PurePath

from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.markers import sha256
from t2i_judge.errors import UserError
from t2i_judge.files import read_jsonl, write_atomic
from t2i_judge.records import Judgement
from t2i_judge.wording import counted

TRAIN, NEW_PROMPTS = "train", "new_prompts"
SPLITS = (TRAIN, NEW_PROMPTS, "new_pairs", "validation", "test")  # all but the first are held out
CONTENT = "content"  # key of a judgement's line in a build folder: what it is of
_BUILD = "Run python -m recipes.build_dataset for this recipe"
_LISTED = 5  # names in a message


@dataclass(frozen=True)
class Item:
    """An image to judge. `image` and `reference_image` are paths relative to the build folder; `id` is unique.

    `attributes`: what else is known of it that results are split by (family, category, difficulty). `sha256` and
    `reference_sha256` are of the bytes of its files when the items were written.
    """

    id: str
    prompt: str
    image: str
    generator: str | None
    split: str
    source: str
    reference_image: str | None = None
    attributes: Mapping[str, str] | None = None
    sha256: str | None = None
    reference_sha256: str | None = None


def write_items(folder: Path, items: Iterable[Item]) -> None:
    """Write items.jsonl whole, as the mark that everything beside it is complete."""
    write_atomic(BuildFolder(folder).items, to_jsonl(asdict(item) for item in items))


def read_items(folder: Path) -> list[Item]:
    """The items of a build folder. Raises `UserError` for a damaged line."""
    names = {field.name for field in fields(Item)}
    return [Item(**{k: v for k, v in row.items() if k in names}) for row in read_jsonl(BuildFolder(folder).items)]


def content_of(folder: Path, item: Item, *more: str) -> str:
    """Digest of what is judged: bytes of image and reference image, the prompt, and `more` that decides the outcome."""
    image = item.sha256 or _sha256(folder / item.image)
    reference = item.reference_image and (item.reference_sha256 or _sha256(folder / item.reference_image))
    return hashlib.sha256(json.dumps([image, item.prompt, reference, *more]).encode()).hexdigest()


def judged_of(path: Path, folder: Path, items: Iterable[Item]) -> dict[str, Judgement]:
    """Judgements in a file by item id, each found by the content that it is of (`content_of` the item alone).

    Raises:
        UserError: the file is not there, or an item has none.
    """
    try:
        lines = {row.get(CONTENT): row for row in read_jsonl(path)}
    except FileNotFoundError as error:
        raise UserError(f"There is no {path.name}", "The build did not write it", _BUILD) from error
    found = {}
    for item in items:
        if (line := lines.get(content_of(folder, item))) is None:
            raise UserError(f"{path.name} has no judgement of {item.id}", "The build is not finished", _BUILD)
        found[item.id] = replace(Judgement.from_json(line), image_id=item.id)
    return found


def require_unchanged(folder: Path, items: Iterable[Item]) -> None:
    """Raise `UserError` naming the images that are no longer what they were when the items were written."""
    files = {item.image: item.sha256 for item in items if item.sha256}
    if other := [name for name, digest in files.items() if _sha256(folder / name) != digest]:
        listed = ", ".join(Path(name).name for name in other[:_LISTED]) + (", ..." if len(other) > _LISTED else "")
        raise UserError(
            f"{len(other)} of {counted(len(files), 'image')} changed since the build: {listed}",
            "Their labels were made for other images",
            f"{_BUILD}: only these are judged again",
        )


def _sha256(path: Path) -> str | None:
    """SHA-256 of a file; None where it cannot be read."""
    try:
        return sha256(path)
    except OSError:
        return None


def path_below(path: PurePath, folder: PurePath) -> str | None:
    """The posix path of a file below a folder, by which it is called; None where it lies elsewhere."""
    inside = PurePath(os.path.relpath(path, folder))
    return None if inside.is_absolute() or inside.parts[:1] == ("..",) else inside.as_posix()


def task_of(prompt: str, reference_sha256: str | None) -> str:
    """What is asked for: the prompt, and which reference image it is asked of."""
    return prompt if reference_sha256 is None else f"{prompt} [reference {reference_sha256}]"


def to_jsonl(rows: Iterable[object]) -> str:
    """JSON Lines text."""
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def normalise(prompt: str) -> str:
    """A prompt without what does not change its meaning: case, punctuation, white space, Unicode encoding."""
    folded = unicodedata.normalize("NFKC", prompt).casefold()
    return " ".join(re.sub(r"[^\w\s]", " ", folded).split())
