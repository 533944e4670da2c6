"""The files of a base that is not released, for the doors of a release: out of this machine's cache, or from the Hub.

A door is opened with an empty cache, so that nothing of the release itself is taken from this machine. Its base is
another's, perhaps 16 GB, and lies here already: it is lent, by links, and nothing is written beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2i_judge.errors import UserError
from t2i_judge.local.intact import FILES


@dataclass(frozen=True)
class BaseFiles:
    """A base on the Hub, and the folder of this machine that has its files at that commit."""

    id: str
    commit: str
    folder: Path

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))

    @property
    def paths(self) -> list[Path]:
        """What is read when it is loaded: weights, configuration, tokenizer; never code."""
        return sorted(path for pattern in FILES for path in self.folder.glob(pattern))

    def lend(self, cache: Path) -> None:
        """Make an otherwise empty Hub cache know them."""
        snapshot = cache / f"models--{self.id.replace('/', '--')}" / "snapshots" / self.commit
        snapshot.mkdir(parents=True)
        for path in self.paths:
            (snapshot / path.name).symlink_to(path.resolve())


def base_files(base: Mapping[str, Any], folder: Path | None = None) -> BaseFiles | None:
    """The files of a base, downloaded where this machine lacks them; None for one that is released with its adapter.

    Args:
        base: the section of a release's record.
        folder: where they lie, if the recipe names a folder.

    Raises:
        UserError: they cannot be had.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    if base["digest"] is not None:
        return None
    name, commit = base["model"], base["revision"]
    if folder:
        return BaseFiles(name, commit, folder)
    try:
        return BaseFiles(name, commit, Path(snapshot_download(name, revision=commit, allow_patterns=FILES)))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise UserError(
            f"Cannot get the base {name} at {commit}",
            str(error).strip().splitlines()[0],
            "Check your access to it (HF_TOKEN), the connection and the disk",
        ) from error
