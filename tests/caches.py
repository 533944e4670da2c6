"""The cache of a process that a test starts."""

from __future__ import annotations

from pathlib import Path

from t2i_judge.local import tried


def new_home(folder: Path) -> str:
    """An HF_HOME with nothing but the record of models that were tried in this run: each trial takes seconds."""
    tried.lend(folder)
    return str(folder)
