"""The Hub repositories of a release: names, tags, order of pushing, and the folders in a stage.

Data and model carry the recipe's name, so that a second recipe never replaces a first. All recipes of a namespace share
metric and demo, which belong to one of them at a time (`recipes.publish.standing`). So the tags there carry the
recipe's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from recipes.recipe.config import DEMO, METRIC, ROOT, Recipe
from t2i_judge.errors import UserError
from t2i_judge.files import read_object

MANIFEST = "manifest.json"
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
        recipe: whose release it carries, where recipes share it; None for a repository of one recipe.
    """

    part: str
    kind: Kind
    name: str
    sdk: str | None = None
    recipe: str | None = None

    @property
    def shared(self) -> bool:
        """Whether the recipes of a namespace share it."""
        return self.recipe is not None

    def tag(self, version: str) -> str:
        """The git tag of a version vX.Y.Z: RECIPE-vX.Y.Z where recipes share the repository."""
        return version if self.recipe is None else shared_tag(self.recipe, version)

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
    """The repositories of a recipe's release, by the names that it gives them, else by its own."""
    return _named(recipe.name, **recipe.repository_names)


def staged_repositories(stage: Path) -> Repositories:
    """Those of a staged release, under the names that it was staged with. Raises `UserError` when there is none."""
    try:
        return recorded_repositories(read_object(stage / MANIFEST)["record"])
    except (UserError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{stage.name} is not a staged release", str(error), "Run make release first") from error


def recorded_repositories(record: Mapping[str, Any]) -> Repositories:
    """Those that a release's record names."""
    ids = record["repositories"]
    names = {key: ids[key].split("/")[1] for key in ("bench", "distill", "model")}
    return _named(record["release"]["recipe"], **names)


def _named(recipe: str, bench: str, distill: str, model: str) -> Repositories:
    return Repositories(
        bench=Repository("dataset", "dataset", bench),
        distill=Repository("dataset", "dataset", distill),
        model=Repository("model", "model", model),
        metric=Repository("metric", "space", METRIC, sdk="static", recipe=recipe),
        demo=Repository("space", "space", DEMO, sdk="gradio", recipe=recipe),
    )


def shared_tag(recipe: str, version: str) -> str:
    """The tag of a recipe's version vX.Y.Z in a repository that recipes share."""
    return f"{recipe}-{version}"


def stage_folder(recipe: Recipe) -> Path:
    """`build/release` for the default recipe, `build/release-RECIPE` for others."""
    return ROOT / "build" / ("release" if recipe.name == DEFAULT_RECIPE else f"release-{recipe.name}")
