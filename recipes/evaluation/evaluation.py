"""Lets every judge judge the held-out images, and measures each against the latent quality and people.

Judges: the distilled one, the undistilled `base`, the `direct` baseline, the `teacher`, and those that the recipe names
(`evaluation.judges`, by their first run); people stand beside them as `annotator`. Existing judgements are not made
again. The base cannot decompose a prompt by itself, so it gets the teacher's questions, which can only flatter it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

from recipes.distillation.spending import teacher_usage
from recipes.evaluation import methods
from recipes.evaluation.judging import (
    FAILED,
    ByImage,
    asked_with,
    files_of,
    further_judges,
    held_out,
    judge_items,
    names_of,
)
from recipes.evaluation.learning import take_brought
from recipes.evaluation.own_judges import (
    BASE,
    DIRECT,
    OwnJudge,
    judge_settings,
    own_judges,
    write_direct_card,
    write_judge_cards,
)
from recipes.evaluation.referee import BATTERY, examined
from recipes.evaluation.results import annotator_rows, compare, judge_rows, read_ratings, subtask_scores
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.items import TRAIN, Item, judged_of, read_items, require_unchanged, to_jsonl
from recipes.recipe.markers import file_table, fingerprint
from recipes.recipe.people import write_people
from recipes.recipe.second_process import cores_to_share, second_process
from t2i_judge.files import read_jsonl, write_atomic
from t2i_judge.judges.base import Judge
from t2i_judge.judges.names import HF, JudgeName
from t2i_judge.local.weights import find_weights
from t2i_judge.prompts import DIRECT_STUDENT_HASH
from t2i_judge.records import OVERALL, PERSONALISED_ASPECTS, Judgement, Status, Usage
from t2i_judge.terminal import say

TEACHER = "teacher"
_WORTH_A_PROCESS = 200  # images; a second process takes seconds to start
_FIGURES = Path(__file__).parent


def evaluate(
    recipe: Recipe, folder: Path | None = None, progress: bool = True, retry_failed: bool = False
) -> dict[str, Any]:
    """Judge, measure and write results.json, unless it exists for these weights and data. Returns it.

    Args:
        recipe: what was built and trained, `pinned`.
        folder: with the results of the steps before; default `recipe.folder`.
        progress: show bars.
        retry_failed: measure again where one of `evaluation.judges` failed, and ask it about that.

    Raises:
        UserError: the result of an earlier step is missing, or too many calls of a judge were lost.
    """
    build = BuildFolder(folder or recipe.folder)
    every = read_items(build.root)
    items = held_out(recipe, every)
    require_unchanged(build.root, items)
    if (people := write_people(recipe, build, every)) is not None:
        say(str(people))
    take_brought(recipe, build)
    judges = own_judges(recipe, build)
    inputs = inputs_of(recipe, build, judges)
    done = build.results.done(inputs) and not (retry_failed and _failed(recipe, build))
    # A training made again writes its folder anew, without the cards, though its weights may be the same to the bit.
    if not (done and build.judge_card.is_file() and (DIRECT not in judges or build.direct_card.is_file())):
        write_judge_cards(recipe, build, judges, [item for item in every if item.split == TRAIN])
    if done:
        return build.results.read()
    build.results.remove()  # judgements that are asked for again leave their file first
    start = time.perf_counter()
    teacher = judged_of(build.teacher, build.root, items)
    _ask_at_once(build, judges, items, teacher, progress)
    judgements, selftests = _ask(build, judges, items, teacher, progress)
    runs = {name: [judged] for name, judged in judgements.items()} | further_judges(
        recipe, build, items, progress, retry_failed
    )
    _forget_others(build, {*map(build.judgements_of, judgements), *files_of(recipe, build)})
    ratings = read_ratings(build, teacher, recipe.release.simulated)
    options = recipe.evaluation.resamples, recipe.seeds.evaluation
    rows = [row for name, (first, *_) in runs.items() for row in judge_rows(name, first, items, ratings, *options)]
    own, *others = judges.values()
    pairs = [compare(own.name, other.name, judgements, items, ratings, *options) for other in others]
    explained = _explained(own, build, items, teacher, progress)
    results = {
        "rows": rows + annotator_rows(items, ratings, *options),
        "comparisons": [row for compared in pairs for row in compared],
        "subtasks": subtask_scores(
            list(judgements[own.name].values()), list(explained.values()), teacher, not recipe.quoted_summaries
        ),
        "selftest": selftests.pop(own.name),
        "selftests_beside": selftests,
        "notes": ["The base answers the teacher's questions: it cannot decompose a prompt itself"],
        "usage": usage(build, runs),
        "seconds": round(time.perf_counter() - start, 1),
    }
    results["goals"] = goals(recipe, rows)
    if recipe.personalised:
        results["methods"] = methods.report(items, runs, ratings, *options)
    build.results.write(inputs, results)
    return build.results.read()


def ask_beforehand(recipe: Recipe, folder: Path | None = None) -> None:
    """Ask the judges beside the distilled one, while that one is still trained; `evaluate` reads what they said back.

    Args:
        recipe: `pinned`; its data are built, and its direct baseline, if it has one, is trained.
        folder: with the results of the steps before; default `recipe.folder`.
    """
    build = BuildFolder(folder or recipe.folder)
    items = held_out(recipe, read_items(build.root))
    require_unchanged(build.root, items)
    judges = own_judges(recipe, build)
    others = {name: judge for name, judge in judges.items() if name != recipe.judge_name}
    if DIRECT in others:
        write_direct_card(recipe, build, others[DIRECT])
    _ask(build, others, items, judged_of(build.teacher, build.root, items), progress=False)


def _ask_at_once(
    build: BuildFolder,
    judges: Mapping[str, OwnJudge],
    items: Sequence[Item],
    teacher: Mapping[str, Judgement],
    progress: bool,
) -> None:
    """Ask the judge here, and in a second process all that needs no judgement of it: the other judges, the sub-tasks.

    All is kept, and read back afterwards.
    """
    if len(items) < _WORTH_A_PROCESS or not cores_to_share():
        return
    own, *others = judges.values()
    with second_process() as process:
        beside: list[Future[Any]] = [
            process.submit(_ask, build, {other.name: other for other in others}, items, teacher, progress=False),
            process.submit(_explained, own, build, items, teacher, progress=False),
        ]
        _ask(build, {own.name: own}, items, teacher, progress)
        for part in beside:
            part.result()


def _failed(recipe: Recipe, build: BuildFolder) -> bool:
    """Whether one of `evaluation.judges` failed at an item in a way that may end otherwise."""
    rows = (row for path in files_of(recipe, build) if path.is_file() for row in read_jsonl(path))
    return any(Status(row["status"]) in FAILED for row in rows)


def _forget_others(build: BuildFolder, named: Collection[Path]) -> None:
    """Remove judgements of judges that the recipe no longer names: they may be of other images under the same ids."""
    for path in build.judgements.glob("*.jsonl"):
        if path not in named:
            path.unlink()


def inputs_of(recipe: Recipe, build: BuildFolder, judges: Mapping[str, OwnJudge]) -> str:
    """Digest of everything the results of a `pinned` recipe depend on. Raises `UserError` where there is no adapter."""
    weights = [judge.revision for judge in judges.values() if judge.name != BASE]
    known = (build.items, build.teacher, build.latent, build.humans, build.ratings)
    data = [path for path in known if path.is_file()]
    options = repr((recipe.judge_name, recipe.mode, recipe.base, recipe.evaluation, recipe.seeds.evaluation))
    options += repr((recipe.release.simulated, recipe.release.decline_out_of_domain, judge_settings(recipe)))
    options += "".join(repr(beside) for judge in recipe.evaluation.judges if (beside := _beside(recipe, judge)))
    if (names := names_of(recipe)) and list(names) != list(names.values()):  # results used to tell addresses
        options += repr(names)
    options += fingerprint(file_table(BATTERY, BATTERY.glob("*.py")))
    options += fingerprint(file_table(_FIGURES, [_FIGURES / "results.py", _FIGURES / "methods.py"]))
    return fingerprint(file_table(build.root, data), *weights, options, recipe.student_hash, DIRECT_STUDENT_HASH)


def _beside(recipe: Recipe, judge: str) -> dict[str, Any]:
    """What decides about a further judge's judgements, and does not stand in `recipe.evaluation`."""
    name = JudgeName.parse(judge)
    options = {k: v for k, v in asked_with(recipe, name).items() if k in ("max_image_side", "server")}
    if name.kind == HF and name.model and Path(name.model).is_dir():
        options["weights"] = find_weights(name.model).revision
    return options


