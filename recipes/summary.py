"""What a release ends on: the repositories that were built, and what the judges scored."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.config import Recipe
from recipes.repositories import repositories
from recipes.results import headline_aspects

if TYPE_CHECKING:
    from rich.table import Table


def print_summary(recipe: Recipe, stage: Path, namespace: str | None) -> None:
    """Print both tables."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(repositories_table(recipe, stage, namespace))
    results = json.loads((stage / "results.json").read_text(encoding="utf-8"))
    console.print(results_table(results))
    if "methods" in results:
        from t2i_judge.method_results import in_brief, to_text

        console.print(to_text(in_brief(results["methods"])), soft_wrap=True)


def repositories_table(recipe: Recipe, stage: Path, namespace: str | None) -> Table:
    """Every repository of a stage with its files and bytes."""
    from rich.table import Table

    table = Table("repository", "kind", "files", "bytes", title="what was built", title_justify="left")
    for repository in repositories(recipe):
        sizes = [path.stat().st_size for path in repository.folder(stage).rglob("*") if path.is_file()]
        table.add_row(repository.id(namespace), repository.kind, str(len(sizes)), f"{sum(sizes):,}")
    return table


def results_table(results: dict[str, Any]) -> Table:
    """The headline rows of results.json as a rich table; simulated references are called so."""
    from rich.table import Table

    simulated = any(row.get("simulated") for row in results["rows"])
    title = "what it scored (simulated)" if simulated else "what it scored"
    aspects = headline_aspects(results["rows"])
    table = Table(
        "judge",
        "split",
        "aspect",
        "against",
        "n",
        "failed",
        "Spearman",
        "95% CI",
        "tau-b",
        "95% CI",
        title=title,
        title_justify="left",
    )
    for row in results["rows"]:
        if row["aspect"] in aspects:
            table.add_row(
                row["judge"], row["split"], row["aspect"], row["against"], str(row["n"]), str(row["n_failed"]),
                _figure(row["spearman"]), _interval(row["spearman_ci"]),
                _figure(row["kendall_tau_b"]), _interval(row["kendall_tau_b_ci"]),
            )  # fmt: skip
    return table


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _interval(bounds: Sequence[float] | None) -> str:
    return f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else "–"
