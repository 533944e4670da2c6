"""Verdicts of selftests, kept by judge, so that whoever uses the judge later can be told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...records import write_atomic
from .battery import Selftest

_ONLY_THE_JUDGE = ("name", "backend", "model", "revision", "template_hash")


def keep(result: Selftest) -> Path:
    """Note a judge's verdict under HF_HOME, in place of an older one; returns the file."""
    path = _path(result.judge)
    record = {"verdict": result.verdict, "n": result.n, "prompts": result.prompts, "judge": result.judge}
    failed = [probe.name for probe in result.probes if probe.verdict == "fail"]
    write_atomic(path, json.dumps({**record, "failed": failed}, indent=1) + "\n")
    return path


def find(judge: Mapping[str, Any]) -> dict[str, Any] | None:
    """verdict, n, prompts and failed probes of this very judge (`JudgeInfo` as JSON); None where none was kept."""
    try:
        record: dict[str, Any] = json.loads(_path(judge).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return {name: record[name] for name in ("verdict", "n", "prompts", "failed") if name in record}


def _path(judge: Mapping[str, Any]) -> Path:
    from huggingface_hub import constants

    identity = json.dumps([judge.get(name) for name in _ONLY_THE_JUDGE])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
    return Path(constants.HF_HOME, "t2i_judge", "selftests", f"{digest}.json")
