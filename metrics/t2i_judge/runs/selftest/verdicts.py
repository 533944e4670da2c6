"""Keeps the verdicts of selftests by judge, so that later users of the judge can be told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...files import read_bytes, write_atomic
from ..standing import IDENTITY, SETTINGS
from .battery import Selftest

_ONLY_THE_JUDGE = ("name", "backend", "model", "revision", "template_hash")


def keep(result: Selftest, identity: Mapping[str, Any]) -> Path:
    """Write a judge's verdict under HF_HOME, replacing an older one. Returns the file.

    Args:
        result: of the selftest.
        identity: of the judge (`standing.identity`).
    """
    path = _path(result.judge, identity)
    record = {"verdict": result.verdict, "n": result.n, "prompts": result.prompts, "judge": result.judge}
    failed = [probe.name for probe in result.probes if probe.verdict == "fail"]
    write_atomic(path, json.dumps({**record, "failed": failed}, indent=1) + "\n")
    return path


def find(judge: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any] | None:
    """Verdict, n, prompts and failed probes of exactly this judge; None if none was kept.

    Args:
        judge: `JudgeInfo` as JSON.
        run: its run.json, or `standing.identity`.
    """
    try:
        record: dict[str, Any] = json.loads(read_bytes(_path(judge, run)))
    except (OSError, ValueError):
        return None
    return {name: record[name] for name in ("verdict", "n", "prompts", "failed") if name in record}


def _path(judge: Mapping[str, Any], run: Mapping[str, Any]) -> Path:
    from huggingface_hub import constants

    names: list[Any] = [
        [judge.get(name) for name in _ONLY_THE_JUDGE],
        [run.get(name) for name in IDENTITY if name != SETTINGS],
    ]
    if (settings := run.get(SETTINGS)) is not None:  # verdicts used to be kept without, and those of servers have none
        names.append(settings)
    identity = json.dumps(names, sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
    return Path(constants.HF_HOME, "t2i_judge", "selftests", f"{digest}.json")
