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
    """

    model: str
    snapshot: str | None
    concurrency: int

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run asynchronous work of this backend from synchronous code."""
        ...

    async def ask(self, messages: Sequence[Message], max_tokens: int, schema: Schema | None = None) -> Reply:
        """The model's reply to a conversation that ends with a user turn; whatever goes wrong with it is its status.

        Raises:
            UserError: what ends the whole run.
        """
        ...

    def forget(self, reply: Reply) -> None:
        """Drop a kept reply that turned out to be unusable. Replies that never change need no forgetting."""
        return

    def check(self) -> None:
        """Raise `UserError` when the model cannot be reached; costs nothing."""
        return

    def close(self) -> None:
        """Give back what is held open."""
        return
