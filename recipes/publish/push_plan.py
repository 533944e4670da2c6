"""What a push would do to a repository: the stage held against what stands on the Hub, file by file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recipes.hub.client import Hub, git_sha1
from recipes.hub.repositories import Repository, recorded_repositories
from recipes.publish.manifest import MANIFEST, read_manifest, same_release
from recipes.publish.standing import going_out, left_alone, released
from recipes.recipe.markers import sha256
from t2i_judge.errors import printable
from t2i_judge.terminal import say
from t2i_judge.wording import counted


@dataclass(frozen=True)
class Plan:
    """What a push would do to one repository.

    Attributes:
        repository: which one.
        head: commit that it was compared with, None when there is no such repository or revision.
        added, changed, deleted, unchanged: paths, relative to the repository.
        size: bytes of the files that would be sent.
        revision: the ref that it was compared with, None for the main branch.
    """

    repository: Repository
    head: str | None
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    size: int = 0
    revision: str | None = None

    @property
    def empty(self) -> bool:
        """Whether the Hub already has it all."""
        return not (self.added or self.changed or self.deleted)


def plan(hub: Hub | None, repository: Repository, folder: Path, revision: str | None = None) -> Plan:
    """Compare a staged repository with what stands on the Hub at a revision (default: its main branch).

    `hub` None: nothing stands anywhere yet.
    """
    info = hub.info(repository, revision) if hub else None
    there = hub.files(repository, info.sha) if hub and info else {}
    here = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    added = tuple(name for name in here if name not in there)
    unchanged = tuple(name for name, path in here.items() if name in there and _same(path, there[name]))
    changed = tuple(name for name in here if name in there and name not in unchanged)
    if changed == (MANIFEST,) and hub and info and _says_the_same(hub, repository, info.sha, here[MANIFEST]):
        changed, unchanged = (), (*unchanged, MANIFEST)
    size = sum(here[name].stat().st_size for name in (*added, *changed))
    before = released(hub, repository, info.sha) if hub and info and MANIFEST in there else None
    ours = before[1] if before else {}  # only what a release of ours put there may be deleted by the next one
    deleted = tuple(sorted(name for name in ours.keys() & there.keys() if name not in here))
    return Plan(repository, info.sha if info else None, added, changed, deleted, unchanged, size, revision)


def _same(path: Path, there: str) -> bool:
    return there == (sha256(path) if len(there) == 64 else git_sha1(path))


def _says_the_same(hub: Hub, repository: Repository, revision: str, here: Path) -> bool:
    """Whether the manifest there is that of the same files in the same version, whatever commit they were staged at."""
    return same_release(hub.read(repository, MANIFEST, revision) or b"", here.read_bytes())


def print_plan(stage: Path, namespace: str | None, parts: tuple[str, ...], token: str | None) -> None:
    """What a push would send where, file by file, and how many bytes; sends nothing."""
    hub, total, record = Hub(namespace, token) if namespace else None, 0, read_manifest(stage)["record"]
    names, release = recorded_repositories(record), record["release"]
    chosen, owner = going_out(hub, names, release, parts)
    if hub and owner and {"metric", "space"} & set(parts):
        say(left_alone(hub, names, release, owner))
    for repository in chosen:
        changes = plan(hub, repository, repository.folder(stage))
        total += changes.size
        state = "new" if changes.head is None else f"at {changes.head[:8]}"
        say(f"{repository.url(namespace)} ({state}): {counted(len(changes.unchanged), 'file')} unchanged")
        for mark, paths in (("+", changes.added), ("~", changes.changed), ("-", changes.deleted)):
            for name in paths:
                path = repository.folder(stage) / name
                say(f"  {mark} {printable(name)}" + (f"  {path.stat().st_size:,} bytes" if path.is_file() else ""))
    say(f"A push would send {total:,} bytes.")
