"""A recipe's teacher: where it answers, its questions about every prompt, its judgement of every image.

Every reply is in calls.sqlite before it is used, so a run that was stopped in any way goes on without asking again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from recipes.distillation.spending import spent
from recipes.loopback.http import started
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.items import CONTENT, Item, content_of, to_jsonl, write_items
from recipes.recipe.sections import Teacher
from t2i_judge.errors import UserError
from t2i_judge.files import write_atomic
from t2i_judge.records import Judgement, Question, Status, Usage, count_statuses, failed
from t2i_judge.terminal import note, say
from t2i_judge.wording import counted

if TYPE_CHECKING:
    from t2i_judge.judges.teacher import OpenAIJudge
    from t2i_judge.served.asking import Outcome

_TRIAL = 8  # first so many prompts, and images, decide whether the teacher is of any use
_MOST_LOST = 0.05  # share of calls that may stay without a reply; with more, the build is not done


def labelled(
    recipe: Recipe, build: BuildFolder, items: Sequence[Item], progress: bool
) -> tuple[dict[str, Judgement], Usage]:
    """The teacher's judgements by item id, and what they took in all, this run and earlier ones."""
    with _teacher(recipe, build) as teacher:
        if recipe.teacher.batch:
            _ask_in_batches(teacher, items, build)
        questions = _decompose(teacher, items, build, progress)
        judgements = _judge(teacher, items, questions, build, progress)
    took = sum((outcome.usage for outcome in questions.values()), Usage())
    return judgements, sum((judgement.usage for judgement in judgements.values()), took)


def keep_published(build: BuildFolder, items: Sequence[Item], judgements: Mapping[str, Judgement]) -> None:
    """Leave items and judgements of data that is labelled already as if a teacher had been asked."""
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
    write_items(build.root, items)
    write_atomic(build.decompositions, to_jsonl(rows.values()))
    _write_teacher(build, items, judgements)


@contextmanager
def teacher_address(teacher: Teacher, build: BuildFolder) -> Iterator[str | None]:
    """Where the teacher answers, None for OpenAI; a recipe's own server runs only as long as it is needed."""
    if teacher.server is None:
        yield teacher.base_url
    else:
        with started(teacher.server, [str(build.root.resolve())]) as url:
            yield url


def paid_options(teacher: Teacher, build: BuildFolder) -> dict[str, Any]:
    """Options of every client that is asked for money in a build: one ledger, one cap, and what of it is gone."""
    options = {key: getattr(teacher, key) for key in ("concurrency", "max_cost", "max_image_side", "api_key_env")}
    return {**options, "cache": build.calls, "spent": spent(build)}


@contextmanager
def _teacher(recipe: Recipe, build: BuildFolder) -> Iterator[OpenAIJudge]:
    """The teacher behind its endpoint."""
    from t2i_judge.judges.teacher import OpenAIJudge
    from t2i_judge.served.client import OpenAIBackend

    options = recipe.teacher
    with teacher_address(options, build) as base_url:
        backend = OpenAIBackend(
            options.model,
            base_url,
            parameters={"temperature": options.temperature, **options.parameters},
            max_tokens=options.max_tokens,
            server=options.server,
            **paid_options(options, build),
        )
        try:
            backend.check()
            yield OpenAIJudge(backend, "teacher", options.protocol, personalised=recipe.personalised)
        finally:
            for line in backend.notes:
                note(f"The teacher's server: {line}")
            backend.close()


def _ask_in_batches(teacher: OpenAIJudge, items: Sequence[Item], build: BuildFolder) -> None:
    """Have everything answered at half the price; the steps that follow find the replies where they look for them."""
    from t2i_judge.served.batch import BatchQueue

    def work() -> None:
        teacher.score(
            [build.root / item.image for item in items],
            [item.prompt for item in items],
            [build.root / item.reference_image if item.reference_image else None for item in items],
        )

    BatchQueue(teacher.backend, build.batches, tell=say).complete(work)


def _decompose(
    teacher: OpenAIJudge, items: Sequence[Item], build: BuildFolder, progress: bool
) -> dict[str, Outcome[list[Question]]]:
    """Prompt -> its questions, asked once per distinct prompt; written to decompositions.jsonl."""
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
    write_atomic(build.decompositions, to_jsonl(rows))
    return dict(zip(prompts, outcomes))


def _judge(
    teacher: OpenAIJudge,
    items: Sequence[Item],
    questions: Mapping[str, Outcome[list[Question]]],
    build: BuildFolder,
    progress: bool,
) -> dict[str, Judgement]:
    """Item id -> the teacher's judgement; written to teacher.jsonl. A prompt without questions fails its items."""
    judgements = {
        item.id: failed(item.id, item.prompt, teacher.info, outcome.status, f"decomposition: {outcome.reason}")
        for item in items
        if (outcome := questions[item.prompt]).value is None
    }

    def ask(some: Sequence[Item]) -> list[Judgement]:
        return teacher.score(
            [build.root / item.image for item in some],
            [item.prompt for item in some],
            [build.root / item.reference_image if item.reference_image else None for item in some],
            image_ids=[item.id for item in some],
            questions=[questions[item.prompt].value for item in some],
            progress=progress and len(some) > _TRIAL,
        )

    asked = [item for item in items if item.id not in judgements]
    judgements |= {judgement.image_id: judgement for judgement in _after_trial(ask, asked, "judged")}
    _write_teacher(build, items, judgements)
    return judgements


def _write_teacher(build: BuildFolder, items: Sequence[Item], judgements: Mapping[str, Judgement]) -> None:
    lines = ({**judgements[item.id].to_json(), CONTENT: content_of(build.root, item)} for item in items)
    write_atomic(build.teacher, to_jsonl(lines))


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
            f"Not one of the first {len(trial)} was {done} ({counts})",
            f"The first reason is: {trial[0].reason}",
            f"Use another teacher model or server. {again}",
        )
    results = trial + ask(work[_TRIAL:])
    require_arrived(results)
    return results


def require_arrived(results: Sequence[Any], whose: str = "") -> None:
    """Raise `UserError` where more calls than a few were lost, of the judge that is named, if any: so little says
    nothing of a teacher or a judge."""
    lost = [result for result in results if result.status is Status.TRANSPORT]
    if len(lost) > _MOST_LOST * len(results):
        calls = f"{counted(len(results), 'call')}{whose and f' of {whose}'}"
        again = "Run the command again: replies that arrived are kept"
        raise UserError(f"{len(lost)} of {calls} failed in transport", str(lost[0].reason), again)
