"""The Hub repositories of a release: their names, their order of arrival, and where each one stands staged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from recipes.recipe.config import ROOT, Recipe

PLACEHOLDER = "NAMESPACE"  # what stands in ids and cards until a release is pushed somewhere
DEFAULT_RECIPE = "tiny"
PARTS = ("dataset", "model", "metric", "space")  # the words of ONLY=
Kind = Literal["dataset", "model", "space"]


@dataclass(frozen=True)
class Repository:
    """One repository of a release.

    Attributes:
        part: which of `PARTS` it belongs to.
        kind: the Hub's repository type.
        name: without the namespace.
        sdk: of a Space; None for the others.
    """

    part: str
    kind: Kind
    name: str
    sdk: str | None = None

    def id(self, namespace: str | None) -> str:
        """`namespace/name`; the placeholder stands for a namespace that is not known yet."""
        return f"{namespace or PLACEHOLDER}/{self.name}"

    def folder(self, stage: Path) -> Path:
        """Where it stands complete in a stage."""
        return stage / f"{self.kind}s" / self.name

    def url(self, namespace: str | None) -> str:
        """Path of its page on the Hub, without the host."""
        return self.id(namespace) if self.kind == "model" else f"{self.kind}s/{self.id(namespace)}"


@dataclass(frozen=True)
class Repositories:
    """All repositories of a recipe's release; iterating gives them in the order in which they are pushed."""

    bench: Repository
    distill: Repository
    model: Repository
    metric: Repository
    demo: Repository

    def __iter__(self) -> Iterator[Repository]:
        return iter((self.bench, self.distill, self.model, self.metric, self.demo))

    def ids(self, namespace: str | None) -> dict[str, str]:
        """`bench`, `distill`, `model`, `metric`, `demo` -> Hub id."""
        return {field.name: getattr(self, field.name).id(namespace) for field in fields(self)}


def repositories(recipe: Recipe) -> Repositories:
    """The release's repositories: simulated data carries the recipe's name, so that nobody takes it for real."""
    suffix = f"-{recipe.name}" if recipe.release.simulated else ""
    return Repositories(
        bench=Repository("dataset", "dataset", f"t2i-judge-bench{suffix}"),
        distill=Repository("dataset", "dataset", f"t2i-judge-distill{suffix}"),
        model=Repository("model", "model", f"t2i-judge-{recipe.name}"),
        metric=Repository("metric", "space", "t2i_judge", sdk="static"),
        demo=Repository("space", "space", "t2i-judge-demo", sdk="gradio"),
    )


def stage_folder(recipe: Recipe) -> Path:
    """`build/release` for the default recipe, `build/release-RECIPE` for others."""
    return ROOT / "build" / ("release" if recipe.name == DEFAULT_RECIPE else f"release-{recipe.name}")
