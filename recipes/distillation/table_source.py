"""The user's own images: a CSV, JSONL or parquet of prompts and image files becomes the items of a build."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from recipes.recipe.config import TableData, resolve
from recipes.recipe.items import TRAIN, Item, write_items
from t2i_judge.errors import UserError, nearest
from t2i_judge.inputs.readers import iter_rows

HELD_OUT = "new_prompts"
_HASH_RANGE = 2**32


def write_table_items(folder: Path, data: TableData) -> None:
    """Write items.jsonl for a table. Image files stay where they are; a missing one is found out when it is judged.

    Raises:
        UserError: the table cannot be read, lacks a column, or has a row without prompt or image, or an id twice.
    """
    table = resolve(data.path)
    images = resolve(data.images) if data.images else table.parent
    rows = list(islice(iter_rows(table), data.limit))
    if not rows:
        raise UserError(f"{table.name} has no rows", "there is nothing to judge", "fill it or name another table")
    items = [_item(number, row, data, images, folder, table) for number, row in enumerate(rows, 1)]
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise UserError(f"{table.name} has the id {item.id!r} twice", "an id names one image", "make ids unique")
        seen.add(item.id)
    write_items(folder, items)


def _item(number: int, row: Mapping[str, Any], data: TableData, images: Path, folder: Path, table: Path) -> Item:
    def cell(column: str | None, required: bool = False) -> str | None:
        if column is None:
            return None
        if column not in row:
            known = [str(name) for name in row]
            raise UserError(f"{table.name} has no column {column!r}", nearest(column, known), "name it in the recipe")
        text = str(row[column]).strip() if row[column] is not None else ""
        if required and not text:
            raise UserError(f"{table.name}, row {number}: {column} is empty", "every image needs one", "fill it")
        return text or None

    def file(name: str | None) -> str | None:
        return os.path.relpath(images / name, folder) if name else None

    prompt = str(cell(data.prompt, required=True))
    generator = data.generator if data.generator in row or data.generator != TableData.generator else None
    return Item(
        id=cell(data.id, required=True) or f"{number:06d}",
        prompt=prompt,
        image=str(file(cell(data.image, required=True))),
        generator=cell(generator),
        split=split_of(prompt, data.held_out),
        source=table.name,
        reference_image=file(cell(data.reference_image)),
        attributes={name: text for name in data.attributes if (text := cell(name))} or None,
    )


def split_of(prompt: str, held_out: float) -> str:
    """Split of a prompt, by a hash of its text: all its images share it, and adding others moves none."""
    share = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4]) / _HASH_RANGE
    return HELD_OUT if share < held_out else TRAIN
