"""What stands on the Hub where a release would go: whose release it is, and what follows from that.

Whose it is says the `manifest.json` in the repository itself, never a file on this machine: another checkout, or
another member of an organisation, comes to the same answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recipes.hub.client import Hub
from recipes.hub.repositories import MANIFEST, Repositories, Repository, repositories
from recipes.recipe.config import Recipe

CARD = "README.md"
OURS, SIMULATED = "t2i-judge", "simulated"  # tags on every card of a release, and on every card of a simulated one
FRESH = {CARD, ".gitattributes"}  # what the Hub itself puts into a new Space


@dataclass(frozen=True)
class Standing:
    """What a repository on the Hub holds.

    Attributes:
        recipe: whose release it is, None for one that does not say so.
        simulated: whether its data is; a card that was edited since its release speaks for itself.
        foreign: it is no release of this kit, not even one that has arrived in part.
    """

    recipe: str | None
    simulated: bool
    foreign: bool


def standing(hub: Hub, repository: Repository) -> Standing | None:
    """What stands there; None where there is nothing to lose yet.

    That is: no such repository, neither card nor manifest, or a Space with nothing but the card that the Hub gave it.
    """
    info = hub.info(repository)
    if info is None:
        return None
    card, release, written = hub.read(repository, CARD, info.sha), *_manifest(hub, repository, info.sha)
    if card is None:
        return Standing(release["recipe"], release["simulated"], False) if release else None
    tags = _tags(card)
    if release is not None and hashlib.sha256(card).hexdigest() == written:
        return Standing(release["recipe"], release["simulated"], False)
    if release is None and tags is None and repository.kind == "space" and _fresh(hub, repository, info.sha):
        return None
    recipe = release["recipe"] if release else None
    return Standing(recipe, SIMULATED in (tags or ()), release is None and OURS not in (tags or ()))


def _manifest(hub: Hub, repository: Repository, revision: str) -> tuple[dict[str, Any] | None, str | None]:
    """`release` of a repository's manifest and the SHA-256 of the card that it was written for; None without one."""
    try:
        manifest = json.loads(hub.read(repository, MANIFEST, revision) or b"{}")
        release = {"recipe": str(manifest["release"]["recipe"]), "simulated": bool(manifest["release"]["simulated"])}
        return release, manifest["files"].get(CARD, {}).get("sha256")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, None


def _tags(card: bytes) -> list[str] | None:
    """The tags on a card; None where it has none, or nobody can read it: then it says nothing about itself."""
    from huggingface_hub import RepoCard
    from yaml import YAMLError

    try:
        tags = RepoCard(card.decode(errors="replace"), ignore_metadata_errors=True).data.get("tags")
    except (YAMLError, ValueError, TypeError):
        return None
    return None if tags is None else [str(tag) for tag in tags] if isinstance(tags, list) else []


def _fresh(hub: Hub, repository: Repository, revision: str) -> bool:
    return hub.files(repository, revision).keys() <= FRESH


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
        if there is not None and there.recipe == recipe.name and not there.foreign:
            kept[key] = old
    return replace(names, **kept)


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
