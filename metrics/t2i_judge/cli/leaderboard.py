"""`t2i-judge leaderboard --images A=FOLDER --images B=FOLDER --judge NAME --out RUN`: which generator is better.

The images of each generator are judged once (RUN/shards; a second run makes no call), and compared prompt by prompt.
RUN/leaderboard.json and RUN/leaderboard.md say who is better, where, how sure that is, and what failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..boards import comparisons
from ..boards.items import (
    BoardItem,
    check_generators,
    input_warnings,
    items_of_folders,
    items_of_table,
    read_prompts,
)
from ..boards.judging import COLUMNS, ITEMS, KEPT, judged, prepare
from ..boards.leaderboard import against, agreement, leaderboard, ordered
from ..boards.markdown import markdown
from ..boards.people import Labels, people, read_labels
from ..boards.scores import Scores
from ..boards.spread import add_spread, near_identical
from ..errors import UserError
from ..inputs.rows import Columns
from ..judges.loading import load_judge
from ..judges.names import JudgeName
from ..records import OVERALL, write_atomic
from ..runs.shards import Run
from .score import CACHE, add_judging, carry_out, check_judging, judge_options

Row = dict[str, Any]
BOARD, REPORT, OTHERS = "leaderboard.json", "leaderboard.md", "judges"
FAILED_BELOW, UNDECIDED = 1, 3  # exit codes of --fail-below


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("table", nargs="?", help="one table of all images, with --generator; else give --images")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder; the same one to go on")
    parser.add_argument(
        "--images", action="append", default=[], metavar="NAME=FOLDER", help="a generator's images; may stand often"
    )
    parser.add_argument("--generator", metavar="COLUMN", help="column of the table that names the generator")
    parser.add_argument(
        "--prompts", help="table with prompt and image or id, or a text file with a line an image in order of name"
    )
    parser.add_argument("--prompt-column", default="prompt")
    parser.add_argument("--image-column", default="image")
    parser.add_argument("--id-column", help="column of the table with ids of prompts")
    parser.add_argument("--judge", action="append", help="judge's name; several: the first decides (default: tiny)")
    parser.add_argument("--ordered", action="store_true", help="the generators are checkpoints, in the order given")
    parser.add_argument("--detect", type=float, metavar="D", help="say how many prompts a difference of D needs")
    parser.add_argument(
        "--pairs", metavar="all|N", help="also compare images directly: all pairs, or N a prompt, by pair+JUDGE"
    )
    parser.add_argument(
        "--fail-below", type=float, metavar="SCORE", help="exit 1 where a generator's mean is surely below, else 3 or 0"
    )
    parser.add_argument(
        "--labels", metavar="TABLE", help="people's labels of some images: also say what people would say"
    )
    parser.add_argument("--label-columns", metavar="COL,COL", help="people's columns of --labels, where not called so")
    parser.add_argument("--by-hand", action="store_true", help="the labelled prompts were not drawn at random")
    add_judging(parser)


def run(args: argparse.Namespace) -> int:
    """Judge what is not judged yet and write the board; 0, or what --fail-below says."""
    check_judging(args)
    judges, most = args.judge or ["tiny"], _pairs_wanted(args.pairs)
    if len(set(judges)) < len(judges):
        raise UserError("--judge names the same judge twice", "", "name each once")
    pairs = args.pairs is not None or judges[0].startswith("pair+")
    if pairs:
        JudgeName.parse(_comparing(judges[0]))  # a judge that cannot compare is told before anything is judged
    items, warnings = _items(args)
    generators = check_generators(items, [name for name, _ in map(_named_folder, args.images)])
    warnings += input_warnings(items, generators)
    labels = _labels(args, items)
    alike = near_identical(items, progress=True)
    boards = []
    for number, judge in enumerate(judges):
        scores, info = _judge(args, judge, args.out if number == 0 else args.out / OTHERS / str(number + 1), items)
        every = Scores(scores, generators, info["score_range"])
        board = leaderboard(every, args.detect)
        add_spread(board, every, alike)
        boards.append({**board, "judge": info})
        if args.ordered and number == 0:
            boards[0]["ordered"] = ordered(every) | {"against": against(board["pairs"], generators)}
        if labels and number == 0:
            boards[0]["people"] = people(labels, every, args.by_hand)
    if pairs:
        _compare(args, judges[0], comparisons.pairings(items, generators, most), generators, boards[0])
    result = _together(boards, items, args, warnings)
    write_atomic(args.out / BOARD, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    write_atomic(args.out / REPORT, markdown(result))
    print(markdown(result))
    print(f"written: {args.out / BOARD}, {args.out / REPORT}")
    return _exit_code(result, args.fail_below)


def _named_folder(text: str) -> tuple[str, str]:
    name, separator, folder = text.partition("=")
    if not separator or not name.strip() or not folder:
        raise UserError(f"--images {text}", "a generator needs a name", "write NAME=FOLDER")
    return name.strip(), folder


def _items(args: argparse.Namespace) -> tuple[list[BoardItem], list[str]]:
    """Everything to judge, from folders or from a table. Raises `UserError` for arguments that do not fit."""
    if bool(args.images) == bool(args.table):
        raise UserError("give --images NAME=FOLDER, or one table with --generator", "either, and not both", "")
    if args.table:
        if not args.generator:
            raise UserError(f"{args.table} without --generator", "nothing says who made an image", "name its column")
        if args.prompts:
            raise UserError("--prompts with a table", "the table has its own prompts", "leave it out")
        parent = Path(args.table).parent if Path(args.table).is_file() else None
        columns = Columns(args.prompt_column, args.image_column, args.id_column, None, parent)
        return items_of_table(args.table, columns, args.generator, args.out)
    pairs = [_named_folder(text) for text in args.images]
    names = [name for name, _ in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"--images names {twice!r} twice", "a generator has one folder", "give each a name of its own")
    prompts = read_prompts(Path(args.prompts)) if args.prompts else None
    return items_of_folders(dict(pairs), prompts)


def _labels(args: argparse.Namespace, items: Sequence[BoardItem]) -> Labels | None:
    """People's labels, read before anything is paid for."""
    if args.labels is None:
        if args.by_hand or args.label_columns:
            raise UserError("--by-hand and --label-columns speak of --labels", "there are none", "give --labels TABLE")
        return None
    return read_labels(args.labels, args.label_columns, items)


