"""What preflight asks of purse and machine: money for the teacher and served judges, memory, disk."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from recipes.distillation.spending import spent
from recipes.evaluation.judging import held_out, unjudged
from recipes.publish.preflight_data import Data, Line
from recipes.recipe.config import Recipe, resolve
from recipes.recipe.items import TRAIN, Item
from recipes.training.estimates import Size
from t2i_judge.cli.plan import CostPlan, plan_run, protocol_of
from t2i_judge.errors import UserError, sentences
from t2i_judge.inputs.images import ImageError, image_size
from t2i_judge.inputs.rows import read_decompositions
from t2i_judge.served.address import OPENAI
from t2i_judge.served.client import OpenAIBackend
from t2i_judge.served.prices import price_of
from t2i_judge.wording import counted

_COPIES = 6  # of the images: in the distillation data twice, in the stage, and in the stage that replaces it
_FEW_BYTES = 500_000_000  # that a release takes besides images and weights
_OPTIMIZER = 3  # a checkpoint holds the adapter and two moments of it
_LARGE = 1_000_000_000  # parameters that nobody trains on a CPU


def cost(recipe: Recipe, data: Data, built: bool) -> Iterator[Line]:
    """US dollars of the teacher and of the served judges, against the recipe's cap."""
    asked = data.asks_teacher and not built and recipe.teacher.server is None
    if asked:
        yield from _reachable(recipe)
        if data.items is None:
            yield "cost", "Unknown, because the images cannot be read"
            return
    teacher = [(recipe.teacher.model, _plan(recipe, data, data.items or [], recipe.teacher.protocol))] if asked else []
    judges = list(_judges(recipe, data))
    plans = teacher + judges
    unknown = sorted({model for model, plan in plans if plan.price is None})
    calls = sum(plan.calls for _, plan in plans)
    if not plans:
        yield "cost", "No call costs money"
    elif not unknown:
        asking = sum(plan.money(recipe.teacher.batch) or 0.0 for _, plan in teacher)
        measuring = sum(plan.money() or 0.0 for _, plan in judges)
        yield from _against_cap(recipe, spent(data.build), calls, asking, measuring)
    else:
        what = f"About {counted(calls, 'call', form=',.0f')}; the price of {', '.join(unknown)} is unknown"
        if recipe.teacher.max_cost is None:
            yield "cost", what
        else:
            fix = "Remove teacher.max_cost, or use a model whose price is known"
            yield "cost", f"{what}, so max_cost cannot be checked", fix, "error"


def _judges(recipe: Recipe, data: Data) -> Iterator[tuple[str, CostPlan]]:
    """(model, plan) of each served judge that the recipe names, of what it has still to judge.

    One without an address asks the teacher's server, which is free where the recipe runs it.
    """
    if all(item.split == TRAIN for item in data.items or ()):
        return
    for name, items in unjudged(recipe, data.build, held_out(recipe, data.items or [])).items():
        served_here = recipe.teacher.server is not None and name.base_url is None
        if items and name.model and not served_here and (protocol := protocol_of(name)):
            yield name.model, _plan(recipe, data, items, protocol, name.model)


def _plan(recipe: Recipe, data: Data, items: Sequence[Item], protocol: str, model: str | None = None) -> CostPlan:
    """The arithmetic of `t2i-judge plan`; prompts that are decomposed already cost nothing."""
    known = data.build.decompositions
    questions = read_decompositions(known) if known.is_file() else {}
    sized = ((item.prompt, _sizes(data.build.root, item)) for item in items)
    price, side = price_of(model or recipe.teacher.model), recipe.teacher.max_image_side
    return plan_run(sized, protocol, price, questions, max_image_side=side)


def _sizes(folder: Path, item: Item) -> list[tuple[int, int]] | None:
    try:
        return [image_size(folder / name) for name in (item.image, item.reference_image) if name]
    except ImageError:
        return None


