"""What no file of a release may be or hold: the checks of single files, by name and content.

Each looks at a file as it is and at what it says once decoded (`recipes.safety.contents`); files inside of parquet
files are looked at in the same way.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recipes.safety import local_paths, secrets
from recipes.safety.allowed import odd_entry
from recipes.safety.contents import TEXTS, Contents, contents, contents_of
from recipes.safety.encoded_files import every_file
from recipes.safety.image_texts import is_image
from recipes.safety.kinds import container, kind
from recipes.safety.pickles import is_pickle, pickles
from recipes.safety.remote_code import remote_code
from t2i_judge.inputs.parts import private_metadata
from t2i_judge.wording import counted

FILE_CHECKS = ("files", "secrets", "local_paths", "pickles", "remote_code", "image_metadata")
_STRIP = "remove it (data.strip_metadata: true in the recipe, or build_benchmark --strip-metadata)"
_LISTED = 5
Finding = tuple[str, str, str]  # check, what is wrong, how to mend it


def file_findings(path: Path) -> Iterator[Finding]:
    """Everything that is wrong with one file and its own name, each once."""
    if wrong := odd_entry(path):
        yield "files", wrong, "put the file itself there if it should be published"
        return
    with _bytes(path) as data:
        yield from dict.fromkeys(_findings(path, data))


def name_findings(name: str) -> Iterator[Finding]:
    """Everything that is wrong with a file's path in the release, which everybody reads, too."""
    yield from _said(name, Contents(text=name))


@contextmanager
def _bytes(path: Path) -> Iterator[Any]:
    """A file's bytes; weights as a map of the file, which may be larger than memory."""
    if path.suffix != ".safetensors" or not path.stat().st_size:
        yield path.read_bytes()
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _findings(path: Path, data: Any) -> Iterator[Finding]:
    yield from (("files", *found) for found in kind(path, data))
    yield from (("pickles", *found) for found in pickles(path, data))
    yield from _as_it_is(path, data)
    yield from name_findings(path.name)
    private: list[str] = []
    for piece in contents(path, data):
        yield from (("files", wrong, "write it again, or leave it out") for wrong in piece.unread)
        yield from _said(path.name, piece)
        for inner, content in every_file(piece):
            yield from _inside(inner, content)
            if private_metadata(content):
                private.append(inner)
    if private:
        have, listed = counted(len(private), "image has", "images have"), ", ".join(private[:_LISTED])
        yield "image_metadata", f"{have} EXIF, GPS, XMP or text ({listed})", _STRIP


def _as_it_is(path: Path, data: Any) -> Iterator[Finding]:
    """What bytes give away before anything is decoded."""
    if path.name == ".env" or path.name.startswith(".env."):
        yield "secrets", "an environment file", "keep it out of the released folders"
    for variable, value in secrets.own_secrets().items():
        if data.find(value.encode()) >= 0:
            yield "secrets", f"the value of {variable}", secrets.REMOVE
    for what in secrets.in_bytes(data) if path.suffix.lower() not in TEXTS else ():
        yield "secrets", f"in its bytes: {what}", secrets.REMOVE
    if place := local_paths.in_bytes(data):
        yield "local_paths", f"names the folder {place}", "write relative paths or Hub ids"
    if is_image(data[:16]) and (metadata := private_metadata(bytes(data))):
        yield "image_metadata", f"an image with {metadata}", _STRIP


def _said(name: str, piece: Contents) -> Iterator[Finding]:
    """What a piece of a file says, in its own words or in those of its data."""
    for where, what in secrets.secrets_in(piece):
        yield "secrets", f"{where}: {what}", secrets.REWORD if where.startswith("row ") else secrets.REMOVE
    for variable, value in secrets.own_secrets().items():
        if value in piece.text or any(value in leaf.text for leaf in piece.leaves):
            yield "secrets", f"the value of {variable}", secrets.REMOVE
    yield from (("local_paths", *found) for found in local_paths.local_paths(piece))
    yield from (("remote_code", *found) for found in remote_code(name, piece))


def _inside(name: str, data: bytes) -> Iterator[Finding]:
    """A file in a column of a parquet file, or in a text: an image, or else something that has to be harmless."""
    image = is_image(data)
    inner = "pickle" if is_pickle(data) else None if image else container(data)
    if inner:
        yield "pickles", f"{name}: a pickle, or a file that may contain one ({inner})", "store images and texts only"
    for what in secrets.in_bytes(data):
        yield "secrets", f"in the bytes of {name}: {what}", secrets.REMOVE
    for piece in contents_of("" if image else name, data):
        yield from ((check, f"{name}: {wrong}", fix) for check, wrong, fix in _said(name, piece))
