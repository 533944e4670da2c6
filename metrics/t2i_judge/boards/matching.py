"""Which image belongs to which prompt, told by the names of a generator's files and folders.

Line k of a text file belongs to the k-th image in order of name, unless names show that an image is missing or one is
too many. A table's row belongs to the image that its column `image` names. Else its id is looked for in three places:
the file's name (`ID.png`), that name before a seed (`ID_0003.png`), and the folders above (`ID/0003.png`,
`ID/samples/0003.png`); zeros in front of a number do not count.

A seed may look like an id: `2/0.png` is of prompt 2 or of prompt 0. Where two places name different prompts, one place
counts for all images of the folder: the only one that names every prompt, if every image names one there and the others
name half of them at most, as seeds do. Nothing is guessed where there is no such place: images of the last prompts may
not have been made yet. `a_red_cat/0.png` beside `a_dog/0.png` is as unclear: the folders may be the
prompts. There the file's name counts if all prompts are named so, in at most half as many folders.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from ..errors import UserError, quoted
from ..inputs.folders import image_files, is_geneval_sample
from ..inputs.numerals import is_blank
from ..inputs.places import as_text
from ..inputs.readers import Row
from ..wording import counted
from .prompts import Prompts, id_of, image_of, prompt_of

# A seed behind an id, and one with its mark: the id may end in "s".
_SEEDS = tuple(
    re.compile(rf"(?<![ _+-])[ _+-]++{mark}(\d{{1,10}})$", re.IGNORECASE) for mark in ("", "(?:seed|s)?[ _-]?")
)
_NUMBER = re.compile(r"(?:seed|s)?[ _-]?(\d++)", re.IGNORECASE)  # what a seed is, however it is written
_TABLE = "give a table with the columns image and prompt"
_NUMBERS, _DIGITS = re.compile(r"[0-9]+"), 300  # of which so many digits count
# Places of an id: the file's name, that name before a seed, and from 1 on the folders above the file.
_NAME, _BEFORE_SEED, _SAMPLES = 0, -1, 2
_NO_ROW = -1  # digits that are no id, where other images have one
Told = dict[int, int]  # place -> number of the row that is named there
Numbered = tuple[list[int], str]  # the numbers in an image's name, and the name as messages have it


def matched(prompts: Prompts, folder: str) -> tuple[list[Row], list[str], str | None]:
    """Rows of a folder's images with their prompts, the images without a prompt, and how ids were told from seeds.

    Raises:
        UserError: no images; a text file of another length or names whose order is not that of their numbers; no image
            that matches a prompt, or images that may be of two prompts.
    """
    root, files = image_files(folder)
    names = [file.relative_to(root) for file in files]
    if prompts.by_order:
        if len(names) != len(prompts.rows):
            raise UserError(
                f"{prompts.path} has {counted(len(prompts.rows), 'line')}, {folder} {counted(len(names), 'image')}",
                "Line k is the prompt of the k-th image, in the order of names",
                f"Give one line per image, or {_TABLE}",
            )
        _check_order(folder, names)
        return (
            [{**row, "image": str(file), "id": as_text(file.stem)} for row, file in zip(prompts.rows, files)],
            [],
            None,
        )
    samples = {name for file, name in zip(files, names) if is_geneval_sample(file)}
    found, decided = rows_of(names, prompts, folder, samples)
    rows = [{**row, "image": str(file), "id": as_text(row["id"])} for file, row in zip(files, found) if row is not None]
    if not rows:
        raise UserError(
            f"{prompts.path}: no prompt matches an image of {folder}",
            f"The first image is {names[0].as_posix()}",
            "Put the file name into a column image, or the file name without extension into a column id",
        )
    return rows, [name.as_posix() for name, row in zip(names, found) if row is None], decided


def rows_of(
    names: Sequence[Path], prompts: Prompts, folder: str, samples: Collection[Path] = ()
) -> tuple[list[Row | None], str | None]:
    """For each image its row with `id` and `seed`, or None; and a sentence where seeds were told from ids.

    Args:
        names: the images' paths below the folder.
        prompts: from a table or a published set.
        folder: for messages.
        samples: images whose folder, in GenEval's layout, has a record beside it: that folder is the id.

    Raises:
        UserError: an image may be of two prompts.
    """
    table = _Table(prompts.rows, names)
    found: list[Row | None] = [table.named(name) for name in names]
    layouts: dict[int, list[int]] = defaultdict(list)  # files as deep as each other are named alike
    for number, (name, row) in enumerate(zip(names, found)):
        if row is None:
            layouts[len(name.parts)].append(number)
    decided = None
    for numbers in layouts.values():
        told = _of_used_places([table.told(names[number], names[number] in samples) for number in numbers])
        if (example := _unclear(told)) is not None:
            image, place = quoted(as_text(names[numbers[example]])), _place(told, table.prompts)
            if place is None:
                raise _two_prompts(f"{folder}: {image}", table, told[example], prompts.path)
            where = "folders" if place > _NAME else "file names"
            decided = f"{image} is of prompt {quoted(table.id(told[example][place]))}: {where} alone name all prompts"
            told = [{place: one[place]} if place in one else {} for one in told]
        decided = _of_folders([names[number] for number in numbers], told, table, folder) or decided
        for number, one in zip(numbers, told):
            if known := next(((place, row) for place, row in one.items() if row != _NO_ROW), None):
                found[number] = table.row(known[1], names[number], known[0])
    return found, decided


def _of_used_places(told: Sequence[Told]) -> list[Told]:
    """The same, without the places where no image has an id: digits there are no id of another table."""
    used = {place for one in told for place, number in one.items() if number != _NO_ROW}
    return [{place: number for place, number in one.items() if place in used} for one in told]


def _unclear(told: Sequence[Told]) -> int | None:
    """An image that may be of two prompts, if possible one of which the table has both; None if there is none."""
    unclear = [number for number, one in enumerate(told) if len(set(one.values())) > 1]
    return min(unclear, key=lambda number: _NO_ROW in told[number].values(), default=None)


def _place(told: Sequence[Told], prompts: set[int]) -> int | None:
    """The only place that names every prompt, if every image that names one does so there, and others name few."""
    named: dict[int, set[int]] = defaultdict(set)
    for one in told:
        for place, number in one.items():
            named[place].add(number)
    complete = [place for place, numbers in named.items() if prompts <= numbers]
    known = [one for one in told if set(one.values()) - {_NO_ROW}]
    if len(complete) != 1 or any(one.get(complete[0], _NO_ROW) == _NO_ROW for one in known):
        return None
    most = max((len(numbers - {_NO_ROW}) for place, numbers in named.items() if place != complete[0]), default=0)
    return complete[0] if 2 * most <= len(prompts) else None


def _of_folders(names: Sequence[Path], told: Sequence[Told], table: _Table, folder: str) -> str | None:
    """A sentence where numbers that are taken for ids come again in folders that are neither ids nor seeds.

    Raises:
        UserError: these numbers may be seeds.
    """
    above: dict[int, set[tuple[str, ...]]] = defaultdict(set)
    unclear = None
    for name, one in zip(names, told):
        place, row = next((told for told in one.items() if told[1] != _NO_ROW), (None, _NO_ROW))
        if place in (_NAME, _BEFORE_SEED) and table.id(row).isdecimal():
            above[row].add(tuple(part for part in name.parts[:-1] if not _NUMBER.fullmatch(part)))
            if len(above[row]) > 1:
                unclear = unclear or (quoted(as_text(name)), quoted(table.id(row)))
    if unclear is None:
        return None
    image, prompt = unclear
    folders = len(set().union(*above.values()))
    if table.prompts <= set(above) and 2 * folders <= len(table.prompts):
        return f"{image} is of prompt {prompt}: file names alone name all prompts"
    raise UserError(
        f"{folder}: {image} may be of prompt {prompt} or of the prompt that its folder is called after",
        f"Files have the same numbers in {folders} folders, as seeds have",
        f"Name folders by ids (2/seed_0.png), or by seeds and files by ids (seed_0/2.png), or {_TABLE}",
    )


def _two_prompts(image: str, table: _Table, told: Told, path: str) -> UserError:
    ids = [quoted(table.id(number)) for number in dict.fromkeys(told.values()) if number != _NO_ROW]
    either = " or ".join(ids) if len(ids) > 1 else f"{ids[0]}, or of one that {path} has not"
    reason = "Its name and its folders are read as ids, and which of them name the prompts is not sure"
    fix = f"Write seed_ in front of what is a seed (2/seed_0.png, seed_0/2.png), or {_TABLE}"
    return UserError(f"{image} may be of prompt {either}", reason, fix)


class _Table:
    """Finds the rows of a table of prompts by the names of images.

    Args:
        rows: of the table.
        names: of all images, below their folder.

    Attributes:
        prompts: numbers of the rows that images are looked for; of rows with one id, the first one's.
    """

    def __init__(self, rows: Sequence[Row], names: Sequence[Path]) -> None:
        self._rows = rows
        self._paths = {image: number for number, row in reversed([*enumerate(rows)]) if (image := image_of(row))}
        present = {name.as_posix() for name in names}
        ids: dict[str, list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            if (text := id_of(row)) is not None and image_of(row) not in present:  # whose file exists has no other
                ids[text].append(number)
        self._ids = {text: own for text, own in ids.items() if len({prompt_of(rows[number]) for number in own}) == 1}
        self._bare = self._bare_names(names)
        for name, number in self._bare.items():
            image = image_of(rows[number])
            if id_of(rows[number]) is None and image == name and image not in present:
                self._ids.setdefault(Path(name).stem, [number])
        plain: dict[str, set[int]] = defaultdict(set)
        for text, own in self._ids.items():
            if text.isdecimal():
                plain[_plain(text)].add(own[0])
        self._plain = {text: own.pop() for text, own in plain.items() if len(own) == 1}
        wanted = {own[0] for own in self._ids.values()} | {self._first(number) for number in self._bare.values()}
        self.prompts = {
            number for number in wanted if prompt_of(rows[number]) and image_of(rows[number]) not in present
        }

    def _bare_names(self, names: Sequence[Path]) -> dict[str, int]:
        """File name -> number of the only row with it; where the row names a folder, too, of the only file with it."""
        rows, files = Counter(Path(image).name for image in self._paths), Counter(name.name for name in names)
        return {
            name: number
            for image, number in self._paths.items()
            if rows[name := Path(image).name] == 1 and (image == name or files[name] == 1)
        }

    def _first(self, number: int) -> int:
        return self._ids.get(id_of(self._rows[number]) or "", [number])[0]

    def named(self, name: Path) -> Row | None:
        """The row whose image this is, or whose id is the image's path without its ending."""
        if (number := self._paths.get(name.as_posix())) is not None:
            return self._with(self._rows[number], number, None)
        text = name.with_suffix("").as_posix()
        return self.row(self._ids[text][0], name, _NAME) if "/" in text and text in self._ids else None

    def told(self, name: Path, is_sample: bool) -> Told:
        """What each place in an image's name says; nothing where it is no id."""
        told = dict(self._places(name))
        return {_SAMPLES: told[_SAMPLES]} if is_sample and _SAMPLES in told else told

    def _places(self, name: Path) -> Iterator[tuple[int, int]]:
        bare = self._bare.get(name.name)
        if (whole := self._of(name.stem) if bare is None else self._first(bare)) is not None:
            yield _NAME, whole
        number = self._of(name.stem[: seed.start()]) if (seed := self._seed(name.stem)) else None
        if number is not None and (number != _NO_ROW or whole is None):
            yield _BEFORE_SEED, number
        for place, parent in enumerate(name.parts[-2::-1], 1):
            if (number := self._of(parent)) is not None:
                yield place, number

    def _seed(self, stem: str) -> re.Match[str] | None:
        """The seed at the end of a name, if what stands before it is an id: `mcdonald_s_1` may be of `mcdonald_s`."""
        seeds = [seed for mark in _SEEDS if (seed := mark.search(stem))]
        ids = [seed for seed in seeds if self._of(stem[: seed.start()]) not in (None, _NO_ROW)]
        return next(iter(ids or seeds), None)

    def _of(self, text: str) -> int | None:
        """Number of the row with this id; `_NO_ROW` for digits without one; None for another text."""
        if text in self._ids:
            return self._ids[text][0]
        return self._plain.get(_plain(text), _NO_ROW) if text.isdecimal() else None

    def id(self, number: int) -> str:
        """What a row is called: its id, else its image without the ending."""
        row = self._rows[number]
        return id_of(row) or Path(image_of(row) or "").stem

    def row(self, number: int, name: Path, place: int) -> Row:
        """An image's row: of those with one id the one of its seed, else what all of them say."""
        before = self._seed(name.stem) if place == _BEFORE_SEED else None
        seed = before[1] if before else as_text(name.stem) if place > _NAME else None
        rows = [self._rows[same] for same in self._ids.get(self.id(number), [number])]
        own = next((row for row in rows if seed and same_seed(row.get("seed"), seed)), None)
        alike = {key: value for key, value in rows[0].items() if all(row.get(key) == value for row in rows)}
        return self._with(own or alike, number, seed)

    def _with(self, row: Row, number: int, seed: str | None) -> Row:
        told = row.get("seed")
        return {**row, "id": self.id(number), "seed": seed if is_blank(told) else told}


