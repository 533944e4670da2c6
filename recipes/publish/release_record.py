"""What is known about a release, gathered from the files that its steps left behind: the only source of its cards."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recipes.distillation.spending import cost
from recipes.evaluation.learning import learning_of
from recipes.hub.repositories import Repositories, repositories
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import ROOT, Recipe, differing, recipe_names
from recipes.recipe.items import TRAIN
from recipes.recipe.markers import read_json
from recipes.recipe.people import ratings_table
from recipes.training.fine_tuning import versions
from t2i_judge.files import read_jsonl

# Where the record differs between two releases of the same commit on the same machine, as JSON pointers.
VOLATILE = ("/training/seconds", "/results/seconds", "/results/inputs", "/cost/seconds")


def release_record(
    recipe: Recipe, build: BuildFolder, namespace: str | None, version: str, names: Repositories | None = None
) -> dict[str, Any]:
    """The record of a release as plain JSON types.

    Args:
        recipe: what was released, `pinned`.
        build: the folder with the results of its steps.
        namespace: user or organisation on the Hub, None while there is none.
        version: X.Y.Z, without the v of the tag.
        names: of its repositories, where they are not the recipe's own (`recipes.publish.standing.names_on_hub`).

    Raises:
        UserError: a step left no result; its name and the command that makes it are in the message.
    """
    return {
        "release": {"recipe": recipe.name, "version": version, "namespace": namespace, **terms(recipe)},
        "repositories": (names or repositories(recipe)).ids(namespace),
        "commit": commit(),
        "commands": [f"make release RECIPE={shlex.quote(_called(recipe))} VERSION={version}"],
        "versions": versions(),
        "seeds": asdict(recipe.seeds),
        "teacher": _teacher(recipe, build),
        "base": _base(recipe),
        "judge": read_json(build.judge_card, "recipes.train"),
        "training": _training(recipe, build),
        "data": _data(recipe, build),
        "cost": cost(build),
        "learning": learning_of(recipe, build),
        "results": read_json(build.results.path, "recipes.evaluate_judge"),
    }


def terms(recipe: Recipe) -> dict[str, Any]:
    """The recipe's own section `release`, as a record read back from its file has it."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(recipe.release)))
    return plain


def _called(recipe: Recipe) -> str:
    """What RECIPE= takes: the recipe's name where the checkout has it, else its file, but not where that lies."""
    file = Path(recipe.typed)
    known = file.suffix not in (".yaml", ".yml") or file.resolve() in recipe_names().values()
    return recipe.name if known else file.name


def commit() -> dict[str, Any]:
    """Commit of the checkout, and whether tracked files differ from it; None where there is no git."""
    sha = _git("rev-parse", "HEAD")
    return {"sha": sha, "modified": bool(_git("status", "--porcelain", "--untracked-files=no")) if sha else None}


def _git(*arguments: str) -> str | None:
    try:
        run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()


def _teacher(recipe: Recipe, build: BuildFolder) -> dict[str, Any]:
    """Who labelled: the recipe's teacher and the snapshots that its judgements really name."""
    judges = [record["judge"] for record in read_jsonl(build.teacher)]
    return {
        "model": recipe.teacher.model,
        "protocol": recipe.teacher.protocol,
        "snapshots": sorted({judge["revision"] or judge["model"] for judge in judges}),
        "template_hashes": sorted({judge["template_hash"] for judge in judges if judge["template_hash"]}),
    }


def _base(recipe: Recipe) -> dict[str, Any]:
    """What was adapted: a model of the Hub by its commit, one that is published with the release by its digest."""
    from t2i_judge.local.weights import digest

    base, folder = recipe.base, recipe.base.folder
    known = {"max_slice_nums": base.max_slice_nums, "revision": base.revision}
    if folder is None or not recipe.release.publish_base:
        return {**known, "model": base.hub_id, "digest": None, "model_type": _model_type(recipe)}
    inside = folder.relative_to(ROOT).as_posix() if folder.is_relative_to(ROOT) else folder.name
    return {**known, "model": base.hub_id or inside, "digest": digest(folder), "model_type": _model_type(recipe)}


def _model_type(recipe: Recipe) -> str | None:
    """What transformers calls the base's architecture, by its config.json."""
    from transformers.utils import cached_file

    source, revision = recipe.base.source, recipe.base.revision or "main"
    path = cached_file(source, "config.json", revision=revision, _raise_exceptions_for_missing_entries=False)
    return json.loads(Path(path).read_text(encoding="utf-8")).get("model_type") if path else None


def _training(recipe: Recipe, build: BuildFolder) -> dict[str, Any]:
    """How the adapter was trained: what differs from the defaults, and the curve."""
    log = read_json(build.trained.path, "recipes.train")
    return {
        "hyperparameters": differing(recipe.training),
        "adapter": asdict(recipe.adapter),
        "quantization": asdict(recipe.quantization) if recipe.quantization else None,
        "packing": recipe.packing,
        "mixture": asdict(recipe.mixture),
        "rebalance": asdict(recipe.rebalance) if recipe.rebalance else None,
        "curve": [{"step": entry["step"], "loss": entry["loss"]} for entry in log["log_history"] if "loss" in entry],
        "hardware": log.get("hardware"),
        "seconds": log.get("seconds"),
    }


def _data(recipe: Recipe, build: BuildFolder) -> dict[str, Any]:
    """Images by split and generator; of the benchmark, scores by annotator and how far the annotators agree.

    `rated_on` is the scale that people rated on where it was not the aspects' own.
    """
    table, items = ratings_table(recipe), list(read_jsonl(build.items))
    held_out = {item["id"] for item in items if item["split"] != TRAIN}
    humans = [score for score in build.human_scores() if score["id"] in held_out]
    return {
        "images": _count(item["split"] for item in items),
        "bench_splits": [split for split in dict.fromkeys(item["split"] for item in items) if split != TRAIN],
        "prompts": _count(split for split, _ in {(item["split"], item["prompt"]) for item in items}),
        "generators": _count(item["generator"] or "not stated" for item in items),
        "sources": _count(item["source"] for item in items),
        "annotators": _count(score["annotator"] for score in humans),
        "agreement": agreement_by_aspect(humans),
        "rated_on": list(table.scale) if table and table.scale else None,
    }


def _count(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def agreement_by_aspect(humans: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Krippendorff's alpha (interval) of the annotators' item-level scores, by aspect; None where undefined."""
    import numpy as np

    from t2i_judge.stats.agreement import krippendorff_alpha

    alphas = {}
    whole = [score for score in humans if score.get("question_id") is None]
    raters = sorted({score["annotator"] for score in whole})
    for aspect in sorted({score["aspect"] for score in whole}):
        cells = {(s["id"], s["annotator"]): s["score"] for s in whole if s["aspect"] == aspect}
        ids = sorted({identity for identity, _ in cells})
        table = np.array([[cells.get((i, rater), np.nan) for rater in raters] for i in ids], dtype=float)
        alphas[aspect] = krippendorff_alpha(table, level="interval").value
    return alphas


def without(record: Mapping[str, Any], pointers: Iterable[str]) -> dict[str, Any]:
    """A deep copy of a record without the values at these JSON pointers (`/training/seconds`)."""
    copy: dict[str, Any] = json.loads(json.dumps(record))
    for pointer in pointers:
        *parents, last = pointer.strip("/").split("/")
        place: Any = copy
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place.pop(last, None)
    return copy
