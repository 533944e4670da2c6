"""`manifest.json`: every file of a staged release with its hash, and the record of how it came to be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.hub.repositories import MANIFEST, Repositories
from recipes.publish.release_record import VOLATILE
from recipes.recipe.markers import Marker, file_table, fingerprint
from recipes.recipe.own_folders import MARK
from recipes.safety.allowed import entries
from t2i_judge.errors import UserError
from t2i_judge.files import read_object, write_atomic

# Where two manifests of the same commit on the same machine may differ, as JSON pointers. Nothing else may.
VOLATILE_POINTERS = (*(f"/record{pointer}" for pointer in VOLATILE), "/files/results.json", "/bytes", "/inputs")


def write_manifest(stage: Path, record: Mapping[str, Any], repositories: Repositories, inputs: str) -> None:
    """Write the manifest of a stage, last of all its files: its presence means that the stage is complete.

    Args:
        stage: the folder of the staged release.
        record: see `recipes.publish.release_record.release_record`.
        repositories: the repositories, each of which gets a digest.
        inputs: fingerprint of everything from which the stage was made.
    """
    for repository in repositories:
        _write_repository_manifest(repository.folder(stage), record)
    table = {path: entry for path, entry in file_table(stage).items() if path not in (MANIFEST, MARK)}
    prints = {}
    for repository in repositories:
        prefix = repository.folder(stage).relative_to(stage).as_posix() + "/"
        prints[repository.name] = fingerprint({p: e for p, e in table.items() if p.startswith(prefix)})
    manifest = {
        "record": record,
        "fingerprints": prints,
        "files": table,
        "bytes": sum(entry["size"] for entry in table.values()),
        "inputs": inputs,
        "volatile": list(VOLATILE_POINTERS),
    }
    write_atomic(stage / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def _write_repository_manifest(folder: Path, record: Mapping[str, Any]) -> None:
    """`manifest.json` of one repository: the release it belongs to, and every other file of it with its hash."""
    files = {path: entry for path, entry in file_table(folder).items() if path != MANIFEST}
    release = {key: record["release"][key] for key in ("recipe", "version", "simulated")}
    content = {"release": release, "commit": record["commit"], "files": files}
    write_atomic(folder / MANIFEST, json.dumps(content, indent=1, sort_keys=True) + "\n")


def same_release(one: bytes, other: bytes) -> bool:
    """Whether two manifests of a repository have the same files in the same version.

    The commit at which they were staged may differ: for that alone, nothing of a published version is sent again.
    """
    try:
        contents = [json.loads(text) for text in (one, other)]
        return contents[0]["release"] == contents[1]["release"] and contents[0]["files"] == contents[1]["files"]
    except (ValueError, KeyError, TypeError, RecursionError):  # of strangers on the Hub
        return False


def read_manifest(stage: Path) -> dict[str, Any]:
    """The manifest of a complete stage. Raises `UserError` when there is none."""
    try:
        return read_object(stage / MANIFEST)
    except UserError as error:
        raise UserError(f"{stage.name} is not a staged release", error.reason, "Run make release first") from error


def is_stage(folder: Path) -> bool:
    """Whether a folder has the manifest of a stage; a published repository's names neither record nor fingerprints."""
    manifest = Marker(folder / MANIFEST).read()
    sections = [manifest.get(name) for name in ("record", "fingerprints", "files")]
    return all(isinstance(section, dict) for section in sections) and not folder.is_symlink()


def beside(stage: Path) -> list[str]:
    """Paths in a stage's folder that its manifest does not name: other people's. What Python compiled is nobody's."""
    names = {*Marker(stage / MANIFEST).read().get("files", ()), MANIFEST, MARK}
    found = (path.relative_to(stage) for path in entries(stage))
    return [path.as_posix() for path in found if path.as_posix() not in names and "__pycache__" not in path.parts]


def changed(stage: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Paths that differ from the manifest or are missing; empty if the stage is as it was written."""
    now = {path: entry for path, entry in file_table(stage).items() if path != MANIFEST}
    return sorted(
        path for path in now.keys() | manifest["files"].keys() if now.get(path) != manifest["files"].get(path)
    )
