"""What a release prints at its end: the repositories that were built, and what the judges scored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.evaluation.results import headline_aspects
from recipes.hub.repositories import staged_repositories
from t2i_judge.layout import plain_table, terminal_width
from t2i_judge.meta.report import Figure, figure_text

_LONG_NAME = 14  # a judge with a longer name has a line to itself, so that the table fits 80 columns


def summary_text(stage: Path, namespace: str | None) -> str:
    """Both tables, and for a personalised release what its judges say about methods."""
    results = _results(stage)
    text = f"\n{repositories_text(stage, namespace)}\n\n{results_text(results)}\n"
    if "methods" in results:
        from t2i_judge.methods.results import in_brief, to_text

        text += f"\n{to_text(in_brief(results['methods']), terminal_width())}\n"
    return text


def summary_figures(stage: Path, namespace: str | None) -> dict[str, Any]:
    """The same for a program: the repositories, and all of results.json."""
    return {"repositories": _repositories(stage, namespace), "results": _results(stage)}


def _results(stage: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((stage / "results.json").read_text(encoding="utf-8"))
    return results


def _repositories(stage: Path, namespace: str | None) -> list[dict[str, Any]]:
    rows = []
    for repository in staged_repositories(stage):
        sizes = [path.stat().st_size for path in repository.folder(stage).rglob("*") if path.is_file()]
        name = repository.id(namespace)
        rows.append({"repository": name, "kind": repository.kind, "files": len(sizes), "bytes": sum(sizes)})
    return rows


def repositories_text(stage: Path, namespace: str | None) -> str:
    """Every repository of a stage with its files and bytes."""
    rows = _repositories(stage, namespace)
    cells = [["repository", "kind", "files", "bytes"]]
    cells += [[row["repository"], row["kind"], str(row["files"]), f"{row['bytes']:,}"] for row in rows]
    return "What was built\n" + plain_table(cells, terminal_width())


def results_text(results: Mapping[str, Any]) -> str:
    """The headline rows of results.json, one block per split, aspect and reference. Simulated results are called so."""
    rows = [row for row in results["rows"] if row["aspect"] in headline_aspects(results["rows"])]
    blocks: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        blocks.setdefault((row["split"], row["aspect"], row["against"]), []).append(row)
    ordered = [row for block in blocks.values() for row in block]
    header = ["judge", "n", "failed", "Spearman [95% CI]", "Kendall tau-b [95% CI]"]
    first, rule, *lines = plain_table([header, *map(_cells, ordered)]).splitlines()
    figures = iter(lines)
    simulated = " (simulated)" if any(row.get("simulated") for row in results["rows"]) else ""
    text = [f"What it scored{simulated}", f"  {first}", f"  {rule}"]
    for (split, aspect, against), block in blocks.items():
        text.append(f"{split}, {aspect}, against {against}")
        for row in block:
            text += [f"  {row['judge']}"] if len(row["judge"]) > _LONG_NAME else []
            text.append(f"  {next(figures)}")
    return "\n".join([*text, *goal_lines(results)])


def goal_lines(results: Mapping[str, Any]) -> list[str]:
    """What the recipe promised, and whether that was reached."""
    return [
        f"goal of {goal['split']}, {goal['aspect']}: {goal['goal']}, {'reached' if goal['met'] else 'MISSED'}: "
        f"{figure_text(Figure(goal['reached']))}"
        for goal in results.get("goals", ())
    ]


def _cells(row: Mapping[str, Any]) -> list[str]:
    name = "" if len(row["judge"]) > _LONG_NAME else row["judge"]
    coefficients = [figure_text(Figure(row[key], ci=row[f"{key}_ci"])) for key in ("spearman", "kendall_tau_b")]
    return [name, str(row["n"]), str(row["n_failed"]), *coefficients]
