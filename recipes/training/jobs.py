"""Train a recipe on rented hardware: `python -m recipes.train --recipe minicpm-v-2.6 --jobs a100-large` (HF Jobs).

The code travels as the library's wheel with this folder beside it, in a private dataset repository; the data is the
recipe's distillation dataset; both are mounted read-only. The job has a time limit, pushes its checkpoints to a private
model repository while it runs, and the adapter at the end. The token travels as a secret and is printed nowhere.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from recipes.hub.repositories import repositories
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import RECIPES, ROOT, Recipe, recipe_path, resolve
from recipes.recipe.typed_yaml import read_yaml
from t2i_judge.errors import UserError, nearest

if TYPE_CHECKING:
    from huggingface_hub import HfApi

IMAGE = "ghcr.io/astral-sh/uv:python3.12-bookworm"  # HF Jobs' own default for Python
CODE, DATA, WORK = "/code", "/data", "/work"
_NOT_CODE = shutil.ignore_patterns("__pycache__", "*.pyc")


@dataclass(frozen=True)
class Job:
    """A resolved job: what HF Jobs is asked to run.

    Attributes:
        flavor, timeout, namespace: hardware, time limit, and who pays.
        command: what runs in `IMAGE`.
        code, data: dataset repositories mounted at /code and /data.
        checkpoints: model repository that checkpoints and adapter are pushed to.
        labels: how the job is found again.
    """

    flavor: str
    timeout: str
    namespace: str
    command: tuple[str, ...]
    code: str
    data: str
    checkpoints: str
    labels: dict[str, str]

    def describe(self) -> dict[str, Any]:
        """The job as plain JSON types, for `--dry-run`; the token appears by name only."""
        volumes = {CODE: f"datasets/{self.code}", DATA: f"datasets/{self.data}"}
        return {
            "image": IMAGE,
            "flavor": self.flavor,
            "timeout": self.timeout,
            "namespace": self.namespace,
            "command": list(self.command),
            "volumes": volumes,
            "secrets": ["HF_TOKEN"],
            "checkpoints": self.checkpoints,
            "labels": self.labels,
        }


def resolve_job(recipe: Recipe, arguments: argparse.Namespace) -> Job:
    """The job that the command line asks for.

    Raises:
        UserError: unknown hardware, no namespace, or a base outside the checkout.
    """
    from huggingface_hub import JobHardware

    base = Path(recipe.base.model)
    if base.is_absolute() or ".." in base.parts:
        raise UserError(f"a job cannot read {base}", "only the checkout travels", "put the base there, or on the Hub")
    if not arguments.namespace:
        raise UserError("a job without a namespace", "somebody has to pay for it", "give --namespace, or set NAMESPACE")
    known = [hardware.value for hardware in JobHardware]
    if arguments.jobs not in known:
        raise UserError(f"no hardware {arguments.jobs!r}", nearest(arguments.jobs, known), "see `hf jobs hardware`")
    checkpoints = arguments.push_to or f"{arguments.namespace}/t2i-judge-{recipe.name}-checkpoints"
    return Job(
        flavor=arguments.jobs,
        timeout=arguments.timeout,
        namespace=arguments.namespace,
        command=("bash", "-c", script(recipe, checkpoints)),
        code=f"{arguments.namespace}/t2i-judge-job-{recipe.name}",
        data=arguments.data or repositories(recipe).distill.id(arguments.namespace),
        checkpoints=checkpoints,
        labels={"project": "t2i-judge", "recipe": recipe.name},
    )


def script(recipe: Recipe, checkpoints: str) -> str:
    """What the job runs: install the wheel, lay the data where the recipe expects it, train, push."""
    build = f"build/{recipe.name}"
    return "\n".join(
        [
            "set -euo pipefail",
            f"cp -r {CODE} {WORK} && cd {WORK}",
            f'uv pip install --system "t2i-judge[train] @ file://$(ls {WORK}/*.whl)"',
            f"mkdir -p {build} && ln -s {DATA} {build}/distill",
            f"[ ! -f teacher.jsonl ] || cp teacher.jsonl {build}/",
            f"python -m recipes.train --config recipe.yaml --push-to {checkpoints}"
            " $([ -f teacher.jsonl ] || echo --no-direct)",
        ]
    )


def submit(recipe: Recipe, arguments: argparse.Namespace) -> int:
    """Upload code and, where it is not there yet, data, and start the job; `--dry-run` prints the resolved job only.

    Raises:
        UserError: no token, no data, or the Hub refused.
    """
    job = resolve_job(recipe, arguments)
    if arguments.dry_run:
        print(json.dumps(job.describe(), indent=2))
        return 0
    from huggingface_hub import HfApi, Volume, get_token
    from huggingface_hub.errors import HfHubHTTPError

    if (token := get_token()) is None:
        raise UserError("a job without a token", "the Hub must know who asks", "set HF_TOKEN or run `hf auth login`")
    api = HfApi(token=token)
    try:
        upload_code(api, recipe, job, arguments.config or arguments.recipe)
        upload_data(api, recipe, job)
        started = api.run_job(
            image=IMAGE,
            command=list(job.command),
            secrets={"HF_TOKEN": token},
            flavor=job.flavor,
            timeout=job.timeout,
            name=f"t2i-judge-{recipe.name}",
            labels=job.labels,
            volumes=[
                Volume(type="dataset", source=job.code, mount_path=CODE, read_only=True),
                Volume(type="dataset", source=job.data, mount_path=DATA, read_only=True),
            ],
            namespace=job.namespace,
        )
    except HfHubHTTPError as error:
        why = str(error).strip().splitlines()[0]
        raise UserError("the Hub refused the job", why, "check token, namespace and credit") from error
    print(f"job {started.id} on {job.flavor}: {started.url}")
    print(f"then: hf download {job.checkpoints} --local-dir build/{recipe.name}/adapter")
    return 0


def upload_code(api: HfApi, recipe: Recipe, job: Job, name: str) -> None:
    """Wheel, recipes, the recipe with all it extends, its base if that is a folder, and the teacher's judgements."""
    api.create_repo(job.code, repo_type="dataset", private=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build_wheel(folder)
        shutil.copytree(RECIPES, folder / "recipes", ignore=_NOT_CODE)
        if (base := resolve(recipe.base.model)).is_dir():
            shutil.copytree(base, folder / recipe.base.model)
        (folder / "recipe.yaml").write_text(yaml.safe_dump(read_yaml(recipe_path(name)), sort_keys=False))
        if (labels := BuildFolder(recipe.folder).teacher).is_file():
            shutil.copyfile(labels, folder / labels.name)
        api.upload_folder(
            repo_id=job.code,
            repo_type="dataset",
            folder_path=folder,
            delete_patterns=["*.whl", "recipes/**"],
            commit_message=f"Code for training {recipe.name}",
        )


def build_wheel(folder: Path) -> Path:
    """The library's wheel, built into `folder`. Raises `UserError` where it cannot be built."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if run.returncode or not wheels:
        why = (run.stderr.strip() or "no wheel came out").splitlines()[-1]
        raise UserError("the wheel cannot be built", why, "run `make setup` in a checkout")
    return wheels[0]


def upload_data(api: HfApi, recipe: Recipe, job: Job) -> None:
    """The distillation data as a private dataset, unless it is on the Hub. Raises `UserError` where there is none."""
    if api.repo_exists(job.data, repo_type="dataset"):
        return
    folder = BuildFolder(recipe.folder).distill
    if not folder.is_dir():
        raise UserError(
            f"no data for the job: {job.data} is not on the Hub", "", "build the data first, or give --data"
        )
    api.create_repo(job.data, repo_type="dataset", private=True)
    api.upload_folder(repo_id=job.data, repo_type="dataset", folder_path=folder, commit_message="Distillation data")