def _plain(text: str) -> str:
    return text.lstrip("0") or "0"


def same_seed(told: object, seed: str) -> bool:
    """Whether a table's seed is an image's, however the two are written: 3, 3.0 (beside blank cells), 0003, seed_3."""
    numbers = [_NUMBER.fullmatch(text.strip()) for text in (str(told).removesuffix(".0"), seed)]
    return str(told) == seed or (all(numbers) and len({_plain(found[1]) for found in numbers if found}) == 1)


def _check_order(folder: str, names: Sequence[Path]) -> None:
    """Raise `UserError` where line k of a text file may not be the prompt of the k-th image."""
    alike: dict[str, list[Numbered]] = defaultdict(list)
    forms: dict[str, list[str]] = defaultdict(list)
    for name in names:
        text, shown = as_text(name.with_suffix("").as_posix()), quoted(as_text(name))
        numbers = [int(digits[:_DIGITS]) for digits in _NUMBERS.findall(text)]
        alike[_NUMBERS.sub("#", text)].append((numbers, shown))
        forms[_NUMBERS.sub("#", as_text(name.stem))].append(shown)
    fact = next(filter(None, (find(known) for find in (_disorder, _gap) for known in alike.values())), _odd_one(forms))
    if fact is not None:
        reason = "Line k of a text file is the prompt of the k-th image in the order of names"
        raise UserError(f"{folder}: {fact}", reason, f"Number images from 0 on with as many digits each, or {_TABLE}")


