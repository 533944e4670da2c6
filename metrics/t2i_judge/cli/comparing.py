"""A board's images compared directly, two at a time: with `--pairs`, or if the first judge is one that compares."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..boards import comparisons
from ..boards.items import BoardItem
from ..errors import UserError
from ..judges.loading import load_judge
from ..judges.names import HF, PAIR, JudgeName
from ..judges.pairs_local import comparing_weights
from ..prompts import PAIR_HASH
from ..runs.standing import Standing
from ..terminal import note
from .costs import announce_comparing
from .judge_arguments import for_judge, judge_options
from .run_files import CACHE

Row = dict[str, Any]


def compares(args: argparse.Namespace, judge: str) -> bool:
    """Whether images are to be compared; `judge` is the first."""
    return args.pairs is not None or JudgeName.parse(judge).protocol == PAIR


def check_comparing(args: argparse.Namespace, judge: str) -> None:
    """Raise `UserError`, before anything is judged, for a judge that cannot compare or options that do not fit."""
    _pairs_wanted(args.pairs)
    name = JudgeName.parse(_comparing(judge))
    judge_options(_for_comparing(args, name))
    if name.kind == HF:
        comparing_weights(name)


def _pairs_wanted(text: str | None) -> int | None:
    """N of --pairs, 0 for all pairs, None without the option. Raises `UserError` for anything else."""
    if text in (None, "all"):
        return None if text is None else 0
    if not str(text).isdecimal() or int(str(text)) < 1:
        raise UserError(f"--pairs is {text}", "It is the number of pairs compared per prompt", "Give all, or a number")
    return int(str(text))


def _comparing(judge: str) -> str:
    """The name of the comparing judge that belongs to a scoring judge."""
    return judge if judge.startswith("pair+") else f"pair+{judge.removeprefix('direct+').removeprefix('vqa+')}"


def _for_comparing(args: argparse.Namespace, name: JudgeName) -> argparse.Namespace:
    """The arguments for the comparing judge."""
    return for_judge(args, name.text, [*(args.judge or []), name.text])


def compare(
    args: argparse.Namespace,
    judge: str,
    items: Sequence[BoardItem],
    generators: Sequence[str],
    board: Row,
) -> None:
    """Compare images directly, and add strengths and counts to the board.

    Args:
        args: of the command.
        judge: the first, whose comparing judge is asked.
        items, generators: of the board.
        board: of the first judge.

    Raises:
        UserError: as `Judge.compare`; what was compared before that is kept.
    """
    name = JudgeName.parse(_comparing(judge))
    options = judge_options(_for_comparing(args, name), args.out / CACHE)
    asked = PAIR_HASH if name.served else None
    book = comparisons.Book(args.out / comparisons.FILE, args.retry_failed, Standing(name).revision, asked)
    if todo := book.missing(comparisons.pairings(items, generators, _pairs_wanted(args.pairs) or None)):
        announce_comparing(name, todo, options)
        comparing = load_judge(name, **options)
        try:
            comparing.check()
            for line in comparing.notes:
                note(f"{name}: {line}")
            book.compare(comparing, todo)
        finally:
            comparing.close()
    lines = comparisons.current(book.lines, items)
    board["comparisons"] = comparisons.counts(lines)
    board["bradley_terry"], reason = comparisons.strengths(lines, generators)
    if reason:
        board["warnings"].append(f"Bradley-Terry: {reason}")
