"""Step 3 of a release: judge the held-out images, and measure every judge against the latent quality and people.

    python -m recipes.evaluate_judge --recipe tiny

Judges: the distilled one, the undistilled `base`, the `direct` baseline, the `teacher`, and those that the recipe names
(`evaluation.judges`, by their first run); people stand beside them as `annotator`. Writes build/RECIPE/judgements/
JUDGE.jsonl, adapter/judge.json and, last, results.json. Judgements that are there are not made again.

The base cannot decompose a prompt by itself, and says so by status; its row is given the teacher's questions, which
can only flatter it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from model_card.rendering import interval, number
from recipes.distillation.spending import teacher_usage
from recipes.evaluation import methods
from recipes.evaluation.judging import ByImage, further_judges, held_out, judge_items, judge_settings
from recipes.evaluation.referee import BATTERY, examined
from recipes.evaluation.results import annotator_rows, compare, judge_rows, read_ratings, subtask_scores
from recipes.recipe.bases import pinned
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe, load_recipe
from recipes.recipe.items import TRAIN, Item, judged_of, read_items, require_unchanged, to_jsonl
from recipes.recipe.markers import file_table, fingerprint
from recipes.recipe.people import write_people
from t2i_judge.judges.base import Judge
from t2i_judge.judges.loading import load_judge
from t2i_judge.judges.names import JudgeName
from t2i_judge.local.weights import digest
from t2i_judge.prompts import DIRECT_STUDENT_HASH, student_hash
from t2i_judge.records import OVERALL, PERSONALISED_ASPECTS, Judgement, Status, Usage, write_atomic
from t2i_judge.running import command
from t2i_judge.runs.locks import held
from t2i_judge.terminal import Parser

BASE, DIRECT, TEACHER = "base", "direct", "teacher"
_DOMAIN_IMAGES = 2000


def evaluate(recipe: Recipe, folder: Path | None = None, progress: bool = True) -> dict[str, Any]:
    """Judge, measure and write results.json, unless that is done for these very weights and data; returns it.

    Args:
        recipe: what was built and trained.
        folder: with the results of the steps before; default `recipe.folder`.
        progress: show bars.

    Raises:
        UserError: a step before left nothing.
    """
    folder = folder or recipe.folder
    recipe = pinned(recipe, folder)
    build, items = BuildFolder(folder), held_out(recipe, folder)
    require_unchanged(folder, items)
    if (people := write_people(recipe, folder)) is not None:
        print(people)
    inputs = inputs_of(recipe, folder)
    if build.results.done(inputs):
        return build.results.read()
    start = time.perf_counter()
    teacher = judged_of(build.teacher, folder, items)
    write_judge_cards(recipe, folder)
    judgements = judge_all(recipe, folder, items, teacher, progress)
    runs = {name: [judged] for name, judged in judgements.items()} | further_judges(recipe, folder, items, progress)
    _forget_others(build, runs)
    ratings = read_ratings(folder, teacher, recipe.release.simulated)
    options = recipe.evaluation.resamples, recipe.seeds.evaluation
    rows = [row for name, (first, *_) in runs.items() for row in judge_rows(name, first, items, ratings, *options)]
    others = [name for name in (BASE, DIRECT) if name in judgements]
    pairs = [compare(recipe.judge_name, other, judgements, items, ratings, *options) for other in others]
    results = {
        "rows": rows + annotator_rows(items, ratings, *options),
        "comparisons": [row for compared in pairs for row in compared],
        "subtasks": _subtasks(recipe, folder, items, judgements[recipe.judge_name], teacher, progress),
        "selftest": _attacked(recipe, folder, recipe.judge_name, items, judgements, progress),
        "selftests_beside": {name: _attacked(recipe, folder, name, items, judgements, progress) for name in others},
        "notes": ["The base answers the teacher's questions: it cannot decompose a prompt itself"],
        "usage": usage(build, runs),
        "seconds": round(time.perf_counter() - start, 1),
    }
    results["goals"] = goals(recipe, rows)
    if recipe.personalised:
        results["methods"] = methods.report(items, runs, ratings, *options)
    build.results.write(inputs, results)
    return build.results.read()


def _forget_others(build: BuildFolder, runs: Mapping[str, Sequence[ByImage]]) -> None:
    """Remove judgements of judges that the recipe no longer names: they may be of other images under the same ids."""
    judges = {judgement.judge.name for many in runs.values() for run in many for judgement in run.values()}
    named = {build.judgements_of(judge) for judge in judges}
    for path in build.judgements.glob("*.jsonl"):
        if path not in named:
            path.unlink()


def inputs_of(recipe: Recipe, folder: Path) -> str:
    """Digest of everything the results of a `pinned` recipe depend on. Raises `UserError` where there is no adapter."""
    build = BuildFolder(folder)
    weights = [digest(path) for path in (build.adapter, *((build.direct,) if recipe.evaluation.direct else ()))]
    known = (build.items, build.teacher, build.latent, build.humans, build.ratings)
    data = [path for path in known if path.is_file()]
    options = repr((recipe.judge_name, recipe.mode, recipe.base, recipe.evaluation, recipe.seeds.evaluation))
    options += repr(judge_settings(recipe))
    battery = file_table(BATTERY, BATTERY.glob("*.py"))
    options += fingerprint(battery)
    return fingerprint(
        file_table(folder, data), *weights, options, student_hash(recipe.personalised), DIRECT_STUDENT_HASH
    )


def judge_all(
    recipe: Recipe, folder: Path, items: Sequence[Item], teacher: Mapping[str, Judgement], progress: bool
) -> dict[str, ByImage]:
    """Judgements of every judge by name and image id, read back where they have been made before."""
    asked = {item.id: teacher[item.id].questions for item in items}
    judged = {}
    for name in (recipe.judge_name, BASE, *((DIRECT,) if recipe.evaluation.direct else ())):
        path, settings = BuildFolder(folder).judgements_of(name), settings_of(recipe, folder, name)
        opening, questions = partial(open_judge, recipe, folder, name), asked if name == BASE else None
        judged[name] = judge_items(opening, path, folder, items, settings, questions, progress=progress)
        _let_go()
    labels = [teacher[item.id] for item in items]
    write_atomic(BuildFolder(folder).judgements_of(TEACHER), to_jsonl(judgement.to_json() for judgement in labels))
    return {**judged, TEACHER: {judgement.image_id: judgement for judgement in labels}}


def _let_go() -> None:
    """Give the memory of a judge back before the next is loaded: its model hangs in cycles."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def open_judge(recipe: Recipe, folder: Path, name: str, mode: str | None = None) -> Judge:
    """The distilled judge, the base or the direct baseline of a build folder, under its short name.

    `mode` None is the recipe's, for the base too: like is compared with like.
    """
    mode = mode or recipe.mode
    if name == BASE:
        revision = f"@{recipe.base.revision}" if recipe.base.folder is None else ""
        parsed = JudgeName.parse(f"hf:{recipe.base.source}{revision}").called(name)
        return load_judge(parsed, mode=mode, settings=judge_settings(recipe))
    if name == DIRECT:
        return load_judge(JudgeName.parse(f"direct+hf:{BuildFolder(folder).direct}").called(name))
    return load_judge(JudgeName.parse(f"hf:{BuildFolder(folder).adapter}").called(name), mode=mode)


