"""What holds for the words of every command line: no name is empty, and no command writes over what it reads."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UserError

# What a folder is read for that is an argument: files of a run, of a judge and of published figures; pictures.
_READ = ("run.json", "items.jsonl", "scores.csv", "summary.json", "leaderboard.json", "judge.json", "config.json",
         "figures.yaml", "published.json", "sources.json")  # fmt: skip
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif")

_NAMED_NOTHING = re.compile(r"(-*\w[\w.-]*=)\s*")  # --option= and NAME=, not an address that ends with =


def written_file(text: str) -> str:
    """The `type` of an argument that names a file which the command writes."""
    return text


@dataclass(frozen=True)
class WrittenFolder:
    """The `type` of an argument that names a folder, and what the command writes in there."""

    names: tuple[str, ...] = ()

    def __call__(self, text: str) -> Path:
        """The folder's path."""
        return Path(text)


def refuse_empty(words: Sequence[str]) -> None:
    """Raise `UserError` for an empty word, also behind `--option=` or `NAME=`: as a path it means this folder."""
    for before, word in zip(("", *words), words):
        named = _NAMED_NOTHING.fullmatch(word)
        if not word.strip() or named:
            option = before if before.startswith("-") else "An argument"
            fact = f"{named[1]} has nothing behind it" if named else f"{option} is empty"
            fix = "Give it a value, or leave it out"
            raise UserError(fact, "A variable of the shell that is not set looks like this", fix)


def refuse_overwriting(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    """Raise `UserError` where what a command writes is what it reads, under whatever name. Links are followed."""
    values = {action: getattr(parsed, action.dest, None) for action in _actions(parser, parsed)}
    written = {action: value for action, value in values.items() if value and writes(action)}
    read = [path for action, value in values.items() if not writes(action) for path in _paths(value)]
    for action, value in written.items():
        names = action.type.names if isinstance(action.type, WrittenFolder) else None
        if (own := next((path for path in read if _meets(Path(value), names, path)), None)) is not None:
            raise UserError(
                f"{'/'.join(action.option_strings)} {value} would write over {own}",
                "The command reads it",
                "Name another place",
            )


def writes(action: argparse.Action) -> bool:
    """Whether an argument names what the command writes."""
    return action.type is written_file or isinstance(action.type, WrittenFolder)


def _actions(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> Iterator[argparse.Action]:
    """The arguments of a parser, and of the command that was chosen."""
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            yield action
        elif chosen := getattr(parsed, action.dest, None):
            yield from _actions(action.choices[chosen], parsed)


def _paths(value: Any) -> Iterator[str]:
    """What there is under a value's name, or under a part of it: NAME=FOLDER, A,B, hf:FOLDER, BOOK:SHEET."""
    for text in value if isinstance(value, list | tuple) else [value]:
        if isinstance(text, str | Path):
            parts = [part for piece in str(text).split(",") for part in (piece, piece.partition("=")[2])]
            forms = [
                text,
                *parts,
                *(side for part in parts for side in (part.partition(":")[2], part.rpartition(":")[0])),
            ]
            yield from dict.fromkeys(str(form) for form in forms if form and _is_there(Path(form)))


def _meets(out: Path, names: Sequence[str] | None, read: str) -> bool:
    """Whether an output is what is read, or lies in a folder that is read for it."""
    if names is not None:
        return _same(out, read) or any(_same(out / name, place) for name in names for place in _in_or(out, read))
    if not out.is_file():
        return False
    inside = Path(os.path.realpath(read)) in Path(os.path.realpath(out)).parents
    return _same(out, read) or (inside and (out.name in _READ or out.suffix.lower() in _PICTURES))


def _in_or(out: Path, read: str) -> Iterator[Path]:
    """A path, and the folders above it, as far as they lie below the output's."""
    path, top = Path(os.path.realpath(read)), Path(os.path.realpath(out))
    while path != top and top in path.parents:
        yield path
        path = path.parent


def _same(one: Path, other: str | Path) -> bool:
    return _is_there(one) and one.samefile(other)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, or below a folder that is closed to us
        return False
