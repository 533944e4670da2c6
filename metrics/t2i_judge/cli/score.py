"""`t2i-judge score TABLE --judge NAME --out DIR`: judge any number of images, shard by shard; resumable."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..arguments import WrittenFolder
from ..inputs.folders import PNG, is_image_folder, named_so
from ..inputs.readers import Row, iter_rows
from ..inputs.rows import Columns, images_folder
from ..inputs.tables import column_names
from ..judges.names import JudgeName
from ..progress import Pace
from ..records import ALL_ASPECTS, OVERALL, Status
from ..runs.locks import held, refuse_links
from ..runs.shards import SCORES, Run
from ..runs.standing import Standing
from ..served.prices import DATED
from ..terminal import note, say
from ..wording import counted
from .judge_arguments import add_judging, check_judging, check_questions, decoding, judge_options
from .numbers import Counted
from .places import JUDGE, PICTURES, TABLE
from .results import add_json, show
from .run_files import BATCHES, CACHE, RUN_FILES, refuse_others


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "table",
        type=TABLE,
        help="folder or glob of images, .csv, .tsv, .jsonl, .parquet, dataset folder or OWNER/NAME[:CONFIG[:SPLIT]]",
    )
    parser.add_argument("--judge", type=JUDGE, default="tiny", help="judge's name (default: %(default)s)")
    parser.add_argument(
        "--out",
        type=WrittenFolder(RUN_FILES),
        required=True,
        help="folder of the results; give the same one again to continue",
    )
    add_columns(parser)
    parser.add_argument("--keep", default="", help="other columns to copy into scores.csv, separated by commas")
    parser.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="COLUMNS",
        help="also print means for each value of a column; A,B: for each pair of values",
    )
    parser.add_argument("--limit", type=int, action=Counted, help="judge only the first LIMIT rows")
    add_json(parser)
    add_judging(parser)


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Arguments that say which column of a table holds what."""
    parser.add_argument("--prompt-column", default="prompt", help="column of prompts (default: %(default)s)")
    parser.add_argument("--image-column", default="image", help="column of images (default: %(default)s)")
    parser.add_argument("--reference-column", help="column of reference images")
    parser.add_argument("--id-column", help="column of ids (default: the row's number)")
    parser.add_argument(
        "--images",
        type=PICTURES,
        help="the only folder that images are read from; relative paths start there (default: the table's)",
    )
    add_prompts_from(parser)


def add_prompts_from(parser: argparse.ArgumentParser) -> None:
    """The argument to read prompts out of the image files themselves."""
    parser.add_argument(
        "--prompts-from",
        choices=(PNG,),
        help="png: read the prompts that AUTOMATIC1111 or ComfyUI wrote into a folder's images",
    )


def columns_of(args: argparse.Namespace) -> Columns:
    """The columns that the arguments name."""
    is_folder, named = is_image_folder(args.table), args.images is not None
    images = args.images or (None if is_folder else images_folder(args.table))
    identity, table = args.id_column or ("id" if is_folder else None), None if is_folder else args.table
    return Columns(args.prompt_column, args.image_column, identity, args.reference_column, images, named, table)


def run(args: argparse.Namespace) -> int:
    """Judge the items without a judgement. Returns 0 if every item is OK, else 1."""
    by = [names for text in args.by if (names := tuple(column_names(text)))]
    plan = Run(
        source=args.table,
        columns=columns_of(args),
        judge=args.judge,
        options=judge_options(args, args.out / CACHE),
        out=args.out,
        size=args.shard_size,
        limit=args.limit,
        keep=tuple(dict.fromkeys((*column_names(args.keep), *(name for names in by for name in names)))),
        prompts_from=args.prompts_from,
        explain=args.explain,
        decompositions=args.decompositions,
        isolate_images=args.isolate_images,
    )
    check_judging(args)
    plan.check_kept()
    if plan.decompositions:
        rows = iter_rows(args.table, [args.prompt_column], 0, args.limit, args.prompts_from)
        check_questions(plan.decompositions, plan.questions, {row.get(args.prompt_column) for row in rows})
    if is_image_folder(args.table) and (told := named_so(iter_rows(args.table, prompts_from=args.prompts_from))):
        note(f"{args.table}: {told}.")
    refuse_links(args.out)
    refuse_others(args.out, RUN_FILES)
    with held(args.out), decoding(args):
        plan.begin()
        forget_old(plan)
        carry_out(plan, args)
        summary = plan.finish(by)
    show(args, _report(summary, args.out), summary)
    if summary["n_failed"]:
        first = next(line for line in plan.judgements() if line["status"] != Status.OK.value)
        say(f"The first that failed is {first['image_id']} ({first['status']}): {first['reason']}", file=sys.stderr)
    return 1 if summary["n_failed"] else 0


