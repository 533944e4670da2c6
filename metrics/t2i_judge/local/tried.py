"""Remembers under HF_HOME which models were tried out, so that the same files are tried once on a machine.

A trial (`trial`) takes four seconds of a core and depends on the small files of a model, its processor and its adapter,
and on the libraries that read them: these are the record's name. Only a trial that went well is kept.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatch
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import __version__
from ..files import read_bytes, sha256, write_atomic

SMALL_FILES = ["*.json", "*.jinja", "*.txt", "*.model"]  # of a repository: all but weights
_FOLDERS = ("model", "processor", "adapter")  # of a request
_READERS = ("peft", "pillow", "tokenizers", "torch", "torchvision", "transformers")
_LARGE = 100_000_000  # bytes of one file; such a model is tried each time


def find(request: Mapping[str, Any]) -> tuple[int, int] | None:
    """How many parameters model and adapter had when exactly this was tried, or None.

    Args:
        request: what a trial is asked: folders of `model`, `processor` and `adapter` (or None), and its options.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):  # none was kept, or it was cut off
        model, adapter = json.loads(read_bytes(_record(request)))["parameters"]
        return int(model), int(adapter)
    return None


def keep(request: Mapping[str, Any], model: int, adapter: int) -> None:
    """Remember that this was tried, and how many parameters model and adapter have, where HF_HOME can be written."""
    with suppress(OSError, ValueError):
        write_atomic(_record(request), json.dumps({"parameters": [model, adapter]}) + "\n")


def _record(request: Mapping[str, Any]) -> Path:
    """Raises `ValueError` for files that are too large, `OSError` for those that cannot be read."""
    from huggingface_hub import constants

    options = sorted((name, value) for name, value in request.items() if name not in _FOLDERS)
    folders = [[name, *_contents(Path(request[name]))] for name in _FOLDERS if request.get(name)]
    digest = hashlib.sha256(json.dumps([_readers(), options, folders]).encode()).hexdigest()
    return Path(constants.HF_HOME, "t2i_judge", "tried", f"{digest}.json")


def _contents(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of every small file, also of a chat template in a folder of its own."""
    for path in sorted([*folder.iterdir(), *folder.glob("*/*.jinja")]):
        if path.is_file() and any(fnmatch(path.name, pattern) for pattern in SMALL_FILES):
            if path.stat().st_size > _LARGE:
                raise ValueError(f"{path} is large")
            yield str(path.relative_to(folder)), sha256(path)


@cache
def _readers() -> list[str]:
    readers = [f"t2i-judge {__version__}", platform.python_version()]
    for package in _READERS:
        with suppress(PackageNotFoundError):
            readers.append(f"{package} {version(package)}")
    return readers
