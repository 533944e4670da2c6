"""The ratings that a recipe names: read, mapped to the aspects' scales, and joined with the images that they are of.

people_of(recipe)                   what the file says; wants nothing but the file
require_people(recipe, items)       the same, joined; says how many match, and refuses none
write_people(recipe, build, items)  the same, left in the build folder, where results, benchmark and cards find it
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, urlsplit

from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe, resolve
from recipes.recipe.items import TRAIN, Item, to_jsonl
from recipes.recipe.rating_files import read_scores
from recipes.recipe.rating_table import HumanScore, require_once
from recipes.recipe.sections import RatingsTable
from t2i_judge.errors import UserError, quoted
from t2i_judge.files import write_atomic
from t2i_judge.records import PERSONALISED_ASPECTS, SCORE_RANGE
from t2i_judge.wording import counted

AXES = (0.0, 4.0)  # of concept preservation and prompt following, as DreamBench++ has people rate them
_LISTED = 5
# What Label Studio puts before the name of an uploaded file, and the folder to which it uploads.
_UPLOADED, _UPLOADS = re.compile(r"[0-9a-f]{8}-(?=.)"), re.compile(r"(?:.*/)?upload/\d+")


@dataclass(frozen=True)
class People:
    """Scores of held-out images, under the images' ids and on the aspects' scales; and what there was besides.

    `learnt` counts scores of training images; `strangers` are names of images that no item has; `elsewhere` are names
    that were matched by the file's name alone, though they have it in other folders -> the item.
    """

    file: str
    scores: Sequence[HumanScore]
    learnt: int
    strangers: Sequence[str]
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        images, people = {one.item for one in self.scores}, {one.annotator for one in self.scores}
        text = f"{self.file}: {counted(len(self.scores), 'score')} of {counted(len(images), 'held-out image')} "
        text += f"by {counted(len(people), 'annotator')}"
        text += f"; {self.learnt} of training images left out" if self.learnt else ""
        listed = ", ".join(self.strangers[:_LISTED]) + (", ..." if len(self.strangers) > _LISTED else "")
        names = counted(len(self.strangers), "name matches", "names match")
        text += f"; {names} no image: {listed}" if self.strangers else ""
        if self.elsewhere:
            name, item = next(iter(self.elsewhere.items()))
            moved = counted(len(self.elsewhere), "image was", "images were")
            text += f"; {moved} matched by file name, from another folder: {name} for {item}"
        return text


def ratings_table(recipe: Recipe) -> RatingsTable | None:
    """The recipe's `evaluation.ratings`, with a path that can be opened."""
    ratings = recipe.evaluation.ratings
    if ratings is None:
        return None
    table = RatingsTable(ratings) if isinstance(ratings, str) else ratings
    return replace(table, path=str(resolve(table.path)))


def people_of(recipe: Recipe) -> list[HumanScore] | None:
    """Every score of the recipe's ratings, on its aspect's scale; None where it names none.

    Raises:
        UserError: the file is not there or cannot be read, or a score is off the declared scale.
    """
    table = ratings_table(recipe)
    return _scores(table) if table else None


def _scores(table: RatingsTable) -> list[HumanScore]:
    return on_scale(read_scores(Path(table.path), table), table.scale)


def require_people(recipe: Recipe, items: Sequence[Item]) -> People | None:
    """The recipe's ratings joined with its items; None where it names none.

    Raises:
        UserError: as `people_of`; or none of them is of a held-out image, or a name could mean two.
    """
    table = ratings_table(recipe)
    if table is None:
        return None
    joined = join(_scores(table), items, Path(table.path).name)
    if not joined.scores:
        examples = ", ".join(item.id for item in [i for i in items if i.split != TRAIN][:3]) or "none"
        raise UserError(
            f"No rating in {joined.file} is for a held-out image",
            f"Ratings of training images: {joined.learnt}, of unknown images: {len(joined.strangers)}"
            + (f", such as {quoted(joined.strangers[0])}" if joined.strangers else "")
            + f"; held-out images are {examples}",
            "Name the column of ids or files in evaluation.ratings.id, or hold out rated images with data.split",
        )
    return joined


def write_people(recipe: Recipe, build: BuildFolder, items: Sequence[Item]) -> People | None:
    """Leave the ratings in the build folder, one score per line, or remove another recipe's; says what matched."""
    people, file = require_people(recipe, items), build.ratings
    if people is None:
        file.unlink(missing_ok=True)
        return None
    text = to_jsonl({"id": one.item, **one.record()} for one in people.scores)
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        write_atomic(file, text)
    return people


def scale_of(aspect: str, question_id: str | None = None) -> tuple[float, float]:
    """Lowest and highest score that a person can give."""
    return AXES if aspect in PERSONALISED_ASPECTS and question_id is None else SCORE_RANGE


