"""What a release is built from: one row an image, as every later step reads it from build/RECIPE/items.jsonl."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from recipes.recipe.build_folder import BuildFolder
from t2i_judge.records import read_jsonl, write_atomic

TRAIN = "train"


@dataclass(frozen=True)
class Item:
    """An image to judge. `image` and `reference_image` are paths relative to the build folder; `id` is unique.

    `attributes`: what else is known of it that results are split by (family, category, difficulty).
    """

    id: str
    prompt: str
    image: str
    generator: str | None
    split: str
    source: str
    reference_image: str | None = None
    attributes: Mapping[str, str] | None = None


def write_items(folder: Path, items: Iterable[Item]) -> None:
    """Write items.jsonl whole, as the mark that everything beside it is complete."""
    write_atomic(BuildFolder(folder).items, to_jsonl(asdict(item) for item in items))


def read_items(folder: Path) -> list[Item]:
    """The items of a build folder. Raises `UserError` for a damaged line."""
    names = {field.name for field in fields(Item)}
    return [Item(**{k: v for k, v in row.items() if k in names}) for row in read_jsonl(BuildFolder(folder).items)]


def to_jsonl(rows: Iterable[object]) -> str:
    """JSON Lines text."""
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def normalise(prompt: str) -> str:
    """A prompt without what does not change its meaning: case, punctuation, white space, Unicode encoding."""
    folded = unicodedata.normalize("NFKC", prompt).casefold()
    return " ".join(re.sub(r"[^\w\s]", " ", folded).split())
