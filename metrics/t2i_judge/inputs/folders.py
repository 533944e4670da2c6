"""Folders and globs of images as tables: a row an image, its prompt from wherever people keep prompts.

In this order: a metadata file beside the images (metadata.csv, .tsv, .jsonl, .parquet), GenEval's layout
(NNNNN/metadata.jsonl beside NNNNN/samples/*.png), a text file of the image's name, the image's name itself
(`a_red_cat_on_a_mat_3.png` is "a red cat on a mat", seed 3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from glob import glob, has_magic
from itertools import groupby
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import parse_json, read_text

Row = dict[str, Any]
Reader = Callable[[Path], Iterator[Row]]

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif"}
METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.parquet")
FILE_COLUMNS = ("file_name", "filename", "file", "image", "image_path", "path")
PROMPT_COLUMNS = ("prompt", "caption", "text", "description")
_TABLES = {".parquet", ".arrow"}
_GENEVAL = "metadata.jsonl", "samples"
_SEED = re.compile(r"[ _+-]+(?:seed|s)?[ _-]?(\d{1,10})[ _]*$", re.IGNORECASE)
_SPACES, _HYPHENS = re.compile(r"(?:[\s_+]|%20)+"), re.compile(r"-+")
_WORD = re.compile(r"[^\W\d_]{2,}")


def is_image_folder(source: str | Path) -> bool:
    """Whether a name means images themselves: a folder of them (not of a dataset's shards), or a glob."""
    text, path = str(source), Path(source)
    if path.is_dir():
        return any(file.suffix.lower() in IMAGES for file in path.rglob("*")) and not any(
            file.suffix.lower() in _TABLES and file.name not in METADATA for file in path.rglob("*")
        )
    return has_magic(text) and not path.exists()


def folder_rows(source: str | Path, read_table: Reader) -> Iterator[Row]:
    """Rows {image, prompt, id, ...} of a folder or glob, in order of name; `image` is a path that can be opened.

    `id` is the image's path below the folder, without its ending. A metadata file's other columns, GenEval's `category`
    and the `seed` that a file's name or place tells come along. An image whose prompt is not told has None.

    Args:
        source: a folder, searched with everything below it, or a glob.
        read_table: reads a metadata file.

    Raises:
        UserError: no images, or no prompt for any of them.
    """
    root, files = image_files(source)
    rows = list(_rows(root, files, read_table))
    if not any(row["prompt"] for row in rows):
        raise UserError(
            f"{source}: none of its {len(rows)} images says its prompt",
            f"the first is {files[0].name}",
            "put a text file of the same name beside each image, or a metadata.csv with file_name and prompt",
        )
    yield from rows


def image_files(source: str | Path) -> tuple[Path, list[Path]]:
    """(folder that names start from, image files in order of name). Raises `UserError` where there are none."""
    root = Path(source)
    matches = root.rglob("*") if root.is_dir() else map(Path, glob(str(source), recursive=True))  # noqa: PTH207 (anywhere, not below a folder)
    files = sorted(path for path in matches if path.suffix.lower() in IMAGES and path.is_file())
    if not files:
        endings = " ".join(sorted(ending[1:] for ending in IMAGES))
        raise UserError(f"{source} has no images", f"images end in {endings}", "check the path")
    return (root if root.is_dir() else _common(files)), files


def _common(files: Sequence[Path]) -> Path:
    folder = files[0].parent
    while not all(file.is_relative_to(folder) for file in files):
        folder = folder.parent
    return folder


def _rows(root: Path, files: Sequence[Path], read_table: Reader) -> Iterator[Row]:
    tables = [path for path in sorted(root.rglob("metadata.*")) if path.name in METADATA and not _of_geneval(path)]
    known = {file: row for table in tables for file, row in _metadata(table, read_table)}
    for folder, members in groupby(files, key=lambda file: file.parent):
        geneval = _geneval(folder)
        for file in members:
            name = file.relative_to(root)
            row: Row = {"image": str(file), "prompt": None, "id": name.with_suffix("").as_posix()}
            if (own := known.get(file)) is not None:
                yield row | own
            elif geneval is not None:
                yield row | geneval | {"seed": file.stem}
            else:
                yield row | _told_beside(file)


def _metadata(table: Path, read_table: Reader) -> Iterator[tuple[Path, Row]]:
    """(image, its prompt and further columns) of a metadata file; images are named from its own folder."""
    for row in read_table(table):
        column = next((name for name in FILE_COLUMNS if row.get(name)), None)
        if column is None:
            raise UserError(f"{table} does not say which image a row is about", "", f"add a column {FILE_COLUMNS[0]}")
        prompt = next((row[name] for name in PROMPT_COLUMNS if row.get(name)), None)
        further = {name: value for name, value in row.items() if name not in (column, *PROMPT_COLUMNS, "image")}
        yield table.parent / str(row[column]), {"prompt": prompt, **further}


def _of_geneval(record: Path) -> bool:
    return record.name == _GENEVAL[0] and (record.parent / _GENEVAL[1]).is_dir()


def _geneval(folder: Path) -> Row | None:
    """Prompt and category of a folder in GenEval's layout, None where it is none."""
    record = folder.parent / _GENEVAL[0]
    if folder.name != _GENEVAL[1] or not record.is_file():  # the folder of samples beside the record
        return None
    lines = read_text(record).splitlines() or [""]
    about = parse_json(lines[0], str(record))
    try:
        return {"prompt": about["prompt"], "category": about.get("tag")}
    except (KeyError, TypeError) as error:
        raise UserError(f"{record} is not GenEval's", repr(error), "it is one JSON object with a prompt") from error


def _told_beside(file: Path) -> Row:
    """Prompt (and seed) from the text file beside an image, else from its name."""
    sidecar = file.with_suffix(".txt")
    if sidecar.is_file():
        try:
            return {"prompt": " ".join(sidecar.read_text(encoding="utf-8-sig").split()) or None}
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {sidecar}", str(error), "save it as UTF-8") from error
    stem, seed = file.stem, _SEED.search(file.stem)
    if seed:
        stem = stem[: seed.start()]
    words = _SPACES.sub(" ", stem).strip()
    words = words if " " in words else _HYPHENS.sub(" ", words)  # "a-red-cat", but "a red-haired girl"
    if len(_WORD.findall(words)) < 2:
        return {"prompt": None}
    return {"prompt": words, **({"seed": seed[1]} if seed else {})}