def settings_of(recipe: Recipe, folder: Path, name: str) -> str:
    """Whatever decides about a judge's judgements besides what it is shown; no model is loaded to know it."""
    build = BuildFolder(folder)
    weights = {BASE: recipe.base.folder, DIRECT: build.direct}.get(name, build.adapter)
    made_of = digest(weights) if weights else ""
    templates = DIRECT_STUDENT_HASH if name == DIRECT else student_hash(recipe.personalised)
    return repr((name, recipe.mode, recipe.base, judge_settings(recipe), made_of, templates))


def _subtasks(
    recipe: Recipe, folder: Path, items: Sequence[Item], own: ByImage, teacher: ByImage, progress: bool
) -> dict[str, Any]:
    """Held-out scores of each sub-task, on as many images per split as the recipe says."""
    splits = dict.fromkeys(item.split for item in items)
    most = recipe.evaluation.subtask_images
    sound = [item for item in items if teacher[item.id].status is Status.OK]
    chosen = [item for split in splits for item in [i for i in sound if i.split == split][:most]]
    asked = {item.id: teacher[item.id].questions for item in chosen}
    # reading levels is one of the sub-tasks, whatever the recipe's mode
    opening = partial(open_judge, recipe, folder, recipe.judge_name, mode="expected")
    path, settings = BuildFolder(folder).explained, settings_of(recipe, folder, recipe.judge_name)
    explained = judge_items(opening, path, folder, chosen, settings, asked, explain=True, progress=progress)
    return subtask_scores(list(own.values()), list(explained.values()), teacher)