def forget_old(plan: Run, hashes: str | None = None) -> None:
    """Say which items of a run are judged again because they have changed (see `Run.forget_changed`)."""
    for what, changed in plan.forget_changed(hashes).items():
        note(f"Judged again: {counted(changed, 'item')} with {what}.")


def carry_out(
    plan: Run, args: argparse.Namespace, announce: Callable[[Standing], None] = lambda standing: None
) -> None:
    """Judge the remaining shards of a run, here or on a cluster.

    Args:
        plan: the run.
        args: of `add_judging`.
        announce: called before the first call, when it is known what remains, with what earlier lines must say of
            their judge to count.
    """
    if args.retry_failed:
        note(f"Judged again: {counted(plan.forget_failures(), 'shard')} with failures.")
    if args.engine == "ray":
        from ..runs.ray import run_with_ray

        announce(plan.standing)
        run_with_ray(plan, args.workers)
    else:
        _run_here(plan, args.batch, announce)


def _run_here(plan: Run, batch: bool, announce: Callable[[Standing], None]) -> None:
    """Judge shard after shard in this process. The judge is loaded only if there is something to do."""
    first = next(plan.shards(), None)
    if first is None:
        return
    plan.check(first[1])
    judge = plan.load_judge()
    pace: Pace | None = None
    try:
        judge.check()
        plan.require_precision(judge)
        if others := plan.forget_others(judge):
            note(f"Judged again: {counted(others, 'shard')} with judgements of another judge, or by other questions.")
        announce(plan.standing.opened(judge))
        if batch:
            _ask_in_batches(plan, judge)
        for shard, rows in plan.shards():
            pace = pace or Pace(plan.rows(), shard * plan.size, "row")
            marker = plan.do(shard, rows, judge, progress=True)
            note(f"{pace.line(shard * plan.size + marker['rows'])} ({_statuses(marker['statuses'])})")
    finally:
        for line in judge.notes:
            note(f"{'The server' if JudgeName.parse(plan.judge).served else 'The judge'}: {line}")
        judge.close()


def _ask_in_batches(plan: Run, judge: Any) -> None:
    """Ask every call of the run in batches. The run then finds the replies in its cache."""
    from ..served.batch import BatchQueue

    def work() -> None:
        for shard, rows in plan.shards():
            plan.judge_rows(shard, rows, judge)

    BatchQueue(judge.backend, plan.out / BATCHES, tell=note).complete(work)


def _by_lines(names: str, groups: Sequence[Row]) -> list[str]:
    """One line per group: mean score, its interval, n, and what failed."""
    lines = [f"by {names} (95% interval over prompts):"]
    width = max(len(" / ".join(map(str, group["values"]))) for group in groups)
    for group in groups:
        failed = f"   failed: {_statuses(group['n_failed'])}" if group["n_failed"] else ""
        shown = [f"  {' / '.join(map(str, group['values'])):<{width}}  n {group['n']:<5}"]
        main = [OVERALL] if OVERALL in group["means"] else list(group["means"])
        for aspect in main:
            mean = group["means"][aspect]
            interval = "[too few prompts]" if mean["ci"] is None else f"[{mean['ci'][0]:.3f}, {mean['ci'][1]:.3f}]"
            shown.append(f"{aspect} {mean['mean']:.3f} {interval}")
        lines.append("  ".join(shown if main else [*shown, "no score"]) + failed)
    return lines


def _statuses(statuses: Row) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(statuses.items()))


def _report(summary: Row, out: Path) -> str:
    """n, failures and coverage, and the mean of each aspect, for the terminal."""
    if not summary["n"]:
        return "no rows"
    failed = _statuses(summary["n_failed"]) or "none"
    lines = [f"{counted(summary['n'], 'item')}, failed: {failed}, coverage {summary['coverage']:.1%}"]
    means = summary["means"]
    lines += [line for names, groups in summary.get("by", {}).items() for line in _by_lines(names, groups)]
    lines += [f"  {a:<22} mean {means[a]['mean']:6.3f}   n {means[a]['n']}" for a in ALL_ASPECTS if a in means]
    usage = summary["usage"]
    if usage["calls"]:
        tokens = f"{usage['input_tokens']:,} tokens read, {usage['output_tokens']:,} written"
        lines.append(
            f"  {counted(usage['calls'], 'call', form=',')}: {tokens} (the decomposition of prompts is not counted)"
        )
        if usage["money"] is None:
            lines.append("  price unknown")
        elif usage["money"]:
            lines.append(f"  ${usage['money']:.4f} at prices of {DATED} or of --prices")
    return "\n".join([*lines, f"written: {out / SCORES}"])
