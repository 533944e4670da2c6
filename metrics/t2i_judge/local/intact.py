"""Checks weights on disk before anything is loaded: whole, in safetensors, and those of judge.json."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import open_plain, read_object, sha256_once
from .kinds import check_kind
from .patterns import check_patterns

FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]  # what a model is loaded from
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_INDEX = "model.safetensors.index.json"
_POINTER = b"version https://git-lfs"
_LENGTH, _LONGEST = 8, 20_000_000  # bytes of a header's length, and of the longest header
_AGAIN = "Download it again"


def contents(folder: Path, left_out: str = "") -> str:
    """SHA-256 over names and bytes of the files that a model in a folder is loaded from: another one has another.

    `left_out`: a pattern of names that do not count.
    """
    whole = hashlib.sha256()
    for place in (folder, folder / "base", folder / "adapter"):
        found = (path for pattern in FILES for path in place.glob(pattern) if path.is_file())
        for path in sorted(path for path in found if not re.fullmatch(left_out, path.name)):
            whole.update(f"{path.relative_to(folder).as_posix()} {sha256_once(path)}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def check_safetensors(folder: Path) -> None:
    """Raise `UserError` for a file that is missing, torn, or not safetensors."""
    if (index := folder / _INDEX).is_file():
        for name in shards(index):
            if not (folder / name).is_file():
                raise UserError(f"{folder} is not complete", f"{_INDEX} names {name}, which is missing", _AGAIN)
    check_torn(folder)


def check_torn(folder: Path) -> None:
    """Raise `UserError` for a file that is torn, or not safetensors, whatever an index says of others."""
    for path in sorted(folder.glob("*.safetensors")):
        if fault := _fault(path):
            fix = "Run git lfs pull, or hf download" if "pointer" in fault else _AGAIN
            raise UserError(f"{path} cannot be read", fault, fix)


def shards(index: Path) -> list[str]:
    """Names of the files among which an index spreads a model's weights. Raises `UserError` for a broken one."""
    return sorted(set(map(str, dict(read_object(index).get("weight_map") or {}).values())))


def check_adapter(folder: Path) -> None:
    """Raise `UserError` if an adapter's weights are not in safetensors, because peft would read a pickle instead, or if
    its configuration has a pattern that peft might try without an end, or asks for more than that it is read."""
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise UserError(
            f"{folder} has no {ADAPTER_WEIGHTS}",
            "Pickled weights are never read" if (folder / "adapter_model.bin").is_file() else "Its weights are missing",
            "Save the adapter with safetensors, or download it again",
        )
    check_kind(folder)
    check_patterns(folder)


def check_revision(folder: Path, said: object, found: str) -> None:
    """Raise `UserError` if judge.json is about other weights than those in the folder.

    Args:
        folder: of the judge.
        said: judge.json's revision. If it is not a digest of weights, nothing is compared.
        found: the digest of the weights.
    """
    if isinstance(said, str) and said.startswith("sha256:") and said != found:
        raise UserError(
            f"The weights in {folder} do not match its judge.json",
            f"It names {said[:19]}...; their hash is {found[:19]}...",
            "Download both again, or train and measure the judge again",
        )


def elements(folder: Path) -> int:
    """How many numbers the safetensors files of a folder hold, by their headers. Raises `UserError` for a torn one."""
    return sum(map(_elements, sorted(folder.glob("*.safetensors"))))


def _elements(path: Path) -> int:
    with open_plain(path) as file:
        header = file.read(min(int.from_bytes(file.read(_LENGTH), "little"), _LONGEST))
    try:
        return sum(_numbers(entry) for name, entry in json.loads(header).items() if name != "__metadata__")
    except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read", "Its header is broken", _AGAIN) from error


def _numbers(tensor: Mapping[str, Any]) -> int:
    """Of a tensor, by its place in the file: its shape may claim anything."""
    begin, end = map(int, tensor["data_offsets"])
    bits = re.search(r"\d+", tensor["dtype"])  # "BF16", "F8_E4M3", "BOOL"
    return 8 * (end - begin) // (int(bits[0]) if bits else 8)


def _fault(path: Path) -> str | None:
    """What is wrong with a safetensors file, by its header and its size; None if nothing is.

    Layout: 8 bytes of the header's length, little-endian; the header, JSON of {name: {dtype, shape, data_offsets}};
    the tensors. Source: the format's own description, github.com/huggingface/safetensors.
    """
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_LENGTH)
        length = int.from_bytes(head, "little")
        rest = file.read(min(length, _LONGEST))
    if (head + rest[:100]).startswith(_POINTER) or head == _POINTER[:_LENGTH]:
        return "It is a Git LFS pointer, not the weights"
    if size < _LENGTH or length > size:
        return f"It is not a safetensors file, or is truncated after {size} bytes"
    try:
        header = json.loads(rest)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        expected = _LENGTH + length + max(ends, default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return "Its header is broken"
    return f"It is truncated: {size} bytes of {expected}" if size < expected else None
