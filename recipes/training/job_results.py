"""What a job made, on its way home: pushed part by part by the job, its completion marker last; checked by hash here.

On the Hub, in the model repository of the jobs' own:

    STARTED.json                      which package these results belong to; results of another are deleted with it
    last-checkpoint/                  trl's own; a job that was cut off goes on from it
    results/training_log.json, adapter/...           the judge, in one commit
    results/direct/...                               the direct baseline with its log, in one commit
    results/DONE.json                                the hash of each of these files; written last
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.hub.client import Hub
from recipes.hub.fresh import is_fresh
from recipes.hub.repositories import Repository
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.markers import Marker, file_table
from recipes.training.job_package import MANIFEST
from t2i_judge.errors import UserError, quoted
from t2i_judge.files import write_atomic
from t2i_judge.terminal import say

STARTED, RESULTS, CHECKPOINT = "STARTED.json", "results", "last-checkpoint"
DONE = f"{RESULTS}/DONE.json"
JUDGE, DIRECT = "judge", "direct"
_MARKS = {STARTED: {"manifest"}, MANIFEST: {"recipe", "inputs", "files"}}  # file -> what it says in a job's repository


def _parts(build: BuildFolder) -> dict[str, list[Path]]:
    """What a training left, by part: its files."""
    direct = [path for path in build.direct.rglob("*") if path.is_file()]
    adapter = [path for path in build.adapter.rglob("*") if path.is_file()]
    return {JUDGE: [*adapter, build.trained.path], DIRECT: direct}


class JobResults:
    """The job's side: results and checkpoints in a private model repository.

    Args:
        hub: with a token that may write.
        repository: of the jobs' own.
        build: the build folder that is trained in.
        manifest: digest of the package.
    """

    def __init__(self, hub: Hub, repository: Repository, build: BuildFolder, manifest: str) -> None:
        self.hub, self.repository, self.build, self.manifest = hub, repository, build, manifest
        self.name = repository.id(hub.namespace)

    def begin(self, inputs: str) -> None:
        """Go on from what an earlier job on this very package left; results of another package are deleted.

        Where they are finished, a tag keeps them: another machine may not have fetched them yet.

        Args:
            inputs: digest of the judge's training, by which it recognises its checkpoints.

        Raises:
            UserError: there are files that no job put there.
        """
        require_own(self.hub, self.repository, STARTED)
        info = self.hub.info(self.repository)
        started = self.hub.read(self.repository, STARTED, info.sha) if info is not None else None
        if started is None or json.loads(started)["manifest"] != self.manifest:
            self._keep_finished(info)
            self._commit([], "Begin", {STARTED: {"manifest": self.manifest}}, delete=["*"])
            return
        assert info is not None
        folder = self.build.root / "job"
        self._download(folder, info.sha)
        checkpoint = folder / CHECKPOINT / "trainer_state.json"
        if checkpoint.is_file() and not (folder / RESULTS / self.build.trained.path.name).is_file():
            step = json.loads(checkpoint.read_text(encoding="utf-8"))["global_step"]
            checkpoints = self.build.adapter / "checkpoints"
            shutil.copytree(folder / CHECKPOINT, checkpoints / f"checkpoint-{step}", dirs_exist_ok=True)
            write_atomic(checkpoints / "inputs.txt", inputs)
        if (folder / RESULTS).is_dir():  # a part that was finished is not trained again
            shutil.copytree(folder / RESULTS, self.build.root, dirs_exist_ok=True)
        shutil.rmtree(folder)

    def _keep_finished(self, info: Any | None) -> None:
        text = self.hub.read(self.repository, DONE, info.sha) if info is not None else None
        if info is not None and text is not None:
            tag = _tag(json.loads(text)["manifest"])
            tagged = self.hub.api.create_tag
            self.hub.call(self.name, f"tag {tag} on", tagged, self.name, tag=tag, revision=info.sha, exist_ok=True)

    def _download(self, folder: Path, revision: str) -> None:
        from huggingface_hub import snapshot_download

        self.hub.call(
            self.name, "read", snapshot_download, self.name, revision=revision, token=self.hub.api.token,
            allow_patterns=[f"{RESULTS}/*", f"{CHECKPOINT}/*"], ignore_patterns=["*/training_args.bin", DONE],
            local_dir=folder,
        )  # fmt: skip

    def push(self, part: str) -> None:
        """Send a part that was finished, in one commit."""
        self._commit(_parts(self.build)[part], f"Trained: {part}", {})

    def complete(self, parts: Sequence[str]) -> None:
        """Write the completion marker: the hashes of all that was sent."""
        files = [path for part in parts for path in _parts(self.build)[part]]
        self._commit([], "Done", {DONE: {"manifest": self.manifest, "files": file_table(self.build.root, files)}})

    def _commit(
        self, files: Sequence[Path], message: str, records: Mapping[str, Any], delete: Sequence[str] = ()
    ) -> None:
        from fnmatch import fnmatch

        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        adds: list[tuple[str, Path | bytes]] = []
        adds += [(f"{RESULTS}/{path.relative_to(self.build.root).as_posix()}", path) for path in files]
        adds += [(path, json.dumps(record, indent=1).encode()) for path, record in records.items()]
        there = self.hub.files(self.repository, "main") if delete else {}
        old = [path for path in there if any(fnmatch(path, pattern) for pattern in delete) and path not in records]
        self.hub.call(
            self.name, "send results to", self.hub.api.create_commit, self.name, commit_message=message,
            operations=[
                *(CommitOperationDelete(path) for path in old if path != ".gitattributes"),
                *(CommitOperationAdd(path, content) for path, content in adds),
            ],
        )  # fmt: skip


def require_own(hub: Hub, repository: Repository, mark: str) -> None:
    """Raise `UserError` for a repository with somebody's files in it, which jobs would replace.

    Args:
        hub, repository: it may not exist yet.
        mark: the JSON file that a job's own repository has.
    """
    info = hub.info(repository)
    if info is None or is_fresh(hub, repository, info.sha):
        return
    try:
        own = json.loads(hub.read(repository, mark, info.sha) or b"{}").keys() >= _MARKS[mark]
    except (ValueError, AttributeError, RecursionError):
        own = False
    if not own:
        fact, reason = f"{repository.url(hub.namespace)} has files that no job put there", "A job would replace them"
        raise UserError(fact, reason, "Rename it on the Hub, or give the recipe another name")


def _tag(manifest: str) -> str:
    """The tag of what was finished on a package before another package's results took its place."""
    return f"finished-{manifest[:16]}"


