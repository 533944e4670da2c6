"""Whether a repository is still as the Hub made it: what nobody has marked as ours is then nobody's work either."""

from __future__ import annotations

import re

from recipes.hub.client import Hub
from recipes.hub.repositories import Repository

CARD = "README.md"
_HUBS_WORDS = "Check out the configuration reference at "  # all that the Hub itself says below a new Space's settings
_STARTER = {"index.html", "style.css"}  # a new static Space's page, which says this
_GREETING = "Welcome to your static Space!"
_STARTER_WORDS = set(
    re.findall(
        r"\w+",
        f"My static Space {_GREETING} You can modify this app directly by editing index.html in the Files and versions "
        "tab. Also don't forget to check the Spaces documentation.",
    )
)
_SETTINGS = {  # what the Hub's forms put on a new repository's card
    "license", "title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "app_port",
    "pinned", "short_description", "suggested_hardware",
}  # fmt: skip


def is_fresh(hub: Hub, repository: Repository, revision: str) -> bool:
    """Whether all that stands there is what the Hub puts into a new repository, so that nothing is lost with it."""
    there = hub.files(repository, revision).keys() - {".gitattributes"}
    if _STARTER & there and _is_starter(hub.read(repository, "index.html", revision) or b""):
        there -= _STARTER
    card = hub.read(repository, CARD, revision) if CARD in there else None
    return there <= {CARD} and (card is None or _is_hubs(card))


def _is_starter(page: bytes) -> bool:
    """Whether a page greets as that of a new Space does, and has no word that it does not have."""
    text = re.sub(r"<[^<>]*+>", " ", page.decode(errors="replace"))
    return _GREETING in text and set(re.findall(r"\w+", text)) <= _STARTER_WORDS


def _is_hubs(card: bytes) -> bool:
    """Whether a card has the Hub's first settings and not a word of anybody's."""
    from huggingface_hub import RepoCard
    from yaml import YAMLError

    try:
        read = RepoCard(card.decode(errors="replace"), ignore_metadata_errors=True)
        settings = read.data.to_dict().keys()
    except (YAMLError, ValueError, TypeError):
        return False
    words = read.text.strip()
    return settings <= _SETTINGS and (not words or (words.startswith(_HUBS_WORDS) and "\n" not in words))
