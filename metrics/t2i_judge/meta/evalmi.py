"""EvalMi-50K (arXiv 2504.08358): people's mean opinions of generated images, and their answers, out of its workbook."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..inputs.readers import iter_rows

Files = Mapping[str, Path]  # path in the repository -> the file here
Columns = dict[str, list[Any]]

_COLUMNS = {"MOS1": "perception", "MOS2": "correspondence", "Y/N": "answer"}


def evalmi_ratings(files: Files) -> Columns:
    """item_id (MODEL/NUMBER.png), model, prompt (its number) and people's perception, correspondence (0-100), answer.

    answer: 1 where people answered the image's question with yes, else 0. File: a workbook or table, an image per row.
    """
    (path,) = files.values()
    columns: Columns = {"item_id": [], "model": [], "prompt": [], **{name: [] for name in _COLUMNS.values()}}
    for row in iter_rows(path):
        model, _, image = row["ImageName"].partition("/")
        columns["item_id"].append(row["ImageName"])
        columns["model"].append(model)
        columns["prompt"].append(int(Path(image).stem))
        for theirs, name in _COLUMNS.items():
            columns[name].append(row[theirs])
    return columns
