"""Estimates what people would say of a board's generators, from their labels of some of its images (PPI++).

A table of labels names an image by its id on the board (RUN/items.jsonl), its sha256, its file (the file's name is
enough if only one image has it), or by generator and prompt (or the prompt's id), with the seed if a prompt has several
images. A row that also names a file or an id which is not the image's is of another picture, made for the same prompt.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..errors import UserError, quoted
from ..inputs.cells import is_path
from ..inputs.shapes import (
    HUMAN_SCORES,
    RATER_NAMES,
    SCORE_NAMES,
    listed_numbers,
    matching,
    read_lists,
    rows_of_aspect,
)
from ..inputs.spreadsheets import unguarded
from ..inputs.tables import Table, column_names, read_table
from ..records import OVERALL
from ..stats.agreement import rater_mean
from ..stats.coefficients import LARGE, Floats, as_floats
from ..stats.estimates import APPROXIMATE, BY_HAND, Estimate
from ..stats.paired import ALPHA
from ..stats.resampling import holm
from ..stats.units import Units, by_unit, difference, differences, estimates
from ..wording import counted
from .items import BoardItem
from .matching import same_seed
from .scores import Scores

Row = dict[str, Any]
_PEOPLE = re.compile(r"(human|people|label|rating|rater|annotator|worker|h|r)s?([_ -]?(\d+|mean|avg|score))?", re.I)
# What names people, or counts them, and holds no label: "Rater", "raters"; but "rater_1" and "annotator mean" do.
_WHO = re.compile("|".join(f"{name.replace('_', '[ _-]?')}s?" for name in RATER_NAMES), re.I)
_IDS, _FILES = ("id", "item", "item_id", "image_id"), ("image", "file", "path")  # columns that name an image
_COUNT = re.compile(r"\d+(\.0)?")  # in such a column: the table's own count of its rows, where no image is called so
_WEB = re.compile(r"https?://", re.I)
_SHOWN = 3


@dataclass(frozen=True)
class Labels:
    """People's mean of some images, by item id; the columns it stood in, the table's rows, those of no image here."""

    means: Mapping[str, float]
    columns: list[str]
    path: str
    sha256: str
    rows: int
    unknown: int


def read_labels(tables: str, columns: str | None, items: Sequence[BoardItem]) -> Labels:
    """People's labels of a board's images, from one table or several with commas between (`read_table_of_labels`).

    Raises:
        UserError: as for one table, or an image is labelled in two tables.
    """
    paths = [tables] if Path(tables).exists() else column_names(tables) or [tables]
    parts = [read_table_of_labels(path, columns, items) for path in paths]
    means: dict[str, float] = {}
    for part in parts:
        if twice := next((identity for identity in part.means if identity in means), None):
            raise UserError(
                f"{part.path} labels {quoted(twice)} again",
                "Another table has a label for it, too",
                "Keep one of the two",
            )
        means |= part.means
    digest = (
        parts[0].sha256 if len(parts) == 1 else hashlib.sha256("".join(p.sha256 for p in parts).encode()).hexdigest()
    )
    named = list(dict.fromkeys(name for part in parts for name in part.columns))
    return Labels(means, named, tables, digest, sum(p.rows for p in parts), sum(p.unknown for p in parts))


def read_table_of_labels(path: str, columns: str | None, items: Sequence[BoardItem]) -> Labels:
    """People's labels of a board's images.

    Args:
        path: a table; long (a row per rating), wide (a column per rater), or with `human_scores`, as the Space exports.
        columns: people's columns, as names or patterns separated by commas; None takes those with the usual names.
        items: of the board.

    Raises:
        UserError: no column of people's, none that names an image, a row that could mean several images, a label beyond
            `LARGE`, or no match.
    """
    table = read_table(path)
    rows, names, numbers = _labels(table, columns)
    cells: dict[str, Sequence[Any]] = {
        name: table.labels(name) if name.lower() in RATER_NAMES else table.column(name)
        for name in table.columns
        if name not in names
    }
    places = _Places(items)
    rater = next((name for usual in RATER_NAMES for name in cells if name.lower() == usual), None)
    ratings = _Ratings(names, rater is not None)
    unknown = []
    for row in rows:
        if np.isnan(numbers[row]):
            continue
        place = f"{path}, row {row + 1}"
        if abs(numbers[row]) > LARGE:
            reason = "Sums of such numbers would be beyond float64"
            raise UserError(f"{place}: a label is larger than {LARGE:g}", reason, "Correct the table")
        described = {name: unguarded(column[row]) for name, column in cells.items()}  # `label-plan` may have guarded it
        texts = _texts(described)
        item = places.find(texts, place)
        if item is None:
            unknown.append(row + 1)
            continue
        who = described[rater] if rater else None
        who = who.strip() if isinstance(who, str) else who
        ratings.add(numbers[row], item, who, texts.get("seed"), places.file(texts, item), place)
    values = ratings.values
    if not values:
        fit = "fit none, by the file and the id if they name one, else by generator and prompt"
        reason = f"Rows {', '.join(map(str, unknown[:_SHOWN]))} {fit}" if unknown else "No label is filled in"
        raise UserError(f"{path} has no label for an image of this board", reason, "Name images as in RUN/items.jsonl")
    means = {identity: float(np.mean(own)) for identity, own in values.items()}
    return Labels(means, names, path, table.sha256, table.rows, len(unknown))


def holds_labels(column: str) -> bool:
    """Whether a column has one of the usual names of people's labels, such as `rater_1` or `human mean`."""
    return bool(_PEOPLE.fullmatch(column) and not _WHO.fullmatch(column))


