"""Is a step done? Its marker, which it writes last, holds the digest of all that its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2i_judge.errors import UserError
from t2i_judge.files import read_object, sha256, write_atomic

_INPUTS = ("inputs", "fingerprint")  # the digest's key, and what markers of a build called it before


@dataclass(frozen=True)
class Marker:
    """The file that a step writes last: a JSON object, the step's record, with the digest of its inputs in it."""

    path: Path

    def read(self) -> dict[str, Any]:
        """The record; empty where it is not there, or torn."""
        try:
            return read_object(self.path)
        except UserError:
            return {}

    def done(self, *inputs: str) -> bool:
        """Whether the step was finished, from inputs of one of these digests."""
        record = self.read()
        return any(record.get(key) in inputs for key in _INPUTS)

    def write(self, inputs: str, record: Mapping[str, Any]) -> None:
        """Mark the step as finished."""
        text = json.dumps({**record, "inputs": inputs}, indent=1, ensure_ascii=False, allow_nan=False)
        write_atomic(self.path, text + "\n")

    def remove(self) -> None:
        """The step is about to be done again."""
        self.path.unlink(missing_ok=True)


def read_json(path: Path, step: str) -> dict[str, Any]:
    """The JSON object that a step left. Raises `UserError` naming the step when it is not there or torn."""
    fix = f"Run python -m {step} for this recipe"
    try:
        return read_object(path, fix)
    except UserError as error:
        raise UserError(f"Cannot read {path.name}", error.reason, fix) from error


def file_table(folder: Path, files: Iterable[Path] | None = None) -> dict[str, dict[str, Any]]:
    """Path relative to `folder` -> {sha256, size} of all files below it, or of those given, sorted by path."""
    chosen = files if files is not None else (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"sha256": sha256(path), "size": path.stat().st_size}
        for path in sorted(chosen)
    }


def fingerprint(table: Mapping[str, Mapping[str, Any]], *more: str) -> str:
    """One digest over the paths and hashes of a file table, and over further texts that decide about the result."""
    digest = hashlib.sha256()
    for path, entry in sorted(table.items()):
        digest.update(f"{path}\0{entry['sha256']}\0".encode())
    for text in more:
        digest.update(f"{text}\0".encode())
    return digest.hexdigest()
