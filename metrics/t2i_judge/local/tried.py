"""Remembers under HF_HOME which models were tried out, so that the same files are tried once on a machine.

A trial (`trial`) takes four seconds of a core. It depends on the files of a model, its processor and its adapter, but
for weights and what a release tells about itself, on the libraries that read them, and on the rules of this folder:
these are the record's name. Only a trial that went well is kept.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

from ..files import read_bytes, sha256, write_atomic

_FOLDERS = ("model", "processor", "adapter")  # of a request
_WEIGHTS = {".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".pt", ".pth", ".safetensors"}  # no trial reads them
_OURS = {"README.md", "judge.json", "training_log.json", "manifest.json", "sbom.cdx.json"}  # beside a released judge
_READERS = ("peft", "pillow", "tokenizers", "torch", "torchvision", "transformers")
_MOST_FILES, _MOST_BYTES = 1_000, 100_000_000  # of a folder; one with more is tried each time


def find(request: Mapping[str, Any]) -> tuple[int, int] | None:
    """How many parameters model and adapter had when exactly this was tried, or None.

    Args:
        request: what a trial is asked: folders of `model`, `processor` and `adapter` (or None), and its options.
    """
    with suppress(OSError, ValueError, KeyError, TypeError, OverflowError):  # none was kept, or it was cut off
        model, adapter = json.loads(read_bytes(_record(request)))["parameters"]
        return int(model), int(adapter)
    return None


def keep(request: Mapping[str, Any], model: int, adapter: int) -> None:
    """Remember that this was tried, and how many parameters model and adapter have, where HF_HOME can be written."""
    with suppress(OSError, ValueError):
        write_atomic(_record(request), json.dumps({"parameters": [model, adapter]}) + "\n")


def lend(home: Path) -> None:
    """Make another HF_HOME, which is empty, know and keep what this one knows, where both can be written."""
    with suppress(OSError):
        records = _records()
        records.mkdir(parents=True, exist_ok=True)
        (home / "t2i_judge").mkdir(parents=True)
        (home / "t2i_judge" / "tried").symlink_to(records.resolve())


def _records() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HOME, "t2i_judge", "tried")


def _record(request: Mapping[str, Any]) -> Path:
    """Raises `ValueError` for files that are too many or too large, `OSError` for those that cannot be read."""
    options = sorted((name, value) for name, value in request.items() if name not in _FOLDERS)
    folders = [[name, *_contents(Path(request[name]))] for name in _FOLDERS if request.get(name)]
    digest = hashlib.sha256(json.dumps([_readers(), options, folders]).encode()).hexdigest()
    return _records() / f"{digest}.json"


def _contents(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of every file in a folder and those in it that a trial may read."""
    found = list(islice(folder.rglob("*"), _MOST_FILES + 1))
    files = sorted(path for path in found if path.is_file() and path.suffix not in _WEIGHTS and path.name not in _OURS)
    if len(found) > _MOST_FILES or sum(path.stat().st_size for path in files) > _MOST_BYTES:
        raise ValueError(f"{folder} has much beside a model")
    for path in files:
        yield str(path.relative_to(folder)), sha256(path)


@cache
def _readers() -> list[str]:
    readers = [platform.python_version(), *(sha256(path) for path in sorted(Path(__file__).parent.rglob("*.py")))]
    for package in _READERS:
        with suppress(PackageNotFoundError):
            readers.append(f"{package} {version(package)}")
    return readers