def _attacked(
    recipe: Recipe, folder: Path, name: str, items: Sequence[Item], judged: Mapping[str, ByImage], progress: bool
) -> dict[str, Any]:
    """The selftest of one of the judges; it is loaded anew where the selftest is not known."""
    made = examined(
        partial(open_judge, recipe, folder, name),
        BuildFolder(folder).selftest_of(name),
        folder,
        items,
        judged[name],
        settings_of(recipe, folder, name),
        recipe.evaluation.selftest_items,
        recipe.seeds.evaluation,
        progress,
    )
    _let_go()
    return made


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
    """Each promised Spearman beside the one that was reached."""
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


def write_judge_cards(recipe: Recipe, folder: Path) -> None:
    """judge.json of the judge and of the direct baseline: protocol, templates, base, precision, revision, domain."""
    build, base = BuildFolder(folder), recipe.base
    common = {
        "base": {"model": base.hub_id or base.model, "revision": base.revision},
        **judge_settings(recipe),
        "simulated": recipe.release.simulated,
        **({"personalised": True} if recipe.personalised else {}),
    }
    card: dict[str, Any] = {
        "name": recipe.judge_name,
        "protocol": "one_forward",
        "mode": recipe.mode,
        "template_hash": student_hash(recipe.personalised),
        "revision": digest(build.adapter),
        **common,
    }
    if recipe.release.decline_out_of_domain:
        card["domain"] = _domain(folder)
    write_atomic(build.judge_card, json.dumps(card, indent=1) + "\n")
    if recipe.evaluation.direct:
        own = {
            "name": DIRECT,
            "protocol": DIRECT,
            "template_hash": DIRECT_STUDENT_HASH,
            "revision": digest(build.direct),
        }
        write_atomic(build.direct_card, json.dumps(own | common, indent=1) + "\n")


def _domain(folder: Path) -> dict[str, Any]:
    from t2i_judge.inputs.domain import fit
    from t2i_judge.inputs.images import load_image

    items = [item for item in read_items(folder) if item.split == TRAIN]
    return fit([load_image(folder / item.image) for item in items[:_DOMAIN_IMAGES]], [item.prompt for item in items])


@command("evaluate_judge")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 1 when a promised figure was missed."""
    from recipes.evaluation.summary import results_text

    parser = Parser(prog="recipes.evaluate_judge", description="Measure judges on held-out images.")
    parser.add_argument("--recipe", default="tiny", help="a folder of recipes/, or a YAML file")
    arguments = parser.parse_args(argv)
    recipe = load_recipe(arguments.recipe)
    with held(recipe.folder):
        results = evaluate(recipe)
    print(results_text(results), end="\n\n")
    for row in results["comparisons"]:
        where = f"{row['split']}, {row.get('aspect', OVERALL)}"
        print(f"{row['a']} - {row['b']}, {where}: {number(row['difference'])} {interval(row['ci'])}")
    for name, figure in results["subtasks"].items():
        print(f"{name}: {number(figure)}")
    for goal in results["goals"]:
        missed = "" if goal["met"] else " MISSED"
        print(f"goal {goal['split']}, {goal['aspect']}: {goal['reached']} of {goal['goal']}{missed}")
    return 0 if all(goal["met"] for goal in results["goals"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
