"""Folders and globs of images as tables: one row per image, with its prompt from wherever people keep prompts.

In this order: a metadata file beside the images (metadata.csv, .tsv, .jsonl, .json, .parquet), GenEval's layout
(NNNNN/metadata.jsonl beside NNNNN/samples/*.png), a text file of the image's name, the image's name itself
(`a_red_cat_on_a_mat_3.png` is "a red cat on a mat", seed 3). Or, on request, what a generator wrote into the image.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from glob import glob, has_magic
from itertools import groupby
from os.path import normpath
from pathlib import Path
from typing import Any

from ..errors import UserError, quoted
from ..files import decoded, open_plain, parse_json, whole_number
from ..wording import counted
from .cells import is_file
from .numerals import is_blank
from .places import as_text, is_below, is_text
from .png_prompts import prompt_in, prompt_of

Row = dict[str, Any]
Reader = Callable[[Path], Iterator[Row]]
Written = tuple[Path, Path]  # the folder of a metadata file, and an image's name in it

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif"}
METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.json", "metadata.parquet")
# Names of columns, whatever their case; the first in which a table has anything. A name may lack its ending.
FILE_COLUMNS = (
    "file_name", "filename", "file", "image_file_name", "image_file", "image_path", "filepath", "path", "img_path",
    "image", "img", "image_name", "image_id", "name", "id",
)  # fmt: skip
PROMPT_COLUMNS = ("prompt", "caption", "text", "description", "positive_prompt", "prompt_text", "sentence")
PNG = "png"  # where prompts are from, on request
BESIDE = (".txt", ".caption")
_TEXT = 65_536  # bytes of a prompt's file
_RECORD = re.compile(r'\{\s*(?:"[^"]*"\s*:|\})')  # where JSON is meant, be it broken; not "{red|blue} cat"
_TABLES = {".parquet", ".arrow"}
_GENEVAL = "metadata.jsonl", "samples"
_SEED = re.compile(r"(?<![ _+-])([ _+-]++(?:seed[ _-]?|s)?)(\d{1,10})[ _]*+$", re.IGNORECASE)
_SPACES, _HYPHENS = re.compile(r"(?:[\s_+]|%20)+"), re.compile(r"-+")
_OF_A_TOOL = re.compile(
    r"(?:ComfyUI|ChatGPT Image|Gemini[ _]Generated|WhatsApp Image|"
    r"(?:IMG|DSC[NF]?|PXL|MVIMG|Screen ?shot(?: from| at)?)[ _-]*\d)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]{2,}")


def is_image_folder(source: str | Path) -> bool:
    """Whether a name means images: a folder of them (not of a dataset's shards), or a glob."""
    text, path = str(source), Path(source)
    if path.is_dir():
        return any(file.suffix.lower() in IMAGES for file in path.rglob("*")) and not any(
            file.suffix.lower() in _TABLES and file.name not in METADATA for file in path.rglob("*")
        )
    return has_magic(text) and not path.exists()


def folder_rows(source: str | Path, read_table: Reader, prompts_from: str | None = None) -> Iterator[Row]:
    """Rows {image, prompt, id, ...} of a folder or glob, ordered by name. `image` is a path that can be opened.

    `id` is the image's path below the folder, without its ending: text, whatever bytes it has. A metadata file's
    other columns, GenEval's `category` and the `seed` that a file's name or place tells come along. An image without a
    prompt has None. An image that a metadata file names but that does not exist is a row, too: it fails instead of
    vanishing.

    Args:
        source: a folder, which is searched with everything below it, or a glob.
        read_table: reads a metadata file.
        prompts_from: "png": only what AUTOMATIC1111 or ComfyUI wrote into the image.

    Raises:
        UserError: there are no images, none of them has a prompt, or a link or a metadata file leads out of the folder.
    """
    root, files = image_files(source)
    if prompts_from == PNG:
        rows = [{**_row(root, file), "prompt": prompt_in(file)} for file in files]
        fix = (
            "Leave out --prompts-from png if the prompts are in files beside the images; "
            "of a graph that joins texts or draws several images none is taken for the prompt"
        )
    else:
        rows = list(_rows(root, files, read_table, whole=Path(source).is_dir()))
        fix = (
            "Put a text file with the same name beside each image, or add a metadata.csv with file_name and prompt; "
            "for prompts that AUTOMATIC1111 or ComfyUI wrote into the images, use --prompts-from png"
        )
    if not any(row["prompt"] for row in rows):
        what = f"{source} has {counted(len(rows), 'image')}, none with a prompt"
        raise UserError(what, f"The first image is {files[0].name}", fix)
    # a.jpg beside a.png, or one image in two rows of a metadata file
    names = distinct(str(row["id"]) for row in rows)
    yield from (row if str(row["id"]) == name else {**row, "id": name} for row, name in zip(rows, names))


def distinct(names: Iterable[str]) -> list[str]:
    """The same names, each of its own: `a`, `a#2`. One that comes again is numbered, past those that are there."""
    seen: Counter[str] = Counter()
    used: dict[str, None] = {}
    for name in names:
        own = name
        while own in used:  # a name may look like one with a number
            seen[name] += 1
            own = f"{name}#{seen[name] + 1}"
        used[own] = None
    return [*used]


def image_files(source: str | Path) -> tuple[Path, list[Path]]:
    """(folder that names start from, image files in order of name).

    Raises:
        UserError: there are none, or one is a link out of the folder.
    """
    root = Path(source)
    matches = root.rglob("*") if root.is_dir() else map(Path, glob(str(source), recursive=True))  # noqa: PTH207 (anywhere, not below a folder)
    files = sorted(path for path in matches if path.suffix.lower() in IMAGES and path.is_file() and not _is_grid(path))
    if not files:
        endings = " ".join(sorted(ending[1:] for ending in IMAGES))
        raise UserError(f"{source} has no images", f"Images end in {endings}", "Check the path")
    root = root if root.is_dir() else _common(files)
    for file in files:
        _check_place(file, root)
    return root, files


def _common(files: Sequence[Path]) -> Path:
    folder = files[0].parent
    while not all(file.is_relative_to(folder) for file in files):
        folder = folder.parent
    return folder


def _row(root: Path, file: Path) -> Row:
    return {"image": str(file), "prompt": None, "id": as_text(file.relative_to(root).with_suffix("").as_posix())}


def _rows(root: Path, files: Sequence[Path], read_table: Reader, whole: bool) -> Iterator[Row]:
    """`whole`: the files are all images of a folder, and not some that a glob matches."""
    tables = [path for path in sorted(root.rglob("metadata.*")) if path.name in METADATA and not _of_geneval(path)]
    told = [row for table in tables for row in _metadata(table, read_table, root)]
    places = _Names(root, files).find(dict.fromkeys(written for written, _ in told))
    known: dict[Path, list[Row]] = {}
    for written, about in told:
        known.setdefault(places[written], []).append(about)
    for folder, members in groupby(files, key=lambda file: file.parent):
        geneval = _geneval(folder)
        for file in members:
            row = _row(root, file)
            if (own := known.pop(file, None)) is not None:
                yield from (row | about for about in own)
            elif geneval is not None:
                yield row | geneval | {"seed": as_text(file.stem)}
            else:
                yield row | _told_beside(file, root)
    for file, missing in known.items() if whole else ():
        _check_place(file, root)
        yield from ({"image": str(file), "id": file.with_suffix("").name, **about} for about in missing)


class _Names:
    """Finds the images that the rows of metadata files mean."""

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self.root, self._files = root, set(files)
        self._stems: dict[Path, Path] = {file.with_suffix(""): file for file in files}

    def find(self, written: Collection[Written]) -> dict[Written, Path]:
        """For each name in a table its image, with or without its ending; else where it should be.

        Names start from the table's folder. One from the root, or without its folder, is taken where nothing else is
        called so: an image that has a row of its own, or that two names would lead to, is another one.
        """
        places = {name: Path(normpath(name[0] / name[1])) for name in written}
        found = {name: file for name, place in places.items() if (file := self._at(place))}
        guessed = {name: file for name in written if name not in found and (file := self._guess(name))}
        to = Counter(file for file, _ in {(file, places[name]) for name, file in guessed.items()})
        own = set(found.values())
        sure = {name: file for name, file in guessed.items() if to[file] == 1 and file not in own}
        return {name: name[0] / name[1] for name in written} | found | sure

    def _at(self, place: Path) -> Path | None:
        return place if place in self._files else self._stems.get(place)

    def _guess(self, name: Written) -> Path | None:
        folder, path = name
        if is_file(str(folder / path)):  # it is there, and a glob does not want it
            return None
        places = (Path(normpath(place)) for place in (self.root / path, folder / path.name))
        return next(filter(None, map(self._at, places)), None)


def _metadata(table: Path, read_table: Reader, root: Path) -> Iterator[tuple[Written, Row]]:
    """(how the image is named, its prompt and further columns) of a metadata file; names start from its own folder."""
    _check_place(table, root)
    rows = list(read_table(table))
    names = [{name.strip().lower(): name for name in row} for row in rows]
    file, told = (_column(rows, names, wanted) for wanted in (FILE_COLUMNS, PROMPT_COLUMNS))
    if rows and file is None:
        raise UserError(f"{table} does not say which image each row is about", "", f"Add a column {FILE_COLUMNS[0]}")
    for number, (row, columns) in enumerate(zip(rows, names), 1):
        used = [columns.get(name or "") for name in (file, told)]
        name, prompt = (None if column is None or is_blank(row[column]) else str(row[column]) for column in used)
        further = {name: value for name, value in row.items() if name not in (*used, "prompt", "image")}
        path = Path(f"row {number} without {file}.png" if name is None else name.strip().replace("\\", "/"))
        yield (table.parent, path), {"prompt": prompt, **further}


def _column(rows: Sequence[Row], names: Sequence[Mapping[str, str]], wanted: Sequence[str]) -> str | None:
    """The first of the wanted columns that says something in any row, and so for all rows: a blank cell is a gap."""
    filled = {
        name
        for row, columns in zip(rows, names)
        for name in wanted
        if name in columns and not is_blank(row[columns[name]])
    }
    return next((name for name in wanted if name in filled), None)


def _is_grid(file: Path) -> bool:
    """The overview that GenEval's scripts lay beside the folder of samples; it shows no prompt's image."""
    return (file.parent / _GENEVAL[0]).is_file() and _of_geneval(file.parent / _GENEVAL[0])


def _of_geneval(record: Path) -> bool:
    return record.name == _GENEVAL[0] and (record.parent / _GENEVAL[1]).is_dir()


def is_geneval_sample(file: Path) -> bool:
    """Whether an image lies in GenEval's folder of samples, with the record of their prompt beside it."""
    return file.parent.name == _GENEVAL[1] and (file.parent.parent / _GENEVAL[0]).is_file()


def _geneval(folder: Path) -> Row | None:
    """Prompt and category of a folder in GenEval's layout, None where it is none."""
    record = folder.parent / _GENEVAL[0]
    if folder.name != _GENEVAL[1] or not record.is_file():  # the folder of samples beside the record
        return None
    about = parse_json((_text(record, record.parent).splitlines() or [""])[0], str(record))
    try:
        return {"prompt": about["prompt"], "category": about.get("tag")}
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{record} is not a record of GenEval", repr(error), "Write one JSON object with a prompt"
        ) from error