def _ask(
    build: BuildFolder,
    judges: Mapping[str, OwnJudge],
    items: Sequence[Item],
    teacher: Mapping[str, Judgement],
    progress: bool,
) -> tuple[dict[str, ByImage], dict[str, dict[str, Any]]]:
    """Judgements and selftests by judge, read back where they have been made before; the teacher's judgements, too.

    A judge is loaded once for both, and only if something of either is not known.
    """
    asked = {item.id: teacher[item.id].questions for item in items}
    judged, selftests = {}, {}
    for name, judge in judges.items():
        path, opened = build.judgements_of(name), cache(judge.open)
        questions = asked if name == BASE else None
        judged[name] = judge_items(opened, path, build.root, items, judge.settings, questions, progress=progress)
        selftests[name] = _attacked(judge, opened, build, items, judged[name], progress)
        del opened
        _let_go()
    labels = [teacher[item.id] for item in items]
    write_atomic(build.judgements_of(TEACHER), to_jsonl(judgement.to_json() for judgement in labels))
    return {**judged, TEACHER: {judgement.image_id: judgement for judgement in labels}}, selftests


def _let_go() -> None:
    """Give the memory of a judge back before the next is loaded: its model hangs in cycles."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _explained(
    judge: OwnJudge, build: BuildFolder, items: Sequence[Item], teacher: Mapping[str, Judgement], progress: bool
) -> ByImage:
    """What the judge says of each sub-task, asked the teacher's questions, on as many images per split as wanted."""
    splits = dict.fromkeys(item.split for item in items)
    most = judge.recipe.evaluation.subtask_images
    sound = [item for item in items if teacher[item.id].status is Status.OK]
    chosen = [item for split in splits for item in [i for i in sound if i.split == split][:most]]
    asked = {item.id: teacher[item.id].questions for item in chosen}
    # reading levels is one of the sub-tasks, whatever the recipe's mode
    opening, path = partial(judge.open, mode="expected"), build.explained
    return judge_items(opening, path, build.root, chosen, judge.settings, asked, explain=True, progress=progress)


