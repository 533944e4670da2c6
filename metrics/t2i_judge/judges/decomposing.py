"""Has a chat model, on this machine or behind a server, write a prompt's questions with the teacher's prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from ..decompose import from_record
from ..prompts import (
    SHOWN_SCHEMA,
    TEACHER_DECOMPOSE,
    TEACHER_DECOMPOSE_PERSONALISED,
    decompose_schema,
    inside,
)
from ..records import ASPECTS, PERSONALISED_ASPECTS, Question
from ..served.asking import Outcome, ask_json
from ..served.backend import ChatBackend
from ..served.wire import Message

_TOKENS = 2048


@runtime_checkable
class Decomposer(Protocol):
    """Something that turns prompts into questions: a judge that decomposes by itself, or a `ChatDecomposer`."""

    def decompositions(self, prompts: Sequence[str], progress: bool = False) -> list[Outcome[list[Question]]]:
        """The questions of each prompt, or the status and reason why there are none."""
        ...


async def decomposed(
    backend: ChatBackend, prompt: str, max_tokens: int, personalised: bool = False, shown: bool = False
) -> Outcome[list[Question]]:
    """The questions of a prompt.

    Args:
        backend: the model that writes them.
        prompt: the prompt of an image.
        max_tokens: length limit of the reply. A server gets twice as many in a second try; a greedy model on this
            machine would only repeat itself.
        personalised: ask about a subject and its reference (`PERSONALISED_ASPECTS`).
        shown: put the schema into the request, for a model without a server that enforces it.
    """

    def read(record: dict[str, Any]) -> tuple[list[Question], None]:
        return from_record(record), None

    schema = decompose_schema(PERSONALISED_ASPECTS if personalised else ASPECTS)
    template = TEACHER_DECOMPOSE_PERSONALISED if personalised else TEACHER_DECOMPOSE
    text = template.format(prompt=inside(prompt))
    text += SHOWN_SCHEMA.format(schema=json.dumps(schema)) if shown else ""
    asked, most = [Message("user", text)], max_tokens if shown else 2 * max_tokens
    return await ask_json(backend, asked, ("decomposition", schema), read, max_tokens, most)


class ChatDecomposer:
    """Decomposes with a chat model on this machine, one prompt after the other, and remembers the results."""

    def __init__(self, backend: ChatBackend) -> None:
        self.backend = backend

    def decompositions(self, prompts: Sequence[str], progress: bool = False) -> list[Outcome[list[Question]]]:
        """The questions of each prompt, or the status and reason why there are none."""
        from ..progress import Progress

        bar = Progress(prompts, disable=not progress, desc="questions", unit="prompt")
        return [self.backend.run(decomposed(self.backend, prompt, _TOKENS, shown=True)) for prompt in bar]