def _labels(table: Table, wanted: str | None) -> tuple[list[int], list[str], Floats]:
    """The rows about whole images, people's columns, and their mean in each row of the table."""
    known = list(table.columns)
    if HUMAN_SCORES in known and not wanted:
        raters = read_lists(table, None).raters
        return (
            list(range(table.rows)),
            [HUMAN_SCORES],
            rater_mean(np.column_stack([as_floats(own) for own in raters.values()])),
        )
    usual = [name for name in known if holds_labels(name)]
    usual = usual or [name for name in known if name.lower() in SCORE_NAMES]
    names = matching(column_names(wanted), known) if wanted else usual
    if not names:
        fix = "Name people's columns with --label-columns"
        raise UserError(
            f"The columns of people's labels in {table.path} are unclear", f"It has {', '.join(known)}", fix
        )
    rows, _, _ = rows_of_aspect(table, {name: table.column(name) for name in known})
    numbers = [column for name in names for column in _numbers(table, name)]
    return rows, names, rater_mean(np.column_stack(numbers))


def _numbers(table: Table, name: str) -> list[Floats]:
    listed = listed_numbers(table, name)
    if listed is None:
        return [table.numbers(name)]
    return [as_floats(column) for column in listed.values()]


def _texts(row: Row) -> dict[str, str | None]:
    """A row's cells as text; None for blank ones, and for those that hold a picture and not its name."""
    unnamed = (type(None), dict, list, bytes)
    return {name: None if isinstance(cell, unnamed) else str(cell).strip() for name, cell in row.items()}


class _Ratings:
    """People's labels by the id of their image, from rows that can be of one image together."""

    def __init__(self, columns: Sequence[str], named: bool) -> None:
        self.values: dict[str, list[float]] = {}
        self._columns, self._named = columns, named
        self._seen: set[tuple[Hashable, ...]] = set()
        self._seeds: dict[str, str] = {}
        self._files: dict[str, str] = {}

    def add(self, label: float, item: BoardItem, who: Hashable, seed: str | None, file: str | None, place: str) -> None:
        """Count a row's label.

        Raises:
            UserError: an earlier row has the same people's label, or is of another picture: of another seed where that
                of the image is not known, or (without a rater, who may have a folder of their own) of another file.
        """
        shown, one, fix = quoted(item.id), "Keep one of the two", "Keep the rows of the image that is here"
        first = self._seeds.setdefault(item.id, seed.removesuffix(".0")) if seed and not item.seed else None
        if first is not None and not same_seed(seed, first):
            fact = f"{place} names the image {shown} with seed {quoted(seed)}, an earlier row with {quoted(first)}"
            raise UserError(fact, "Which of the two pictures is on this board is not known", fix)
        if file and not self._named and not _same_file(file, first := self._files.setdefault(item.id, file)):
            fact = f"{place} names the image {shown} by the file {quoted(file)}, an earlier row by {quoted(first)}"
            raise UserError(fact, "They may be two pictures", fix)
        if self._named and (item.id, who) in self._seen:
            raise UserError(f"{place}: {quoted(who)} rated {shown} twice", "", one)
        if item.id in self.values and not self._named and len(self._columns) > 1:
            reason = f"{', '.join(self._columns)} are people who rated it before"
            raise UserError(f"{place} labels {shown} again", reason, one)
        self._seen.add((item.id, who))
        self.values.setdefault(item.id, []).append(label)


