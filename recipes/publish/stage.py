"""build/RECIPE -> build/release[-RECIPE]: every Hub repository of a release, complete, as it will be pushed.

The stage is assembled beside its place and then moved there, so an existing stage is complete. It is kept as long as
nothing that it was made from has changed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from dataset_card.card import DatasetCard
from model_card.card import ModelCard
from recipes.benchmarks.benchmark import write_benchmark
from recipes.distillation.parquet import card_metadata
from recipes.evaluation.results import headline_aspects
from recipes.hub.repositories import Repositories, repositories, stage_folder
from recipes.publish.gate import allowed_for, not_met
from recipes.publish.manifest import MANIFEST, beside, changed, is_stage, read_manifest, write_manifest
from recipes.publish.release_record import commit, release_record
from recipes.publish.stage_spaces import demo_requirements, stage_demo, stage_metric
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import ROOT, Recipe
from recipes.recipe.items import TRAIN
from recipes.recipe.markers import Marker, file_table, fingerprint
from recipes.recipe.own_folders import begin_folder, discard, finish_folder, remove_folder
from recipes.safety.dependencies import BILL, bill, needed
from recipes.training.model_files import copy_file, drop_remote_code
from t2i_judge.errors import UserError
from t2i_judge.files import read_jsonl, write_atomic
from t2i_judge.records import OVERALL, Status
from t2i_judge.terminal import step

PLOT = "efficiency.png"  # of the model's card
MODEL_FILES = (".safetensors", ".json", ".jinja", ".txt", ".model")  # never pickles, never trainer state
_INPUT_FOLDERS = ("metrics/t2i_judge", "space", "model_card", "dataset_card", "recipes")


def stage_release(
    recipe: Recipe,
    version: str,
    namespace: str | None = None,
    overridden: tuple[str, ...] = (),
    build: Path | None = None,
    stage: Path | None = None,
    names: Repositories | None = None,
) -> Path:
    """Stage a release and return its folder. A stage made from the same inputs is kept, unless its files were changed.

    Args:
        recipe: the recipe of the build, `pinned`.
        version: X.Y.Z.
        namespace: on the Hub; None stages with a placeholder.
        overridden: names of the gate's checks whose findings the releaser accepts, besides those that the recipe
            accepts. The model card names those that this stage does not meet.
        build: folder with the results of the steps before (default: the recipe's own).
        stage: the stage's folder (default: see `recipes.hub.repositories.stage_folder`).
        names: names of its repositories in that namespace (default: the recipe's own).

    Raises:
        UserError: a result or the base's commit is missing, a row of the benchmark does not fit its contract, or
            `stage` is a folder that holds something other than a stage, or STAGE.part or STAGE.old is not ours.
    """
    overridden = allowed_for(recipe, overridden)
    made, stage = BuildFolder(build or recipe.folder), (stage or stage_folder(recipe)).resolve()
    names = names or repositories(recipe)
    _require_commit(recipe)
    inputs = _inputs(recipe, made, version, *names.ids(namespace).values(), *overridden)
    if _staged_from(stage) == inputs:
        for compiled in list(stage.rglob("__pycache__")):  # left by whoever imported the library from there
            shutil.rmtree(compiled)
        if not (other := changed(stage, read_manifest(stage))):
            return stage
        step(f"  {other[0]} is not as it was staged: the release is staged again.")
    require_ours(stage)
    record = release_record(recipe, made, namespace, version, names)
    part, old = (stage.with_name(f"{stage.name}.{word}") for word in ("part", "old"))
    for place in (part, old):
        if is_stage(place) and not beside(place):  # killed between two renamings, or as it was removed
            discard(place)
        remove_folder(place)
    begin_folder(part)
    _stage_repositories(part, recipe, made, record, names)
    if let_pass := not_met(recipe, part, record, names, overridden):
        _write_card(names.model.folder(part), record, let_pass)
    write_manifest(part, record, names, inputs)
    if stage.exists():
        stage.rename(old)  # at no moment is there half a stage
    finish_folder(part, stage)
    with suppress(OSError):  # the new stage stands; the next one removes what is left
        if old.exists():
            discard(old)
    return stage


def _stage_repositories(
    stage: Path, recipe: Recipe, build: BuildFolder, record: dict[str, Any], names: Repositories
) -> None:
    """Every repository in a new stage, with its card, and the results beside them."""
    _stage_bench(names.bench.folder(stage), build, record)
    _stage_distill(names.distill.folder(stage), build, record)
    model = names.model.folder(stage)
    stage_model(model, recipe, build, record)
    write_atomic(model / BILL, bill(needed()))
    stage_metric(names.metric.folder(stage), record, model)
    judgements = build.judgements_of(recipe.judge_name)
    judged = read_jsonl(judgements) if judgements.is_file() else ()
    stage_demo(names.demo.folder(stage), record, model, judged)
    shutil.copy(build.results.path, stage)


def _inputs(recipe: Recipe, build: BuildFolder, *more: str) -> str:
    """Fingerprint of all that a stage is made from.

    That is: the recipe, wherever its file lies, results of the steps, library, Space, cards, recipes, a base that is
    released, and the installed packages that bill and requirements name.
    """
    code = [
        path
        for folder in _INPUT_FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    base = recipe.base.folder if recipe.release.publish_base else None
    tables = [file_table(base, model_files(base))] if base else []
    tables += [file_table(ROOT, [*code, ROOT / "pyproject.toml"])]
    packages = (bill(needed()), demo_requirements(simulated=False))
    return fingerprint(
        file_table(build.root, build.released()), *map(fingerprint, tables), *packages, repr(recipe), *more
    )


def _require_commit(recipe: Recipe) -> None:
    """Raise `UserError` where nobody knows the commit of the base that its adapter is to name."""
    if recipe.base.hub_id is not None and recipe.base.revision is None:
        raise UserError(
            f"The commit of {recipe.base.hub_id} is unknown",
            "The Hub could not be reached, and a released adapter must name its base's commit",
            "Run the command again with a connection, or set base.revision to the commit",
        )


def _staged_from(stage: Path) -> str | None:
    """The inputs of the stage that stands there; None when there is none, or when its commit has to be told anew.

    That is: it was made before its changes were committed, and now they are.
    """
    manifest = Marker(stage / MANIFEST).read()
    try:
        made_at = manifest["record"]["commit"]
        return None if made_at["modified"] and made_at != commit() else manifest["inputs"]
    except (KeyError, TypeError):
        return None


def require_ours(stage: Path) -> None:
    """Raise `UserError` for a folder that holds anything but a stage: it would be deleted."""
    if not stage.exists() or (stage.is_dir() and not any(stage.iterdir())):
        return
    fix = "Use another --stage folder"
    if not is_stage(stage):
        raise UserError(f"{stage.name} is not a staged release", "It would be replaced", fix)
    if others := beside(stage):
        fact = f"{stage.name} has {others[0]}, which is no file of the staged release"
        raise UserError(fact, "The folder would be replaced", f"Move it away, or {fix[0].lower()}{fix[1:]}")


def _stage_bench(folder: Path, build: BuildFolder, record: dict[str, Any]) -> None:
    splits = record["data"]["bench_splits"]
    rows = list(bench_rows(build))
    latent = list(read_jsonl(build.latent)) if build.latent.is_file() else []
    by_split = {split: [row for row in rows if row["split"] == split] for split in splits}
    write_benchmark(folder, by_split, _latent(latent, by_split) if latent else None)
    write_atomic(folder / "README.md", DatasetCard.from_record("bench", record, **card_metadata(folder)).render())


def bench_rows(build: BuildFolder) -> Iterator[dict[str, Any]]:
    """The held-out images of a build as rows of the benchmark (plus `split`), in the order of `items.jsonl`."""
    questions = {line["prompt"]: line["questions"] for line in read_jsonl(build.decompositions)}
    humans, baselines = _human_scores(build), _baselines(build.judgements)
    for item in read_jsonl(build.items):
        if item["split"] == TRAIN:
            continue
        reference, asked = item.get("reference_image"), questions.get(item["prompt"], [])
        known = {None, *(question["id"] for question in asked)}  # people may have answered other questions before
        yield {
            **item,
            "image": build.root / item["image"],
            "reference_image": build.root / reference if reference else None,
            "questions": asked,
            "human_scores": [score for score in humans.get(item["id"], []) if score.get("question_id") in known],
            "baselines": baselines.get(item["id"], []),
        }


def _human_scores(build: BuildFolder) -> dict[str, list[dict[str, Any]]]:
    scores: dict[str, list[dict[str, Any]]] = {}
    for line in build.human_scores():
        scores.setdefault(line["id"], []).append({key: line[key] for key in line if key != "id"})
    return scores


def _baselines(judgements: Path) -> dict[str, list[dict[str, Any]]]:
    """Image id -> every judge's scores: one entry per aspect that has a score, or one that says why there is none."""
    scores: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(judgements.glob("*.jsonl")):
        for line in read_jsonl(path):
            scored = {aspect: score for aspect, score in line["scores"].items() if score is not None}
            if line["status"] != Status.OK:
                scored = {OVERALL: None}
            scores.setdefault(line["image_id"], []).extend(
                {
                    "judge": line["judge"]["name"],
                    "revision": line["judge"]["revision"],
                    "aspect": aspect,
                    "score": score,
                    "status": line["status"],
                    "score_range": line["score_range"],
                }
                for aspect, score in scored.items()
            )
    return scores


def _latent(lines: list[dict[str, Any]], by_split: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Split -> rows of config `latent`."""
    quality = {line["id"]: line for line in lines}
    return {
        split: [
            {"item": row["id"], "aspect": aspect, "score": score}
            for row in rows
            for aspect, score in quality[row["id"]].items()
            if aspect != "id" and score is not None
        ]
        for split, rows in by_split.items()
    }


def _stage_distill(folder: Path, build: BuildFolder, record: dict[str, Any]) -> None:
    for path in sorted(build.distill.glob("*/*.parquet")):
        _copy(path, folder / path.relative_to(build.distill))
    write_atomic(folder / "README.md", DatasetCard.from_record("distill", record, **card_metadata(folder)).render())


def stage_model(folder: Path, recipe: Recipe, build: BuildFolder, record: dict[str, Any]) -> None:
    """The model repository: adapter and judge.json at the root, card and results; a base only by `publish_base`.

    Raises:
        UserError: there is no adapter, or a file of it or of the base is a link to elsewhere.
    """
    if not build.weights.is_file():
        raise UserError(
            "There is no adapter", f"Nothing is trained in build/{recipe.name}", "Run python -m recipes.train"
        )
    copy_model(build.adapter, folder)
    if recipe.release.publish_base and recipe.base.folder:
        copy_model(recipe.base.folder, folder / "base")
        drop_remote_code(folder / "base")
    card = _write_card(folder, record)
    _name_base(folder / "adapter_config.json", card.base_id, None if card.embedded_base else recipe.base.revision)
    if "efficiency" in record.get("learning", {}):
        _copy(build.efficiency_plot, folder / PLOT)
    if (figures := card.eval_results()) is not None:
        write_atomic(folder / ".eval_results" / "t2i-judge-bench.yaml", figures)


def _write_card(folder: Path, record: dict[str, Any], let_pass: tuple[str, ...] = ()) -> ModelCard:
    """The model's card, with the checks of the gate that its release does not meet and was let pass with."""
    card = ModelCard.from_record(record, folder, headline_aspects(record["results"]["rows"]), let_pass)
    write_atomic(folder / "README.md", card.render())
    return card


def copy_model(source: Path, folder: Path) -> None:
    """Copy the files of a model that may be published: weights, configuration, tokenizer, template; nothing else.

    Raises:
        UserError: one of them is a link out of `source`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in model_files(source):
        copy_file(path, source, folder / path.name)


def model_files(source: Path) -> list[Path]:
    """The files of a model that may be published, by name."""
    return [path for path in sorted(source.iterdir()) if path.is_file() and path.suffix in MODEL_FILES]


def _name_base(path: Path, base_id: str, revision: str | None) -> None:
    """An adapter names its base by Hub id and revision, never by the folder that it was trained from."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.update(base_model_name_or_path=base_id, revision=revision)
    write_atomic(path, json.dumps(config, indent=2, sort_keys=True) + "\n")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
