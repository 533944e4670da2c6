"""What holds for the words of every command line: no name is empty, and no command writes over what it reads.

An argument's `type` says whether it names a place: `Read` or `Path`, what is read; `written_file` or `WrittenFolder`,
what is written. Whatever has another type is a word, even if a file of that name is there.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import has_magic
from pathlib import Path
from typing import Any, NamedTuple

from .errors import UserError

_EMPTY_OPTION = re.compile(r"(--?\w[\w-]*=)\s*")
Inside = Callable[[str], Sequence[str]]

_UNSET = "A variable of the shell that is not set looks like this", "Give it a value, or leave it out"


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


def only(*patterns: str) -> Inside:
    """Of a folder in which no more is read than files, or folders, with such names."""
    return lambda folder: patterns


everything = only("*")


@dataclass(frozen=True)
class Read:
    """The `type` of an argument that names what the command reads; that of a path alone may be `Path`.

    Attributes:
        places: the argument's text -> the paths that it may mean.
        inside: one of these, if it is a folder or a glob -> patterns of the names that are read in there.
        make: what the argument becomes.
    """

    places: Callable[[str], Iterable[str]] = lambda text: [text]
    inside: Inside = everything
    make: Callable[[str], Any] = str

    def __call__(self, text: str) -> Any:
        """The argument's value."""
        return self.make(text)


@dataclass(frozen=True)
class ReadByName(Read):
    """The `type` of an argument NAME=PLACE."""

    def __call__(self, text: str) -> str:
        """The same text. Raises `UserError` where the place is missing; only the command knows what to call it."""
        name, separator, place = text.partition("=")
        if separator and not place.strip():
            raise UserError(f"{name}= has nothing behind it", *_UNSET)
        return text


def refuse_empty(words: Sequence[str]) -> None:
    """Raise `UserError` for an empty word, also behind `--option=`: as a path it means this folder."""
    for before, word in zip(("", *words), words):
        named = _EMPTY_OPTION.fullmatch(word)
        if not word.strip() or named:
            option = before if before.startswith("-") else "An argument"
            raise UserError(f"{named[1]} has nothing behind it" if named else f"{option} is empty", *_UNSET)


class _Place(NamedTuple):
    path: str
    inside: Inside


def refuse_overwriting(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    """Raise `UserError` where what a command writes is what it reads or writes, too. Links are followed."""
    values = [(action, value) for action in _actions(parser, parsed) if (value := getattr(parsed, action.dest, None))]
    written = [(action, str(value)) for action, value in values if writes(action)]
    places = [place for action, value in values if reads(action) for place in _places(action, value)]
    for action, value in written:
        others = [_Place(other, only()) for another, other in written if another is not action]
        for used, taken in (("reads it", places), ("writes it, too", others)):
            if (met := next((place for place in taken if _meets(action, Path(value), place)), None)) is not None:
                option = "/".join(action.option_strings)
                fact = f"{option} {value} would write over {met.path}"
                raise UserError(fact, f"The command {used}", "Name another place")


def writes(action: argparse.Action) -> bool:
    """Whether an argument names what the command writes."""
    return action.type is written_file or isinstance(action.type, WrittenFolder)


def reads(action: argparse.Action) -> bool:
    """Whether an argument names what the command reads."""
    return action.type is Path or isinstance(action.type, Read)


def _actions(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> Iterator[argparse.Action]:
    """The arguments of a parser, and of the command that was chosen."""
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            yield action
        elif chosen := getattr(parsed, action.dest, None):
            yield from _actions(action.choices[chosen], parsed)


def _places(action: argparse.Action, value: Any) -> Iterator[_Place]:
    """What an argument's value, or each of its values, names."""
    read = action.type if isinstance(action.type, Read) else Read()
    for one in value if isinstance(value, list) else [value]:
        yield from (_Place(path, read.inside) for path in read.places(str(one)) if path)


def _meets(action: argparse.Action, out: Path, place: _Place) -> bool:
    """Whether an output is a place, or lies in a folder there and is read in it."""
    if isinstance(action.type, WrittenFolder):
        names = action.type.names
        within = _in_or(out, place.path)
        return _same(out, place.path) or any(_same(out / name, part) for part in within for name in names)
    if _same(out, place.path):
        return True
    folder, file = Path(os.path.realpath(_folder(place.path))), Path(os.path.realpath(out))
    if not out.is_file() or folder not in file.parents:
        return False
    parts = [part.lower() for part in file.relative_to(folder).parts]
    return any(fnmatch(part, pattern) for pattern in place.inside(place.path) for part in parts)


def _folder(path: str) -> Path:
    """The path, or of a glob the folder that it starts from."""
    return next(above for above in (Path(path), *Path(path).parents) if above.exists() or not has_magic(str(above)))


def _in_or(out: Path, read: str) -> Iterator[Path]:
    """A path, and the folders above it, as far as they lie below the output's."""
    path, top = Path(os.path.realpath(read)), Path(os.path.realpath(out))
    while path != top and top in path.parents:
        yield path
        path = path.parent


def _same(one: Path, other: str | Path) -> bool:
    """Whether two paths are one, of a file that is there or will be. A device is no file that could be lost."""
    try:
        if one.exists():
            return (one.is_file() or one.is_dir()) and Path(other).exists() and one.samefile(other)
        return os.path.realpath(one) == os.path.realpath(other)
    except OSError:  # a name that is too long, or below a folder that is closed to us
        return False
