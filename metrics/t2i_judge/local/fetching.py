"""Fetches a model's files from the Hub, after a look at the sizes that the Hub announces."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from .intact import shards

_SMALL = 100_000_000  # bytes of a file that describes others; the largest tokenizer has a third of that
_WEIGHTS = ".safetensors"
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


@dataclass(frozen=True)
class Announced:
    """What the Hub says of a repository; `sizes` are bytes by name, and empty where it cannot be asked."""

    commit: str | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def weights(self) -> int:
        """Bytes of all safetensors files."""
        return sum(size for name, size in self.sizes.items() if name.endswith(_WEIGHTS))


def is_hub_id(name: str) -> bool:
    """Whether a base is named as the Hub names models, OWNER/NAME; a folder's path of two parts is ./OWNER/NAME."""
    return bool(_HUB_ID.fullmatch(name))


def announced(repository: str, revision: str | None) -> Announced:
    """What the Hub says of a repository. Whoever fetches from it says best why it cannot be asked."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(repository, revision=revision, files_metadata=True)
    except Exception:  # each layer of the client raises kinds of its own
        return Announced()
    files: Any = info.siblings or ()
    return Announced(info.sha, {file.rfilename: file.size or 0 for file in files})


def fetch(repository: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The folder of those files of a repository that fit one of the patterns.

    Raises:
        UserError: as `check_announced`.
        OSError, ValueError: as huggingface_hub.
    """
    from huggingface_hub import snapshot_download

    check_announced(repository, revision, patterns)
    return Path(snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))


def check_announced(repository: str, revision: str | None, patterns: Sequence[str]) -> None:
    """Raise `UserError` if a file that describes others is too large, or if the disk has no room for what is fetched.

    Args:
        repository: on the Hub.
        revision: of it.
        patterns: of names of files that are to be fetched.
    """
    from huggingface_hub.utils import filter_repo_objects

    found = announced(repository, revision)
    names = list(filter_repo_objects(found.sizes, allow_patterns=list(patterns)))
    for name in names:
        if found.sizes[name] > _SMALL and not name.endswith(_WEIGHTS):
            fact = f"{repository} is not fetched"
            reason = f"Its {name} has {found.sizes[name]:,} bytes; at most {_SMALL:,} are read"
            raise UserError(fact, reason, "Name another repository or revision")
    _require_room(repository, found, names)


def fetch_weights(repository: str, revision: str | None) -> Path | None:
    """The folder of the weights that transformers loads from a repository; None where it will find none.

    Raises:
        UserError: the disk has no room.
        OSError, ValueError: as transformers, which fetches them with the same functions when it loads them.
    """
    from transformers.safetensors_conversion import auto_conversion
    from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

    found, revision = announced(repository, revision), revision or "main"
    _require_room(repository, found, [SAFE_WEIGHTS_NAME])
    options: dict[str, Any] = {"revision": revision, "_raise_exceptions_for_missing_entries": False}
    whole = cached_file(repository, SAFE_WEIGHTS_NAME, **options)
    index = None if whole else cached_file(repository, SAFE_WEIGHTS_INDEX_NAME, **options)
    if not whole and not index and revision == "main" and _may_convert():
        file, revision, is_index = auto_conversion(repository, **options)  # a pull request with them, for pickles
        found = announced(repository, revision)
        whole, index = (None, file) if is_index else (file, None)
    parts = shards(Path(index)) if index else []
    _require_room(repository, found, parts)
    for name in parts:
        cached_file(repository, name, revision=revision)
    place = whole or index
    return Path(place).parent if place else None


def _may_convert() -> bool:
    """Whether transformers looks for safetensors elsewhere, where a repository has pickles alone."""
    from huggingface_hub.constants import is_offline_mode
    from transformers.utils import is_env_variable_true

    return not is_offline_mode() and not is_env_variable_true("DISABLE_SAFETENSORS_CONVERSION")


def _require_room(repository: str, found: Announced, names: Sequence[str]) -> None:
    """Raise `UserError` if the disk cannot hold these files, less those that it has."""
    from huggingface_hub import constants, try_to_load_from_cache

    cache = Path(constants.HF_HUB_CACHE)
    needed = sum(
        found.sizes.get(name, 0)
        for name in names
        if not isinstance(try_to_load_from_cache(repository, name, revision=found.commit), str)
    )
    place = next(path for path in (cache, *cache.parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    if needed > free:
        reason = f"Its files have {needed / 1e9:,.1f} GB; where {cache} is, {free / 1e9:,.1f} GB are free"
        raise UserError(f"There is no room for {repository}", reason, "Free some, or set HF_HOME to a larger disk")
