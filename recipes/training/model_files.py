"""The JSON files of a model folder, without what would have others run code from a repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from t2i_judge.files import read_json, write_atomic

REMOTE_CODE = "auto_map"


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
