"""Step 1 of a release: images, the teacher's questions and judgements, distillation data.

    python -m recipes.build_dataset --recipe tiny

Writes build/RECIPE/: items.jsonl, decompositions.jsonl, teacher.jsonl, distill/ and, last, BUILT.json. Every reply of
the teacher is in calls.sqlite before it is used, so a run that was stopped in any way goes on without asking again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.distillation.spending import spent
from recipes.distillation.teacher import teacher_address
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe, load_recipe
from recipes.recipe.items import CONTENT, TRAIN, Item, content_of, read_items, to_jsonl, write_items
from recipes.recipe.people import people_of, require_people
from recipes.recipe.sections import ScenesData, T2IEvalData, TableData, Teacher
from t2i_judge.errors import UserError
from t2i_judge.prompts import STAGED_HASH, TEACHER_HASH, student_hash
from t2i_judge.records import Judgement, Question, Status, Usage, count_statuses, write_atomic
from t2i_judge.running import command
from t2i_judge.runs.locks import held
from t2i_judge.terminal import Parser, note, step

if TYPE_CHECKING:
    from recipes.distillation.table_source import Table
    from t2i_judge.judges.teacher import OpenAIJudge
    from t2i_judge.served.asking import Outcome

_TRIAL = 8  # first so many prompts, and images, decide whether the teacher is of any use
_MOST_LOST = 0.05  # share of calls that may stay without a reply; with more, the build is not done
_SPARE_BYTES = 50_000_000  # that must be free to begin with


def build(recipe: Recipe, progress: bool = True, retry_failed: bool = False) -> Path:
    """Build a recipe's data unless that is done; returns its folder.

    Args:
        recipe: what to build.
        progress: show bars.
        retry_failed: of a build that is done, ask again what has failed; what was answered comes from the ledger.

    Raises:
        UserError: the source, the endpoint or the teacher's replies are of no use; what was paid for is kept.
    """
    people_of(recipe)  # what is wrong with people's ratings is said before anything is paid for
    folder, source = BuildFolder(recipe.folder), _source(recipe)
    inputs, failed = inputs_of(recipe, source), folder.built.read().get("failed") or {}
    if folder.built.done(inputs) and not (retry_failed and failed):
        require_people(recipe, read_items(folder.root))
        return folder.root
    folder.root.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder.root).free < _SPARE_BYTES:
        raise OSError(errno.ENOSPC, "less than 50 MB free", str(folder.root))
    folder.built.remove()
    if isinstance(recipe.data, T2IEvalData):
        items, judgements, took = _published(recipe.data, folder)
    else:
        items, judgements, took = _labelled(recipe, folder, source, progress)
    counts = _write_distillation(recipe, folder, items, judgements)
    folder.built.write(inputs, {**counts, "spent": asdict(took)})
    if retry_failed:
        step(f"  failed before: {failed or 'none'}; now: {counts['failed'] or 'none'}")
    return folder.root


def is_built(recipe: Recipe) -> bool:
    """Whether `build` has nothing to do. Raises `UserError` where the source cannot be read."""
    return BuildFolder(recipe.folder).built.done(inputs_of(recipe, _source(recipe)))


def _labelled(
    recipe: Recipe, folder: BuildFolder, source: Table | None, progress: bool
) -> tuple[list[Item], dict[str, Judgement], Usage]:
    """Items, the teacher's judgements of them, and what those took in all, this run and earlier ones."""
    items = _items(recipe, folder, source)
    require_people(recipe, items)
    with _teacher(recipe, folder) as teacher:
        if recipe.teacher.batch:
            _ask_in_batches(teacher, items, folder)
        questions = _decompose(teacher, items, folder, progress)
        judgements = _judge(teacher, items, questions, folder, progress)
    took = sum((outcome.usage for outcome in questions.values()), Usage())
    return items, judgements, sum((judgement.usage for judgement in judgements.values()), took)


def _published(data: T2IEvalData, folder: BuildFolder) -> tuple[list[Item], dict[str, Judgement], Usage]:
    """Items and judgements of data that is labelled already; no teacher is asked."""
    from recipes.distillation.t2i_eval import read_labels

    items, judgements = read_labels(folder.root, data)
    rows = {
        judgement.prompt: {
            "prompt": judgement.prompt,
            "questions": [asdict(question) for question in judgement.questions],
            "teacher": asdict(judgement.judge),
            "status": judgement.status.value,
            "reason": judgement.reason,
        }
        for judgement in judgements.values()
    }
    write_items(folder.root, items)
    write_atomic(folder.decompositions, to_jsonl(rows.values()))
    _write_teacher(folder, items, judgements)
    return items, judgements, Usage()


def _source(recipe: Recipe) -> Table | None:
    """The recipe's table, with the hash of every image; None for other sources."""
    from recipes.distillation.table_source import read_table

    return read_table(recipe.data) if isinstance(recipe.data, TableData) else None


