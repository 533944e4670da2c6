"""Train a recipe on rented hardware: `python -m recipes.train --recipe minicpm-v-2.6 --jobs a100-large` (HF Jobs).

Code and data travel as one private dataset repository of the jobs' own (`job_package`), mounted read-only at the very
commit that was sent. The job has a time limit, pushes its checkpoints to a private model repository while it runs, and
what it made at the end (`job_results`). The token travels as a secret and is printed nowhere.

build/RECIPE/JOB.json remembers the job. Sending it again neither uploads nor pays twice.
"""

from __future__ import annotations

import argparse
import glob
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.hub.client import Hub, explain, failures
from recipes.hub.repositories import Repository
from recipes.recipe.bases import pinned
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import JOBS, ROOT, Recipe
from recipes.recipe.markers import Marker
from recipes.recipe.training_inputs import all_inputs, all_known_inputs, inputs_of
from recipes.training.job_package import MANIFEST, check_arrival, digest_of, pack
from recipes.training.job_results import DIRECT, JUDGE, STARTED, JobResults, bring_home, finished, require_own
from recipes.training.trainings import train
from t2i_judge.errors import UserError, nearest, quoted
from t2i_judge.files import write_atomic
from t2i_judge.terminal import say

IMAGE = "ghcr.io/astral-sh/uv:python3.12-bookworm"  # HF Jobs' own default for Python
MOUNT = "/package"
LIVE = ("SCHEDULING", "RUNNING", "PENDING", "UPDATING")


@dataclass(frozen=True)
class Job:
    """A resolved job: what HF Jobs is asked to run.

    Attributes:
        recipe: its name.
        flavor, timeout, namespace: hardware, time limit, and who pays.
        package: dataset repository with code and data.
        results: model repository that checkpoints and results are pushed to.
    """

    recipe: str
    flavor: str
    timeout: str
    namespace: str
    package: Repository
    results: Repository

    @property
    def command(self) -> list[str]:
        """What runs in `IMAGE`."""
        return ["bash", "-c", script(self.results.id(self.namespace))]

    def labels(self, manifest: str) -> dict[str, str]:
        """How the job is found again: by the package that it trains on."""
        return {"project": "t2i-judge", "recipe": self.recipe, "package": manifest[:16]}

    def describe(self) -> dict[str, Any]:
        """The job as plain JSON types, for `--dry-run`; the token appears by name only."""
        return {
            "image": IMAGE,
            "flavor": self.flavor,
            "timeout": self.timeout,
            "namespace": self.namespace,
            "command": self.command,
            "volumes": {MOUNT: f"datasets/{self.package.id(self.namespace)}"},
            "secrets": ["HF_TOKEN"],
            "results": self.results.id(self.namespace),
        }


def resolve_job(recipe: Recipe, arguments: argparse.Namespace) -> Job:
    """The job that the command line asks for.

    Raises:
        UserError: unknown hardware, no namespace, or a base outside the checkout.
    """
    from huggingface_hub import JobHardware

    base = Path(recipe.base.model)
    if base.is_absolute() or ".." in base.parts:
        raise UserError(
            f"A job cannot read {base}",
            "Only the checkout is sent to it",
            "Put the base into the checkout, or on the Hub",
        )
    if not arguments.namespace:
        raise UserError(
            "The job has no namespace", "A user or organisation must pay for it", "Give --namespace, or set NAMESPACE"
        )
    known = [hardware.value for hardware in JobHardware]
    if arguments.jobs not in known:
        raise UserError(
            f"There is no hardware {quoted(arguments.jobs)}", nearest(arguments.jobs, known), "See `hf jobs hardware`"
        )
    name = f"{JOBS}{recipe.name}"
    return Job(
        recipe.name,
        arguments.jobs,
        arguments.timeout,
        arguments.namespace,
        Repository("job", "dataset", name),
        Repository("job", "model", name),
    )


def script(results: str) -> str:
    """What the job runs: the package copied to a folder of its own, the wheel installed, one command."""
    return "\n".join(
        [
            "set -euo pipefail",
            'cd "$(mktemp -d)"',
            f"cp -r {MOUNT}/. .",
            'uv pip install --system --constraint constraints.txt "t2i-judge[train] @ file://$(ls "$PWD"/*.whl)"',
            f"exec python -m recipes.train --config recipe.yaml --push-to {results}",
        ]
    )


