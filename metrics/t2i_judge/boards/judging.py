"""Judges the items of a board into the shards of a run folder. Nothing is judged twice, even if images are renamed.

RUN/items.jsonl lists the images with their hashes. When the list changes, judgements of the same bytes and the same
prompt are carried over (RUN/known.jsonl), so that another generator costs only its own images.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import read_object, write_atomic
from ..inputs.rows import Columns
from ..records import Judgement, Status
from ..runs.lines import SHARDS, read_lines
from ..runs.shards import RUN, Run
from ..runs.standing import BESIDE, asked
from .items import BoardItem, read_items, write_items
from .scores import Scored, scored

Row = dict[str, Any]
ITEMS, KNOWN = "items.jsonl", "known.jsonl"
COLUMNS = Columns(id="id")
KEPT = ("generator", "prompt_id", "category", "seed", "sha256", "prompt_sent")


def prepare(run_folder: Path, items: Sequence[BoardItem], plan: Run) -> Run:
    """Write the list of items, and keep what the shards already say about them.

    Args:
        run_folder: of this judge.
        items: in the order in which they are judged.
        plan: of the run over RUN/items.jsonl.

    Returns:
        `plan`, begun.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    listed = run_folder / ITEMS
    if not listed.is_file() or not (run_folder / RUN).is_file():
        write_items(listed, items)
    elif read_items(listed) != list(items) and _same_judge(run_folder / RUN, plan):
        lines = _known(run_folder, plan)
        write_items(listed, items)
        (run_folder / RUN).unlink()
        shutil.rmtree(run_folder / SHARDS, ignore_errors=True)
        _write_known(plan, items, lines)
    plan.begin()
    return plan


def _known(run_folder: Path, plan: Run) -> dict[tuple[str | None, str], Row]:
    """(hash, prompt) -> judgement, from this list and all earlier ones. It is on disk before any shard is removed."""
    store = run_folder / KNOWN
    lines = [*(read_lines(store) if store.is_file() else ()), *plan.judgements()]
    lasting = (line for line in lines if line["status"] == Status.OK.value and plan.standing.is_by_judge(line))
    known = {(line["row"]["sha256"], line["prompt"]): line for line in lasting}
    write_atomic(store, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in known.values()))
    return known


def _same_judge(record: Path, plan: Run) -> bool:
    """Whether an earlier run asked what this one does; if not, `Run.begin` says what differs."""
    now = asked(plan.judge, plan.options)
    old = {BESIDE: now[BESIDE]} | read_object(record)
    same = (old.get(name) == value for name, value in now.items())
    return old.get("judge") == plan.judge and all(same)


def _write_known(plan: Run, items: Sequence[BoardItem], lines: Mapping[tuple[str | None, str], Row]) -> None:
    """Write the shards all of whose items are known, as if they had just been judged."""
    for shard, start in enumerate(range(0, len(items), plan.size)):
        part = items[start : start + plan.size]
        known = [lines.get((item.sha256, item.prompt)) if item.sha256 else None for item in part]
        rows = [{**row, **_renamed(item)} for item, row in zip(part, known) if row is not None]
        if len(rows) == len(part):
            plan.put(shard, rows, map(Judgement.from_json, rows))


def _renamed(item: BoardItem) -> Row:
    return {"image_id": item.id, "row": {name: getattr(item, name) for name in KEPT}}


def judged(plan: Run, items: Sequence[BoardItem]) -> Iterator[Scored]:
    """Every item with its judgement."""
    for item, line in zip(items, plan.judgements(), strict=True):
        yield scored(item, line)
