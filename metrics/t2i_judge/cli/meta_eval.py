"""`t2i-judge meta-eval TABLE`: agreement of any scores with people, straight from a table of any shape.

For wide tables the raters are named (`--ratings h1,h2` or `--ratings 'r*_SC'`; one column may hold lists). Long tables
(item, rater, score) and benchmarks (`human_scores`, `baselines`) are recognised by their columns. Pairs have votes
(`--votes`), and verdicts (`--prediction`) or scores of both images (`--scores`). metrics/README.md shows each with its
output.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

from ..arguments import written_file
from ..errors import UserError
from ..inputs.numerals import is_gap, is_number
from ..inputs.shapes import (
    HUMAN_SCORES,
    ITEM_NAMES,
    RATER_NAMES,
    SCORE_NAMES,
    Condition,
    Long,
    kept_rows,
    listed_numbers,
    long_columns,
    matching,
    read_lists,
    table_names,
    wide_from_long,
)
from ..inputs.sides import USUAL, Sides, two_names
from ..inputs.tables import Table, column_names
from ..layout import one_line, terminal_width
from ..meta.evaluation import meta_evaluate
from ..meta.report import write_report
from ..stats.coefficients import AVERAGES
from ..stats.preferences import parse_verdict
from ..stats.resampling import check_seed
from ..wording import counted
from .places import TABLE
from .results import add_json, show
from .table_arguments import (
    STATUS,
    add_table_arguments,
    blank_cells,
    read_stated,
    repeated_rows,
    source_of,
    telling_columns,
)  # fmt: skip

_SIDES = ("score_a", "score_b")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `meta-eval`."""
    parser.add_argument(
        "table", type=TABLE, help="CSV, TSV, JSONL, JSON, parquet, or OWNER/NAME[:CONFIG[:SPLIT]] on the Hub"
    )
    _add_columns(parser)
    _add_figures(parser)
    add_table_arguments(parser)
    out = parser.add_argument_group("what is shown")
    out.add_argument("--averages-only", action="store_true", help="print the averages without their groups")
    add_json(out)
    out.add_argument("--markdown", type=written_file, metavar="OUT", help="write the tables to this file")


