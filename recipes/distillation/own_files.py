"""What a build wrote in a dataset's folder, so that the next one replaces that and nothing else.

FOLDER/.written.json names each of these files with its SHA-256. A build that is killed leaves `"whole": false` there.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from recipes.distillation.parquet import splits
from t2i_judge.errors import UserError
from t2i_judge.files import read_object, sha256, write_atomic

WRITTEN, CARD = ".written.json", "README.md"


def check_own(folder: Path, configs: Collection[str]) -> None:
    """Raise `UserError` where `replaced` would: before anything is paid for whose result would be written there."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file", "A dataset is a folder", "Name another folder with --out")
    marker = folder / WRITTEN
    record = read_object(marker, "Remove it, with the dataset beside it") if marker.is_file() else {"whole": True}
    signed = record.get("files")
    own = signed if isinstance(signed, dict) else {}
    for path in _files(folder, configs) if record.get("whole") is not False else ():
        if own.get(path.relative_to(folder).as_posix()) != sha256(path):
            fix = "Move it away, or name another folder with --out"
            raise UserError(f"{path} is there already", "No build wrote it, or it was changed since", fix)


@contextmanager
def replaced(folder: Path, configs: Collection[str]) -> Iterator[None]:
    """Remove the card and the shards of these configs that a build wrote, and sign those that are written inside.

    Raises:
        UserError: one of them is not as a build wrote it, or `folder` is a file. Nothing is removed then.
    """
    check_own(folder, configs)
    write_atomic(folder / WRITTEN, json.dumps({"whole": False}))
    for path in _files(folder, configs):
        path.unlink()
    yield
    files = {path.relative_to(folder).as_posix(): sha256(path) for path in _files(folder, configs)}
    write_atomic(folder / WRITTEN, json.dumps({"whole": True, "files": files}, indent=1) + "\n")


def _files(folder: Path, configs: Collection[str]) -> list[Path]:
    shards = splits(folder) if folder.is_dir() else {}
    found = [path for config in configs for path in chain(*shards.get(config, {}).values())]
    return [*found, *([folder / CARD] if (folder / CARD).is_file() else [])]