def inputs_of(recipe: Recipe, source: Table | None) -> str:
    """Digest of all that this step's result depends on: data and images, teacher, seed, templates, code."""
    inputs = {
        "origin": _origin(recipe, source),
        "teacher": _labelling(recipe.teacher),
        "templates": [TEACHER_HASH, STAGED_HASH, student_hash(recipe.personalised)],
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _labelling(teacher: Teacher) -> dict[str, Any]:
    """What of a teacher decides about its labels; what is left out does not change the digest of older builds."""
    from t2i_judge.judges.teacher import MAX_TOKENS

    settings = {
        k: v for k, v in asdict(teacher).items() if k not in ("concurrency", "max_cost", "batch", "api_key_env")
    }
    later = {name: settings.pop(name) for name in ("parameters", "max_image_side")}
    settings["max_tokens"] = teacher.max_tokens or MAX_TOKENS
    return {**settings, **{name: value for name, value in later.items() if value}}


def _code_of(recipe: Recipe) -> str:
    """Digest of the code that renders scenes and judges them; of none where the images are the user's own."""
    files = sorted((Path(__file__).parent / "scenes").glob("*.py")) if isinstance(recipe.data, ScenesData) else []
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _items(recipe: Recipe, folder: BuildFolder, source: Table | None) -> list[Item]:
    """The recipe's images; written again only when what they come from has changed."""
    made_from = _origin(recipe, source)
    if folder.drawn.done(made_from):
        return read_items(folder.root)
    left_out = 0
    if isinstance(recipe.data, ScenesData):
        from recipes.scenes.pictures import write_scenes

        write_scenes(folder.root, recipe.data, recipe.seeds.data, recipe.personalised)
        if recipe.teacher.server:  # free to ask, and its rules may have changed with the code: no old answers
            folder.calls.unlink(missing_ok=True)
    elif isinstance(recipe.data, TableData) and source:
        from recipes.distillation.table_source import table_items

        items = table_items(source, recipe.data, folder.root)
        left_out = len(source.rows) - len(items)
        if left_out:
            print(f"{source.path.name}: left out {left_out} of {len(source.rows)} rows with a broken image")
        write_items(folder.root, items)
    folder.drawn.write(made_from, {"left_out": left_out})
    return read_items(folder.root)


def _origin(recipe: Recipe, source: Table | None) -> str:
    """Digest of all that decides about a recipe's images and prompts: for one's own, their bytes too."""
    inputs: list[Any] = [asdict(recipe.data), recipe.personalised, recipe.seeds.data, _code_of(recipe)]
    if source:
        inputs.append(source.digest)
    if isinstance(recipe.data, T2IEvalData):
        from recipes.distillation.t2i_eval import labels_digest

        inputs.append(labels_digest(recipe.data))
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


@contextmanager
def _teacher(recipe: Recipe, folder: BuildFolder) -> Iterator[OpenAIJudge]:
    """The teacher behind its endpoint."""
    from t2i_judge.judges.teacher import OpenAIJudge
    from t2i_judge.served.client import OpenAIBackend

    options = recipe.teacher
    with teacher_address(recipe, folder.root) as base_url:
        backend = OpenAIBackend(
            options.model,
            base_url,
            cache=folder.calls,
            concurrency=options.concurrency,
            max_cost=options.max_cost,
            spent=spent(folder),
            parameters={"temperature": options.temperature, **options.parameters},
            max_tokens=options.max_tokens,
            max_image_side=options.max_image_side,
            api_key_env=options.api_key_env,
            server=options.server,
        )
        try:
            backend.check()
            yield OpenAIJudge(backend, "teacher", options.protocol, personalised=recipe.personalised)
        finally:
            for line in backend.notes:
                note(f"The teacher's server: {line}")
            backend.close()


def _ask_in_batches(teacher: OpenAIJudge, items: Sequence[Item], folder: BuildFolder) -> None:
    """Have everything answered at half the price; the steps that follow find the replies where they look for them."""
    from t2i_judge.served.batch import BatchQueue

    def work() -> None:
        teacher.score(
            [folder.root / item.image for item in items],
            [item.prompt for item in items],
            [folder.root / item.reference_image if item.reference_image else None for item in items],
        )

    BatchQueue(teacher.backend, folder.batches, tell=print).complete(work)


def _decompose(
    teacher: OpenAIJudge, items: Sequence[Item], folder: BuildFolder, progress: bool
) -> dict[str, Outcome[list[Question]]]:
    """Prompt -> its questions, asked once a distinct prompt; written to decompositions.jsonl."""
    prompts = list(dict.fromkeys(item.prompt for item in items))

    def ask(some: Sequence[str]) -> list[Outcome[list[Question]]]:
        return teacher.decompositions(some, progress=progress and len(some) > _TRIAL)

    outcomes = _after_trial(ask, prompts, "decomposed")
    info = asdict(teacher.info)
    rows = [
        {
            "prompt": prompt,
            "questions": [asdict(question) for question in outcome.value or []],
            "teacher": {**info, "revision": outcome.model or info["revision"]},
            "status": outcome.status.value,
            "reason": outcome.reason,
            "usage": asdict(outcome.usage),
        }
        for prompt, outcome in zip(prompts, outcomes)
    ]
    write_atomic(folder.decompositions, to_jsonl(rows))
    return dict(zip(prompts, outcomes))


def _judge(
    teacher: OpenAIJudge,
    items: Sequence[Item],
    questions: Mapping[str, Outcome[list[Question]]],
    folder: BuildFolder,
    progress: bool,
) -> dict[str, Judgement]:
    """Item id -> the teacher's judgement; written to teacher.jsonl. A prompt without questions fails its items."""
    from t2i_judge.records import failed

    judgements = {
        item.id: failed(item.id, item.prompt, teacher.info, outcome.status, f"decomposition: {outcome.reason}")
        for item in items
        if (outcome := questions[item.prompt]).value is None
    }

    def ask(some: Sequence[Item]) -> list[Judgement]:
        return teacher.score(
            [folder.root / item.image for item in some],
            [item.prompt for item in some],
            [folder.root / item.reference_image if item.reference_image else None for item in some],
            image_ids=[item.id for item in some],
            questions=[questions[item.prompt].value for item in some],
            progress=progress and len(some) > _TRIAL,
        )

    asked = [item for item in items if item.id not in judgements]
    judgements |= {judgement.image_id: judgement for judgement in _after_trial(ask, asked, "judged")}
    _write_teacher(folder, items, judgements)
    return judgements


def _write_teacher(folder: BuildFolder, items: Sequence[Item], judgements: Mapping[str, Judgement]) -> None:
    lines = ({**judgements[item.id].to_json(), CONTENT: content_of(folder.root, item)} for item in items)
    write_atomic(folder.teacher, to_jsonl(lines))


def _after_trial(ask: Callable[[Sequence[Any]], list[Any]], work: Sequence[Any], done: str) -> list[Any]:
    """`ask` for all of `work`, but first for a few: a teacher that gets none of those right is not paid for the rest.

    Raises:
        UserError: every one of the first few failed, or the server went away in between.
    """
    trial = ask(work[:_TRIAL])
    again = "Run the command again: replies that arrived are kept"
    if trial and all(result.status is not Status.OK for result in trial):
        counts = ", ".join(f"{n} {status}" for status, n in count_statuses(r.status for r in trial).items())
        raise UserError(
            f"None of the first {len(trial)} were {done} ({counts})",
            f"The first reason is: {trial[0].reason}",
            f"Use another teacher model or server. {again}",
        )
    results = trial + ask(work[_TRIAL:])
    lost = [result for result in results if result.status is Status.TRANSPORT]
    if len(lost) > _MOST_LOST * len(results):
        raise UserError(f"{len(lost)} of {len(results)} calls failed in transport", str(lost[0].reason), again)
    return results


def _write_distillation(
    recipe: Recipe, folder: BuildFolder, items: Sequence[Item], judgements: Mapping[str, Judgement]
) -> dict[str, Any]:
    """Parquet of the training split, in place of an older one; returns the counts for the marker."""
    from recipes.distillation.distillation import distillation_rows, write_distillation

    rows = distillation_rows(folder.root, [item for item in items if item.split == TRAIN], judgements)
    if not rows:
        raise UserError("No training image was judged", "There is nothing to learn from", f"See {folder.teacher}")
    shutil.rmtree(folder.distill, ignore_errors=True)
    write_distillation(folder.distill, rows, f"Distillation data of the recipe {recipe.name}")
    return {
        "items": len(items),
        "left_out": folder.drawn.read().get("left_out", 0),
        "prompts": len({item.prompt for item in items}),
        "failed": count_statuses(judgement.status for judgement in judgements.values()),
        "distillation_rows": len(rows),
        "samples": sum(len(row["samples"]) for row in rows),
    }


@command("build_dataset")
def main(argv: Sequence[str] | None = None) -> int:
    """Build one recipe's data; returns the exit code."""
    parser = Parser(prog="recipes.build_dataset", description="Build a recipe's data.")
    parser.add_argument("--recipe", default="tiny", help="a folder of recipes/, or a YAML file")
    parser.add_argument("--protocol", choices=("structured", "staged"), help="instead of the recipe's data folder")
    parser.add_argument(
        "--retry-failed", action="store_true", help="ask the teacher again about items that it refused or failed"
    )
    arguments = parser.parse_args(argv)
    recipe = load_recipe(arguments.recipe)
    if arguments.protocol:
        from dataclasses import replace

        recipe = replace(recipe, teacher=replace(recipe.teacher, protocol=arguments.protocol))
    with held(recipe.folder):
        record = BuildFolder(build(recipe, retry_failed=arguments.retry_failed)).built.read()
    print(f"built {recipe.name}: {_summary(record)}")
    return 0


def _summary(record: Mapping[str, Any]) -> str:
    """What BUILT.json says, in a line."""
    failed = ", ".join(f"{number} {status}" for status, number in record["failed"].items()) or "none"
    left_out = f", {record['left_out']} left out" if record["left_out"] else ""
    money = "" if record["spent"]["money"] is None else f", ${record['spent']['money']:.2f}"
    return (
        f"{record['items']} images of {record['prompts']} prompts{left_out}, failed: {failed}; "
        f"{record['samples']} samples to learn from; {record['spent']['calls']} calls{money}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
