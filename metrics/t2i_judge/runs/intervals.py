"""The intervals that a judge's scores carry: those of a file, else those that its own judge.json has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..conformal import Conformal, read_intervals
from ..files import sha256
from ..judges.names import HF, TINY, JudgeName
from ..records import Judgement
from .standing import is_here


def of_judge(judge: str, options: Mapping[str, Any]) -> Conformal | None:
    """As a judge of this name, loaded with these options, has them. Raises `UserError` for a broken file."""
    if (file := options.get("intervals")) is not None:
        return read_intervals(file)
    name = JudgeName.parse(judge)
    if name.kind not in (TINY, HF):
        return None
    from ..judges.loading import own_intervals
    from ..local.weights import find_weights

    return own_intervals(name, find_weights(name.model, name.revision), options)


def digest(judge: str, options: Mapping[str, Any]) -> str | None:
    """SHA-256 of these intervals; None if there are none, or a commit on the Hub tells them. Raises as `of_judge`."""
    if (file := options.get("intervals")) is None and not is_here(JudgeName.parse(judge)):
        return None
    own = of_judge(judge, options)
    if file is not None:
        return sha256(file)
    return None if own is None else hashlib.sha256(json.dumps(own.to_json(), sort_keys=True).encode()).hexdigest()


def carrying(intervals: Conformal | None, judgement: Judgement) -> Judgement:
    """A judgement with these intervals, whatever it had."""
    bare = replace(judgement, interval=None)
    return bare if intervals is None else intervals.carried(bare)
