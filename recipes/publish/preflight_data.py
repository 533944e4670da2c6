"""What preflight asks of the data: are the images whole and clean, what is held out, do the ratings fit?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from recipes.distillation.image_check import broken_lines, inspect
from recipes.distillation.splits import SplitSize, split_sizes
from recipes.distillation.table_source import Table, read_table, table_items
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.items import TRAIN, Item
from recipes.recipe.people import people_of, require_people
from recipes.recipe.sections import ScenesData, T2IEvalData, TableData
from t2i_judge.errors import UserError, sentences
from t2i_judge.inputs.decoding import apart
from t2i_judge.inputs.parts import private_metadata
from t2i_judge.wording import counted

Line = tuple[str, ...]  # a check's name, finding, fix and level
FEWEST, ENOUGH = 3, 10  # images that a coefficient needs; prompts below which its interval says little
_LISTED = 5


@dataclass
class Data:
    """A recipe's data as far as it can be read now.

    Attributes:
        build: the folder that paths of items start from.
        items: None where they are not made of files, or cannot be.
        sizes: of the splits.
        bytes: of all image files.
        asks_teacher: whether a teacher labels it.
        lines: what was found.
    """

    build: BuildFolder
    items: list[Item] | None = None
    sizes: dict[str, SplitSize] = field(default_factory=dict)
    bytes: int = 0
    asks_teacher: bool = True
    lines: list[Line] = field(default_factory=list)


@apart()  # these may be strangers' pictures
def look_at(recipe: Recipe) -> Data:
    """Open everything, ask nobody; what cannot be read is among the lines."""
    data = Data(BuildFolder(recipe.folder))
    try:
        if isinstance(recipe.data, TableData):
            _table(recipe.data, data)
        elif isinstance(recipe.data, T2IEvalData):
            data.asks_teacher = False
            _published(recipe.data, data)
        else:
            _scenes(recipe.data, data)
    except UserError as error:
        data.lines.append(_refused("data", error))
    if data.sizes:
        data.lines += _splits(recipe, data.sizes)
    data.lines += _ratings(recipe, data.items)
    return data


def _refused(name: str, error: UserError) -> Line:
    return name, sentences(error.fact, error.reason), error.fix, "error"


def _scenes(source: ScenesData, data: Data) -> None:
    """Rendered scenes are counted, not rendered; each has a prompt of its own."""
    counts = {TRAIN: source.train_images, "new_prompts": source.new_prompts_images}
    counts["new_pairs"] = source.new_pairs_images
    data.sizes = {split: SplitSize(count, count) for split, count in counts.items()}
    data.lines.append(("data", f"{counted(sum(counts.values()), 'scene', form=',')} to render"))


def _published(source: T2IEvalData, data: Data) -> None:
    from recipes.distillation.t2i_eval import read_labels

    data.items, _ = read_labels(data.build, source)
    _weigh(data, {data.build.root / item.image for item in data.items})
    data.sizes = split_sizes(data.items)
    data.lines.append(("data", f"{counted(len(data.items), 'image', form=',')}, labelled by their publisher"))


def _table(source: TableData, data: Data) -> None:
    table = read_table(source)
    pictures = inspect(table.hashes, data.build.inspected)
    _weigh(data, table.hashes)
    files = counted(len(pictures), "image file", form=",")
    data.lines.append(("data", f"{table.path.name}: {counted(len(table.rows), 'row', form=',')}, {files}"))
    if broken := list(broken_lines(pictures.values())):
        what = f"{counted(len(broken), 'image')} cannot be used: {'; '.join(broken[:_LISTED])}"
        fix = "Replace them, or leave them out and count them with data: {broken_images: skip}"
        data.lines.append(("images", what, fix, "error" if source.broken_images == "refuse" else "warning"))
    data.lines += _metadata(table, source)
    data.items = table_items(table, replace(source, broken_images="skip"), data.build)
    data.sizes = split_sizes(data.items)
    data.lines.append(("leakage", "No prompt and no copy of an image is in both training and held-out data"))


def _weigh(data: Data, paths: object) -> None:
    files = [path for path in paths if path.is_file()]  # type: ignore[attr-defined]
    data.bytes = sum(path.stat().st_size for path in files)


def _metadata(table: Table, source: TableData) -> Iterator[Line]:
    """Images that say where, when and by whom they were taken."""
    found = [path for path, digest in table.hashes.items() if digest and private_metadata(path.read_bytes())]
    names = ", ".join(path.name for path in found[:_LISTED]) + (", ..." if len(found) > _LISTED else "")
    if found and source.strip_metadata:
        yield "image_metadata", f"EXIF, GPS or XMP is removed from {counted(len(found), 'image')}"
    elif found:
        fix = (
            "Set data: {strip_metadata: true} to remove it from what is shown and published; your files are not changed"
        )
        have = counted(len(found), "image has", "images have")
        yield "image_metadata", f"{have} EXIF, GPS, XMP or text ({names})", fix, "error"
    else:
        yield "image_metadata", "No image has EXIF, GPS or XMP"


def _splits(recipe: Recipe, sizes: dict[str, SplitSize]) -> Iterator[Line]:
    """What is learnt and what is measured."""
    text = "; ".join(
        f"{split}: {counted(size.images, 'image', form=',')} of {counted(size.prompts, 'prompt', form=',')}"
        for split, size in sizes.items()
    )
    held_out = {split: size for split, size in sizes.items() if split != TRAIN}
    more = "add images of other prompts"
    if not sizes.get(TRAIN, SplitSize(0, 0)).images:
        yield "splits", f"{text}. There is nothing to learn from", f"Lower data.held_out, or {more}", "error"
    elif not any(size.images for size in held_out.values()):
        fix = "Set data.held_out above 0 (0.1 is usual), or name a column in data.split"
        yield "splits", f"{text}. No images are held out to measure on", fix, "error"
    elif few := [split for split, size in held_out.items() if size.images < FEWEST]:
        fix = f"Set data.held_out_min: {FEWEST}, or {more}"
        yield "splits", f"{text}. {', '.join(few)} has fewer than {FEWEST} images", fix, "error"
    elif any(size.prompts < ENOUGH for size in held_out.values()):
        fix = f"{more.capitalize()}, or hold out more of them (data.held_out)"
        yield "splits", f"{text}. So few prompts give wide intervals", fix, "warning"
    else:
        yield "splits", text


def _ratings(recipe: Recipe, items: list[Item] | None) -> Iterator[Line]:
    """People's ratings, joined with the images that they are of."""
    try:
        if items is None:
            scores = people_of(recipe)
            found = None if scores is None else f"{counted(len(scores), 'score')}, not yet joined with images"
            strangers = False
        else:
            people = require_people(recipe, items)
            found, strangers = (None, False) if people is None else (str(people), bool(people.strangers))
    except UserError as error:
        yield _refused("ratings", error)
        return
    if strangers:
        yield "ratings", str(found), "Correct these names, or leave them: they are not counted", "warning"
    elif found is not None:
        yield "ratings", found
    elif recipe.release.simulated:
        yield "ratings", "The recipe has none: people are simulated"
    else:
        fix = "Name people's ratings in evaluation.ratings; until then the judge is compared with its teacher"
        yield "ratings", "There are no ratings by people", fix, "warning"
