"""What a judge talks to: conversations in, replies out, wherever the model runs."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from .wire import Message, Reply

T = TypeVar("T")
Schema = tuple[str, Mapping[str, Any]]  # name and JSON schema


class ChatBackend(Protocol):
    """A chat model behind a server (`client.OpenAIBackend`) or on this machine (`local.chat.LocalChat`).

    Attributes:
        model: what its provider calls it.
        snapshot: names the weights behind `model` if the name alone does not.
        concurrency: number of conversations at once.
        room: fewest tokens for a second try after a first was cut off, because reasoning models think before they
            speak.
        max_image_side: larger images are scaled down to this many pixels per side; None: never.
        notes: sentences about what was done differently than planned.
        usable, unusable: number of replies that said what was asked, and of others.
        in_batches: whether replies come in batches, after hours.
        again: number of the repetition, whose replies are kept apart from others.
    """

    model: str
    snapshot: str | None
    concurrency: int
    room: int = 0
    max_image_side: int | None = None
    usable: int = 0
    unusable: int = 0
    in_batches: bool = False
    again: int = 0

    @property
    def notes(self) -> list[str]:
        """What was done otherwise than planned, in sentences."""
        return []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run asynchronous work of this backend from synchronous code."""
        ...

    async def ask(self, messages: Sequence[Message], max_tokens: int, schema: Schema | None = None) -> Reply:
        """The model's reply to a conversation that ends with a user turn. Whatever goes wrong becomes its status.

        Raises:
            UserError: what ends the whole run.
        """
        ...

    def count(self, usable: bool) -> None:
        """Note whether a reply said what was asked."""
        self.usable, self.unusable = self.usable + usable, self.unusable + (not usable)

    def keep(self, key: str, reply: Reply) -> None:
        """Keep a usable reply under `key`, the key of the request that an unusable reply had answered."""
        return

    def forget(self, reply: Reply) -> None:
        """Drop a kept reply that turned out to be unusable. Replies that never change need no forgetting."""
        return

    def check(self) -> None:
        """Raise `UserError` if the model cannot be reached. Costs nothing."""
        return

    def interrupt(self) -> None:
        """Begin no more calls of the work under way; those that are end. For another thread."""
        return

    def close(self) -> None:
        """Close what is open."""
        return