def _reachable(recipe: Recipe) -> Iterator[Line]:
    """Whether the teacher answers and takes the key: one request that costs nothing."""
    try:
        teacher = recipe.teacher
        backend = OpenAIBackend(teacher.model, teacher.base_url, api_key_env=teacher.api_key_env)
        try:
            backend.check()
        finally:
            backend.close()
    except UserError as error:
        yield "teacher", sentences(error.fact, error.reason), error.fix, "error"
        return
    where = "OpenAI" if str(backend.address) == OPENAI else backend.address
    yield "teacher", f"{recipe.teacher.model} at {where} answers"


def _against_cap(recipe: Recipe, gone: float, calls: float, asking: float, measuring: float) -> Iterator[Line]:
    """The estimate against the cap; what was paid before is taken for the beginning of what the teacher is asked, or
    for that and judgements that are made: these are not among what is left to measure."""
    cap, whole = recipe.teacher.max_cost, max(asking, gone) + measuring
    text = f"About ${whole:,.2f} for {counted(calls, 'call', form=',.0f')}"
    text += f"; ${gone:,.2f} of it is already paid" if gone else ""
    enough = max(0.01, math.ceil(whole * 120) / 100)
    if cap is None:
        yield "cost", f"{text}; no limit is set", f"Limit it with teacher: {{max_cost: {enough:g}}}", "warning"
    elif whole > cap:
        fix = f"Raise teacher.max_cost to {enough:g} or more, or judge fewer images (data.limit)"
        yield "cost", f"{text}. That is more than max_cost, ${cap:g}", fix, "error"
    else:
        yield "cost", f"{text}; max_cost is ${cap:g}"


def memory(recipe: Recipe, need: Size) -> Iterator[Line]:
    """The training's peak against what this machine has."""
    import torch

    rent = f"Train it on rented hardware (python -m recipes.train --recipe {recipe.typed} --jobs FLAVOR)"
    if torch.cuda.is_available():
        have, where = torch.cuda.get_device_properties(0).total_memory, torch.cuda.get_device_name(0)
    else:
        have, where = (
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "the main memory of this machine without a GPU",
        )
    text = f"Training needs about {need.peak / 2**30:.1f} GiB; {where} has {have / 2**30:.1f}"
    if need.peak > have:
        less = "lower training.per_device_train_batch_size, base.max_slice_nums or adapter.r"
        yield "memory", text, f"{rent}, or {less}", "error"
    elif not torch.cuda.is_available() and need.parameters > _LARGE:
        yield "memory", f"{text}. A base of this size takes weeks on a CPU", rent, "warning"
    else:
        yield "memory", text


def disk(recipe: Recipe, data: Data, training: Size | None) -> Iterator[Line]:
    """What images, checkpoints and the base take, against what is free; `training` None: that is behind us."""
    from huggingface_hub import constants

    needs: list[tuple[Path, float]] = [(_there(recipe.folder), _FEW_BYTES + _COPIES * data.bytes)]
    if training is not None:
        kept = 3 + _OPTIMIZER * (recipe.training.save_total_limit + 1)  # judge, baseline, stage; one's checkpoints
        needs.append((_there(recipe.folder), 4.0 * kept * training.trainable))
        if not _fetched(recipe):
            needs.append((_there(Path(constants.HF_HUB_CACHE)), 2.0 * training.parameters))
    for device in dict.fromkeys(path.stat().st_dev for path, _ in needs):
        here = [(path, size) for path, size in needs if path.stat().st_dev == device]
        need, free = sum(size for _, size in here), shutil.disk_usage(here[0][0]).free
        text = f"About {need / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free"
        if need > free:
            yield "disk", text, f"Free {(need - free) / 1e9:.1f} GB on the disk of {here[0][0]}", "error"
        else:
            yield "disk", text


def _fetched(recipe: Recipe) -> bool:
    """Whether the base is a folder, or in the Hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    name, revision = recipe.base.model, recipe.base.revision
    return resolve(name).is_dir() or isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str)


def _there(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.parents) if place.is_dir())
