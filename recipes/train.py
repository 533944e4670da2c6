"""Distil: train the recipe's judge by LoRA on its distillation data, and the direct baseline beside it.

    python -m recipes.train --recipe tiny                        # build/tiny/distill -> build/tiny/adapter, .../direct
    python -m recipes.train --config my/recipe.yaml --dry-run    # parameters, memory, tokens, steps; trains nothing
    accelerate launch --num_processes 2 -m recipes.train --recipe tiny
    python -m recipes.train --recipe minicpm-v-2.6 --jobs a100-large    # on a rented GPU (HF Jobs)
    python -m recipes.train --recipe minicpm-v-2.6 --jobs-fetch         # what it made, brought home

A finished training is not repeated; one that was interrupted goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from recipes.distillation.sft_data import (
    Sample,
    direct_samples,
    load_distillation,
    read_samples,
    select,
    select_direct,
    training_dataset,
)
from recipes.publish.release_record import versions
from recipes.recipe.bases import pinned
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import ROOT, Recipe, differing, load_recipe
from recipes.recipe.markers import Marker, file_table, fingerprint, read_json
from t2i_judge.errors import UserError
from t2i_judge.files import read_jsonl
from t2i_judge.prompts import DIRECT_STUDENT_HASH, student_hash
from t2i_judge.records import Judgement, write_atomic
from t2i_judge.running import command
from t2i_judge.runs.locks import held
from t2i_judge.terminal import Parser

if TYPE_CHECKING:
    from datasets import Dataset


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(prog="recipes.train", description="Distil a teacher into a judge by LoRA.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--recipe", default="tiny", help="a folder of recipes/, or FOLDER/VARIANT (%(default)s)")
    which.add_argument("--config", help="a recipe's YAML file")
    parser.add_argument("--direct", action="store_true", help="train the direct baseline only")
    parser.add_argument("--no-direct", action="store_true", help="train the judge only")
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be trained, and the memory and steps that it needs"
    )
    parser.add_argument("--jobs", metavar="FLAVOR", help="submit to HF Jobs on this hardware, such as a100-large")
    parser.add_argument("--timeout", default="12h", help="time limit of the job (default: %(default)s)")
    parser.add_argument("--jobs-fetch", action="store_true", help="download what the job made, once it has ended")
    parser.add_argument(
        "--namespace", default=os.environ.get("NAMESPACE"), help="user or organisation that pays for the job"
    )
    parser.add_argument("--push-to", metavar="REPO", help="inside a job: where checkpoints and results go")
    return parser.parse_args(argv)


@command("train", "Run the same command again: it continues from the last checkpoint.")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = parse(argv)
    recipe = load_recipe(arguments.config or arguments.recipe)
    if arguments.jobs:
        from recipes.training.jobs import submit

        return submit(recipe, arguments, all_inputs(recipe))
    if arguments.dry_run:
        from recipes.training.dry_run import report

        print(report(recipe))
        return 0
    with held(recipe.folder) if _first_process() else nullcontext():
        _train(recipe, arguments)
    return 0


def _train(recipe: Recipe, arguments: argparse.Namespace) -> None:
    """What the arguments ask for."""
    if arguments.jobs_fetch:
        bring_home(recipe)
    elif arguments.push_to:
        train_in_job(recipe, arguments.push_to)
    elif arguments.direct:
        train_direct(recipe, recipe.folder)
    else:
        train(without_direct(recipe) if arguments.no_direct else recipe)


def bring_home(recipe: Recipe) -> None:
    """Fetch what the recorded job made. Raises `UserError` where there is nothing to fetch, and says why."""
    from recipes.training.jobs import fetch

    fetch(recipe, all_inputs(recipe))


def awaits_job(recipe: Recipe) -> bool:
    """Whether a job was sent to train this, and its results are not here yet."""
    from recipes.training.jobs import awaited, home

    return awaited(BuildFolder(recipe.folder)) and not home(BuildFolder(recipe.folder), all_inputs(recipe))


def train_in_job(recipe: Recipe, push_to: str) -> None:
    """On the rented machine: check what arrived, go on from what was pushed, train, push; the marker last.

    Raises:
        UserError: something arrived other than it was sent, or the Hub refused.
    """
    from recipes.hub.repositories import Repository
    from recipes.training.job_package import MANIFEST, check_arrival, digest_of
    from recipes.training.job_results import JobResults
    from recipes.training.jobs import hub_of

    manifest, build = check_arrival(ROOT, recipe), BuildFolder(recipe.folder)
    recipe = pinned(recipe, recipe.folder)
    namespace, name = push_to.split("/", 1)
    results = JobResults(hub_of(namespace), Repository("job", "model", name), build, digest_of(ROOT / MANIFEST))
    results.begin(inputs_of(recipe, recipe.folder))
    train(recipe, push_to=push_to, finished=results.push)
    results.complete(list(manifest["inputs"]))


def train(
    recipe: Recipe,
    folder: Path | None = None,
    push_to: str | None = None,
    finished: Callable[[str], None] = lambda part: None,
) -> Path:
    """Train the judge into `folder`/adapter and, if the recipe says so, the direct baseline into `folder`/direct.

    Args:
        recipe: what to train.
        folder: with the build step's results; default `recipe.folder`.
        push_to: Hub repository for checkpoints.
        finished: called with "judge" and "direct" as each is trained.

    Returns:
        The judge's adapter folder. `folder`/training_log.json is written last and marks completion.
    """
    folder = folder or recipe.folder
    recipe, build = pinned(recipe, folder), BuildFolder(folder)
    trained = build.trained.done(inputs_of(recipe, folder))
    if recipe.evaluation.direct and not trained and _cores_to_share(recipe):
        with _second_process() as process:
            direct = process.submit(train_direct, recipe, folder, recipe.training.max_steps)
            _train_judge(recipe, folder, push_to)
            finished("judge")
            direct.result()
            finished("direct")
        return build.adapter
    _train_judge(recipe, folder, push_to)
    finished("judge")
    if recipe.evaluation.direct:
        train_direct(recipe, folder)
        finished("direct")
    return build.adapter


def _train_judge(recipe: Recipe, folder: Path, push_to: str | None) -> None:
    build, inputs = BuildFolder(folder), inputs_of(recipe, folder)
    if build.trained.done(inputs):
        return
    data = load_distillation(build.distill)
    rows = select(read_samples(_texts(data)), recipe)
    log = _fit(recipe, _rows(recipe, data, rows), build.adapter, inputs, push_to=push_to)
    _mark(build.trained, inputs, log | {"samples": sum(map(len, rows))})


def _cores_to_share(recipe: Recipe) -> bool:
    """Whether there is room to train the direct baseline beside the judge.

    Small models make no use of a second core; a GPU has no memory to spare. The number of steps, which is the judge's,
    must be known beforehand.
    """
    import torch

    alone = "WORLD_SIZE" in os.environ or torch.cuda.is_available() or torch.get_num_threads() < 2
    return not alone and recipe.training.max_steps > 0


@contextmanager
def _second_process() -> Iterator[ProcessPoolExecutor]:
    """A quiet process beside this one; each has half of the threads."""
    import torch

    threads = torch.get_num_threads()
    with ProcessPoolExecutor(1, get_context("spawn"), _quiet, (threads - threads // 2,)) as process:
        torch.set_num_threads(max(1, threads // 2))
        try:
            yield process
        except BaseException:
            for child in active_children():
                child.terminate()  # it goes on from its checkpoint next time
            raise
        finally:
            torch.set_num_threads(threads)


def _quiet(threads: int) -> None:
    """Say nothing, use so many threads, and end when the parent does, were it by kill -9."""
    import torch

    torch.set_num_threads(threads)
    parent: Any = parent_process()
    Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    nothing = os.open(os.devnull, os.O_WRONLY)  # one bar at a time; what goes wrong is raised
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)


def without_direct(recipe: Recipe) -> Recipe:
    """The recipe without its direct baseline."""
    return replace(recipe, evaluation=replace(recipe.evaluation, direct=False))


def train_direct(recipe: Recipe, folder: Path, steps: int | None = None) -> Path:
    """Train the direct baseline: "rate this image", same base, images, rank and number of steps as the judge.

    Its target is the level of the teacher's overall score. `steps` None: as many as the judge's log says. Raises
    `UserError` where the teacher scored nothing, or the judge should have been trained before.
    """
    recipe, build = pinned(recipe, folder), BuildFolder(folder)
    if not build.teacher.is_file():
        raise UserError(
            "There is no teacher.jsonl",
            "The direct baseline is trained on its scores",
            "Build the data, or use --no-direct",
        )
    inputs = inputs_of(recipe, folder, "direct")
    if build.trained_direct.done(inputs):
        return build.direct
    if steps is None:
        steps = read_json(build.trained.path, "recipes.train")["steps"]
    data = load_distillation(build.distill)
    judgements = {j.image_id: j for j in map(Judgement.from_json, read_jsonl(build.teacher))}
    samples = direct_samples(data["prompt"], judgements, data["id"])
    if not samples:
        raise UserError("The teacher scored no training image", "There is nothing to learn", "Build the data again")
    rows = select_direct(samples, recipe)
    log = _fit(recipe, _rows(recipe, data, rows), build.direct, inputs, steps)
    _mark(build.trained_direct, inputs, log)
    return build.direct


def _rows(recipe: Recipe, data: Dataset, rows: Sequence[Sequence[Sample]]) -> Dataset:
    """The trainer's rows; without packing their texts are checked, for nothing else keeps them from naming an image."""
    if recipe.packing == "none":
        from recipes.training.checks import check_texts
        from recipes.training.fine_tuning import load_processor

        texts = (text for row in rows for sample in row for text in (sample.question, sample.answer))
        check_texts(texts, load_processor(recipe))
    return training_dataset(data, rows, recipe.packing)


