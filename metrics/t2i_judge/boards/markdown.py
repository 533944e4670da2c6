"""leaderboard.md: the board as a person reads it, in a terminal or a pull request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import printable
from ..records import OVERALL
from ..wording import counted
from .leaderboard import COVERS, needed, ranked

Row = Mapping[str, Any]


def markdown(board: Row, most: int | None = None) -> str:
    """Ranking, pairs (at most the first `most`), which differences could have been found, warnings."""
    parts = [f"# Which generator is better, by {_cell(board['judge']['name'])}", _prompts(board), _ranking(board)]
    if tested := board["judge"].get("selftest"):
        parts += [_tested(tested)]
    if board.get("agreement"):
        parts += [_agreement(board)]
    if any(generator["categories"] for generator in board["generators"]):
        parts += ["## Categories (descriptive only)", _categories(board["generators"])]
    if board["pairs"]:
        parts += ["## Pairs", _pairs(board["pairs"][:most])]
        if left := len(board["pairs"][most:]) if most is not None else 0:
            parts += [f"{counted(left, 'more pair stands', 'more pairs stand', ',')} in leaderboard.md."]
    if board.get("ordered"):
        parts += ["## In order", _ordered(board["ordered"])]
    if board.get("people"):
        parts += ["## What people would say", _people(board["people"])]
    if board["bradley_terry"]:
        parts += ["## Bradley-Terry strengths", _strengths(board["bradley_terry"])]
    parts += [_power(board)]
    if board["warnings"]:
        parts += ["## Warnings", "\n".join(f"- {_cell(warning)}" for warning in board["warnings"])]
    return "\n\n".join([*parts, COVERS]) + "\n"


def _prompts(board: Row) -> str:
    about = board["prompts"]
    named = f"{_cell(about['name'])}'s prompt" if about.get("name") else "prompt"
    note = f" {_cell(about['note'])}" if about.get("note") else ""
    return f"{counted(about['n'], named)}, {counted(about['images'], 'image')}.{note}"


def _ranking(board: Row) -> str:
    aspects = list(board["generators"][0]["aspects"]) if board["generators"] else []
    rows = [["rank", "generator", "overall [95% CI]", *aspects, "scored", "failed"]]
    for generator in ranked(board):
        low, high = generator["rank"]
        failed = ", ".join(f"{count} {status}" for status, count in generator["n_failed"].items()) or "none"
        rows.append(
            [
                str(low) if low == high else f"{low}-{high}",
                _cell(generator["name"]),
                _figure(generator[OVERALL]),
                *(_number(generator["aspects"][aspect]["mean"]) for aspect in aspects),
                str(generator["n"]),
                failed,
            ]
        )
    return _table(rows)


def _tested(selftest: Row) -> str:
    failed = f": it fails {_cell(', '.join(selftest['failed']))}" if selftest["failed"] else ""
    return f"The judge's selftest says {selftest['verdict']} on {counted(selftest['n'], 'item')}{failed}."


def _agreement(board: Row) -> str:
    others = ", ".join(_cell(judge["name"]) for judge in board["judges"][1:])
    tau = board["agreement"]["kendall_tau_b"]
    return f"Other judges: {others}. Agreement on the order of the generators: Kendall's tau-b {_number(tau)}."


def _categories(generators: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for generator in generators for name in generator["categories"]))
    rows = [["category [95% CI]", *(_cell(generator["name"]) for generator in generators)]]
    for name in names:
        figures = [generator["categories"].get(name) for generator in generators]
        rows.append([_cell(name), *(_figure(figure) if figure else "–" for figure in figures)])
    return _table(rows)


def _pairs(pairs: Sequence[Row]) -> str:
    rows = [["a", "b", "a - b [95% CI, unadjusted]", "bounds with failures", "p (Holm)", "won/tied/lost", "decided"]]
    for pair in pairs:
        better = pair["a"] if (pair["difference"] or 0) > 0 else pair["b"]
        interval = _interval(pair["ci"])
        rows.append(
            [
                _cell(pair["a"]),
                _cell(pair["b"]),
                f"{_number(pair['difference'], sign=True)} {interval}".strip(),
                _interval(pair["bounds"]),
                "–" if pair["p_holm"] is None else f"{pair['p_holm']:.3f}",
                f"{pair['wins']}/{pair['ties']}/{pair['losses']}",
                f"{_cell(better)} is better" if pair["decided"] else f"no: {_cell(pair['reason'])}",
            ]
        )
    return _table(rows)


def _ordered(ordered: Row) -> str:
    if ordered["best"] is None:
        return f"No single best checkpoint: {ordered['reason']}."
    lines = [
        f"Best: {_cell(ordered['best'])}, {_number(ordered['mean'])} {_interval(ordered['ci'])} (selection corrected).",
        *(f"- {_cell(point['name'])}: {_figure(point)}" for point in ordered["curve"][:1]),
    ]
    figures = {point["name"]: _figure(point) for point in ordered["curve"]}
    for row in ordered["against"]:
        told = ", ".join(
            f"{_number(row[word]['difference'], sign=True)} against the {word}"
            f" ({'decided' if row[word]['decided'] else 'not decided'})"
            for word in ("first", "previous")
        )
        lines.append(f"- {_cell(row['name'])}: {figures[row['name']]}, {told}")
    return "\n".join(lines)


def _people(people: Row) -> str:
    """People's estimated means and differences beside the judge's, or the reason why there are none."""
    labels = people["labels"]
    columns = ", ".join(_cell(name) for name in labels["columns"])
    about = f"{counted(labels['means'], 'image is', 'images are')} labelled ({_cell(labels['path'])}: {columns}). "
    about += "Estimates are in units of these labels (PPI++)."
    rows = [["generator", "judge's mean", *_PEOPLE_SAY]]
    rows += [[_cell(g["name"]), _number(g["judge"]), *_said(g)] for g in people["generators"]]
    parts = [about, _table(rows)]
    if people["pairs"]:
        rows = [["a", "b", "judge's a - b", *_PEOPLE_SAY, "adjusted p", "decided"]]
        for pair in people["pairs"]:
            better = pair["a"] if (pair["mean"] or 0) > 0 else pair["b"]
            p = "–" if pair["p_holm"] is None else f"{pair['p_holm']:.3f}"
            names = [_cell(pair["a"]), _cell(pair["b"]), _number(pair["judge"], sign=True)]
            rows.append([*names, *_said(pair), p, f"people prefer {_cell(better)}" if pair["decided"] else "no"])
        parts.append(_table(rows))
    if people["notes"]:
        parts.append("\n".join(f"- {_cell(note)}" for note in people["notes"]))
    return "\n\n".join(parts)


_PEOPLE_SAY = ("people's [95% CI]", "labels only", "prompts labelled", "judged only", "note")


def _said(row: Row) -> list[str]:
    own = f"{_number(row['people_only'])} {_interval(row['people_only_ci'])}".strip()
    return [_figure(row), own, str(row["n_labelled"]), str(row["n_unlabelled"]), _cell(row["note"] or "")]


def _strengths(strengths: Sequence[Row]) -> str:
    rows = [["generator", "strength [95% CI]"]]
    rows += [[_cell(s["name"]), f"{s['strength']:.2f} {_interval(s['ci'])}".strip()] for s in strengths]
    return _table(rows)


def _power(board: Row) -> str:
    if board["detectable"] is None:
        return "Too little was scored to say which difference could have been seen."
    size = f"{board['detectable']:.2f}"
    text = f"Boards like this find a true difference of {size} in 80% of cases (one pair, alpha .05)."
    return f"{text} {needed(board)}".rstrip()


def _figure(mean: Row) -> str:
    return f"{_number(mean['mean'])} {_interval(mean['ci'])}".strip()


def _interval(ci: Sequence[float] | None) -> str:
    return f"[{ci[0]:.2f}, {ci[1]:.2f}]" if ci else ""


def _number(value: float | None, sign: bool = False) -> str:
    return "–" if value is None else f"{value:+.2f}" if sign else f"{value:.2f}"


def _cell(text: object) -> str:
    """A name or message as data: one line, with everything escaped that Markdown or HTML would interpret."""
    plain = printable(" ".join(str(text).split()))
    for sign in "\\`*_[]<>|#":
        plain = plain.replace(sign, f"\\{sign}")
    return plain


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