def _path(name: str) -> PurePosixPath:
    return PurePosixPath((name.partition("?")[0] if _WEB.match(name) else name).replace("\\", "/"))


def _same_file(a: str, b: str) -> bool:
    """Whether two names may be of one file: one is the end of the other."""
    return all(x == y for x, y in zip(reversed(_path(a).parts), reversed(_path(b).parts)))


class _Places:
    """Finds the items of a board by the names that a table gives them."""

    def __init__(self, items: Iterable[BoardItem]) -> None:
        self._items: dict[tuple[str, ...], list[BoardItem]] = {}
        for item in items:
            for key in dict.fromkeys(self._names(item)):
                self._items.setdefault(key, []).append(item)

    @staticmethod
    def _names(item: BoardItem) -> Iterator[tuple[str, ...]]:
        path = Path(item.image)
        yield "id", item.id
        yield "id", item.sha256 or ""
        yield from (("image", name) for name in (item.image, path.name, f"{item.generator}/{path.name}"))
        yield from (("place", item.generator, name) for name in (item.prompt, item.prompt_id))

    def find(self, row: Mapping[str, str | None], place: str) -> BoardItem | None:
        """The item that a row is about, or None.

        Raises:
            UserError: it could be several, or says of the image what does not hold on this board: another prompt, file
                or seed. Such a table is of another board, whose ids may be the same.
        """
        generator = row.get("generator") or row.get("model") or row.get("system")
        found = list(self._candidates(row, generator))
        items = next((own for own in found if len(own) == 1), found[0] if found else [])
        other = next((own[0] for own in found if len(own) == 1 and own[0] is not items[0]), None)
        if wrong := _contradiction(row, items[0], other) if len(items) == 1 else None:
            fact = f"{place} names the image {quoted(items[0].id)}, but {wrong}"
            raise UserError(fact, "Its label may be of another board", "Correct the table, or leave out what is wrong")
        if len(items) > 1:
            told = "its seed" if generator else "its generator"
            fact = f"{place} may be {len(items)} images of this board ({quoted(items[0].id)}, {quoted(items[1].id)})"
            raise UserError(fact, "A label is for one image", f"Name {told} too, or the id in RUN/items.jsonl")
        return items[0] if items else None

    def file(self, row: Mapping[str, str | None], item: BoardItem) -> str | None:
        """The file that a row names: the item's where that is one of its names."""
        name = next((name for column in _FILES if _is_name(name := row.get(column) or "")), None)
        return item.image if name and ("image", name) in self._items else name

    def _fits(self, row: Mapping[str, str | None], item: BoardItem, place: bool) -> bool:
        """Whether an item, if it is found by its place, may have all of a row's names; else those that no image has.

        A file may lie in another folder or have another format; one that the board itself named can have any name.
        """
        if item.sha256 and (row.get("sha256") or "").lower() == item.sha256:
            return True
        stem = Path(item.image).stem
        ids = {name for column in _IDS if (name := row.get(column))} - {item.prompt, item.prompt_id}
        files = {name for column in _FILES if (name := row.get(column)) and stem != item.sha256}
        for key in [*(("id", name) for name in ids), *(("image", name) for name in files)]:
            known = self._items.get(key)
            if (place and item not in known) if known else _is_name(key[1]) and _path(key[1]).stem != stem:
                return False
        return True

    def _candidates(self, row: Mapping[str, str | None], generator: str | None) -> Iterator[list[BoardItem]]:
        """Items that each way of naming an image fits, narrowed to the generator and the seed where they are named."""

        def told(kind: str, columns: Iterable[str], *before: str) -> list[tuple[str, ...]]:
            return [(kind, *before, name) for column in columns if (name := row.get(column))]

        keys = told("id", (*_IDS, "sha256")) + told("image", _FILES)
        keys += told("place", ("prompt", "prompt_id", "id"), generator) if generator else []
        for key in keys:
            own = self._items.get(key, [])
            own = [item for item in own if not generator or item.generator == generator]
            own = [item for item in own if self._fits(row, item, key[0] == "place")]
            if row.get("seed") and len(own) > 1:
                own = [item for item in own if item.seed and same_seed(row["seed"], item.seed)]
            if own:
                yield own


def _is_name(text: str) -> bool:
    """Whether a cell names something: it is not blank, a picture itself or a mere number."""
    return bool(text and not _COUNT.fullmatch(text) and (_WEB.match(text) or is_path(text)))


