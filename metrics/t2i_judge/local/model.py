"""A vision-language model on this machine, asked many things about an image at once.

All questions hang on one shared prefix (see `packing`): one forward pass reads the model's opinion on each, and where
words are wanted too, the same pass's cache is written on: every question continues beside the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..prompts import LEVELS
from .chats import Chats, encode, render
from .packing import IGNORED, PADDING, Group, Packed, backbone_of, enable_shared_prefix, model_positions, pack

if TYPE_CHECKING:
    import torch

_LONGEST = 8192


@dataclass(frozen=True)
class Reading:
    """What the model makes of one conversation.

    Attributes:
        level_logits: logits of `prompts.LEVELS` where its answer begins; nan or infinite when the model broke.
        text: what it writes there, None unless asked to write.
        likelihood: probability that the assistant says exactly what the conversation's last turn lets it say; None
            where the conversation ends with a user turn.
        finished: False when the text was cut off by the length limit.
        tokens: how many it wrote.
        tokens_read: of the conversation; the shared prefix counts for the first one only.
    """

    level_logits: tuple[float, ...]
    tokens_read: int
    text: str | None = None
    finished: bool = True
    tokens: int = 0
    likelihood: float | None = None


@dataclass
class _Writing:
    """Tokens written so far in one segment, and where it stands."""

    row: int
    segment: int
    prefix: int
    position: int
    tokens: list[int]
    finished: bool = False


class LocalModel:
    """A model with its processor, ready to read and write behind shared prefixes.

    Args:
        model: a transformers vision-language model with `lm_head`, or a PEFT model round one.
        processor: its processor, with a chat template.

    Raises:
        UserError: the score levels are not distinct single tokens, or the attention takes no mask.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        enable_shared_prefix(model)
        self.model, self.processor = model.eval(), processor
        self.backbone = backbone_of(model)
        self.head = self.backbone_owner.get_output_embeddings()
        self.level_ids = _level_ids(processor)
        self.stop_ids = _stop_ids(processor.tokenizer, self.backbone_owner.generation_config)

    @property
    def backbone_owner(self) -> Any:
        """The transformers model itself, without PEFT's wrapper."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def longest(self) -> int:
        """Most tokens of a conversation: what the model was made for, and what a dense mask leaves room for."""
        return min(self.backbone.config.get_text_config().max_position_embeddings, _LONGEST)

    def encode(self, batch: Sequence[Chats]) -> tuple[list[Group], dict[str, Any]]:
        """Token ids and image tensors of a batch; raises ValueError for an item longer than the model takes."""
        groups, features = encode(self.processor, batch, add_generation_prompt=True)
        for group in groups:
            tokens = len(group.prefix) + max(map(len, group.segments))
            if tokens >= self.longest:
                raise ValueError(f"{tokens} tokens are more than the {self.longest} that are taken")
        return groups, features

    def read(
        self, batch: Sequence[Chats], write: Sequence[Sequence[bool]] | None = None, max_new_tokens: int = 0
    ) -> list[list[Reading]]:
        """One forward pass over a batch, and where `write` says so, greedy continuations on its cache.

        Args:
            batch: images (or none) with conversations that end with a user turn, or with what the assistant may say.
            write: for each item and conversation, whether to write; None: nowhere.
            max_new_tokens: length limit of what is written.

        Returns:
            for each item, a `Reading` for each conversation.

        Raises:
            ValueError: an item is too long, or the model cannot take its image.
        """
        import torch

        groups, features = self.encode(batch)
        device = self.head.weight.device
        packed = pack(groups, self.processor.tokenizer.pad_token_id)
        inputs = {name: tensor.to(device) for name, tensor in (packed.tensors | features).items()}
        labels = inputs.pop("labels", None)
        with torch.inference_mode():
            outputs = self.backbone(**inputs, use_cache=write is not None)
            ends = [end for group in packed.ends for end in group]
            rows, columns = zip(*ends, strict=True)
            hidden = outputs.last_hidden_state[list(rows), list(columns)]
            levels = self._level_logits(hidden).tolist()
            segments = inputs["segment_ids"]
            said = {} if labels is None else self._likelihoods(outputs.last_hidden_state, labels, segments)
            likelihoods = [said.get((row, int(segments[row, column]))) for row, column in ends]
            writings: list[_Writing | None] = [None] * len(ends)
            if write is not None:
                wanted = [yes for group in write for yes in group]
                writings = self._start(packed, inputs, self.head(hidden).argmax(-1).tolist(), wanted)
                self._write([w for w in writings if w], inputs, outputs.past_key_values, max_new_tokens)
        flat = zip(levels, writings, likelihoods, strict=True)
        return [
            [self._reading(*next(flat), _tokens_read(group, index)) for index in range(len(group.segments))]
            for group in groups
        ]

    def _likelihoods(
        self, hidden: torch.Tensor, labels: torch.Tensor, segments: torch.Tensor
    ) -> dict[tuple[int, int], float]:
        """(row, segment id) -> probability of its labelled tokens, each predicted one position before."""
        rows, columns = (labels != IGNORED).nonzero(as_tuple=True)
        logs = self.head(hidden[rows, columns - 1]).float().log_softmax(-1)
        spoken = logs.gather(1, labels[rows, columns, None])[:, 0]
        sums: dict[tuple[int, int], float] = {}
        for row, segment, value in zip(rows.tolist(), segments[rows, columns].tolist(), spoken.tolist(), strict=True):
            sums[row, segment] = sums.get((row, segment), 0.0) + value
        return {place: math.exp(value) for place, value in sums.items()}

    def _level_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(n, hidden) -> (n, levels), in float32: in bfloat16 neighbouring levels would tie."""
        logits = hidden.float() @ self.head.weight[self.level_ids].float().T
        return logits if self.head.bias is None else logits + self.head.bias[self.level_ids].float()

    def _reading(
        self, level_logits: list[float], writing: _Writing | None, likelihood: float | None, tokens_read: int
    ) -> Reading:
        if writing is None:
            return Reading(tuple(level_logits), tokens_read, likelihood=likelihood)
        text = self.processor.tokenizer.decode(writing.tokens, skip_special_tokens=True)
        return Reading(tuple(level_logits), tokens_read, text.strip(), writing.finished, len(writing.tokens))

    def _start(
        self, packed: Packed, inputs: dict[str, Any], first: Sequence[int], wanted: Sequence[bool]
    ) -> list[_Writing | None]:
        """What is to be written, with its first token."""
        segments, prefixes = inputs["segment_ids"], inputs["prefix_ids"]
        positions = model_positions(self.backbone, inputs, segments, prefixes)
        if positions.ndim == 3:  # M-RoPE: text has the same position in all three dimensions
            positions = positions[0]
        writings: list[_Writing | None] = []
        ends = [end for group in packed.ends for end in group]
        for (row, column), token, yes in zip(ends, first, wanted, strict=True):
            segment, prefix, position = (int(tensor[row, column]) for tensor in (segments, prefixes, positions))
            started = _Writing(row, segment, prefix, position, [])
            writings.append(self._append(started, token) if yes else None)
        return writings

    def _append(self, writing: _Writing, token: int) -> _Writing:
        if token in self.stop_ids:
            writing.finished = True
        elif not writing.finished:
            writing.tokens.append(token)
            writing.position += 1
        return writing

    def _write(self, writings: list[_Writing], inputs: dict[str, Any], cache: Any, limit: int) -> None:
        """Continue all of them token by token until each has finished, or has `limit` tokens."""
        import torch

        segments: torch.Tensor = inputs["segment_ids"]
        slots = _slots(writings, len(segments))
        device, pad = segments.device, self.processor.tokenizer.pad_token_id
        seen = segments
        for _ in range(limit - 1):
            live = [row for row, members in enumerate(slots) if any(w and not w.finished for w in members)]
            if not live:
                return
            if 2 * len(live) <= len(slots):  # rows that have finished would be carried along to the longest
                cache.batch_select_indices(torch.tensor(live, device=device))
                slots, seen = [slots[row] for row in live], seen[live]
            step = [[_step(writing, pad) for writing in row] for row in slots]
            ids, positions, own, prefix = torch.tensor(step, device=device).unbind(-1)
            seen = torch.cat([seen, own], dim=1)
            hidden = self.backbone(
                input_ids=ids,
                position_ids=positions,
                segment_ids=seen,
                prefix_ids=prefix,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            chosen = self.head(hidden).argmax(-1).tolist()
            for row, tokens in zip(slots, chosen, strict=True):
                for writing, token in zip(row, tokens, strict=True):
                    if writing is not None:
                        self._append(writing, token)


def _tokens_read(group: Group, index: int) -> int:
    return len(group.segments[index]) + (len(group.prefix) if index == 0 else 0)


def _slots(writings: Sequence[_Writing], rows: int) -> list[list[_Writing | None]]:
    """The writings of each row, filled up with None to the same number."""
    by_row: list[list[_Writing | None]] = [[] for _ in range(rows)]
    for writing in writings:
        by_row[writing.row].append(writing)
    width = max(map(len, by_row))
    return [row + [None] * (width - len(row)) for row in by_row]


def _step(writing: _Writing | None, pad: int) -> tuple[int, int, int, int]:
    """Token to feed, its position, segment and prefix; padding where there is nothing (more) to write."""
    if writing is None or writing.finished or not writing.tokens:
        return pad, 0, PADDING, PADDING
    return writing.tokens[-1], writing.position, writing.segment, writing.prefix


def _level_ids(processor: Any) -> list[int]:
    """Token ids of the score levels as they stand at the beginning of an assistant's turn."""
    prompt = render(processor, [{"role": "user", "content": [{"type": "text", "text": "?"}]}], True).text

    def tokens(text: str) -> list[int]:
        return processor.tokenizer(text, add_special_tokens=False)["input_ids"]

    before = tokens(prompt)
    spoken = [tokens(prompt + level) for level in LEVELS]
    if len({*map(tuple, spoken)}) != len(LEVELS) or any(ids[:-1] != before for ids in spoken):
        raise UserError(
            "the score levels 0 to 9 are not distinct single tokens in this tokenizer",
            "their distribution is read off one position",
            "use a tokenizer with one token a digit",
        )
    return [ids[-1] for ids in spoken]


def _stop_ids(tokenizer: Any, generation_config: Any) -> set[int]:
    """Token ids that end what a model writes."""
    configured = generation_config.eos_token_id
    stops = set(configured) if isinstance(configured, list) else {configured}
    return (stops | {tokenizer.eos_token_id, tokenizer.pad_token_id}) - {None}
