"""The files of a model folder that are passed on: none from elsewhere, and nothing that has others run code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from t2i_judge.errors import UserError
from t2i_judge.files import read_json, write_atomic
from t2i_judge.inputs.places import is_below

REMOTE_CODE = "auto_map"
_FIX = "Put the file itself there, or remove it"


def copy_file(path: Path, folder: Path, target: Path) -> None:
    """Copy a file of a model folder, which somebody else may have made, to `target`.

    Raises:
        UserError: it is a link out of that folder. What it leads to would be published.
    """
    if not is_below(path, folder):
        raise UserError(f"{path.name} is a link out of its folder", "Its target would be published", _FIX)
    shutil.copyfile(path, target)


def drop_remote_code(folder: Path) -> None:
    """Take `auto_map` out of every JSON file of a folder, at any depth; files without it are left alone.

    A base on the Hub may name code of its own. It is never followed, so it is never passed on either.
    """
    for path in sorted(folder.glob("*.json")):
        content = read_json(path, "Download it again")
        if (kept := _without(content)) != content:
            write_atomic(path, json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(inner) for key, inner in value.items() if key != REMOTE_CODE}
    return [_without(inner) for inner in value] if isinstance(value, list) else value
