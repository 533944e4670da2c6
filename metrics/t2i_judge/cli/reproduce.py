"""`t2i-judge reproduce NAME|FOLDER`: published, computed, and whether they are equal, figure by figure."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..arguments import Read, only
from ..errors import UserError
from ..inputs.readers import ENDINGS
from ..layout import plain_table, terminal_width
from ..meta.answers import POLICIES
from ..meta.report import figure_text, percent
from ..meta.reproduction import PUBLISHED, Regenerated, Reproduction, reproduce, shipped
from ..meta.rules import FIGURES
from ..meta.sources import SOURCES
from .results import add_json, show

# A set that is shipped is no place. Beside what names and rules the figures of a folder, its tables are read.
_PUBLISHED = Read(
    lambda text: [] if text in shipped() else [text],
    only(PUBLISHED, FIGURES, SOURCES, *(f"*{ending}" for ending in ENDINGS if ending != ".json")),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `reproduce`."""
    parser.add_argument(
        "name", nargs="*", type=_PUBLISHED, help=f"{', '.join(shipped())}, or a folder with published.json"
    )
    parser.add_argument("--all", action="store_true", help="every set that comes with this package")
    parser.add_argument(
        "--from",
        dest="source_folder",
        type=Path,
        metavar="FOLDER",
        help="read the published files from here instead of downloading them",
    )
    add_json(parser)
    parser.add_argument(
        "--bootstrap",
        type=int,
        default=2000,
        metavar="N",
        help="number of resamples for intervals (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Print each set's figures. Returns 1 if a computable figure differs without a stated reason, else 0."""
    names = [*(shipped() if args.all else []), *args.name]
    if not names:
        raise UserError("Nothing to reproduce", "", f"Name one of {', '.join(shipped())}, a folder, or --all")
    sets = [reproduce(name, args.bootstrap, source_folder=args.source_folder) for name in names]
    report = {
        result.name: {
            "sources": [source.to_json() for source in result.sources],
            "figures": [asdict(outcome) for outcome in result.outcomes],
            "policies": {policy: [row.to_json() for row in rows] for policy, rows in result.policies.items()},
        }
        for result in sets
    }
    show(args, "\n\n".join(_text(result) for result in sets), report)
    return 0 if all(result.faithful for result in sets) else 1


def _text(result: Reproduction) -> str:
    computable = [outcome for outcome in result.outcomes if outcome.status != "not computable"]
    parts = [f"{result.name}: {result.title}\n{_sources(result)}".rstrip()]
    parts += [plain_table([_HEADER, *map(_cells, computable)], terminal_width())]
    parts += [_impossible(result.outcomes), _policy_table(result), _summary(result)]
    return "\n\n".join(filter(None, parts))


def _sources(result: Reproduction) -> str:
    """One line per repository: what was read, and its licence."""
    paths: dict[str, list[str]] = {}
    for source in result.sources:
        place = f"read from {source.repository} @ {source.commit[:8]} ({source.license}) : "
        paths.setdefault(place, []).append(source.path)
    return "\n".join(place + ", ".join(several) for place, several in paths.items())


_HEADER = ["figure", "published", "computed", "equal", "why not"]


def _cells(outcome: Regenerated) -> list[str]:
    verdict = "yes" if outcome.status == "equal" else "NO" if outcome.status == "different" else "no"
    return [outcome.path, f"{outcome.published:.10g}", f"{outcome.computed:.10g}", verdict, outcome.note]


def _impossible(outcomes: Sequence[Regenerated]) -> str:
    """The figures that the data cannot give, one line per reason."""
    reasons: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.status == "not computable":
            reasons.setdefault(outcome.note, []).append(outcome.path)
    return "\n".join(f"not computable ({reason}): {', '.join(paths)}" for reason, paths in reasons.items())


def _policy_table(result: Reproduction) -> str:
    if not result.policies:
        return ""
    rows = [
        [
            policy,
            str(row.prediction),
            str(row.n),
            percent(row.coverage),
            figure_text(row.figures["spearman"]),
            figure_text(row.figures["kendall_tau_b"]),
            ", ".join(f"{count} {status}" for status, count in row.n_failed.items()),
        ]
        for policy, judges in result.policies.items()
        for row in judges
    ]
    header = ["policy", "judge", "n", "coverage", "Spearman [95% CI]", "Kendall tau-b [95% CI]", "left out"]
    notes = "\n".join(f"{policy}: {POLICIES[policy]}" for policy in result.policies)
    table = plain_table([header, *rows], terminal_width())
    return f"Against the mean rating, intervals clustered by prompt\n{table}\n{notes}"


def _summary(result: Reproduction) -> str:
    """One line per group, such as "README: 36 of 36 equal"."""
    lines = []
    for group in dict.fromkeys(outcome.group for outcome in result.outcomes):
        counts = Counter(outcome.status for outcome in result.outcomes if outcome.group == group)
        impossible = counts.pop("not computable", 0)
        line = f"{result.name}, {group}: {counts['equal']} of {sum(counts.values())} equal"
        line += f", {counts['explained']} explained" if counts["explained"] else ""
        line += f", {counts['different']} DIFFERENT" if counts["different"] else ""
        lines.append(line + (f"; {impossible} not computable" if impossible else ""))
    return "\n".join(lines)