def _texts(data: Dataset) -> Dataset:
    return data.select_columns(["prompt", "samples"])


def _fit(
    recipe: Recipe, data: Dataset, folder: Path, inputs: str, max_steps: int | None = None, push_to: str | None = None
) -> dict[str, Any]:
    """`fine_tune` into `folder`; checkpoints of other inputs are thrown away first."""
    from recipes.training.fine_tuning import fine_tune

    marker = folder / "checkpoints" / "inputs.txt"
    if _first_process() and not (marker.is_file() and marker.read_text() == inputs):
        shutil.rmtree(folder, ignore_errors=True)
        write_atomic(marker, inputs)
    log = fine_tune(recipe, data, folder, max_steps, push_to)
    return log | {
        "hyperparameters": differing(recipe.training),
        "seeds": asdict(recipe.seeds),
        "template_hash": student_hash(recipe.personalised),
        "versions": versions(),
    }


def inputs_of(recipe: Recipe, folder: Path, what: str = "judge") -> str:
    """Digest of everything that a training depends on: recipe (`pinned`), data, base and templates."""
    build = BuildFolder(folder)
    files = file_table(build.distill, build.distill.glob("data/*.parquet"))
    if what == "direct":
        what += _labels(build)
    if base := recipe.base.folder:
        files |= {f"base/{path}": entry for path, entry in file_table(base, base.glob("*.*")).items()}
    sections = (recipe.base, recipe.adapter, recipe.quantization, recipe.packing, recipe.mixture, recipe.rebalance)
    templates = DIRECT_STUDENT_HASH if what.startswith("direct") else student_hash(recipe.personalised)
    return fingerprint(files, what, repr(sections), repr(recipe.training), repr(recipe.seeds), templates)


def _labels(build: BuildFolder) -> str:
    """What the direct baseline learns: the teacher's scores of the training images, and nothing of the others."""
    from pyarrow.parquet import read_table

    shards = sorted(build.distill.glob("data/*.parquet"))
    learnt = {name for shard in shards for name in read_table(shard, columns=["id"])["id"].to_pylist()}
    rows = [row for row in read_jsonl(build.teacher) if row["image_id"] in learnt]
    return json.dumps([[row["image_id"], sorted(row["scores"].items())] for row in rows])


def all_inputs(recipe: Recipe) -> dict[str, str]:
    """The digests of all that a recipe trains: "judge" and, where it has one, "direct"."""
    recipe, labelled = pinned(recipe, recipe.folder), BuildFolder(recipe.folder).teacher.is_file()
    parts = ("judge", "direct") if recipe.evaluation.direct and labelled else ("judge",)
    return {part: inputs_of(recipe, recipe.folder, part) for part in parts}


def _first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _mark(marker: Marker, inputs: str, log: dict[str, Any]) -> None:
    if _first_process():
        marker.write(inputs, log)


if __name__ == "__main__":
    raise SystemExit(main())
