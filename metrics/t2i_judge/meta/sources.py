"""Finds the tables of a published set. They are fetched once and checked every time.

`sources.json` in a set's folder says for each table its layout (`upstream`) and the files that it is read from:

    {TABLE: {"layout": NAME, "files": [{repository, commit, path, bytes, sha256, license}, ...]}}

A file is fetched from https://raw.githubusercontent.com, or the address in T2I_JUDGE_SOURCES_URL, into HF_HOME.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..errors import UserError, nearest, quoted
from ..files import read_bytes, read_json, write_atomic

if TYPE_CHECKING:
    import httpx2

SOURCES = "sources.json"
ADDRESS = "T2I_JUDGE_SOURCES_URL"
SILENCE_SECONDS = 30.0
MOST_BYTES = 1 << 26  # of a file whose size is not stated

_GITHUB = "https://raw.githubusercontent.com"
_OTHERWISE = "Run the command again, or give the files with --from FOLDER"


@dataclass(frozen=True)
class Source:
    """One file as it stands in a public repository: commit (40 hexadecimal digits), path, size, licence.

    `git_blob` stands in for size and sha256 where nobody has published those: git's own hash of the content.
    """

    repository: str
    commit: str
    path: str
    bytes: int
    sha256: str
    license: str
    git_blob: str | None = None

    @property
    def digest(self) -> str:
        """What its content is known by, for a message."""
        return f"git blob is not {self.git_blob}" if self.git_blob else f"sha256 is not {self.sha256}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, without what is not there."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Origin:
    """What a table is read from: the name of its layout, and its files."""

    layout: str
    files: tuple[Source, ...]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", value, re.ASCII) is not None


def _is_path(value: Any) -> bool:
    """Whether a path stays inside the folder that it is put behind."""
    parts = value.split("/") if isinstance(value, str) else [""]
    return not any(part in ("", ".", "..") or "\\" in part or not part.isprintable() for part in parts)


def _is_hexadecimal(digits: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{digits}}}", value) is not None


_KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "repository": (_is_name, "OWNER/NAME"),
    "commit": (_is_hexadecimal(40), "40 hexadecimal digits"),
    "path": (_is_path, "a path inside the repository"),
    "bytes": (lambda value: type(value) is int and value > 0, "a whole number above 0"),
    "sha256": (_is_hexadecimal(64), "64 hexadecimal digits"),
    "license": (lambda value: isinstance(value, str) and value.isprintable() and bool(value), "a line of text"),
}


def read_sources(folder: Path, layouts: Iterable[str]) -> dict[str, Origin]:
    """Table -> origin, from a set's `sources.json`; empty where the folder has none.

    Raises:
        UserError: naming file, table, key and fix; nothing is fetched before the whole of it is right.
    """
    path = folder / SOURCES
    if not path.is_file():
        return {}
    tables = read_json(path, "Correct it")
    if not isinstance(tables, dict):
        raise UserError(f"{path} is not a mapping", "It has one entry per table", "Follow the one of a shipped set")
    return {name: _origin(path, name, entry, list(layouts)) for name, entry in tables.items()}


def _origin(path: Path, table: str, entry: Any, layouts: list[str]) -> Origin:
    if not isinstance(entry, dict) or entry.keys() != {"layout", "files"} or not isinstance(entry["files"], list):
        raise UserError(f"{path}: '{table}' is {quoted(entry)}", "It has a layout and a list of files", "Correct it")
    if entry["layout"] not in layouts:
        raise UserError(
            f"{path}: '{table}' has layout {quoted(entry['layout'])}",
            nearest(entry["layout"], layouts),
            "Use a known layout",
        )
    if not entry["files"]:
        raise UserError(f"{path}: '{table}' has no files", "", "Name its files")
    for number, file in enumerate(entry["files"], 1):
        where = f"{path}: file {number} of '{table}'"
        if not isinstance(file, dict) or file.keys() != _KEYS.keys():
            raise UserError(f"{where} is {quoted(file)}", f"Its keys are {', '.join(_KEYS)}", "Correct it")
        for key, (fits, expected) in _KEYS.items():
            if not fits(file[key]):
                raise UserError(f"{where} has {key} {quoted(file[key])}", f"It must be {expected}", "Correct it")
    return Origin(entry["layout"], tuple(Source(**file) for file in entry["files"]))


def obtain(source: Source, folder: Path | None = None, silence: float = SILENCE_SECONDS) -> Path:
    """A file with the right sha256 on this machine: from a folder, from the cache, or fetched into the cache.

    Args:
        folder: look here only; the file may lie under its path, OWNER+NAME/PATH, OWNER/NAME/PATH or its bare name.
        silence: seconds that a server may say nothing.

    Raises:
        UserError: the file is missing, cannot be fetched, or has another content. A wrong file is never kept.
    """
    if folder is not None:
        return _from_folder(source, folder)
    path = cached_path(source)
    if not _is_it(path, source):
        data = _fetch(source, silence)
        try:
            write_atomic(path, data)  # two processes write the same bytes, each by a rename
        except OSError as error:
            raise UserError(
                f"Cannot write {path}", str(error), "Set HF_HOME to a folder on a disk with space"
            ) from error
    return path


def cached_path(source: Source) -> Path:
    """Where a fetched file is kept."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME, "t2i_judge", "published", source.repository, source.commit, source.path)