def submit(recipe: Recipe, arguments: argparse.Namespace) -> int:
    """Send code and data, unless they are there, and start the job; `--dry-run` prints the resolved job only.

    Args:
        recipe: that was built.
        arguments: of `recipes.train`.

    Raises:
        UserError: no token, no data, a repository that others can read, or the Hub refused.
    """
    job = resolve_job(recipe, arguments)
    if arguments.dry_run:
        say(json.dumps(job.describe(), indent=2))
        return 0
    hub = hub_of(job.namespace)
    hub.account()
    inputs = all_inputs(pinned(recipe, recipe.folder))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        manifest = pack(folder, recipe, arguments.config or arguments.recipe, inputs)
        for repository, mark in ((job.package, MANIFEST), (job.results, STARTED)):
            require_private(hub, repository)
            require_own(hub, repository, mark)
        commit = _upload(hub, job.package, folder, manifest)
    record = {
        "namespace": job.namespace,
        "flavor": job.flavor,
        "results": job.results.name,
        "manifest": manifest,
        "inputs": inputs,
    }
    path = BuildFolder(recipe.folder).job
    fetch = f"python -m recipes.train --recipe {arguments.config or arguments.recipe} --jobs-fetch"
    if finished(hub, job.results, manifest):
        write_atomic(path, json.dumps(record | {"id": None, "url": None}, indent=1) + "\n")
        say(f"This training is already finished. Download it with: {fetch}")
        return 0
    started, words = _start(hub, job, manifest, commit)
    write_atomic(path, json.dumps(record | {"id": started.id, "url": started.url}, indent=1) + "\n")
    say(f"Job {started.id} on {job.flavor}{words}: {started.url}\nWhen it is done, run: {fetch}")
    return 0


def train_in_job(recipe: Recipe, push_to: str) -> None:
    """On the rented machine: check what arrived, go on from what was pushed, train, push; the marker last.

    Raises:
        UserError: something arrived other than it was sent, or the Hub refused.
    """
    manifest, build = check_arrival(ROOT, recipe), BuildFolder(recipe.folder)
    recipe = pinned(recipe, recipe.folder)
    namespace, name = push_to.split("/", 1)
    results = JobResults(hub_of(namespace), Repository("job", "model", name), build, digest_of(ROOT / MANIFEST))
    results.begin(inputs_of(recipe, build))
    train(recipe, push_to=push_to, finished=results.push)
    results.complete(list(manifest["inputs"]))


def hub_of(namespace: str) -> Hub:
    """The Hub with this run's token. Raises `UserError` where there is none."""
    from huggingface_hub import get_token

    if (token := get_token()) is None:
        raise UserError(
            "The job has no token", "The Hub must know who starts it", "Set HF_TOKEN or run `hf auth login`"
        )
    return Hub(namespace, token)


def require_private(hub: Hub, repository: Repository) -> None:
    """Make a private repository; raises `UserError` for one that is there and public, before anything is sent."""
    name = repository.id(hub.namespace)
    if hub.info(repository) is None:
        hub.call(name, "create", hub.api.create_repo, name, repo_type=repository.kind, private=True, exist_ok=True)
    info = hub.info(repository)
    if info is not None and not info.private:
        raise UserError(
            f"{repository.url(hub.namespace)} is public", "A job's data and results are private", "Make it private"
        )


def _upload(hub: Hub, repository: Repository, folder: Path, manifest: str) -> str:
    """The commit that holds the package, made unless it stands there already; files of an older one are deleted."""
    name = repository.id(hub.namespace)
    there = hub.info(repository)
    old = hub.read(repository, MANIFEST, there.sha) if there is not None else None
    if there is not None and old is not None and hashlib.sha256(old).hexdigest() == manifest:
        say(f"{repository.url(hub.namespace)}: up to date")
        return str(there.sha)
    before = json.loads(old)["files"] if old is not None else ()
    sent = hub.call(
        name, "send", hub.api.upload_folder, repo_id=name, repo_type=repository.kind, folder_path=folder,
        delete_patterns=[glob.escape(path) for path in before] or None, commit_message=f"Package {manifest[:16]}",
    )  # fmt: skip
    say(f"{repository.url(hub.namespace)}: sent, {len(list(folder.rglob('*')))} files and folders")
    return str(sent.oid)