def _disorder(known: Sequence[Numbered]) -> str | None:
    """Two names alike but for their numbers that are not in the order of these: 10.png before 2.png."""
    pairs = pairwise(known)
    other, image = next(((one, two) for (before, one), (numbers, two) in pairs if numbers < before), (None, None))
    return other and f"{other} stands before {image}, which is not the order of their numbers"


def _gap(known: Sequence[Numbered]) -> str | None:
    """Where an image is missing if names count from 0 or 1 on: most numbers up to the last are there, but not all."""
    columns = enumerate(zip(*(numbers for numbers, _ in known)))
    counter = next((place for place, column in columns if len(set(column)) > 1), None)
    if counter is None:
        return None
    counted_on = [numbers[counter] for numbers, _ in known]  # which rise, since names are in their order
    if counted_on[0] > 1 or 2 * len(set(counted_on)) <= counted_on[-1] - counted_on[0] + 1:
        return None
    pairs = ((one, two) for (before, one), (numbers, two) in pairwise(known) if numbers[counter] > before[counter] + 1)
    return next((f"an image is missing between {one} and {two}" for one, two in pairs), None)


def _odd_one(forms: Mapping[str, Sequence[str]]) -> str | None:
    """A file called otherwise than most, which are numbered: grid.png, an overview and no prompt's image."""
    form, most = max(forms.items(), key=lambda one: len(one[1]))
    odd = next((images[0] for images in forms.values() if images is not most), None)
    if odd is None or "#" not in form or 2 * len(most) <= sum(map(len, forms.values())):
        return None
    return f"{odd} is called otherwise than {most[0]} and most others"


def check_same_places(folders: Mapping[str, Sequence[str]]) -> None:
    """Raise `UserError` where an image's name has one place in a generator's folder and another one in another's.

    Args:
        folders: generator -> the names of its images, whose k-th belongs to line k of a text file. Their endings do not
            count, but in a folder that has a.jpg beside a.png.
    """
    first: dict[str, tuple[int, str]] = {}
    for generator, names in folders.items():
        stems = [Path(name).with_suffix("").as_posix() for name in names]
        twice = {stem for stem, number in Counter(stems).items() if number > 1}
        for place, (stem, whole) in enumerate(zip(stems, names), 1):
            name = whole if stem in twice else stem
            known, other = first.setdefault(name, (place, generator))
            if known != place:
                fact = f"{quoted(name)} is image {known} of {other} and image {place} of {generator}"
                reason = (
                    "Line k of a text file is the prompt of the k-th image: one of them would have another's prompt"
                )
                raise UserError(
                    fact, reason, "Add the image that lacks, or give a table with the columns image and prompt"
                )
