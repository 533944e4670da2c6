"""What a judge asks: conversations in, replies out, wherever the model runs."""

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
        snapshot: names the weights behind `model` when the name alone does not.
        concurrency: conversations that it takes at once.
        room: tokens that a second try gets at least when a first was cut off: reasoning models think before they speak.
        max_image_side: larger images are scaled down to so many pixels a side; None for none.
        notes: what was done otherwise than planned, in sentences.
        usable, unusable: how many replies said what was asked, and how many did not.
        in_batches: every reply is waited for, for hours.
        again: which asking of the same this is; the replies to each are kept apart.
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
        """The model's reply to a conversation that ends with a user turn; whatever goes wrong with it is its status.

        Raises:
            UserError: what ends the whole run.
        """
        ...

    def count(self, usable: bool) -> None:
        """Note whether a reply said what was asked."""
        self.usable, self.unusable = self.usable + usable, self.unusable + (not usable)

    def keep(self, key: str, reply: Reply) -> None:
        """Keep a usable reply as the one to the request of `key`, which was first answered by an unusable one."""
        return

    def forget(self, reply: Reply) -> None:
        """Drop a kept reply that turned out to be unusable. Replies that never change need no forgetting."""
        return

    def check(self) -> None:
        """Raise `UserError` when the model cannot be reached; costs nothing."""
        return

    def close(self) -> None:
        """Give back what is held open."""
        return
