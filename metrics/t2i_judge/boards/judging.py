"""Judges the items of a board into the shards of a run folder. Nothing is judged twice, even if images are renamed.

RUN/items.jsonl lists the images with their hashes. When the list changes, judgements of the same bytes by the same
questions about the same prompt are carried over (RUN/known.jsonl), so that another generator costs its own images only.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ..conformal import Conformal
from ..errors import UserError
from ..files import read_object, sha256, write_atomic
from ..inputs.rows import Columns, identity
from ..judges.names import JudgeName
from ..records import Judgement, Status
from ..runs import intervals
from ..runs.lines import SHARDS, read_lines, run_lines
from ..runs.record import RUN, earlier, refuse_foreign
from ..runs.shards import Run
from ..runs.standing import IMAGES, asked
from .items import BoardItem, read_items, write_items
from .scores import Scored, scored

Row = dict[str, Any]
ITEMS, KNOWN = "items.jsonl", "known.jsonl"
GIVEN = "decompositions"  # key of a known line: as run.json has it, of the questions that its run was given
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

    Raises:
        UserError: the folder is another run's, or somebody's own.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    listed, record = run_folder / ITEMS, run_folder / RUN
    grown = record.is_file() and _same_judge(run_folder, plan) and not _is_run(listed, items, record, plan)
    if not record.is_file():
        refuse_foreign(run_folder, [KNOWN])
        write_items(listed, items)
    elif grown:
        lines = _known(run_folder, plan)
        shutil.rmtree(run_folder / SHARDS, ignore_errors=True)
        write_items(listed, items)
        _write_known(plan, items, lines)
    # Only now does the record become that of this list: a run killed before carries over again.
    plan.begin(anew=grown)
    return plan


def _is_run(listed: Path, items: Sequence[BoardItem], record: Path, plan: Run) -> bool:
    """Whether these items are in the list, and the run is of this list, in such shards and with these questions."""
    if not listed.is_file() or read_items(listed) != list(items):
        return False
    was = read_object(record)
    same = was.get("size") == plan.size and was.get("decompositions") in _given(plan)
    return same and was.get("source") == identity(str(listed))


def _given(plan: Run) -> tuple[Any, ...]:
    """How run.json may name the questions that a run is given."""
    now = {"sha256": sha256(plan.decompositions)} if plan.decompositions else None
    return now, plan.decompositions and str(plan.decompositions)  # runs used to record its name


def _known(run_folder: Path, plan: Run) -> dict[tuple[str | None, str], Row]:
    """(hash, prompt) -> judgement by the questions asked now, from this list and all earlier ones.

    Those and all others are on disk before any shard is removed. A hash is of what was judged: a file may change after
    it is listed.
    """
    store = run_folder / KNOWN
    was = read_object(run_folder / RUN).get("decompositions")
    lines = [*(read_lines(store) if store.is_file() else ()), *plan.kept_lines()]
    fine = [
        {GIVEN: was, **line} for line in lines if line["status"] == Status.OK.value and plan.standing.is_by_judge(line)
    ]
    known = {(*_judged(line), json.dumps([line.get("questions"), line[GIVEN]])): line for line in fine}
    write_atomic(store, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in known.values()))
    return {_judged(line): line for line in filter(_asked_now(plan), known.values())}


def _judged(line: Row) -> tuple[str | None, str]:
    """(hash, prompt) of a line; runs used to note only the hash that the list has."""
    images = line.get(IMAGES) or [line["row"].get("sha256")]
    return images[0], line["prompt"]


def _asked_now(plan: Run) -> Callable[[Row], bool]:
    """Tells whether a line answers what this run asks about its prompt.

    Where this run gives no questions, the judge chooses them, as it did if no others were given before.
    """
    given, same = plan.questions, (None, *_given(plan))

    def is_asked(line: Row) -> bool:
        answered = Judgement.from_json(line).questions
        return tuple(given[line["prompt"]]) == answered if line["prompt"] in given else line[GIVEN] in same

    return is_asked if JudgeName.parse(plan.judge).takes_questions else lambda line: True


def _same_judge(run_folder: Path, plan: Run) -> bool:
    """Whether an earlier run asked what this one does; if not, `Run.begin` says what differs.

    Other questions are no other judge: judgements by the same ones are kept (`_known`).
    """
    now = {"judge": str(JudgeName.parse(plan.judge)), "explain": plan.explain, **asked(plan.judge, plan.options)}
    old = earlier(run_folder, now)
    return all(old.get(name) == value for name, value in now.items())


def _write_known(plan: Run, items: Sequence[BoardItem], lines: Mapping[tuple[str | None, str], Row]) -> None:
    """Write what is known of each shard, as if it had just been judged: with the intervals of today."""
    others = intervals.of_judge(plan.judge, plan.options) if lines else None
    for shard, start in enumerate(range(0, len(items), plan.size)):
        part = items[start : start + plan.size]
        known = [lines.get((item.sha256, item.prompt)) if item.sha256 else None for item in part]
        rows = [_carried({**row, **_renamed(item)}, others) for item, row in zip(part, known) if row is not None]
        if len(rows) == len(part):
            plan.put(shard, rows, map(Judgement.from_json, rows))
        elif rows:
            plan.put_known(shard, rows)


def _carried(line: Row, others: Conformal | None) -> Row:
    return {**line, **intervals.carrying(others, Judgement.from_json(line)).to_json()}


def _renamed(item: BoardItem) -> Row:
    return {"image_id": item.id, "row": {name: getattr(item, name) for name in KEPT}}


def judged(plan: Run, items: Sequence[BoardItem]) -> Iterator[Scored]:
    """Every item with its judgement."""
    for item, line in zip(items, plan.judgements(), strict=True):
        yield scored(item, line)


def finished(run_folder: Path, items: Sequence[BoardItem]) -> Iterator[tuple[BoardItem, Row]]:
    """Every item of a run's list with its line. Raises `UserError` where there are more of one than of the other."""
    for item, line in zip_longest(items, run_lines(run_folder)):
        if item is None or line is None:
            fix = "Run t2i-judge leaderboard again"
            raise UserError(f"{run_folder} is not finished", "Some of its items are not judged", fix)
        yield item, line
