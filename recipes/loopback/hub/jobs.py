"""HF Jobs on loopback: a job's own command really runs, as a process of this machine.

What a container would give it is imitated: its volumes are laid out as folders (and their mount paths in the command
point there), its secrets and environment are set, `HF_ENDPOINT` is this Hub. No image is pulled: `uv` does nothing, and
wheels that lie in a volume stand on the path as if it had installed them.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.loopback.hub.repo import Host, Repo, now

LIVE = ("SCHEDULING", "RUNNING")


@dataclass
class Job:
    """One job: what was asked for, how it stands, and where its process writes.

    Attributes:
        id, namespace, spec: as the API has them.
        folder: with `log`, and the volumes in `mounts`.
        stage, message: of its status.
        process: while it runs.
    """

    id: str
    namespace: str
    spec: dict[str, Any]
    folder: Path
    stage: str = "SCHEDULING"
    message: str | None = None
    created: str = field(default_factory=now)
    process: subprocess.Popen[bytes] | None = None

    def to_json(self) -> dict[str, Any]:
        """The document of GET /api/jobs/NAMESPACE/ID; secrets by name only."""
        return {
            "id": self.id, "createdAt": self.created, "owner": {"id": "1", "name": self.namespace, "type": "user"},
            "status": {"stage": self.stage, "message": self.message}, "dockerImage": self.spec.get("dockerImage"),
            "command": self.spec.get("command"), "arguments": [], "environment": self.spec.get("environment"),
            "secrets": dict.fromkeys(self.spec.get("secrets") or {}, ""), "flavor": self.spec.get("flavor"),
            "labels": self.spec.get("labels"), "volumes": self.spec.get("volumes"),
        }  # fmt: skip

    def log(self) -> str:
        """What its process has written so far."""
        path = self.folder / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def kill(self) -> None:
        """End its process and all that it started."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)


class Jobs:
    """The jobs of a loopback Hub whose repositories lie in `host.root`."""

    def __init__(self, host: Host, endpoint: str) -> None:
        self.host, self.endpoint = host, endpoint
        self.jobs: list[Job] = []

    def start(self, namespace: str, spec: dict[str, Any]) -> Job:
        """Begin a job in a thread of its own."""
        number = len(self.jobs) + 1
        job = Job(f"job-{number}", namespace, spec, self.host.root / ".jobs" / f"{os.getpid()}-{number}")
        self.jobs.append(job)
        threading.Thread(target=self._run, args=(job,), daemon=True).start()
        return job

    def find(self, namespace: str, identity: str) -> Job | None:
        """The job of that id."""
        return next((job for job in self.jobs if (job.namespace, job.id) == (namespace, identity)), None)

    def cancel(self, job: Job) -> None:
        """Stop a job."""
        if job.stage in LIVE:
            job.stage, job.message = "CANCELED", None
            job.kill()

    def stop(self) -> None:
        """End every process."""
        for job in self.jobs:
            job.kill()

    def _run(self, job: Job) -> None:
        try:
            command, environment = self._container(job)
            with (job.folder / "log").open("wb") as log:
                if job.stage == "CANCELED":
                    return
                job.process = subprocess.Popen(
                    command, cwd=job.folder, env=environment, stdout=log, stderr=log, start_new_session=True
                )
                job.stage = "RUNNING"
                code = job.process.wait(job.spec.get("timeoutSeconds"))
            stage, message = ("ERROR", f"exit code {code}") if code else ("COMPLETED", None)
        except subprocess.TimeoutExpired:
            job.kill()
            stage, message = "ERROR", "Job timeout"
        except Exception as error:
            stage, message = "ERROR", f"{type(error).__name__}: {error}"
        if job.stage != "CANCELED":
            job.stage, job.message = stage, message

    def _container(self, job: Job) -> tuple[list[str], dict[str, str]]:
        """The job's command and environment, its volumes laid out."""
        places = {volume["mountPath"]: self._mount(job, volume) for volume in job.spec.get("volumes") or ()}
        site, tools, temporary = (job.folder / name for name in ("site", "tools", "tmp"))
        for folder in (site, tools, temporary):
            folder.mkdir(parents=True, exist_ok=True)
        for wheel in (path for place in places.values() for path in place.rglob("*.whl")):
            zipfile.ZipFile(wheel).extractall(site)
        (tools / "uv").write_text("#!/bin/sh\n")
        (tools / "uv").chmod(0o755)
        given = {**(job.spec.get("environment") or {}), **(job.spec.get("secrets") or {})}
        environment = {
            "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(site),
            "HOME": str(job.folder), "TMPDIR": str(temporary), "HF_ENDPOINT": self.endpoint, "LANG": "C.UTF-8",
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = [*job.spec["command"], *(job.spec.get("arguments") or ())]
        for mounted, place in places.items():
            path = re.compile(rf"(?<![\w./-]){re.escape(mounted)}(?![\w-])")  # no part of another path or name
            command = [path.sub(place.as_posix(), word) for word in command]
        return command, {**environment, **given}

    def _mount(self, job: Job, volume: dict[str, Any]) -> Path:
        """A folder with a repository's files at the revision that the volume names."""
        repository = Repo(self.host, volume["type"], volume["source"])
        revision = repository.resolve(volume.get("revision") or "main")
        place = job.folder / "mounts" / volume["mountPath"].strip("/").replace("/", "-")
        for entry in repository.entries(revision, recursive=True):
            if entry["type"] == "file":
                path = place / entry["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(repository.read(entry))
        return place


def wait(job: Job, seconds: float = 600.0) -> str:
    """The stage in which a job ended. Raises `TimeoutError`."""
    end = time.monotonic() + seconds
    while job.stage in LIVE:
        if time.monotonic() > end:
            raise TimeoutError(f"{job.id} is still {job.stage}")
        time.sleep(0.1)
    return job.stage