def _start(hub: Hub, job: Job, manifest: str, commit: str) -> tuple[Any, str]:
    """The job on this package, and a word about it; one that is under way is not started again."""
    from huggingface_hub import Volume

    labels, api = job.labels(manifest), hub.api
    jobs = hub.call(job.namespace, "list the jobs of", lambda: list(api.list_jobs(namespace=job.namespace)))
    for other in jobs:
        theirs = other.labels or {}
        if other.status.stage not in LIVE or any(theirs.get(key) != labels[key] for key in ("project", "recipe")):
            continue
        if theirs.get("package") == labels["package"]:
            return other, " is already running, and no second job was started"
        raise UserError(
            f"Job {other.id} trains {job.recipe} on another package",
            f"Both would push to {job.results.id(job.namespace)}",
            f"Wait for it, or end it: hf jobs cancel {other.id} --namespace {job.namespace}",
        )
    source = job.package.id(job.namespace)
    try:  # once: whoever runs this again looks first whether it did start
        started = api.run_job(
            image=IMAGE,
            command=job.command,
            secrets={"HF_TOKEN": api.token},
            flavor=job.flavor,
            timeout=job.timeout,
            name=f"t2i-judge-{job.recipe}",
            labels=labels,
            volumes=[Volume(type="dataset", source=source, revision=commit, mount_path=MOUNT, read_only=True)],
            namespace=job.namespace,
        )
    except failures() as error:
        raise explain(error, f"{job.flavor} for {job.namespace}", "rent") from error
    return started, ""


def fetch(recipe: Recipe) -> None:
    """Bring the recorded job's training home; nothing happens where it is home already.

    Args:
        recipe: whose job was sent, `pinned`.

    Raises:
        UserError: no job was sent, it trained other data than stands here now, it has not ended, or it failed.
    """
    build, inputs = BuildFolder(recipe.folder), all_known_inputs(recipe)
    job = recorded(build)
    if job is None:
        raise UserError(
            f"There is no job of {recipe.name}", "There is nothing to download", "Start one with --jobs FLAVOR"
        )
    if home(build, inputs):
        write_atomic(build.job, json.dumps({**job, "home": True}, indent=1) + "\n")
        say(f"{recipe.name}: already trained, nothing to download")
        return
    sent = job["inputs"]
    if sent.keys() != inputs.keys() or any(sent[part] not in known for part, known in inputs.items()):
        raise UserError(
            f"The job {job['id']} was trained on other data or with another recipe than build/{recipe.name} has now",
            "Its judge would not belong to this build, so nothing here was changed",
            f"Start it again with --jobs, or train here; to forget it, remove {build.job.name} there",
        )
    hub = hub_of(job["namespace"])
    if bring_home(hub, Repository("job", "model", job["results"]), build, job):
        write_atomic(build.job, json.dumps({**job, "home": True}, indent=1) + "\n")
        say(f"{recipe.name}: adapter, logs and baseline are downloaded, and every hash is as the job wrote it")
        return
    raise _unfinished(hub, job)


def recorded(build: BuildFolder) -> dict[str, Any] | None:
    """The job that was sent for a build, None where there is none."""
    return Marker(build.job).read() or None


def awaited(build: BuildFolder) -> bool:
    """Whether a job was sent whose results were not fetched yet."""
    job = recorded(build)
    return job is not None and not job.get("home")


def home(build: BuildFolder, inputs: Mapping[str, Sequence[str]]) -> bool:
    """Whether everything is trained that these inputs name, each by the digests that mean it."""
    markers = {JUDGE: build.trained, DIRECT: build.trained_direct}
    return all(markers[part].done(*known) for part, known in inputs.items())


def _unfinished(hub: Hub, job: Mapping[str, Any]) -> UserError:
    """One line for a job without results: how it stands, and where its log is read."""
    log = f"for its log: hf jobs logs {job['id']} --namespace {job['namespace']}"
    if job["id"] is None:
        return UserError(
            "The job's results are gone from the Hub", "Somebody deleted them", "Start the job again with --jobs"
        )
    state = hub.call(
        f"job {job['id']}", "look at", hub.api.inspect_job, job_id=job["id"], namespace=job["namespace"]
    ).status
    if state.stage in LIVE:
        return UserError(
            f"Job {job['id']} is {state.stage}", "Its results are not there yet", f"Run the command again later; {log}"
        )
    why = f"{state.message or 'No message'}; {log}"
    again = "Start it again with --jobs (it continues from its last checkpoint), or train here"
    return UserError(f"Job {job['id']} ended as {state.stage}, unfinished", why, again)
