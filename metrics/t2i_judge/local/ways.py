"""Three ways to read a model's next token after each of several questions about an image.

packed   all questions of an image in one forward pass over the shared prefix (see `packing`)
prefix   the image's prefix once, its cache copied for each question
plain    one forward pass per question: right for every causal model, and the measure of the other two

All give log-probabilities over the whole vocabulary, in float32 (the head is computed in float32: bfloat16 rounds a
logit of 20 to steps of an eighth).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .packing import Group, enable_shared_prefix, pack
from .prompting import Asking, Prompter

if TYPE_CHECKING:
    from torch import Tensor

PACKED, PREFIX, PLAIN = WAYS = ("packed", "prefix", "plain")
_BLOCK = 8192  # rows of the head that are turned into float32 at a time


@dataclass(frozen=True)
class Read:
    """What was read about an image.

    Attributes:
        log_probabilities: (questions, vocabulary), of the token that comes next, float32.
        tokens: how many were read for each question; a shared prefix counts for the first one only.
    """

    log_probabilities: Tensor
    tokens: Sequence[int]


Way = Callable[[Any, Prompter, Sequence[Asking]], list[Read]]


def packed(model: Any, prompter: Prompter, batch: Sequence[Asking]) -> list[Read]:
    """All questions of each image at once. Raises whatever the model raises."""
    enable_shared_prefix(model)
    groups, features = prompter.groups(batch)
    layout = pack(groups, _padding(prompter.tokenizer))
    inputs = to_model(model, layout.tensors | features)
    places = [place for ends in layout.ends for place in ends]
    logs = _next(model, inputs, [row for row, _ in places], [column for _, column in places])
    each = logs.split([len(asking.texts) for asking in batch])
    return [Read(some, _lengths(group)) for some, group in zip(each, groups, strict=True)]


def prefix(model: Any, prompter: Prompter, batch: Sequence[Asking]) -> list[Read]:
    """As `packed`, image by image."""
    return [_behind_prefix(model, prompter, asking) for asking in batch]


def plain(model: Any, prompter: Prompter, batch: Sequence[Asking]) -> list[Read]:
    """As `packed`, question by question."""
    return [_one_by_one(model, prompter, asking) for asking in batch]


BY_NAME: dict[str, Way] = {PACKED: packed, PREFIX: prefix, PLAIN: plain}


def _one_by_one(model: Any, prompter: Prompter, asking: Asking) -> Read:
    import torch

    logs, tokens = [], []
    for number in range(len(asking.texts)):
        inputs = prompter.whole(asking, number)
        logs.append(_next(model, to_model(model, inputs), [0], [-1]))
        tokens.append(inputs["input_ids"].shape[1])
    return Read(torch.cat(logs), tokens)


def _behind_prefix(model: Any, prompter: Prompter, asking: Asking) -> Read:
    import torch

    [group], features = prompter.groups([asking])
    if "cross_attention_mask" in features:
        raise ValueError("cross attention has one mask per token")
    start = {"input_ids": group.prefix, "attention_mask": [1] * len(group.prefix), **group.token_types}
    ids = {name: torch.tensor([values]) for name, values in start.items()}
    with _reading(model, [0], [-1]):
        cache = model(**to_model(model, ids | features), use_cache=True).past_key_values
    logs = []
    for segment in group.segments:
        inputs = to_model(model, {"input_ids": torch.tensor([segment])})
        logs.append(_next(model, inputs, [0], [-1], past_key_values=copy.deepcopy(cache), use_cache=True))
    return Read(torch.cat(logs), _lengths(group))


def _lengths(group: Group) -> list[int]:
    """Tokens read for each question."""
    return [len(group.prefix) * (number == 0) + len(segment) for number, segment in enumerate(group.segments)]


def _next(model: Any, inputs: dict[str, Any], rows: Sequence[int], columns: Sequence[int], **rest: Any) -> Tensor:
    """(places, vocabulary): log-probabilities of what comes behind each place of the inputs."""
    rest = {"use_cache": False, **rest}
    with _reading(model, rows, columns):
        logits: Tensor = model(**inputs, **rest).logits
    return logits[0].float().log_softmax(-1)


@contextmanager
def _reading(model: Any, rows: Sequence[int], columns: Sequence[int]) -> Iterator[None]:
    """Within, the model's head is computed at these places only, and in float32; what models do behind it they do."""
    head = model.get_output_embeddings()

    def gather(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0][list(rows), list(columns)][None], *args[1:])

    def exact(module: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return _in_float32(module, args[0], output)

    hooks = [head.register_forward_pre_hook(gather), head.register_forward_hook(exact)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _in_float32(head: Any, hidden: Tensor, output: Tensor) -> Tensor:
    """The head's output computed in float32, block by block; as it is where its weights are quantised."""
    import torch

    weight = head.weight
    if output.dtype == torch.float32 or not weight.is_floating_point():
        return output
    hidden = hidden.float()
    logits = torch.cat([hidden @ block.float().T for block in weight.split(_BLOCK)], dim=-1)
    return logits if getattr(head, "bias", None) is None else logits + head.bias.float()


def to_model(model: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the model's device, pictures in its type."""
    return {
        name: value.to(model.device, model.dtype) if value.is_floating_point() else value.to(model.device)
        for name, value in tensors.items()
    }


def _padding(tokenizer: Any) -> int:
    number = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return int(number or 0)