def _attacked(
    judge: OwnJudge,
    opening: Callable[[], Judge],
    build: BuildFolder,
    items: Sequence[Item],
    own: ByImage,
    progress: bool,
) -> dict[str, Any]:
    """The selftest of one of the judges, which `opening` gives where its selftest is not known."""
    path, most, seed = build.selftest_of(judge.name), judge.recipe.evaluation.selftest_items, judge.recipe.seeds
    return examined(opening, path, build.root, items, own, judge.settings, most, seed.evaluation, progress)


def usage(build: BuildFolder, runs: Mapping[str, Sequence[ByImage]]) -> dict[str, dict[str, Any]]:
    """Judge -> calls, tokens and money (US dollars) of those that are asked for money, over all runs.

    The teacher's are all that the build took of it: decompositions, and images that are not held out, included.
    """
    took = {TEACHER: sum(teacher_usage(build), Usage())}
    for name in runs.keys() - took.keys():
        took[name] = sum((judgement.usage for run in runs[name] for judgement in run.values()), Usage())
    figures = ("calls", "input_tokens", "output_tokens", "money")
    return {name: {key: getattr(one, key) for key in figures} for name, one in sorted(took.items()) if one.calls}


def goals(recipe: Recipe, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each promised Spearman with the one that was reached."""
    promised = asdict(recipe.evaluation.goals)
    promising = PERSONALISED_ASPECTS if recipe.personalised else (OVERALL,)
    reached = {}
    for row in reversed(rows):
        if row["judge"] == recipe.judge_name and row["aspect"] in promising:
            reached[row["split"], row["aspect"]] = row["spearman"]
    return [
        {"split": split, "aspect": aspect, "goal": goal, "reached": figure, "met": (figure or 0) >= goal}
        for (split, aspect), figure in reversed(reached.items())
        if (goal := promised.get(split)) is not None
    ]