def _told_beside(file: Path, root: Path) -> Row:
    """Prompt (and seed) from the text file beside an image, else from its name."""
    places = (place for ending in BESIDE for place in (file.with_suffix(ending), Path(f"{file}{ending}")))
    if (sidecar := next((place for place in places if place.is_file()), None)) is not None:
        return _told_in(_text(sidecar, root).strip(), str(sidecar))
    return _told_by_name(file)


def _told_in(text: str, where: str) -> Row:
    """Prompt (and seed) in the text file of an image: a prompt, AUTOMATIC1111's text, or an object of JSON."""
    record = None
    if text.startswith(("{", "[")):
        try:
            record = parse_json(text, where, "Write the prompt alone", whole_number, once=True)
        except UserError:  # brackets are weights and choices, too
            if _RECORD.match(text):
                raise
    if record is None:
        return {"prompt": prompt_of(text)}
    rows = [record] if isinstance(record, dict) else []
    names = [{name.strip().lower(): name for name in row} for row in rows]
    told = names[0].get(_column(rows, names, PROMPT_COLUMNS) or "") if rows else None
    if told is None or not isinstance(record[told], str):
        reason = f"It is JSON, and no object with a text as its {PROMPT_COLUMNS[0]}"
        raise UserError(f"{where} holds no prompt", reason, "Write the prompt alone")
    seed = record.get(names[0].get("seed", ""))
    return {"prompt": record[told], **({"seed": seed} if isinstance(seed, int | str) and not is_blank(seed) else {})}


