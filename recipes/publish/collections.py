"""The Collections of a namespace: one per recipe, its entries the release's repositories, each with the version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recipes.hub.client import Hub
from recipes.hub.repositories import Repository

TITLE = "t2i-judge: "
NOTE = "Release v"  # begins the note of every entry of ours


class Collections:
    """The Collections of the releases in a namespace.

    Args:
        hub: the namespace.
        private: make a new Collection private.
    """

    def __init__(self, hub: Hub, private: bool = False) -> None:
        self.hub, self.private = hub, private

    def bring(self, recipe: str, wanted: Sequence[Repository], left: Sequence[Repository], note: str) -> str:
        """Bring a recipe's Collection to a version and return its slug.

        What recipes share stands in its owner's Collection alone: it is taken out of the others.

        Args:
            recipe: whose Collection.
            wanted: its entries, in the order in which they are written: the last one's note marks the release as
                complete.
            left: shared repositories that another recipe has now.
            note: of every entry: `NOTE` and the version.

        Raises:
            NotOffered: this Hub has no Collections.
            UserError: it was refused, or failed.
        """
        title = f"{TITLE}{recipe}"
        known = self.hub.call(title, "look for the Collection", self._known)
        slug = known.pop(title, None)
        own = self.hub.call(title, "open the Collection", self._open, title, slug)
        self._take_out(own, left)
        if shared := [repository for repository in wanted if repository.shared]:
            for other, there in known.items():
                self._take_out(self.hub.call(other, "open the Collection", self._open, other, there), shared)
        entries = {(item.item_id, item.item_type): item for item in own.items}
        for repository in wanted:
            entry = entries.get((repository.id(self.hub.namespace), repository.kind))
            self._enter(repository, own.slug, entry, note)
        return str(own.slug)

    def _known(self) -> dict[str, str]:
        """Title -> slug of every Collection of a release."""
        there = self.hub.api.list_collections(owner=self.hub.namespace)
        return {collection.title: collection.slug for collection in there if collection.title.startswith(TITLE)}

    def _open(self, title: str, slug: str | None) -> Any:
        api = self.hub.api
        if slug is not None:
            return api.get_collection(slug)
        return api.create_collection(title, namespace=self.hub.namespace, private=self.private, exists_ok=True)

    def _enter(self, repository: Repository, slug: str, entry: Any | None, note: str) -> None:
        """An entry of the Collection, its note naming this release."""
        api, name = self.hub.api, repository.id(self.hub.namespace)
        if entry is None:
            add = api.add_collection_item
            self.hub.call(name, "collect", add, slug, name, repository.kind, note=note, exists_ok=True)
        elif entry.note != note:
            self.hub.call(name, "collect", api.update_collection_item, slug, entry.item_object_id, note=note)

    def _take_out(self, collection: Any, repositories: Sequence[Repository]) -> None:
        """Take out what a release put there; an entry with another note, or none, is somebody's own."""
        gone = {(repository.id(self.hub.namespace), repository.kind) for repository in repositories}
        for item in collection.items:
            if (item.item_id, item.item_type) in gone and (item.note or "").startswith(NOTE):
                take = self.hub.api.delete_collection_item
                self.hub.call(item.item_id, "take out", take, collection.slug, item.item_object_id, missing_ok=True)
