"""run.json: what a run is. Whether the run that left its record in a folder is the one that begins there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError, quoted
from ..files import read_object
from ..local.precision import said_in
from ..records import JudgeInfo
from .lines import SHARDS
from .standing import BESIDE, SETTINGS

RUN = "run.json"
OF_JUDGE = frozenset({BESIDE, SETTINGS})  # what runs used to be without
PAID = "calls.sqlite"  # of a run: a served judge's replies
_FIX = "Use another --out, or remove this folder"
_FIX_PAID = f"Use another --out, with a copy of {PAID} (it has the replies that are paid for), or remove this folder"


def earlier(folder: Path, now: Mapping[str, Any]) -> dict[str, Any]:
    """The record in a folder, with `now`'s values of what runs used to be without; empty if nothing was begun there.

    Raises:
        UserError: the record is torn, or there are judgements without one.
    """
    path = folder / RUN
    if path.exists():
        return {name: now[name] for name in OF_JUDGE} | read_object(path, _FIX)
    _refuse_judgements(folder)
    return {}


def refuse_foreign(folder: Path, names: Iterable[str]) -> None:
    """Raise `UserError` where something of these names stands in a folder without a record: no run wrote it."""
    if (folder / RUN).exists():
        return
    _refuse_judgements(folder)
    if found := next((folder / name for name in names if (folder / name).exists()), None):
        reason = f"No run began in {folder}, so it is not a run's, and it would be written over"
        raise UserError(f"{found} is there, and no {RUN}", reason, "Use another --out, or move this file")


def _refuse_judgements(folder: Path) -> None:
    if any((folder / SHARDS).glob("*.jsonl")):
        fix = "Put its run.json back, use another --out, or remove this folder"
        raise UserError(f"{folder} has judgements and no {RUN}", "Nothing says what was judged there, and how", fix)


def require_precision(folder: Path, judges: Iterable[Mapping[str, Any]], now: JudgeInfo) -> None:
    """Raise `UserError` if a judge judged here before with weights in another precision than now.

    On another device the default is another one, and so are the scores. What was judged tells it, in its backend.

    Args:
        folder: of the run.
        judges: of what was judged; the first that tells its backend counts.
        now: the judge as it is loaded.
    """
    known = (judge["backend"] for judge in judges if isinstance(judge.get("backend"), str))
    was, is_now = said_in(next(known, now.backend)), said_in(now.backend)
    if was != is_now:
        raise refusal(folder, "the precision of the weights", was, is_now)


def refusal(folder: Path, name: str, was: Any, now: Any) -> UserError:
    """Why a run cannot continue in the folder of another: what has another value there."""
    while isinstance(was, Mapping) and isinstance(now, Mapping):
        parts = [part for part in {**now, **was} if was.get(part) != now.get(part)]
        if not parts:
            break
        name, was, now = f"{parts[0]} of {name}", was.get(parts[0]), now.get(parts[0])
    fix = _FIX_PAID if (folder / PAID).exists() else _FIX
    return UserError(f"{folder} is the folder of another run", f"{name} was {quoted(was)} and is {quoted(now)}", fix)
