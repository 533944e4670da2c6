"""The types of arguments that name places: which paths their texts mean, and what is read in a folder there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..arguments import Read, ReadByName, everything, only
from ..errors import UserError
from ..inputs.folders import BESIDE, IMAGES, METADATA, is_image_folder
from ..inputs.readers import ENDINGS
from ..inputs.tables import column_names
from ..judges.names import CLIP, DINO, HF, JudgeName

_PICTURES = only(*(f"*{ending}" for ending in (*IMAGES, *BESIDE)), *METADATA)
# The files of a checkpoint, for all libraries that may read it. A report beside them is none.
_CHECKPOINT = only("judge.json", "*config.json", "*index.json", "*map.json", "*tokens.json", "vocab.json",
                   "token*.json", "*.safetensors", "*.bin", "*.model", "*.txt", "*.jinja", "*.py")  # fmt: skip


def _paths_of_table(text: str) -> Iterator[str]:
    """TABLE, BOOK:SHEET, FOLDER:CONFIG:SPLIT."""
    yield from dict.fromkeys((text, text.rpartition(":")[0], text.split(":")[0]))


def _inside_table(path: str) -> Sequence[str]:
    """Of a folder or a glob of images; in a folder that is a dataset, everything is read."""
    return (_PICTURES if is_image_folder(path) else everything)(path)


def _listed(text: str) -> Iterator[str]:
    """TABLE,TABLE; a file's name may have a comma, too."""
    for part in (text, *column_names(text)):
        yield from _paths_of_table(part)


def _listed_tables(text: str) -> Iterator[str]:
    """The same without what may be the name of a column."""
    yield from (path for path in _listed(text) if path.lower().endswith(ENDINGS))


def _of_judge(text: str) -> Iterator[str]:
    """Of a judge's name the folder that it is in. What is no name of a judge, the command will say."""
    try:
        judge = JudgeName.parse(text)
    except UserError:
        return
    if judge.kind in (HF, CLIP, DINO) and judge.model:
        yield judge.model


PICTURES = Read(inside=_PICTURES, make=Path)
PICTURES_BY_NAME = ReadByName(lambda text: [text.partition("=")[2]], _PICTURES)
FILE_BY_NAME = ReadByName(lambda text: [text.partition("=")[2]])
TABLE = Read(_paths_of_table, _inside_table)
TABLES = Read(_listed, _inside_table)
TABLES_OR_COLUMNS = replace(TABLES, places=_listed_tables)
JUDGE = Read(_of_judge, _CHECKPOINT)
CHECKPOINT = Read(inside=_CHECKPOINT)
JUDGE_FOLDER = Read(inside=only("judge.json"), make=Path)