def _from_folder(source: Source, folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(
            f"There is no folder {folder}", "--from names the folder with the published files", "Check the path"
        )
    bare = PurePosixPath(source.path).name
    joined = source.repository.replace("/", "+")
    places = [source.path, f"{joined}/{source.path}", f"{source.repository}/{source.path}", bare]
    present = [folder / place for place in places if (folder / place).is_file()]
    if not present:
        fix = f"Put it there as {joined}/{source.path}"
        raise UserError(
            f"{folder} does not have {source.path} of {source.repository}", "The set is read from this file", fix
        )
    for path in present:
        if _is_it(path, source):
            return path
    fix = f"Download it from {source.repository} at commit {source.commit[:8]}"
    raise UserError(f"{present[0]} is not the published file", f"Its {source.digest}", fix)


def _is_it(path: Path, source: Source) -> bool:
    try:
        return is_content(source, read_bytes(path))
    except OSError:
        return False


def _fetch(source: Source, silence: float) -> bytes:
    import httpx2
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        fact = f"{source.repository}: {source.path} is not downloaded yet"
        raise UserError(fact, "HF_HUB_OFFLINE forbids downloading it now", "Unset it, or use --from FOLDER")
    base = os.environ.get(ADDRESS) or _GITHUB
    place = f"{source.repository}/{source.commit}/{quote(source.path)}"
    url = f"{_without_login(base)}/{place}"  # as it is shown
    try:
        with get_session().stream("GET", f"{base.rstrip('/')}/{place}", timeout=silence) as answer:
            if answer.status_code != 200:
                raise UserError(f"{url} answers {answer.status_code}", answer.reason_phrase, _OTHERWISE)
            data = _body(answer, source)
    except httpx2.TimeoutException as error:
        raise UserError(f"Cannot fetch {url}", f"Nothing arrived for {silence:g} s", _OTHERWISE) from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise UserError(f"Cannot fetch {url}", str(error), _OTHERWISE) from error
    if source.bytes and len(data) != source.bytes:
        amount = "more" if len(data) > source.bytes else "fewer"
        raise UserError(f"{url} is not the published file", f"It has {amount} than {source.bytes} bytes", _OTHERWISE)
    if not is_content(source, data):
        raise UserError(f"{url} is not the published file", f"Its {source.digest}", _OTHERWISE)
    return data


def is_content(source: Source, data: bytes) -> bool:
    """Whether these bytes are the file."""
    if source.git_blob:
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == source.git_blob
    return hashlib.sha256(data).hexdigest() == source.sha256


def _without_login(address: str) -> str:
    """An address as a message may show it."""
    return re.sub(r"(?<=://)[^/@]*@", "", address.rstrip("/"))


def _body(answer: httpx2.Response, source: Source) -> bytes:
    """What a server sends, no further than the first piece beyond the stated size, or beyond any that is not stated."""
    from ..progress import Progress

    data = bytearray()
    name = PurePosixPath(source.path).name
    with Progress(total=source.bytes or None, desc=name, unit="B", unit_scale=True, delay=1, leave=False) as bar:
        for piece in answer.iter_bytes():
            data += piece
            bar.update(len(piece))
            if len(data) > (source.bytes or MOST_BYTES):
                break
    return bytes(data)
