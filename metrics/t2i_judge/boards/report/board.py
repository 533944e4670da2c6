"""The top of a report, which needs no script: the answer in a sentence, ranking, matrix, pairs, warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...records import OVERALL
from ...wording import counted
from ..leaderboard import needed, ranked
from .page import interval

Row = dict[str, Any]
_DENSE = 10  # generators beyond which the matrix has a sign a cell


def sections(board: Mapping[str, Any]) -> Row:
    """What the report's template shows, ready to print."""
    generators = ranked(board)
    failed = sum(sum(g["n_failed"].values()) for g in generators)
    return {
        "board": board,
        "needed": needed(board),
        "title": "Which generator is better?",
        "headline": headline(board),
        "ranking": _ranking(generators),
        "scale": _scale(generators),
        "matrix": _matrix(board, [g["name"] for g in generators]),
        "dense": len(generators) > _DENSE,
        "failed": failed,
        "varied": any(g["spread"] for g in generators),
        "others": [
            {"judge": other["judge"]["name"], "ranking": _ranking(ranked(other))} for other in board.get("boards", ())
        ],
    }


def headline(board: Mapping[str, Any]) -> list[str]:
    """The answer and its basis, in at most two sentences."""
    generators = ranked(board)
    if len(generators) == 1:
        return [f"One generator, {generators[0]['name']}: there is nothing to compare it with."]
    if board["bradley_terry"] and all(g[OVERALL]["mean"] is None for g in generators):
        return _compared(board)
    scored = [g for g in generators if g[OVERALL]["mean"] is not None] or generators
    names = {g["name"] for g in scored}
    if len(scored) == 1:
        return [f"Only {scored[0]['name']} has scores: there is nothing to compare it with."]
    if len(scored) == 2:
        return _of_two(next(pair for pair in board["pairs"] if {pair["a"], pair["b"]} == names))
    unscored, generators = len(generators) - len(scored), scored
    first = [g["name"] for g in generators if g["rank"][0] == 1]
    behind = [g["name"] for g in generators if g["rank"][0] > 1]
    if generators[0]["rank"] == [1, 1 + unscored]:
        return [f"{first[0]} is the best of {len(generators)}.", "It is decidedly better than every other one."]
    if not behind:
        return [f"No winner among {len(generators)} generators.", "None of them is decidedly better than all others."]
    if len(first) == 1:
        return [f"{first[0]} leads.", "No other one is decidedly better; not every difference is decided."]
    second = f"{_listed(behind)} {'is' if len(behind) == 1 else 'are'} decidedly behind."
    return [f"No single winner: {_listed(first)} may each be the best.", second]


def _compared(board: Mapping[str, Any]) -> list[str]:
    """The answer of a judge that compares images and gives no scores."""
    first = max(board["bradley_terry"], key=lambda row: float(row["strength"]))
    made = board["comparisons"]["n"] - board["comparisons"]["failed"]
    number = counted(made, "direct comparison")
    rests = f"By Bradley-Terry strengths of {number} (descriptive only)."
    return [f"{first['name']} is ahead in direct comparisons.", rests]


def _of_two(pair: Mapping[str, Any]) -> list[str]:
    a, b, difference = pair["a"], pair["b"], pair["difference"]
    if difference is None:
        return [f"{a} or {b}? No prompt has a score for both."]
    better, worse, sign = (a, b, 1) if difference > 0 else (b, a, -1)
    low_high = interval(sorted(sign * end for end in pair["ci"] or ()))
    by = f"{abs(difference):.2f} points {low_high} on {counted(pair['n'], 'prompt')}"
    if pair["decided"]:
        return [f"{better} is better than {worse}.", f"By {by}."]
    return [f"{a} or {b}? Not decided.", f"{better} is ahead by {by}: {pair['reason']}."]


def _listed(names: Sequence[str], most: int = 4) -> str:
    shown = list(names[:most]) + ([f"{len(names) - most} more"] if len(names) > most else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _scale(generators: Sequence[Row]) -> tuple[float, float]:
    """Lowest and highest score of the ranking's strips: all intervals, with a little margin."""
    ends = [
        end for g in generators if g[OVERALL]["mean"] is not None for end in (g[OVERALL]["ci"] or [g[OVERALL]["mean"]])
    ]
    if not ends:
        return 0.0, 1.0
    room = 0.06 * (max(ends) - min(ends)) or 0.5
    return min(ends) - room, max(ends) + room


def _ranking(generators: Sequence[Row]) -> list[Row]:
    low, high = _scale(generators)

    def place(score: float) -> float:
        return round(100 * (score - low) / (high - low), 2)

    rows = []
    for number, g in enumerate(generators):
        figure, rank = g[OVERALL], g["rank"]
        known = figure["mean"] is not None
        row = {**g, "number": number, "ranks": str(rank[0]) if rank[0] == rank[1] else f"{rank[0]}–{rank[1]}"}
        row["dot"] = place(figure["mean"]) if known else None
        row["bar"] = (place(figure["ci"][0]), place(figure["ci"][1]) - place(figure["ci"][0])) if figure["ci"] else None
        row["failures"] = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in g["n_failed"].items())
        rows.append(row)
    return rows


def _matrix(board: Mapping[str, Any], names: Sequence[str]) -> list[Row]:
    """A row per generator, a cell per opponent: wins, ties, losses and difference as the row's generator sees them."""
    pairs = {(pair["a"], pair["b"]): pair for pair in board["pairs"]}

    def cell(name: str, other: str) -> Row | None:
        if name == other:
            return None
        sign, pair = (1, pairs[name, other]) if (name, other) in pairs else (-1, pairs[other, name])
        wins, losses = (pair["wins"], pair["losses"])[::sign]
        difference = None if pair["difference"] is None else sign * pair["difference"]
        outcome = "open" if not pair["decided"] else "better" if difference and difference > 0 else "worse"
        share = (wins + pair["ties"] / 2) / pair["n"] if pair["n"] else 0.5
        return {
            "other": other,
            "wins": wins,
            "ties": pair["ties"],
            "losses": losses,
            "difference": difference,
            "outcome": outcome,
            "share": round(100 * share),
        }

    return [{"name": name, "cells": [cell(name, other) for other in names]} for name in names]
