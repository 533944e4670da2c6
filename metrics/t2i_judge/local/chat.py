"""A chat model on this machine as a `ChatBackend`: turns in, a `Reply` out, one at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from ..inputs.images import load_image
from ..kept import Kept
from ..records import Status, Usage
from ..served.backend import ChatBackend, Schema
from ..served.wire import Message, Reply
from .chats import GREEDY
from .controls import Controls
from .templates import encoded, render, tried
from .weights import Weights, load_parts

T = TypeVar("T")


class LocalChat(ChatBackend):
    """Greedy chat with a vision-language model; never raises for one conversation.

    Replies are kept: greedy ones never change. One that hits the length limit is UNPARSABLE, as from a server; a
    conversation that the model cannot take (too long, out of memory) is SKIPPED.

    Args:
        model, processor: of transformers.
        name: of the model.
        revision: of its weights.
    """

    concurrency = 1

    def __init__(self, model: Any, processor: Any, name: str, revision: str | None) -> None:
        self.model, self.snapshot = name, revision
        self._model, self._processor, self._controls = model, processor, Controls(processor)
        self._replies: Kept[tuple[Any, ...], Reply] = Kept()
        self.usage = Usage()

    @classmethod
    def load(cls, weights: Weights, quantization: str | None = None) -> LocalChat:
        """The chat of weights from `find_weights`; `quantization` and errors as `weights.load_parts`."""
        parts = load_parts(weights, quantization)
        tried(parts.processor, [{"type": "text", "text": "?"}])
        return cls(parts.model.eval(), parts.processor, weights.base, weights.revision)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run asynchronous work of this backend from synchronous code."""
        return asyncio.run(work)

    async def ask(self, messages: Sequence[Message], max_tokens: int, schema: Schema | None = None) -> Reply:
        """The model's reply, remembered for the same conversation; `schema` is for servers that can enforce one."""
        key = (*(repr(message.in_the_key()) for message in messages), max_tokens)
        reply = self._replies.get(key)
        if reply is None:
            try:
                reply = self._generate(messages, max_tokens)
            except (ValueError, RuntimeError) as error:
                reason = f"the model cannot take it: {' '.join(str(error).split())[:300]}"
                reply = Reply(None, Status.SKIPPED, reason)
            self._replies[key] = reply
            self.usage += reply.usage
        return reply

    def _generate(self, messages: Sequence[Message], max_tokens: int) -> Reply:
        import torch

        start = time.perf_counter()
        turns = [self._turn(message) for message in messages]
        [rendered] = render(self._processor, [(turns, True)])
        inputs = encoded(self._processor, turns, rendered.text).to(self._model.device)
        asked = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            output = self._model.generate(**inputs, max_new_tokens=max_tokens, **GREEDY)[0, asked:]
        usage = Usage(1, asked, len(output), time.perf_counter() - start, 0.0)
        if len(output) >= max_tokens:
            reason = f"the reply was cut off at {max_tokens} tokens"
            return Reply(None, Status.UNPARSABLE, reason, usage, self.snapshot, cut_off=True)
        text = self._processor.tokenizer.decode(output, skip_special_tokens=True)
        return Reply(text.strip(), usage=usage, model=self.snapshot)

    def _turn(self, message: Message) -> dict[str, Any]:
        """A turn as chat templates take it, images first, control tokens in its text defused."""
        parts: list[dict[str, Any]] = [{"type": "image", "image": load_image(i.data)} for i in message.images]
        text = self._controls.defused(message.text)
        return {"role": message.role, "content": [*parts, {"type": "text", "text": text}]}
