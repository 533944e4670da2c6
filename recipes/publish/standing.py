"""What stands on the Hub where a release would go: whose release it is, and what follows from that.

Whose it is says the `manifest.json` in the repository itself, never a file on this machine: another checkout, or
another member of an organisation, comes to the same answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recipes.hub.client import Hub
from recipes.hub.fresh import CARD, is_fresh
from recipes.hub.repositories import MANIFEST, Repositories, Repository, repositories
from recipes.recipe.config import Recipe

SIMULATED = "simulated"  # tag on every card of a simulated release


@dataclass(frozen=True)
class Standing:
    """What a repository on the Hub holds.

    Attributes:
        recipe, version: whose release it is, and which (X.Y.Z); None for what no manifest of this kit tells as ours.
        simulated: whether its data is; a card that was edited since its release speaks for itself.
    """

    recipe: str | None
    version: str | None
    simulated: bool

    @property
    def foreign(self) -> bool:
        """Whether it is somebody's work, and no release of this kit."""
        return self.recipe is None


def standing(hub: Hub, repository: Repository) -> Standing | None:
    """What stands there; None where nothing can be lost yet: no such repository, or one as the Hub made it.

    A release arrives in one commit, its manifest with it. So what has no manifest is not ours, not even in part.
    """
    info = hub.info(repository)
    if info is None:
        return None
    release = released(hub, repository, info.sha)
    if release is None:
        return None if is_fresh(hub, repository, info.sha) else Standing(None, None, False)
    there, files = release
    card = hub.read(repository, CARD, info.sha)
    edited = card is not None and hashlib.sha256(card).hexdigest() != files.get(CARD)
    return replace(there, simulated=SIMULATED in _tags(card)) if card is not None and edited else there


def released(hub: Hub, repository: Repository, revision: str) -> tuple[Standing, dict[str, str]] | None:
    """The release that a repository's manifest tells of, and its files -> their SHA-256; None without one of ours."""
    try:
        manifest = json.loads(hub.read(repository, MANIFEST, revision) or b"{}")
        release, files = manifest["release"], {path: one["sha256"] for path, one in manifest["files"].items()}
        return Standing(str(release["recipe"]), str(release["version"]), bool(release["simulated"])), files
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _tags(card: bytes) -> Sequence[str]:
    """The tags on a card; none where it has none, or nobody can read it."""
    from huggingface_hub import RepoCard
    from yaml import YAMLError

    try:
        tags = RepoCard(card.decode(errors="replace"), ignore_metadata_errors=True).data.get("tags")
    except (YAMLError, ValueError, TypeError):
        return ()
    return [str(tag) for tag in tags] if isinstance(tags, list) else ()


def is_later(there: str | None, here: str) -> bool:
    """Whether a version on the Hub is higher than this one; what nobody can read as a version is not."""
    from packaging.version import Version

    try:
        return Version(there or "") > Version(here)
    except ValueError:
        return False


def names_on_hub(recipe: Recipe, hub: Hub) -> Repositories:
    """A recipe's repositories in a namespace: real data that it released before names carried RECIPE keeps its name."""
    names, chosen = repositories(recipe), recipe.release.repositories
    if recipe.release.simulated:
        return names
    kept = {}
    for key, wanted, older in (
        ("bench", chosen.bench, "t2i-judge-bench"),
        ("distill", chosen.distill, "t2i-judge-distill"),
    ):
        old = replace(getattr(names, key), name=older)
        there = standing(hub, old) if wanted is None else None
        if there is not None and there.recipe == recipe.name:
            kept[key] = old
    return replace(names, **kept)


def in_the_way(
    hub: Hub, names: Repositories, release: Mapping[str, Any], chosen: Sequence[Repository]
) -> Iterator[tuple[str, Repository, str, str]]:
    """What stands where a release would go: the gate's check, the repository, what is wrong, what to do.

    Args:
        hub, names, release: as in `other_owner`.
        chosen: those of `names` that would be pushed.
    """
    owner = other_owner(hub, names, release) if any(repository.shared for repository in chosen) else None
    for repository in chosen:
        there = None if owner and repository.shared else standing(hub, repository)
        if there is None:
            continue
        name = repository.id(hub.namespace)
        if there.foreign:
            wrong = f"{name} on the Hub is not a release of this kit: it has files, and no such manifest.json"
            yield "replaces_other", repository, wrong, _elsewhere(repository)
        elif release[SIMULATED] and not there.simulated:
            wrong = f"{name} on the Hub has real data, and this release is simulated"
            yield "replaces_real", repository, wrong, "push to another namespace, or leave it out (ONLY=)"
        elif there.recipe != release["recipe"] and not repository.shared:
            wrong = f"{name} on the Hub is a release of the recipe {there.recipe}"
            yield "replaces_other", repository, wrong, _elsewhere(repository)


def _elsewhere(repository: Repository) -> str:
    """How a release goes round what stands where a repository of it would go."""
    if repository.shared:
        return "rename it there, or leave it out (ONLY=)"
    return "rename it there, or give this one another name (release.repositories in the recipe)"


def other_owner(hub: Hub, names: Repositories, release: Mapping[str, Any]) -> str | None:
    """The recipe whose metric and demo are left alone by this release; None where they are, or become, its own.

    They belong to the first recipe that was released in the namespace, both to one. A simulated owner yields to real
    data, and every owner to a recipe that says `default_judge`.

    Args:
        hub, names: where the release goes.
        release: `release` of its record.
    """
    standings = (standing(hub, shared) for shared in (names.metric, names.demo))
    owner = next((there for there in standings if there is not None and there.recipe is not None), None)
    if owner is None or owner.recipe == release["recipe"] or release["default_judge"]:
        return None
    return None if owner.simulated and not release[SIMULATED] else owner.recipe


def going_out(
    hub: Hub | None, names: Repositories, release: Mapping[str, Any], parts: Sequence[str]
) -> tuple[tuple[Repository, ...], str | None]:
    """The repositories of these parts that a push may write to, and the recipe that keeps metric and demo, if any.

    `hub` None: nothing stands anywhere yet.
    """
    chosen = tuple(repository for repository in names if repository.part in parts)
    owner = other_owner(hub, names, release) if hub else None
    return tuple(repository for repository in chosen if not (owner and repository.shared)), owner


def left_alone(hub: Hub, names: Repositories, release: Mapping[str, Any], owner: str) -> str:
    """The line that says so, and how this judge is used all the same."""
    shared = " and ".join(repository.url(hub.namespace) for repository in (names.metric, names.demo))
    judge = f"hf:{names.model.id(hub.namespace)}@v{release['version']}"
    return (
        f"{shared} belong to the recipe {owner} and are not changed. The metric there can use judge={judge!r}; "
        "`release: {default_judge: true}` in the recipe replaces both."
    )
