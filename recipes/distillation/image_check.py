"""Every image of a table is opened before anything is paid for: is it whole, and what does it look like?

Hashing is quick and always done; decoding is not, and what was decoded is remembered by its content, so that an
interrupted check goes on and a second one is quick.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.distillation.copies import FINDER, Copies, bits_of, fingerprints, links
from recipes.recipe.markers import sha256
from t2i_judge.errors import UserError
from t2i_judge.files import append_jsonl, read_jsonl, write_atomic
from t2i_judge.inputs.images import ImageError, load_image
from t2i_judge.wording import counted

_BATCH = 64  # images between two writes to disk
_LISTED = 20


@dataclass(frozen=True)
class Picture:
    """An image file: the SHA-256 of its bytes and its perceptual hash (four words), or the reason why it has none."""

    path: Path
    sha256: str | None
    bits: NDArray[np.uint64] | None = None
    broken: str | None = None


def hashes_of(paths: Iterable[Path]) -> dict[Path, str | None]:
    """SHA-256 of each file's bytes; None for a file that cannot be read."""
    from t2i_judge.progress import Progress

    return {path: _hash(path) for path in Progress(dict.fromkeys(paths), "hashing images", unit="image", **_BAR)}


def inspect(hashes: Mapping[Path, str | None], cache: Path) -> dict[Path, Picture]:
    """Each image decoded, unless `cache` knows one of these very bytes to be whole.

    Args:
        hashes: from `hashes_of`.
        cache: JSON Lines file of what was decoded before; made and added to.
    """
    from t2i_judge.progress import Progress

    known = {row["sha256"]: row["bits"] for row in read_jsonl(cache)} if cache.is_file() else {}
    pictures, fresh = {}, []
    for path, digest in Progress(hashes.items(), "opening images", unit="image", **_BAR):
        pictures[path] = _picture(path, digest, known.get(digest))
        bits = pictures[path].bits
        if digest is not None and bits is not None and digest not in known:
            known[digest] = bits.tobytes().hex()
            fresh.append({"sha256": digest, "bits": known[digest]})
        if len(fresh) == _BATCH:
            _remember(cache, fresh)
    _remember(cache, fresh)
    return pictures


def copies_among(pictures: Iterable[Picture], cache: Path) -> Copies:
    """Which of some whole pictures are copies of one another, by the finder of the leakage check.

    Args:
        pictures: one file twice counts once.
        cache: JSON file that remembers what was found among these very files; made anew for others.
    """
    from t2i_judge.progress import Progress

    paths = {picture.sha256: picture.path for picture in pictures if picture.sha256 is not None}
    digest = hashlib.sha256("\n".join((FINDER, *sorted(paths))).encode()).hexdigest()
    if cache.is_file() and (known := json.loads(cache.read_text())).get("among") == digest:
        return [(kind, one, other) for kind, one, other in known["copies"]]
    files = ((name, paths[name].read_bytes()) for name in sorted(paths))
    prints = fingerprints(Progress(files, "looking for copies", len(paths), unit="image", **_BAR))
    copies = [(kind, prints.ids[one], prints.ids[other]) for kind, one, other in links(prints)]
    cache.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(cache, json.dumps({"among": digest, "copies": copies}))
    return copies


def require_whole(pictures: Iterable[Picture], fix: str) -> None:
    """Raise `UserError` that lists the broken images, each with its reason."""
    broken = list(broken_lines(pictures))
    if broken:
        more = f"; and {len(broken) - _LISTED} more" if len(broken) > _LISTED else ""
        raise UserError(f"{counted(len(broken), 'image')} cannot be used", "; ".join(broken[:_LISTED]) + more, fix)


def broken_lines(pictures: Iterable[Picture]) -> Iterator[str]:
    """`PATH (why)` of each broken image."""
    yield from (f"{picture.path} ({picture.broken})" for picture in pictures if picture.broken)


_BAR: dict[str, Any] = {"delay": 2, "leave": False}


def _hash(path: Path) -> str | None:
    try:
        return sha256(path)
    except OSError:
        return None


def _picture(path: Path, digest: str | None, bits: str | None) -> Picture:
    if digest is not None and bits is not None:
        return Picture(path, digest, np.frombuffer(bytes.fromhex(bits), np.uint64))
    try:
        return Picture(path, digest, bits_of(load_image(path)))
    except ImageError as error:
        return Picture(path, digest, broken=error.reason)


def _remember(cache: Path, fresh: list[dict[str, Any]]) -> None:
    if fresh:
        cache.parent.mkdir(parents=True, exist_ok=True)
        append_jsonl(cache, fresh)
        fresh.clear()