def finished(hub: Hub, repository: Repository, manifest: str) -> dict[str, Any] | None:
    """The completion marker of a training on that package, None while there is none; with the `commit` it stands in."""
    for revision in (None, _tag(manifest)):
        info = hub.info(repository, revision)
        text = hub.read(repository, DONE, info.sha) if info is not None else None
        done: dict[str, Any] = json.loads(text or b"{}")
        if info is not None and done.get("manifest") == manifest:
            return {**done, "commit": info.sha}
    return None


def bring_home(hub: Hub, repository: Repository, build: BuildFolder, job: Mapping[str, Any]) -> bool:
    """Put a finished training where this machine's own would lie; False while it is not finished.

    Files are fetched beside it first and checked by hash, so that an interrupted fetch goes on and nothing half stands
    in its place. The markers, written last, hold this build's own digests: what follows trains nothing anew.

    Raises:
        UserError: a file did not arrive as it was made.
    """
    done = finished(hub, repository, job["manifest"])
    if done is None:
        return False
    arrived = build.root / "job" / RESULTS
    _fetch(hub, repository, done, arrived)
    logs = {JUDGE: build.trained, DIRECT: build.trained_direct}
    for part, folder in ((JUDGE, build.adapter), (DIRECT, build.direct)):
        if part not in job["inputs"]:
            continue
        marker = logs[part]
        if (before := marker.read()) and not marker.done(job["inputs"][part]):
            say(
                f"{folder.relative_to(build.root)} was trained on other data "
                f"(steps: {before.get('steps')}) and is replaced"
            )
        marker.remove()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(arrived / folder.name, folder)
        log = Marker(arrived / marker.path.relative_to(build.root)).read()
        marker.write(job["inputs"][part], log)
    shutil.rmtree(build.root / "job")
    return True


def _fetch(hub: Hub, repository: Repository, done: Mapping[str, Any], arrived: Path) -> None:
    """Every file of a finished training below `arrived`, as it was made."""
    from huggingface_hub import hf_hub_download

    name = repository.id(hub.namespace)
    for path, entry in done["files"].items():
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise UserError(
                f"{name} names {quoted(path)}", "Results must be inside their folder", "Look at it on the Hub"
            )
        local = arrived / path
        if not (local.is_file() and file_table(arrived, [local])[path] == entry):
            hub.call(
                f"{path} of {name}", "fetch", hf_hub_download, name, f"{RESULTS}/{path}", token=hub.api.token,
                revision=done["commit"], local_dir=arrived.parent,
            )  # fmt: skip
        if file_table(arrived, [local])[path] != entry:
            local.unlink()
            raise UserError(f"{path} of {name} is not what the job made", "Its hash differs", "Run the command again")