def _contradiction(row: Mapping[str, str | None], item: BoardItem, other: BoardItem | None) -> str | None:
    """What a row says that does not hold for its item, as half a sentence; None if nothing is wrong."""
    if other is not None:
        return f"also {quoted(other.id)}"
    prompt, digest, seed = (row.get(name) for name in ("prompt", "sha256", "seed"))
    if prompt and _plain(prompt) != _plain(item.prompt):
        return f"its prompt is {quoted(prompt)}, and that of the image {quoted(item.prompt)}"
    if digest and item.sha256 and digest.lower() != item.sha256:
        return "its sha256 is that of another file"
    if seed and item.seed and not same_seed(seed, item.seed):
        return f"its seed is {quoted(seed)}, and that of the image {quoted(item.seed)}"
    return None


def _plain(prompt: str) -> str:
    return " ".join(prompt.split()).casefold()


def people(labels: Labels, scores: Scores, by_hand: bool) -> Row:
    """leaderboard.json's `people`: each generator's mean and each difference, in units of the labels.

    A pair is decided if the p-value of its normal test, adjusted over all pairs (Holm 1979), is below .05. The unit is
    the prompt.
    """
    units = _units(labels, scores)
    own: dict[Hashable, Units] = {name: units.get(name, {}) for name in scores.generators}
    generators = [
        {"name": name, "judge": _mean(own[name]), **_figures(estimate)}
        for name, estimate in estimates(own.items()).items()
    ]
    pairs = [
        {"a": a, "b": b, "judge": _mean(difference(own[a], own[b])), **_figures(estimate), "p": _p(estimate)}
        for (a, b), estimate in estimates(differences(own)).items()
    ]
    for pair, adjusted in zip(pairs, holm([pair["p"] for pair in pairs])):
        pair["p_holm"], pair["decided"] = adjusted, adjusted is not None and adjusted < ALPHA
    return {
        "labels": asdict(labels) | {"means": len(labels.means)},
        "unit": "prompt",
        "aspect": OVERALL,
        "chosen_by_hand": by_hand,
        "generators": generators,
        "pairs": pairs,
        "notes": _notes(labels, scores, pairs, by_hand),
    }


def _units(labels: Labels, scores: Scores) -> dict[Hashable, Units]:
    images = [(image.item, image.scores.get(OVERALL)) for image in scores.images]
    return by_unit(
        [item.generator for item, _ in images],
        [item.prompt for item, _ in images],
        np.asarray([np.nan if score is None else score for _, score in images], dtype=float),
        np.asarray([labels.means.get(item.id, np.nan) for item, _ in images], dtype=float),
    )


def _mean(units: Units) -> float | None:
    return float(np.mean([score for _, score in units.values()])) if units else None


def _figures(estimate: Estimate) -> Row:
    record = asdict(estimate)
    return {
        "mean": record.pop("value"),
        **{name: list(value) if isinstance(value, tuple) else value for name, value in record.items()},
    }


def _p(estimate: Estimate) -> float | None:
    """Two-sided p-value for a mean of 0, from the estimate's own normal interval."""
    from scipy import special

    if estimate.value is None or estimate.ci is None:
        return None
    error = (estimate.ci[1] - estimate.ci[0]) / 2 / special.ndtri(0.975)
    if error <= 0:
        return 1.0 if math.isclose(estimate.value, 0.0, abs_tol=1e-12) else 0.0
    return float(2 * special.ndtr(-abs(estimate.value) / error))


def _notes(labels: Labels, scores: Scores, pairs: Sequence[Row], by_hand: bool) -> list[str]:
    notes = [BY_HAND] if by_hand else []
    unscored = sum(image.scores.get(OVERALL) is None for image in scores.images if image.item.id in labels.means)
    if unscored:
        notes.append(f"left out: {counted(unscored, 'labelled image')} without a score from the judge")
    if labels.unknown:
        notes.append(f"left out: {counted(labels.unknown, 'row')} of {labels.path} with no image of this board")
    if any(pair["note"] and pair["note"].startswith("approximate") for pair in pairs):
        notes.append(f"approximate: fewer than {APPROXIMATE} prompts are labelled for both of some pair")
    for pair in pairs:
        if pair["decided"] and pair["judge"] is not None and pair["judge"] * pair["mean"] < 0:
            better = pair["a"] if pair["mean"] > 0 else pair["b"]
            notes.append(f"{pair['a']} and {pair['b']}: people prefer {better}; the judge prefers the other")
    return notes
