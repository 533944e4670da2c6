"""Turns chats into token ids, cut where the shared prefix ends, which is behind the last image.

The cut is made in the rendered text, behind the image placeholders. They begin and end with special tokens, across
which no tokenizer merges, so prefix and segment together have the ids of the whole chat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .controls import Controls
from .packing import IGNORED, Group
from .templates import Message, Rendered, render

if TYPE_CHECKING:
    from torch import Tensor

GREEDY = {"do_sample": False, "num_beams": 1, "num_return_sequences": 1}  # whatever a generation_config.json asks for
_PROBE = "\0"  # stands where the user's text begins; no chat has it


@dataclass(frozen=True)
class Chats:
    """One or several images and the conversations about them. All conversations begin with the same turns, up to the
    images.

    Attributes:
        images: PIL images; empty for text alone.
        conversations: messages each, as chat templates take them. The images stand first in the first user turn, as
            typed parts, or are left out there when its content is a plain string.
    """

    images: Sequence[Any]
    conversations: Sequence[Sequence[Message]]


def encode(
    processor: Any, batch: Sequence[Chats], add_generation_prompt: bool = False
) -> tuple[list[Group], dict[str, Tensor]]:
    """Token ids of a batch, each image processed once.

    Args:
        processor: of a vision-language model, with a chat template; to learn from chats it must mark
            `{% generation %}`.
        batch: images with their conversations.
        add_generation_prompt: end each segment where the assistant begins, unless it ends with the assistant's words.
            The assistant's words are labelled.

    Returns:
        A `Group` for each item, with labels where an assistant says something; and the image tensors of the whole
        batch, in order, by the names the model takes (empty when there is no image).

    Raises:
        UserError: the conversations about an image begin differently.
        ValueError: as `Controls.defused` and `templates.render`.
    """
    controls = Controls(processor)
    texts = [_split(processor, controls, chats, add_generation_prompt) for chats in batch]
    prefixes, features = _encode_prefixes(processor, batch, [prefix for prefix, _ in texts])
    groups = []
    for (prefix_ids, token_types), (_, rendered) in zip(prefixes, texts, strict=True):
        segments, labels = _encode_segments(processor.tokenizer, rendered)
        answered = any(chat.answers for chat in rendered)
        groups.append(Group(prefix_ids, segments, labels if answered else (), token_types))
    return groups, features


def _split(processor: Any, controls: Controls, chats: Chats, add_generation_prompt: bool) -> tuple[str, list[Rendered]]:
    """The rendered prefix, and what each conversation adds to it."""
    count = len(chats.images)
    conversations = [_typed(controls, messages, count) for messages in chats.conversations]
    asked = [(messages, add_generation_prompt and messages[-1]["role"] != "assistant") for messages in conversations]
    first, *rendered = render(processor, [(_probe(conversations[0], count), True), *asked])
    prefix = first.text[: first.text.index(_PROBE)].rstrip() if count else ""
    if not all(chat.text.startswith(prefix) for chat in rendered):
        raise UserError(
            "The conversations about one image do not begin with the same messages",
            "They share the image and everything before it",
            "Put images first in the first user turn, and use the same system turn in all of them",
        )
    cut = len(prefix)
    return prefix, [Rendered(c.text[cut:], [(a - cut, b - cut) for a, b in c.answers]) for c in rendered]


def _probe(messages: Sequence[Message], count: int) -> list[Message]:
    """Messages whose rendered text shows where the images end, which stand first in the first user turn."""
    before = [message for message in messages if message["role"] == "system"][:1]
    return [*before, {"role": "user", "content": [*({"type": "image"},) * count, {"type": "text", "text": _PROBE}]}]


def _typed(controls: Controls, messages: Sequence[Message], count: int) -> list[dict[str, Any]]:
    """Messages with typed parts only, the images in the first user turn, control tokens in texts defused."""
    typed: list[dict[str, Any]] = []
    for message in messages:
        content = message["content"]
        if isinstance(content, str):
            first = message["role"] == "user" and all(other["role"] != "user" for other in typed)
            content = [*({"type": "image"},) * (count if first else 0), {"type": "text", "text": content}]
        parts = [
            {"type": "text", "text": controls.defused(part["text"])} if part["type"] == "text" else {"type": "image"}
            for part in content
        ]
        typed.append({"role": message["role"], "content": parts})
    return typed


def _encode_prefixes(
    processor: Any, batch: Sequence[Chats], prefixes: Sequence[str]
) -> tuple[list[tuple[list[int], dict[str, list[int]]]], dict[str, Tensor]]:
    """For each item the ids of its prefix and their token types; and the image tensors of all of them."""
    import torch

    encoded: list[tuple[list[int], dict[str, list[int]]]] = [([], {}) for _ in batch]
    pictured = [index for index, chats in enumerate(batch) if chats.images]
    if not pictured:
        return encoded, {}
    inputs = processor(
        images=[list(batch[index].images) for index in pictured],
        text=[prefixes[index] for index in pictured],
        padding=True,
        padding_side="right",
        return_tensors="pt",
        add_special_tokens=False,
    )
    ids, mask = inputs.pop("input_ids"), inputs.pop("attention_mask").bool()
    tensors = {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}
    types = {name: value for name, value in tensors.items() if value.shape == ids.shape}
    for row, index in enumerate(pictured):
        real = mask[row]
        encoded[index] = ids[row, real].tolist(), {name: value[row, real].tolist() for name, value in types.items()}
    return encoded, {name: value for name, value in tensors.items() if name not in types}


def _encode_segments(tokenizer: Any, rendered: Sequence[Rendered]) -> tuple[list[list[int]], list[list[int]]]:
    encoded = tokenizer([chat.text for chat in rendered], add_special_tokens=False, return_offsets_mapping=True)
    labels = []
    for ids, offsets, chat in zip(encoded["input_ids"], encoded["offset_mapping"], rendered, strict=True):
        learnt = [any(start < b and end > a for a, b in chat.answers) for start, end in offsets]
        labels.append([token if yes else IGNORED for token, yes in zip(ids, learnt, strict=True)])
    return encoded["input_ids"], labels