def _judge(args: argparse.Namespace, judge: str, folder: Path, items: Sequence[BoardItem]) -> tuple[list[Any], Row]:
    """Every item judged by one judge in its run folder, and what the board says about the judge."""
    options = judge_options(argparse.Namespace(**vars(args) | {"judge": judge, "out": folder}))
    if "cache" in options:
        options["cache"] = args.out / CACHE
    plan = Run(
        source=str(folder / ITEMS),
        columns=COLUMNS,
        judge=judge,
        options=options,
        out=folder,
        size=args.shard_size,
        keep=KEPT,
        explain=args.explain,
        decompositions=args.decompositions,
        isolate_images=args.isolate_images,
    )
    prepare(folder, items, plan)
    carry_out(plan, argparse.Namespace(**vars(args) | {"judge": judge}))
    plan.finish()
    scored = list(judged(plan, items))
    first = next(iter(plan.judgements()))
    if not any(image.status == "ok" for image in scored):
        print(f"t2i-judge: {judge} scored none of the images; the first says: {first['reason']}", file=sys.stderr)
    return scored, {**first["judge"], "score_range": first["score_range"]}


def _pairs_wanted(text: str | None) -> int | None:
    """N of --pairs; None for all of them, or for none. Raises `UserError` for anything else."""
    if text in (None, "all"):
        return None
    if not str(text).isdecimal() or int(str(text)) < 1:
        raise UserError(f"--pairs {text}", "it is how many pairs are compared a prompt", "give all, or a number")
    return int(str(text))


def _comparing(judge: str) -> str:
    """The name of the judge that compares images for one that scores them."""
    return judge if judge.startswith("pair+") else f"pair+{judge.removeprefix('direct+')}"


def _compare(
    args: argparse.Namespace, judge: str, wanted: list[comparisons.Pairing], generators: Sequence[str], board: Row
) -> None:
    """Have images compared directly, and put strengths and counts into the board."""
    name = _comparing(judge)
    options = judge_options(argparse.Namespace(**vars(args) | {"judge": name, "protocol": None}))
    comparing = load_judge(name, **options)
    try:
        comparing.check()
        lines = comparisons.compare(comparing, wanted, args.out / comparisons.FILE, args.retry_failed)
    finally:
        comparing.close()
    board["comparisons"] = comparisons.counts(lines)
    board["bradley_terry"], reason = comparisons.strengths(lines, generators)
    if reason:
        board["warnings"].append(f"Bradley-Terry: {reason}")


def _together(boards: list[Row], items: Sequence[BoardItem], args: argparse.Namespace, warnings: list[str]) -> Row:
    """The first judge's board, with what the others say beside it."""
    first, *others = boards
    result = {
        **first,
        "prompts": {
            "n": len({item.prompt for item in items}),
            "images": len(items),
            "source": args.prompts or args.table,
            "rewritten": sum(item.prompt_sent is not None for item in items),
        },
        "warnings": warnings + first["warnings"],
    }
    if others:
        result["judges"] = [board["judge"] for board in boards]
        result["agreement"] = agreement(boards)
        result["boards"] = others
    return result


def _exit_code(board: Row, fail_below: float | None) -> int:
    """0, or for --fail-below: 1 where a generator's mean surely lies below, 3 where nothing can be said of one."""
    if fail_below is None:
        return 0
    intervals = [generator[OVERALL] for generator in board["generators"]]
    if any(figure["ci"] and figure["ci"][1] < fail_below for figure in intervals):
        return FAILED_BELOW
    return UNDECIDED if any(figure["ci"] is None for figure in intervals) else 0
