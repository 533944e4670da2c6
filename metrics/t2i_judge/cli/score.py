"""`t2i-judge score TABLE --judge NAME --out DIR`: judge any number of images, shard by shard; resumable."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..arguments import WrittenFolder
from ..errors import UserError, quoted
from ..inputs.folders import PNG, is_image_folder
from ..inputs.readers import Row
from ..inputs.rows import Columns, images_folder
from ..inputs.tables import column_names
from ..judges.names import CLIP, DINO, DREAMBENCH, HF, OCR, TINY, JudgeName
from ..progress import Pace
from ..records import ALL_ASPECTS, OVERALL, Status
from ..runs.locks import held, refuse_links
from ..runs.shards import SCORES, Run
from ..served.prices import DATED
from ..terminal import note, say
from ..wording import counted
from .numbers import Counted
from .places import CHECKPOINT, JUDGE, PICTURES, TABLE
from .results import add_json, show
from .run_files import BATCHES, CACHE, RUN_FILES
from .served_arguments import CLIENT, add_served, check_served, served_options
from .zero_shot_arguments import add_zero_shot, zero_shot_options, zero_shot_takes

PARTS = ("planning", "criteria", "scale", "reasoning")  # of DreamBench++'s protocol, see `dreambench.Switches`


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


def add_judging(parser: argparse.ArgumentParser) -> None:
    """Arguments of every command that judges images: by which judge, on what machines, for how much money."""
    parser.add_argument("--shard-size", type=int, default=500, help="rows per shard (default: %(default)s)")
    parser.add_argument(
        "--explain", action="store_true", help="also ask for explanations, for which a served judge charges"
    )
    parser.add_argument(
        "--decompositions", type=Path, help="JSON Lines of {prompt, questions}: questions that exist already"
    )
    parser.add_argument("--retry-failed", action="store_true", help="also judge again the items that failed")
    parser.add_argument(
        "--isolate-images",
        action="store_true",
        help="decode images in separate processes with limits on time and memory (for images you do not trust)",
    )
    parser.add_argument(
        "--intervals",
        type=Path,
        metavar="FILE",
        help="file from `calibrate --interval`: scores get intervals",
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray: on the workers of a Ray cluster (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="judges that work at once with --engine ray (default: %(default)s)"
    )
    served = add_judge_options(parser)
    served.add_argument(
        "--batch", action="store_true", help="use OpenAI's Batch API: half the price, replies within a day"
    )


def add_judge_options(parser: argparse.ArgumentParser, seed: bool = True) -> Any:
    """Arguments that become options of the judge. Returns the group of served judges; `seed` as in `add_served`."""
    parser.add_argument(
        "--quantization", choices=("nf4", "none"), help="quantize a local judge's weights (default: as trained)"
    )
    parser.add_argument("--ignore-case", action="store_true", help="ocr: judges: capital and small letters are equal")
    parser.add_argument(
        "--reward",
        action="store_true",
        help="clip: judges: the model was trained on people's choices (PickScore)",
    )
    parser.add_argument(
        "--processor",
        type=CHECKPOINT,
        metavar="CHECKPOINT",
        help="clip: and dino: judges: folder or repository of the processor and the tokenizer",
    )
    add_zero_shot(parser)
    served = add_served(parser, seed=seed)
    served.add_argument(
        "--protocol", choices=("structured", "staged"), help="how openai:MODEL is asked (default: structured)"
    )
    served.add_argument(
        "--secret-ids",
        action="store_true",
        help="give questions random ids, so that no text in an image can answer them",
    )
    axes = parser.add_argument_group("personalised images (dreambench+...)")
    axes.add_argument("--kind", choices=("subject", "style"), help="what the references show (default: subject)")
    axes.add_argument(
        "--without", action="append", choices=PARTS, help="leave out a part of the protocol; can be repeated"
    )
    return served


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
    refuse_links(args.out)
    with held(args.out):
        plan.begin()
        forget_old(plan)
        carry_out(plan, args)
        summary = plan.finish(by)
    show(args, _report(summary, args.out), summary)
    if summary["n_failed"]:
        first = next(line for line in plan.judgements() if line["status"] != Status.OK.value)
        say(f"The first that failed is {first['image_id']} ({first['status']}): {first['reason']}", file=sys.stderr)
    return 1 if summary["n_failed"] else 0


def check_judging(args: argparse.Namespace) -> None:
    """Raise `UserError` for arguments of `add_judging` that make no sense."""
    if args.shard_size < 1 or args.workers < 1:
        raise UserError("--shard-size and --workers must be at least 1", "", "Correct them, or leave them out")
    if args.engine == "ray" and args.batch:
        raise UserError(
            "--batch cannot be used with --engine ray",
            "A batch waits for its replies and needs no cluster",
            "Leave out one of them",
        )


def forget_old(plan: Run, images: bool = True) -> None:
    """Say which items of a run are judged again because they have changed (see `Run.forget_changed`)."""
    for what, changed in plan.forget_changed(images).items():
        note(f"Judged again: {counted(changed, 'item')} with {what}.")


def carry_out(plan: Run, args: argparse.Namespace, announce: Callable[[], None] = lambda: None) -> None:
    """Judge the remaining shards of a run, here or on a cluster.

    Args:
        plan: the run.
        args: of `add_judging`.
        announce: called before the first call, when it is known what remains.
    """
    if args.retry_failed:
        note(f"Judged again: {counted(plan.forget_failures(), 'shard')} with failures.")
    if args.engine == "ray":
        from ..runs.ray import run_with_ray

        announce()
        run_with_ray(plan, args.workers)
    else:
        _run_here(plan, args.batch, announce)


def judge_options(args: argparse.Namespace, cache: Path | None = None, seed: bool = True) -> dict[str, Any]:
    """The options for `load_judge` on the command line. Raises `UserError` if the judge does not take one of them.

    Args:
        args: of `add_judging`, or of `add_judge_options` alone.
        cache: file of a served judge's replies.
        seed: as in `add_served`.
    """
    judge = JudgeName.parse(args.judge)
    options: dict[str, Any] = {"quantization": args.quantization} if args.quantization else {}
    options |= {"intervals": str(args.intervals)} if getattr(args, "intervals", None) else {}
    options |= {"kind": args.kind} if args.kind else {}
    options |= dict.fromkeys(args.without or (), False)
    for name in ("kind", "without"):
        if getattr(args, name) and judge.protocol != "dreambench":
            raise UserError(
                f"--{name} cannot be used with {quoted(args.judge)}",
                "Only dreambench+... judges support it",
                "Leave it out",
            )
    if args.ignore_case and judge.kind != OCR:
        raise UserError(
            f"--ignore-case cannot be used with {quoted(args.judge)}", "Only ocr: judges support it", "Leave it out"
        )
    options |= {"ignore_case": True} if args.ignore_case else {}
    options |= _embedding_options(args, judge)
    if args.protocol and not (judge.served and not judge.protocol):
        raise UserError(
            f"--protocol cannot be used with {quoted(args.judge)}",
            "Only openai:MODEL has two protocols",
            "Leave it out",
        )
    if args.secret_ids and (args.protocol == "staged" or judge.protocol or not judge.served):
        raise UserError(
            f"--secret-ids cannot be used with {quoted(args.judge)}",
            "Only openai:MODEL names questions",
            "Leave it out",
        )
    if getattr(args, "batch", False) and not judge.served:
        raise UserError(
            f"--batch cannot be used with {quoted(args.judge)}", "Only served judges support it", "Leave it out"
        )
    options |= zero_shot_options(args, judge)
    client = {**served_options(args, seed), "cache": cache}
    if _has_served_decomposer(args, judge):
        options["decomposer_options"] = client
    elif not judge.served:
        check_served(judge, args, seed)
    if not judge.served:
        return options
    options |= {"protocol": args.protocol} if args.protocol else {}
    options |= {"secret_ids": True} if args.secret_ids else {}
    return {**options, **client}


def _embedding_options(args: argparse.Namespace, judge: JudgeName) -> dict[str, Any]:
    if args.reward and judge.kind != CLIP:
        raise UserError(
            f"--reward cannot be used with {quoted(args.judge)}", "Only clip: judges support it", "Leave it out"
        )
    if args.processor and judge.kind not in (CLIP, DINO):
        raise UserError(
            f"--processor cannot be used with {quoted(args.judge)}",
            "Only clip: and dino: judges support it",
            "Leave it out",
        )
    return ({"reward": True} if args.reward else {}) | ({"processor": args.processor} if args.processor else {})


def for_judge(args: argparse.Namespace, judge: str, judges: Sequence[str]) -> argparse.Namespace:
    """The arguments for one of several judges, without those that only another one takes."""
    name, others = JudgeName.parse(judge), [JudgeName.parse(other) for other in judges]

    def asks(judge: JudgeName) -> bool:
        return judge.served or _has_served_decomposer(args, judge)

    foreign = {
        argument: None
        for arguments, takes in {CLIENT: asks, **_TAKEN_BY}.items()
        if not takes(name) and any(map(takes, others))
        for argument in arguments
    }
    return argparse.Namespace(**vars(args) | foreign | {"judge": judge})


def _has_served_decomposer(args: argparse.Namespace, judge: JudgeName) -> bool:
    """Whether the prompts of a judge are turned into questions by a server."""
    takes = "decomposer" in zero_shot_takes(judge)
    return takes and bool(args.decomposer) and JudgeName.parse(args.decomposer).served


# Arguments that only some judges take; `judge_options` refuses them for others.
_TAKEN_BY: Mapping[tuple[str, ...], Callable[[JudgeName], bool]] = {
    ("batch",): lambda judge: judge.served,
    ("protocol", "secret_ids"): lambda judge: judge.served and not judge.protocol,
    ("kind", "without"): lambda judge: judge.protocol == DREAMBENCH,
    ("quantization",): lambda judge: judge.kind in (TINY, HF),
    ("ignore_case",): lambda judge: judge.kind == OCR,
    ("decomposer", "template"): lambda judge: "decomposer" in zero_shot_takes(judge),
    ("normalised", "mean"): lambda judge: "mean" in zero_shot_takes(judge),
    ("reward",): lambda judge: judge.kind == CLIP,
    ("processor",): lambda judge: judge.kind in (CLIP, DINO),
}


def _run_here(plan: Run, batch: bool, announce: Callable[[], None]) -> None:
    """Judge shard after shard in this process. The judge is loaded only if there is something to do."""
    first = next(plan.shards(), None)
    if first is None:
        return
    plan.check(first[1])
    judge = plan.load_judge()
    pace: Pace | None = None
    try:
        judge.check()
        if others := plan.forget_others(judge):
            note(f"Judged again: {counted(others, 'shard')} with judgements of another judge, or by other questions.")
        announce()
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
