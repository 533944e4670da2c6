"""`t2i-judge leaderboard --images A=FOLDER --images B=FOLDER --judge NAME --out RUN`: which generator is better.

The images of each generator are judged once (RUN/shards; a second run makes no call), and compared prompt by prompt.
RUN/leaderboard.json, leaderboard.md and report.html say who is better, where, how sure that is, and what failed.

With --fail-below, the exit codes are 0 (no generator is surely below), 1 (one is), 2 (a mistake in the command) and 3
(it could not be decided, or the run could not be made).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..arguments import WrittenFolder
from ..boards.items import BoardItem, check_generators, input_warnings, items_of_folders, items_of_table
from ..boards.judging import COLUMNS, ITEMS, KEPT, judged, prepare
from ..boards.leaderboard import against, agreement, leaderboard, ordered, surely_below
from ..boards.markdown import markdown
from ..boards.people import Labels, people, read_labels
from ..boards.prompt_sets import prompt_sets
from ..boards.prompts import Prompts, read_prompts
from ..boards.report.run import BOARD, write_report
from ..boards.scores import Scores
from ..boards.spread import add_spread, drawn, near_identical
from ..errors import Stopped, Undecided, UserError, quoted
from ..files import read_bytes, read_object, write_atomic
from ..inputs.places import as_text
from ..inputs.rows import Columns, images_folder, read_decompositions
from ..judges.names import JudgeName, told_apart
from ..layout import from_markdown, terminal_width
from ..runs.locks import held, refuse_links
from ..runs.record import RUN, refuse_foreign
from ..runs.selftest.verdicts import find
from ..runs.shards import Run
from ..runs.standing import Standing
from ..terminal import note, say
from ..wording import counted
from .comparing import check_comparing, compare, compares
from .costs import announce_judging, remaining, sized
from .judge_arguments import add_judging, check_judging, check_questions, decoding, for_judge, judge_options
from .numbers import Finite
from .places import JUDGE, PICTURES_BY_NAME, TABLE, TABLES
from .results import add_json, for_people, show
from .run_files import BOARD_FILES, CACHE, OTHERS, QUESTIONS, REPORT, refuse_others
from .score import add_prompts_from, carry_out, forget_old

Row = dict[str, Any]
FAILED_BELOW, UNDECIDED = 1, 3  # exit codes of --fail-below
_SHOWN, _MANY = 100, 2_000  # pairs in the terminal; pairs whose board takes its time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    _add_images(parser)
    _add_prompts(parser)
    _add_comparisons(parser)
    _add_labels(parser)
    add_json(parser)
    add_judging(parser)


def _add_images(parser: argparse.ArgumentParser) -> None:
    """Whose images are on the board, and where it is kept."""
    parser.add_argument(
        "table", nargs="?", type=TABLE, help="one table of all images, with --generator, instead of --images"
    )
    parser.add_argument(
        "--out",
        type=WrittenFolder(BOARD_FILES),
        required=True,
        help="folder of the run; give the same one again to continue it",
    )
    parser.add_argument(
        "--images",
        type=PICTURES_BY_NAME,
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a generator and its folder of images; repeat for each one",
    )
    parser.add_argument("--generator", metavar="COLUMN", help="column of the table that names the generator")


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    """The prompts, and the columns of the tables."""
    parser.add_argument(
        "--prompts",
        type=TABLE,
        metavar="FILE|SET",
        help="table of prompts with image or id, text file with one line per image in the order of names, or published "
        f"set: {', '.join(prompt_sets())}",
    )
    parser.add_argument(
        "--from",
        dest="source_folder",
        type=Path,
        metavar="FOLDER",
        help="read the published set's files from here instead of downloading them",
    )
    add_prompts_from(parser)
    parser.add_argument("--prompt-column", default="prompt", help="column of prompts (default: %(default)s)")
    parser.add_argument("--image-column", default="image", help="column of images (default: %(default)s)")
    parser.add_argument("--id-column", help="column of the table with ids of prompts")


def _add_comparisons(parser: argparse.ArgumentParser) -> None:
    """By whom and how generators are compared, and what the board decides."""
    parser.add_argument(
        "--judge",
        type=JUDGE,
        action="append",
        help="name of a judge; repeat for more, the first decides (default: tiny)",
    )
    parser.add_argument("--ordered", action="store_true", help="the generators are checkpoints, in the order given")
    parser.add_argument(
        "--detect",
        type=float,
        action=Finite,
        metavar="D",
        help="print how many prompts it takes to find a difference of D",
    )
    parser.add_argument(
        "--pairs", metavar="all|N", help="also compare images directly (pair+JUDGE): all pairs, or N per prompt"
    )
    parser.add_argument(
        "--fail-below",
        type=float,
        action=Finite,
        metavar="SCORE",
        help="exit code 1 if a generator's mean is certainly below, 3 if undecided, else 0",
    )


def _add_labels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels",
        type=TABLES,
        metavar="TABLE,TABLE",
        help="people's labels of some images: also estimate people's mean for all",
    )
    parser.add_argument(
        "--label-columns", metavar="COL,COL", help="columns of --labels that hold people's labels, if not found by name"
    )
    parser.add_argument("--by-hand", action="store_true", help="the labelled prompts were not drawn at random")


def run(args: argparse.Namespace) -> int:
    """Judge the images without a judgement and write the board. Returns 0, or the exit code of --fail-below."""
    judges = _check(args)
    with decoding(args):
        return _run(args, judges)


def _run(args: argparse.Namespace, judges: Sequence[str]) -> int:
    refuse_links(args.out)
    refuse_others(args.out, BOARD_FILES)
    prompts = _prompts(args)
    items, warnings = _items(args, prompts)
    generators = check_generators(items, [name for name, _ in map(_named_folder, args.images)])
    warnings += input_warnings(items, generators) + drawn(items)
    labels = _labels(args, items)
    if args.decompositions:
        check_questions(args.decompositions, read_decompositions(args.decompositions), {item.prompt for item in items})
    with _undecided_without_a_run(args.fail_below), held(args.out):  # from here on all of it is written to
        return _board(args, judges, prompts, items, warnings, generators, labels)


def _board(
    args: argparse.Namespace,
    judges: Sequence[str],
    prompts: Prompts | None,
    items: list[BoardItem],
    warnings: list[str],
    generators: list[str],
    labels: Labels | None,
) -> int:
    decompositions: Path | None = args.decompositions
    if prompts and prompts.questions and decompositions is None:
        decompositions = _written_questions(args.out, prompts)
    alike = near_identical(items, progress=True)
    boards, every = [], []
    if (pairs := math.comb(len(generators), 2)) > _MANY:
        note(f"{counted(pairs, 'pair', form=',')} of generators: the board and its report take a minute or two")
    for number, judge in enumerate(judges):
        folder = args.out if number == 0 else args.out / OTHERS / str(number + 1)
        judged_images, info = _judge(args, judge, folder, items, decompositions)
        scores = Scores(judged_images, generators, info["score_range"])
        board = {**leaderboard(scores, args.detect), "judge": info, "prompts": _about(prompts, items, args, info)}
        if side := info.get("max_image_side"):
            said = f"{info['name']} was shown images at most {side} pixels wide and high"
            board["warnings"].append(f"{said}: a board judged with another --max-image-side is not compared with this")
        add_spread(board, scores, alike)
        if args.ordered:
            board["ordered"] = ordered(scores) | {"against": against(board["pairs"], generators)}
        boards.append(board)
        every.append(scores)
    if labels:
        boards[0]["people"] = people(labels, every[0], args.by_hand)
    if compares(args, judges[0]):
        compare(args, judges[0], items, generators, boards[0])
    result = _together(boards, warnings)
    write_atomic(args.out / BOARD, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    write_atomic(args.out / REPORT, markdown(result))
    page = write_report(args.out, progress=True)
    text = from_markdown(markdown(result, _SHOWN), terminal_width())
    show(args, f"{text}\n\nwritten: {args.out / BOARD}, {args.out / REPORT}, {page}", result)
    return _exit_code(every[0], args)


def _check(args: argparse.Namespace) -> list[str]:
    """Names of the judges. Raises `UserError` for arguments that make no sense, before anything is read."""
    check_judging(args)
    judges = args.judge or ["tiny"]
    if len(set(judges)) < len(judges):
        raise UserError("--judge names the same judge twice", "", "Name each once")
    if args.detect is not None and args.detect <= 0:
        raise UserError(f"--detect is {args.detect}", "It is a difference of scores", "Give more than 0")
    if args.intervals and len(judges) > 1:
        fact, reason = "--intervals cannot be used with several judges", "They are calibrated for the scores of one"
        raise UserError(fact, reason, "Leave out --intervals, or the other judges")
    if later := next((judge for judge in judges[1:] if judge.startswith("pair+")), None):
        raise UserError(
            f"{later} cannot be a later --judge",
            "Only the first judge compares images",
            "Name it first, or use --pairs",
        )
    if compares(args, judges[0]):
        check_comparing(args, judges[0])
    for judge in judges:
        judge_options(for_judge(args, judge, args.judge or [judge]))
    return judges


@contextmanager
def _undecided_without_a_run(fail_below: float | None) -> Iterator[None]:
    """With --fail-below, a server that is gone or a budget that is spent ends as undecided."""
    try:
        yield
    except Stopped as error:
        if fail_below is None:
            raise
        raise Undecided(error.fact, error.reason, error.fix) from error


def _named_folder(text: str) -> tuple[str, str]:
    name, separator, folder = text.partition("=")
    if not separator or not name.strip() or not folder:
        raise UserError(f"--images {text} has no name", "A generator needs a name", "Write NAME=FOLDER")
    return as_text(name.strip()), folder


def _prompts(args: argparse.Namespace) -> Prompts | None:
    """The prompts that --prompts names. For a published set, its source and licence are printed."""
    if args.prompts is None:
        if args.source_folder is not None:
            raise UserError("--from needs --prompts", "It names the files of a published set", "Name the set")
        return None
    prompts = read_prompts(args.prompts, args.source_folder)
    if prompts.published:
        found = prompts.published
        note(f"{found.title}: {counted(len(prompts.rows), 'prompt')} of {found.place} ({found.license})")
    return prompts


def _written_questions(out: Path, prompts: Prompts) -> Path:
    """Write the questions of a set into the file from which a run reads them.

    Raises:
        UserError: another such file is there, and no run's record.
    """
    lines = (
        json.dumps({"prompt": prompt, "questions": [asdict(question) for question in questions]}, ensure_ascii=False)
        for prompt, questions in prompts.questions.items()
    )
    text, path = "".join(f"{line}\n" for line in lines).encode(), out / QUESTIONS
    if not (path.is_file() and read_bytes(path) == text):
        refuse_foreign(out, [QUESTIONS])
        write_atomic(path, text)
    return path


def _about(prompts: Prompts | None, items: Sequence[BoardItem], args: argparse.Namespace, judge: Row) -> Row:
    """What the board says about its prompts."""
    about = {
        "n": len({item.prompt for item in items}),
        "images": len(items),
        "source": args.prompts or args.table,
        "rewritten": sum(item.prompt_sent is not None for item in items),
    }
    if prompts is None or prompts.published is None:
        return about
    found = prompts.published
    note = f"{found.title}'s prompts, judged by {judge['name']}. This is not a {found.title} score."
    return {**about, "name": found.title, "license": found.license, "place": found.place, "note": note}


def _items(args: argparse.Namespace, prompts: Prompts | None) -> tuple[list[BoardItem], list[str]]:
    """Everything to judge, from folders or from a table. Raises `UserError` for arguments that do not fit together."""
    if bool(args.images) == bool(args.table):
        raise UserError(
            "There are no images", "", "Give --images NAME=FOLDER for each generator, or one table with --generator"
        )
    if args.table:
        if not args.generator:
            raise UserError(
                f"{args.table} needs --generator", "Each image needs the name of its generator", "Name its column"
            )
        if args.prompts or args.prompts_from:
            name = "--prompts" if args.prompts else "--prompts-from"
            raise UserError(f"{name} cannot be used with a table", "The table has its own prompts", "Leave it out")
        folder = images_folder(args.table)
        columns = Columns(args.prompt_column, args.image_column, args.id_column, None, folder, table=args.table)
        return items_of_table(args.table, columns, args.generator, args.out)
    pairs = [_named_folder(text) for text in args.images]
    names = [name for name, _ in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(
            f"--images names {quoted(twice)} twice", "A generator has one folder", "Give each folder its own name"
        )
    if args.prompts and args.prompts_from:
        raise UserError(
            "--prompts cannot be used with --prompts-from", "Prompts come from one place", "Leave out one of them"
        )
    return items_of_folders(dict(pairs), prompts, args.out, args.prompts_from)


def _labels(args: argparse.Namespace, items: Sequence[BoardItem]) -> Labels | None:
    """People's labels, read before anything is paid for."""
    if args.labels is None:
        if args.by_hand or args.label_columns:
            raise UserError("--by-hand and --label-columns need --labels", "There are no labels", "Give --labels TABLE")
        return None
    return read_labels(args.labels, args.label_columns, items)


