"""`t2i-judge selftest [TABLE] --judge NAME`: attacks on picture and prompt, and a verdict on the judge.

Exit codes: 0 TRUSTED, 1 UNTRUSTED, 2 a mistake in the command, 3 INCONCLUSIVE or it could not be run. Without a table,
it uses photographs that come with installed packages. `--gallery FILE` shows the attacked pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..arguments import written_file
from ..boards.report.gallery import Gallery
from ..errors import Stopped, Undecided, UserError
from ..inputs.readers import iter_rows
from ..judges.loading import DEFAULT, load_judge
from ..judges.names import JudgeName
from ..layout import terminal_width
from ..meta.report import check_report, write_report
from ..runs.selftest.attacks import ATTACKS, OTHER_PROMPT, QUICK, Attack
from ..runs.selftest.battery import Sample, attacked, examine, readable
from ..runs.selftest.photographs import photographs
from ..runs.selftest.report import text
from ..runs.selftest.verdicts import keep
from ..runs.standing import identity
from ..terminal import note
from ..wording import counted
from .costs import announce_judging
from .judge_arguments import add_judge_options, judge_options
from .numbers import Counted
from .places import JUDGE, TABLE
from .plan import Item
from .results import STDOUT, add_json, show
from .score import add_columns, columns_of

EXIT = {"TRUSTED": 0, "UNTRUSTED": 1, "INCONCLUSIVE": 3}
ITEMS, QUICK_ITEMS, FULL_ITEMS = 24, 16, 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "table",
        nargs="?",
        type=TABLE,
        help="images that the judge is made for, good and mediocre, with prompts (default: photographs)",
    )
    parser.add_argument("--judge", type=JUDGE, default=DEFAULT, help="name of the judge (default: %(default)s)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick", action="store_true", help=f"the {len(QUICK)} probes that find most, on {QUICK_ITEMS} items"
    )
    size.add_argument(
        "--full", action="store_true", help=f"all {len(ATTACKS)} probes on {FULL_ITEMS} items (default: on {ITEMS})"
    )
    parser.add_argument("--limit", type=int, action=Counted, help="number of items")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random draws")
    add_json(parser)
    parser.add_argument(
        "--gallery",
        type=written_file,
        metavar="HTML",
        help="write a page: each attack before and after, and both judgements",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FILE",
        help="file that keeps a served judge's replies; an interrupted run continues from there",
    )
    add_columns(parser)
    add_judge_options(parser, seed=False)


def run(args: argparse.Namespace) -> int:
    """Print the results. The exit code is the verdict's."""
    for path in filter(None, (args.gallery, args.json if args.json != STDOUT else None)):
        check_report(path)
    name = JudgeName.parse(args.judge)
    options = judge_options(args, args.cache, seed=False)
    attacks: Sequence[Attack] = QUICK if args.quick else ATTACKS
    samples = readable(_samples(args))
    what = f"{counted(len(samples), 'item')}, {counted(len(attacks), 'probe')}"
    announce_judging(name, options, what, _judged(samples, attacks), {})
    gallery = Gallery() if args.gallery is not None else None
    whose = identity(args.judge, options)
    try:
        judge = load_judge(args.judge, **options)
        try:
            judge.check()
            watch = gallery.watch if gallery is not None else None
            result = examine(judge, samples, attacked(samples, attacks, args.seed), progress=True, watch=watch)
            score_range = judge.score_range
        finally:
            judge.close()
    except Stopped as error:  # it says nothing about the judge
        raise Undecided(error.fact, error.reason, error.fix) from error
    try:
        keep(result, whose)
    except OSError as error:  # HF_HOME may be a folder that is only read
        note(f"The verdict is not kept for later runs: {error.filename}: {error.strerror}")
    show(args, text(result, terminal_width()), result.to_json())
    if gallery is not None:
        write_report(args.gallery, gallery.page(result, score_range))
        note(f"written: {args.gallery}")
    return EXIT[result.verdict]


def _samples(args: argparse.Namespace) -> list[Sample]:
    count = args.limit or (QUICK_ITEMS if args.quick else FULL_ITEMS if args.full else ITEMS)
    if args.table is None:
        samples = photographs()
        if not samples:
            raise UserError("No photographs are installed", "They come with scikit-image and others", "Name a TABLE")
        return samples[:count]
    columns = columns_of(args)
    samples = []
    for number, row in enumerate(iter_rows(args.table, count=count, prompts_from=args.prompts_from)):
        columns.check(row, args.table)
        image, prompt, reference, _ = columns.item(row, number)
        if prompt.strip():
            samples.append(Sample(image, prompt, reference))
    return samples


def _judged(samples: Sequence[Sample], attacks: Sequence[Attack]) -> Iterator[Item]:
    """Prompts and sizes of all that the judge sees: each sample, and each probe of it."""
    others = [sample.prompt for sample in samples]
    for sample in samples:
        yield sample.prompt, [sample.image.size]
    for attack in attacks:
        for sample in samples:
            if attack.applies(sample.prompt):
                changed = others[0] if attack.name == OTHER_PROMPT else f"{sample.prompt}{attack.suffix}"
                yield changed, [sample.image.size]
