"""What a dataset folder's card says of its data: whoever made it chose that, and `datasets` follows it anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import parse_yaml, read_text

_HEADER = re.compile(r"---\r?\n(.*?)\r?\n---", re.DOTALL)
_PLACES = ("data_files", "data_dir")


def check_card(folder: Path) -> None:
    """Raise `UserError` where a folder's README.md names data outside: any file of the machine, any address."""
    card = folder / "README.md"
    header = _HEADER.match(read_text(card)) if card.is_file() else None
    for place in _places(parse_yaml(header[1], str(card)) if header else None):
        if "://" in place or place.startswith(("/", "~")) or ".." in Path(place).parts:
            fix = "Name files of the folder itself, or read the other place under its own name"
            raise UserError(f"{folder} has its data elsewhere", f"{card} names {place!r}", fix)


def _places(value: Any, within: bool = False) -> Iterator[str]:
    """Every text below a key of `_PLACES`."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _places(part, within or key in _PLACES)
    elif isinstance(value, list):
        for part in value:
            yield from _places(part, within)
    elif within and isinstance(value, str):
        yield value