def _judge(
    args: argparse.Namespace, judge: str, folder: Path, items: Sequence[BoardItem], decompositions: Path | None
) -> tuple[list[Any], Row]:
    """Judge every item with one judge in its run folder. Returns the judgements and the board's words on the judge."""
    own = for_judge(args, judge, args.judge or [judge])
    options = judge_options(own, args.out / CACHE)  # one for all judges: what one has paid for, another need not
    plan = Run(
        source=str(folder / ITEMS),
        columns=COLUMNS,
        judge=judge,
        options=options,
        out=folder,
        size=args.shard_size,
        keep=KEPT,
        explain=args.explain,
        decompositions=decompositions,
        isolate_images=args.isolate_images,
    )
    prepare(folder, items, plan)
    forget_old(plan, hashes="sha256")

    def announce(standing: Standing) -> None:
        todo = remaining(plan, standing, items)
        what, batch = counted(len(todo), "image"), bool(own.batch)
        announce_judging(JudgeName.parse(judge), options, what, sized(todo), plan.questions, batch)

    carry_out(plan, own, announce)
    plan.finish()
    scored = list(judged(plan, items))
    first = next(iter(plan.judgements()))
    told = next((line for line in plan.judgements() if line["status"] == "ok"), first)["judge"]
    if not any(image.status == "ok" for image in scored):
        say(f"t2i-judge: {judge} scored none of the images; the first says: {first['reason']}", file=sys.stderr)
    verdict = find(told, read_object(folder / RUN))
    side = {name: options[name] for name in ("max_image_side",) if name in options}
    info = {**told, "score_range": first["score_range"], "selftest": verdict, **side}
    held = next((line["interval"] for line in plan.judgements() if line.get("interval")), None)
    return scored, info | ({"interval": {name: held[name] for name in ("level", "target", "n")}} if held else {})


def _together(boards: list[Row], warnings: list[str]) -> Row:
    """The first judge's board, together with what the other judges say."""
    first, *others = boards
    for board, name in zip(boards, told_apart(board["judge"]["name"] for board in boards)):
        board["judge"] = {**board["judge"], "name": name}
    result = {**first, "warnings": warnings + first["warnings"]}
    if others:
        result["judges"] = [board["judge"] for board in boards]
        result["agreement"] = agreement(boards)
        result["boards"] = others
    return result


def _exit_code(scores: Scores, args: argparse.Namespace) -> int:
    """0, or with --fail-below: 1 if a generator's mean is surely below, 3 if this is undecided for one."""
    fail_below: float | None = args.fail_below
    if fail_below is None:
        return 0
    bounds = surely_below(scores)
    for name, bound in bounds.items():
        if bound is not None and bound < fail_below:
            most = f"its mean is {bound:.3f} at most (one-sided 95% of all generators)"
            say(f"{name} lies below {fail_below:g}: {most}", file=None if for_people(args) else sys.stderr)
    if any(bound is not None and bound < fail_below for bound in bounds.values()):
        return FAILED_BELOW
    return UNDECIDED if None in bounds.values() else 0