def on_scale(scores: Iterable[HumanScore], declared: tuple[float, float] | None) -> list[HumanScore]:
    """Scores on their aspects' scales, mapped in a line from the declared one.

    Raises:
        UserError: a score is outside the scale.
    """
    if declared is not None and not declared[0] < declared[1]:
        raise UserError(f"The ratings.scale is {list(declared)}", "The lowest score comes first", "Correct the recipe")
    mapped = []
    for one in scores:
        own = scale_of(one.aspect, one.question_id)
        low, high = declared or own
        if not low <= one.score <= high:
            raise UserError(
                f"{one.place}: the score {one.score:g} of {quoted(one.item)} is outside the scale",
                f"{one.aspect} is rated from {low:g} to {high:g}",
                "Correct it, or declare the scale: evaluation: {ratings: {path: ..., scale: [LOWEST, HIGHEST]}}",
            )
        share = (one.score - low) / (high - low)
        mapped.append(one if declared in (None, own) else replace(one, score=own[0] + share * (own[1] - own[0])))
    return mapped


def join(scores: Iterable[HumanScore], items: Sequence[Item], file: str) -> People:
    """Scores under the ids of the items that they are of. Raises `UserError` for a name that could mean two items."""
    names = ItemNames((item.id, item.image, item.prompt) for item in items)
    split = {item.id: item.split for item in items}
    matched, learnt, strangers = [], 0, Counter[str]()
    for one in scores:
        identity = names.find(one)
        if identity is None:
            strangers[one.item] += 1
        elif split[identity] == TRAIN:
            learnt += 1
        else:
            matched.append(replace(one, item=identity))
    require_once(matched)
    return People(file, matched, learnt, list(strangers), names.elsewhere)


class ItemNames:
    """Finds items by what files call them: the id; the path or the name of the image's file, with or without ending.

    Args:
        items: (id, path of the image or None, prompt) of each.
    """

    def __init__(self, items: Iterable[tuple[str, str | None, str]]) -> None:
        self._ids: set[str] = set()
        self._prompts: dict[str, str] = {}
        self._files: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        self.elsewhere: dict[str, str] = {}  # name that was matched although its folders are others -> item
        self._moved: dict[str, PurePosixPath] = {}  # item -> the first such path
        for identity, image, prompt in items:
            self._ids.add(identity)
            self._prompts[identity] = prompt
            if image:
                path = PurePosixPath(image)
                for name in dict.fromkeys((path.name, path.stem)):
                    self._files.setdefault(name, []).append((path.parts[:-1], identity))

    def find(self, one: HumanScore) -> str | None:
        """The id of the item that a score is of; None where there is none.

        Raises:
            UserError: there are two; the score's prompt is not the item's; or images of one name in two folders, such
                as two generators', would both be this item.
        """
        identity = self._find(one)
        if identity and one.prompt is not None and _plain(one.prompt) != _plain(self._prompts[identity]):
            said, own = quoted(one.prompt), quoted(self._prompts[identity])
            fact = (
                f"{one.place} names the image {quoted(identity)}, but its prompt is {said}, and that of the image {own}"
            )
            raise UserError(fact, "The score may be of another image", "Correct the file, or leave out what is wrong")
        return identity

    def _find(self, one: HumanScore) -> str | None:
        if one.item in self._ids:
            return one.item
        path = _path(one.item)
        found = self._named(path)
        if not found and (name := _UPLOADED.sub("", path.name, count=1)) != path.name:
            path = PurePosixPath(name) if _UPLOADS.fullmatch(str(path.parent)) else path.with_name(name)
            found = self._named(path)
        named = found
        if len(found) > 1 and one.prompt is not None:
            found = [identity for identity in found if self._prompts[identity] == one.prompt] or found
        if len(found) > 1:
            listed = ", ".join(found[:_LISTED])
            raise UserError(
                f"{one.place}: {quoted(one.item)} could mean {listed}", "A name must identify one image", "Use the ids"
            )
        if len(named) == 1 and not self._below(path):
            self._move(one, path, named[0])
        return found[0] if found else None

    def _move(self, one: HumanScore, path: PurePosixPath, identity: str) -> None:
        """Take a file in another folder for an item's, unless one in a third folder was taken for it, too."""
        if (first := self._moved.setdefault(identity, path)).parent != path.parent:
            fact = (
                f"{one.place}: {quoted(one.item)} and {quoted(str(first))} would both be the image {quoted(identity)}"
            )
            fix = "Leave out what was said of other generators' images, or use the ids"
            raise UserError(fact, "They lie in different folders", fix)
        self.elsewhere[one.item] = identity

    def _below(self, path: PurePosixPath) -> list[str]:
        """Items whose file has this name, and whose folders are those of the path as far as both say."""
        above, found = path.parts[:-1], []
        for folders, identity in self._files.get(path.name, []):
            shared = min(len(above), len(folders))
            if above[len(above) - shared :] == folders[len(folders) - shared :]:
                found.append(identity)
        return found

    def _named(self, path: PurePosixPath) -> list[str]:
        """The same, or the only item whose file has this name, wherever it lay when it was rated."""
        known = self._files.get(path.name, [])
        return [known[0][1]] if len(known) == 1 else self._below(path)


def _plain(prompt: str) -> str:
    return " ".join(prompt.split()).casefold()


def _path(name: str) -> PurePosixPath:
    """The path in a file's name, a URL, or Label Studio's reference to a local file (`...?d=folder/a.png`)."""
    path = name.replace("\\", "/")
    if "://" in path or "?d=" in path:
        parts = urlsplit(path)
        path = parse_qs(parts.query).get("d", [parts.path])[0]
    return PurePosixPath(path.lstrip("/") or name)
