"""What a dataset's card says of its data: whoever made it chose that, and `datasets` follows it anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import UserError, quoted
from ..files import parse_yaml, read_text

# Where `datasets` reads which files are the data: the header of a card, and a file of nothing else.
_CARD, _SETTINGS = "README.md", ".huggingface.yaml"
_HEADER = re.compile(  # what huggingface_hub takes for it, to its last line: `---x: 1` is no end
    r"\s*+---(?>\r\n|[\r\n])(.*?)[\r\n]---[ \t]*+(?:\r?\n|\Z)", re.DOTALL
)
_CARD_LETTERS = 20_000_000
_PLACES = ("data_files", "data_dir")
_ELSEWHERE = re.compile(r"[/~\\]|[A-Za-z][A-Za-z0-9+.-]*:|.*::")  # a root, a home, a scheme, one inside another


def check_card(folder: Path) -> None:
    """Raise `UserError` where a folder's card names data outside: any file of the machine, any address."""
    for name in (_CARD, _SETTINGS):
        if (folder / name).is_file():
            _check(str(folder), name, read_text(folder / name, most=_CARD_LETTERS))


def check_hub_card(dataset: str) -> str | None:
    """The commit at which the card of a dataset on the Hub names only data of its own, to be read at that commit.

    None offline: `datasets` reads what it prepared before then, and no card.

    Raises:
        UserError: it names data elsewhere.
        HfHubHTTPError, OSError: as huggingface_hub.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import EntryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return None
    api = HfApi()
    commit = str(api.dataset_info(dataset).sha)
    for name in (_CARD, _SETTINGS):
        try:
            path = api.hf_hub_download(dataset, name, repo_type="dataset", revision=commit)
        except EntryNotFoundError:
            continue
        _check(dataset, name, read_text(path, most=_CARD_LETTERS))
    return commit


def _check(dataset: str, name: str, text: str) -> None:
    """Raise `UserError` where one of a dataset's files about it names data outside."""
    header = _HEADER.match(text) if name == _CARD else None
    settings = header[1] if header else "" if name == _CARD else text
    for place in _named(settings, f"{dataset}/{name}"):
        if _ELSEWHERE.match(place) or ".." in Path(place).parts:
            fix = "Name files of the dataset itself, or read the other place under its own name"
            raise UserError(f"{dataset} has its data elsewhere", f"Its {name} names {quoted(place)}", fix)


@lru_cache(maxsize=4)
def _named(settings: str, where: str) -> tuple[str, ...]:
    """Every place that settings name. A table is read several times in a run, and a megabyte of them takes seconds."""
    return tuple(_places(parse_yaml(settings, where)))


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
