"""What a build wrote in a dataset's folder, so that the next one replaces that and nothing else.

FOLDER/.written.json names each of these files with its SHA-256. A build fills FOLDER/.part, signs what lies there, and
only then puts it in place of the build before, so that a killed one leaves nothing that it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from recipes.distillation.parquet import splits
from recipes.recipe.own_folders import begin_folder, discard
from t2i_judge.errors import UserError
from t2i_judge.files import PART, read_object, sha256, write_atomic
from t2i_judge.runs.locks import held

WRITTEN, CARD = ".written.json", "README.md"
_SIGNED = ("files", "next")  # in place, and about to be


def check_own(folder: Path, configs: Collection[str]) -> dict[str, str]:
    """Path -> SHA-256 of the card and the shards of these configs that builds wrote and that are still there.

    Raises:
        UserError: one of them is not as a build wrote it, or `folder` is a file: `replaced` would raise the same. To
            be called before anything is paid for whose result would be written there.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file", "A dataset is a folder", "Name another folder with --out")
    marker, own = folder / WRITTEN, _hashes(folder, configs)
    record = read_object(marker, "Remove it, with the dataset beside it") if marker.is_file() else {}
    signed = [files for name in _SIGNED if isinstance(files := record.get(name), dict)]
    for path, content in own.items():
        if not any(files.get(path) == content for files in signed):
            fix = "Move it away, or name another folder with --out"
            raise UserError(f"{folder / path} is there already", "No build wrote it, or it was changed since", fix)
    return own


@contextmanager
def replaced(folder: Path, configs: Collection[str]) -> Iterator[Path]:
    """A folder to write a card and the shards of these configs in. They take the place of those that a build wrote.

    Raises:
        UserError: one of those is not as a build wrote it, `folder` is a file, or another process builds there.
            Nothing is removed then, nor where what is done with the folder fails.
    """
    check_own(folder, configs)
    with held(folder):
        begin_folder(part := folder / PART)
        try:
            yield part
            own, new = check_own(folder, configs), _hashes(part, configs)
            _sign(folder, files=own, next=new)
            for path in own:
                (folder / path).unlink()
            for path in new:
                (folder / path).parent.mkdir(exist_ok=True)
                (part / path).replace(folder / path)
            _sign(folder, files=new)
        finally:
            discard(part)


def _sign(folder: Path, **record: Mapping[str, str]) -> None:
    write_atomic(folder / WRITTEN, json.dumps(record, indent=1) + "\n")


def _hashes(folder: Path, configs: Collection[str]) -> dict[str, str]:
    """Path below a folder -> SHA-256 of its card and the shards of these configs."""
    shards = splits(folder) if folder.is_dir() else {}
    found = [path for config in configs for path in chain(*shards.get(config, {}).values())]
    found += [folder / CARD] if (folder / CARD).is_file() else []
    return {path.relative_to(folder).as_posix(): sha256(path) for path in found}