def _told_by_name(file: Path) -> Row:
    """Prompt (and seed) from an image's name; None from one that a camera or a tool gave it."""
    if not is_text(file.stem) or _OF_A_TOOL.match(file.stem):  # nobody knows which letters of no text were meant
        return {"prompt": None}
    stem, seed = file.stem, _seed(file.stem)
    if seed:
        stem = stem[: seed.start()]
    words = _SPACES.sub(" ", stem).strip()
    words = words if " " in words else _HYPHENS.sub(" ", words)  # "a-red-cat", but "a red-haired girl"
    if len(_WORD.findall(words)) < 2:
        return {"prompt": None}
    return {"prompt": words, **({"seed": seed[2]} if seed else {})}


def _seed(stem: str) -> re.Match[str] | None:
    """The seed at the end of an image's name. In one that is written as text is, a last number may be a word."""
    seed = _SEED.search(stem)
    return None if seed and not seed[1].strip(" ") and " " in stem[: seed.start()].strip() else seed


def named_so(rows: Iterable[Row]) -> str | None:
    """A sentence where images of a folder have their names as prompts, which may not be what they were made for."""
    for row in rows:
        file = Path(row["image"])
        if row["prompt"] and row["prompt"] == _told_by_name(file)["prompt"]:
            return f"prompts are as the files are called, such as {quoted(row['prompt'])} of {quoted(file.name)}"
    return None


def _text(file: Path, root: Path) -> str:
    """The text of a file that tells an image's prompt. Raises `UserError` for what is no such text."""
    _check_place(file, root)
    try:
        with open_plain(file) as opened:
            data = opened.read(_TEXT + 1)
        if len(data) > _TEXT or "\0" in (text := decoded(data)):
            raise UserError(f"{file} holds no prompt", f"It is no text of at most {_TEXT} bytes", "Correct the file")
        return text
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {file}", str(error), "Save it as UTF-8") from error


def _check_place(file: Path, root: Path) -> None:
    """Raise for what leads out of the folder: whoever made it would have what lies there sent to a judge's server."""
    if not is_below(file, root):
        reason = "It would be sent to the judge, and whoever made the folder chose it"
        fix = "Copy the file into the folder; or name images by their whole paths in a table"
        raise UserError(f"{file} leads out of {root}", reason, fix)
