"""`python -m recipes.train --dry-run`: print what a training would take and on which data. Trains nothing."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from recipes.distillation.sft_data import TEXT_ONLY, Sample, load_distillation, read_samples, select
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe, resolve
from recipes.recipe.sections import ScenesData, T2IEvalData, TableData
from recipes.training.estimates import Size, base_config, estimate, image_tokens
from t2i_judge.errors import UserError, nearest, quoted
from t2i_judge.files import read_json
from t2i_judge.inputs.images import ImageError, image_size
from t2i_judge.inputs.readers import iter_rows
from t2i_judge.wording import counted

ASSUMED_SIDE = 1024  # of an image, while there is none to look at
_ASSUMED_SEGMENT = 60  # tokens of a question with its answer
_TOKENS_A_CHARACTER = 0.3
_LOOKED_AT = 200  # images whose sizes are read
_CHAT_TOKENS = 12  # that a chat template adds to a question and its answer


@dataclass(frozen=True)
class Plan:
    """What a training takes: sizes, tokens of a typical image (None: unknown) and of a long row, and on which data."""

    memory: Size
    tokens: int | None
    image: tuple[int, int]
    length: int
    rows: int
    data: str


def plan(recipe: Recipe) -> Plan:
    """The plan. Raises `UserError` for data columns or an adapter that do not fit, or a base that cannot be had."""
    config = base_config(recipe)
    rows, size, about_data = _data(recipe)
    tokens = image_tokens(recipe, config, size)
    prefix = tokens or 0
    segments = recipe.training.segments_per_row if recipe.packing == "shared_prefix" else 1
    length = _row_length(rows, prefix) if rows else prefix + segments * _ASSUMED_SEGMENT
    memory = estimate(recipe, config, recipe.training.per_device_train_batch_size * length)
    return Plan(memory, tokens, size, length, len(rows), about_data)


def report(recipe: Recipe) -> str:
    """The plan as text. Raises as `plan`."""
    planned = plan(recipe)
    memory, tokens, size = planned.memory, planned.tokens, planned.image
    batch, length = counted(recipe.training.per_device_train_batch_size, "row"), planned.length
    lines = {
        "recipe": f"{recipe.name}, base {recipe.base.model} ({memory.parameters:,} parameters)",
        "data": planned.data,
        "trainable": f"{memory.trainable:,} parameters (LoRA r={recipe.adapter.r}, alpha={recipe.adapter.alpha})",
        "4-bit": f"{memory.quantised:,} parameters" if recipe.quantization else "none",
        "memory, resident": f"{memory.resident / 2**30:.2f} GiB a device (arithmetic)",
        "memory, peak": f"about {memory.peak / 2**30:.2f} GiB, {batch} of {length:,} tokens at once (arithmetic)",
        "tokens per image": f"{tokens} at {size[0]}x{size[1]}" if tokens else "known only to the base's own processor",
        "steps": _steps(recipe, planned.rows) if planned.rows else "known once the data is built",
    }
    return "\n".join(f"{name:18}{text}" for name, text in lines.items())


def _row_length(rows: list[list[Sample]], image: int) -> int:
    """Tokens of a long row (90th percentile), estimated from its characters."""
    texts = [sum(len(s.question) + len(s.answer) for s in row) * _TOKENS_A_CHARACTER for row in rows]
    chats = [_CHAT_TOKENS * len(row) + (0 if row[0].row == TEXT_ONLY else image) for row in rows]
    lengths = sorted(round(a + b) for a, b in zip(texts, chats, strict=True))
    return lengths[len(lengths) * 9 // 10]


def _steps(recipe: Recipe, rows: int) -> str:
    options = recipe.training
    if options.max_steps > 0:
        return f"{options.max_steps:,} (max_steps)"
    batch = options.per_device_train_batch_size * options.gradient_accumulation_steps
    steps = round(-(-rows // batch) * options.num_train_epochs)
    return f"{steps:,} (rows: {rows:,}, epochs: {options.num_train_epochs:g}, rows per step on one device: {batch})"


def _data(recipe: Recipe) -> tuple[list[list[Sample]], tuple[int, int], str]:
    """Training rows (none while the data is not built), a typical image size, and a sentence about the data."""
    built = BuildFolder(recipe.folder).distill
    if (built / "data").is_dir():
        data = load_distillation(built)
        rows = select(read_samples(data.select_columns(["prompt", "samples"])), recipe)
        images = (row["image"] for row in islice(data.select_columns("image"), _LOOKED_AT))
        size = _typical(image.size for image in images)
        samples = sum(map(len, rows))
        return rows, size, f"built (images: {len(data):,}, samples: {samples:,}, rows: {len(rows):,})"
    size, about = _source(recipe)
    return [], size, f"not built yet: {about}"


def _source(recipe: Recipe) -> tuple[tuple[int, int], str]:
    """A typical image size and a sentence about data that has not been built; its columns are checked."""
    data = recipe.data
    if isinstance(data, ScenesData):
        from recipes.scenes.render import SIZE

        return (SIZE, SIZE), counted(data.train_images, "rendered scene", form=",")
    path = resolve(data.path)
    if not path.is_file():
        return _typical([]), f"{data.path} is not there; {ASSUMED_SIDE}x{ASSUMED_SIDE} images are assumed"
    if isinstance(data, TableData):
        rows = list(iter_rows(path))
        _check_columns(data, rows, path)
        folder = resolve(data.images) if data.images else path.parent
        sizes = _sizes(folder / str(row[data.image]) for row in rows)
        return _typical(sizes), counted(len(rows), "row", form=",")
    return _published(data, path), "labelled by its publisher"


def _check_columns(data: TableData, rows: list[dict[str, Any]], path: Path) -> None:
    if not rows:
        raise UserError(f"{path.name} has no rows", "There is nothing to train on", "Add rows, or use another table")
    for column in (data.prompt, data.image, data.reference_image, data.id):
        if column is not None and column not in rows[0]:
            raise UserError(
                f"{path.name} has no column {quoted(column)}",
                nearest(column, rows[0]),
                "Correct its name in the recipe",
            )


def _published(data: T2IEvalData, path: Path) -> tuple[int, int]:
    records = read_json(path, "Give t2i-eval-distill-gpt-4o.json as data.path")
    try:
        names = [record["gt_image"] for record in records[:_LOOKED_AT]]
        missing = {"image_caption", "data"} - set(records[0])
    except (TypeError, LookupError) as error:
        raise UserError(
            f"{path.name} is not T2I-Eval's file", repr(error), "See recipes/distillation/t2i_eval.py"
        ) from error
    if missing:
        raise UserError(
            f"{path.name} lacks {quoted(sorted(missing)[0])}", "T2I-Eval's records have it", "Check data.path"
        )
    return _typical(_sizes(resolve(data.images) / name for name in names))


def _sizes(paths: Iterable[Path]) -> Iterable[tuple[int, int]]:
    for path in islice(paths, _LOOKED_AT):
        if path.is_file():
            with suppress(ImageError):
                yield image_size(path)


def _typical(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """The median size by area, or the assumed one where there is none."""
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    return ordered[len(ordered) // 2] if ordered else (ASSUMED_SIDE, ASSUMED_SIDE)