def _add_columns(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what the columns hold")
    what.add_argument(
        "--prediction",
        action="append",
        default=[],
        metavar="COL",
        help="a judge's column, or a pattern; can be repeated",
    )
    what.add_argument(
        "--ratings", metavar="COL,COL", help="the annotators' columns, or patterns (h*); blank where there is no rating"
    )
    what.add_argument(
        "--item", metavar="COL,COL", help=f"long table: column of items ({', '.join(ITEM_NAMES[:3])} ...)"
    )
    what.add_argument("--rater", metavar="COL", help=f"long table: column of raters ({', '.join(RATER_NAMES[:3])} ...)")
    what.add_argument(
        "--score", metavar="COL", help=f"long table: column of ratings ({', '.join(SCORE_NAMES[:3])} ...)"
    )
    what.add_argument(
        "--aspect", metavar="NAME", help="long table or benchmark: the aspect (default: overall, if there is one)"
    )
    what.add_argument(
        "--status", metavar="COL", help="column of a judge's status; only scores with the status ok count"
    )
    what.add_argument(
        "--votes",
        metavar="COL",
        help="column of people's votes on pairs: leftvote, A>B, A, left, tie, bothbad_vote ... or a model's name",
    )
    what.add_argument(
        "--sides",
        metavar="A,B",
        help="where votes name models: the columns of the first and the second image's model, or two names",
    )
    what.add_argument(
        "--scores",
        action="append",
        default=[],
        metavar="[NAME=]A,B",
        help="columns of a judge's scores for both images of a pair",
    )
    what.add_argument(
        "--systems", metavar="COL", help="column of generators: also correlate their means, soft pairwise accuracy"
    )
    what.add_argument("--candidates", metavar="COL", help="column of the set an image belongs to: best-of-K accuracy")


def _add_figures(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("what is computed on what")
    how.add_argument("--where", action="append", default=[], metavar="COL=VALUE", help="only these rows (also != < >)")
    how.add_argument("--by", metavar="COL,COL", help="report on each combination of values of these columns")
    how.add_argument(
        "--average",
        metavar="RULE[,RULE]",
        help=f"also average the groups of --by: {', '.join(AVERAGES)}; one rule per column: the last column's groups "
        "by the first rule, their averages by the next",
    )
    how.add_argument(
        "--cluster",
        metavar="COL",
        help="column whose rows are resampled together for the intervals, such as the prompt",
    )
    how.add_argument(
        "--groups",
        choices=["sampled", "fixed"],
        help="averages: groups are a sample and resampled whole (ids, prompts), or stay (generators, tasks); "
        "default: sampled where each lies in one cluster, or there are more groups than items in the middle one",
    )
    how.add_argument("--intersect", action="store_true", help="compare judges on the items that all of them scored")
    how.add_argument("--compare", action="store_true", help="test every two judges against each other")
    how.add_argument("--round", type=int, metavar="DIGITS", help="round predictions to this many decimals first")
    how.add_argument(
        "--bootstrap",
        type=int,
        default=2000,
        metavar="N",
        help="number of resamples; 0: no intervals (default: %(default)s)",
    )
    how.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the resamples (default: %(default)s)")


@dataclass
class _Read:
    """What a table holds, as `meta_evaluate` takes it."""

    table: Table
    judges: dict[str, Any] = field(default_factory=dict)
    raters: dict[str, Any] = field(default_factory=dict)
    verdicts: dict[str, list[str | None]] = field(default_factory=dict)
    pair_scores: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    statuses: dict[str, list[str | None]] = field(default_factory=dict)
    votes: list[str | None] | None = None
    remarks: list[str] = field(default_factory=list)


def run(args: argparse.Namespace) -> int:
    """Read the table, print the figures, and write them to files if asked. Returns 0."""
    check_seed(args.seed)
    if args.averages_only and not args.average:
        raise UserError("--averages-only needs --average", "There are no averages to show", "Add --average mean")
    if args.sides and not args.votes:
        raise UserError("--sides needs --votes", "Sides belong to votes on pairs", "Name the votes' column")
    read = _read(args)
    _name_sides(args, read)
    table, groups = read.table, column_names(args.by)
    result = meta_evaluate(
        read.judges,
        read.raters,
        verdicts=read.verdicts or None,
        votes=read.votes,
        pair_scores=read.pair_scores or None,
        by={name: table.labels(name) for name in groups},
        clusters=_labels(table, args.cluster),
        groups=args.groups,
        statuses=read.statuses or None,
        intersect=args.intersect,
        average=args.average,
        systems=_labels(table, args.systems),
        candidates=_labels(table, args.candidates),
        compare=args.compare,
        draws=args.bootstrap,
        seed=args.seed,
        digits=args.round,
    )
    blank = blank_cells(table, _blank(args))
    remarks = [one_line(remark) for remark in (*table.remarks.lines, *read.remarks, *blank)]
    about = {"path": table.path, "sha256": table.sha256, "rows": table.rows}
    report = {**result.to_json(), "table": about, "remarks": remarks}
    show(args, "\n".join([*remarks, result.to_text(args.averages_only, terminal_width())]), report)
    if args.markdown:
        write_report(args.markdown, result.to_markdown(args.averages_only))
    return 0


def _blank(args: argparse.Namespace) -> dict[str, str]:
    """Column -> what becomes of a row in which it is blank."""
    said = {
        args.cluster: "is a cluster of its own, as if it had nothing in common with others",
        args.systems: "belongs to no generator",
        args.candidates: "belongs to no set",
    }
    return {name: what for name, what in said.items() if name}


def _labels(table: Table, name: str | None) -> list[Any] | None:
    return table.labels(name) if name else None


def _read(args: argparse.Namespace) -> _Read:
    """The table, read in the shape that its columns and the options indicate."""
    names = table_names(source_of(args, args.table), _named(args))
    raters = matching(column_names(args.ratings), names)
    judges = list(dict.fromkeys(matching(args.prediction, names)))
    sides = _sides(args, judges, names)
    named = [name for pair in sides.values() for name in pair]
    named += [
        *column_names(args.item),
        *filter(None, [args.votes, args.cluster, args.systems, args.candidates, args.status]),
        *(_models(args, names) or ()),
    ]
    conditions = [Condition.parse(text) for text in args.where]
    wanted = [*judges, *raters, *column_names(args.by), *named, *(c.column for c in conditions)]
    judges = [name for name in judges if name not in sides]
    wanted = [name for name in wanted if name in names or name not in sides]
    wanted += [name for name in _status_columns(args, judges, names) if name not in wanted]
    if not raters and not args.votes:
        return _of_raters(args, names, judges, wanted, conditions)
    table = kept_rows(read_stated(args, args.table, [*wanted, *telling_columns(names)]), conditions)
    read = _Read(table, remarks=repeated_rows(table, wanted))
    for name in raters:
        listed = listed_numbers(table, name)
        read.raters |= {name: table.numbers(name)} if listed is None else listed
    read.pair_scores = {name: (table.numbers(a), table.numbers(b)) for name, (a, b) in sides.items()}
    _add_judges(args, read, judges)
    return read


def _of_raters(
    args: argparse.Namespace, names: list[str], judges: list[str], wanted: list[str], conditions: list[Condition]
) -> _Read:
    """A benchmark with its lists, or a long table."""
    if HUMAN_SCORES in names and not (args.item or args.rater or args.score):
        columns = [*wanted, HUMAN_SCORES, *([] if judges or "baselines" not in names else ["baselines"])]
        lists = read_lists(kept_rows(read_stated(args, args.table, columns), conditions), args.aspect)
        read = _Read(lists.table, lists.judges, dict(lists.raters), statuses=lists.statuses)
        read.remarks = [f"{HUMAN_SCORES}: aspect {lists.aspect}"]
        _add_judges(args, read, judges)
        return read
    long: Long | None = long_columns(names, column_names(args.item), args.rater, args.score)
    if long is None:
        fix = "Name the annotators' columns (--ratings or --votes), or a long table's (--item, --rater, --score)"
        raise UserError("No column of human judgements is named", f"Its columns are {', '.join(names)}", fix)
    extra = [name for name in ("aspect", "question", "question_id") if name in names]
    columns = [*wanted, *long.item, long.rater, long.score, *extra]
    long_table = kept_rows(read_stated(args, args.table, columns), conditions)
    table, raters, aspect = wide_from_long(long_table, long, args.aspect)
    read = _Read(table, raters={name: table.numbers(name) for name in raters})
    shape = f"long table: {counted(table.rows, 'item')} ({', '.join(long.item)}), "
    shape += f"{counted(len(raters), 'rater')} ({long.rater})"
    read.remarks = [shape + (f", aspect {aspect}" if aspect else "")]
    _add_judges(args, read, judges)
    return read


def _sides(args: argparse.Namespace, judges: list[str], names: list[str]) -> dict[str, tuple[str, str]]:
    """Judge -> the columns with its scores of both images: as given, or NAME_a and NAME_b, or score_a and score_b."""
    found: dict[str, tuple[str, str]] = {}
    for text in args.scores:
        name, _, pair = text.rpartition("=")
        columns = column_names(pair)
        if len(columns) != 2:
            raise UserError(f"--scores is {text}", "A pair has two images", "Write --scores NAME=COLUMN_A,COLUMN_B")
        found[name or columns[0].removesuffix("_a").removesuffix("_1") or columns[0]] = (columns[0], columns[1])
    if args.votes and not args.scores:
        for judge in judges:
            pairs = [(f"{judge}_{a}", f"{judge}_{b}") for a, b in (("a", "b"), _SIDES, ("left", "right"), ("1", "2"))]
            both = next((pair for pair in pairs if judge not in names and set(pair) <= set(names)), None)
            found |= {judge: both} if both else {}
        if not judges and set(_SIDES) <= set(names):
            found["score"] = _SIDES
    if found and not args.votes:
        raise UserError("--scores needs --votes", "Scores of pairs are compared with votes", "Name the votes' column")
    return found


def _status_columns(args: argparse.Namespace, judges: list[str], names: list[str]) -> list[str]:
    """The columns with a judge's status: as given, or JUDGE_status, or status if there is only one judge."""
    if args.status:
        return [args.status]
    own = [f"{judge}_{STATUS}" for judge in judges if f"{judge}_{STATUS}" in names]
    return own or ([STATUS] if STATUS in names and len(judges) == 1 else [])


def _add_judges(args: argparse.Namespace, read: _Read, judges: list[str]) -> None:
    """Scores, or with votes verdicts, and their statuses."""
    table = read.table
    for name in judges:
        texts = _texts(table, name) if args.votes else []
        if args.votes and (not read.raters or any(map(parse_verdict, texts))):
            read.verdicts[name] = texts
            continue
        read.judges[name] = table.numbers(name)
        for column in (args.status, f"{name}_{STATUS}", STATUS if len(judges) == 1 else None):
            if column and column in table.columns:
                read.statuses[name] = _texts(table, column)
                break


def _named(args: argparse.Namespace) -> list[str]:
    """The columns and patterns that the options name. They distinguish the header from titles above it."""
    listed = (args.ratings, args.item, args.by, *(text.rpartition("=")[2] for text in args.scores))
    single = (args.rater, args.score, args.status, args.votes, args.systems, args.candidates, args.cluster)
    judges = [] if args.votes and not args.ratings else args.prediction  # JUDGE may stand for JUDGE_a and JUDGE_b
    return [*judges, *(name for text in listed for name in column_names(text)), *filter(None, single)]


def _models(args: argparse.Namespace, names: list[str]) -> tuple[str, str] | None:
    """The columns that name the models of a pair's two images: as given, or with the usual names."""
    if not args.votes:
        return None
    if not args.sides:
        return next((pair for pair in USUAL if set(pair) <= set(names)), None)
    pair = column_names(args.sides)
    if len(pair) != 2:
        raise UserError(f"--sides is {args.sides}", "A pair has two images", "Write --sides COLUMN_A,COLUMN_B")
    return (pair[0], pair[1]) if set(pair) <= set(names) else None


def _name_sides(args: argparse.Namespace, read: _Read) -> None:
    """Votes as sides; if they name models, also the verdicts."""
    if not args.votes:
        return
    table, votes = read.table, _texts(read.table, args.votes)
    read.votes = [None if is_gap(vote) and str(vote).lower() != "none" else vote for vote in votes]
    pair = _models(args, list(table.columns)) or tuple(column_names(args.sides))
    if not pair and not read.pair_scores and (pair := two_names([read.votes, *read.verdicts.values()]) or ()):
        read.remarks.append(f"'{args.votes}' names the better image's model: A is {pair[0]}, B is {pair[1]}")
    if pair:
        sides = Sides.of(table, (pair[0], pair[1]))
        read.votes = sides.said(read.votes)
        read.verdicts = {name: sides.said(cells) for name, cells in read.verdicts.items()}
    for name, cells in read.verdicts.items():
        _refuse_numbers(name, cells)


def _refuse_numbers(name: str, cells: list[str | None]) -> None:
    texts = [text for text in cells if text]
    if texts and all(map(is_number, texts)):
        reason = "A verdict says which image is better"
        raise UserError(f"'{name}' has numbers, not verdicts", reason, f"Name both scores: --scores {name}=A,B")


def _texts(table: Table, name: str) -> list[str | None]:
    return [None if cell is None else str(cell).strip() for cell in table.column(name)]
