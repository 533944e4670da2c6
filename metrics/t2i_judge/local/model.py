"""A vision-language model on this machine that is asked several things about an image at once.

All questions share one prefix (see `packing`). One forward pass reads the model's answer to each. If words are wanted,
generation continues on the cache of this pass, for all questions side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..prompts import LEVELS
from .chats import Chats, encode
from .drafting import MOST, Drafts
from .packing import (
    IGNORED,
    PADDING,
    Group,
    Packed,
    backbone_of,
    enable_shared_prefix,
    has_window,
    model_positions,
    pack,
)
from .templates import tried

if TYPE_CHECKING:
    import torch

_LONGEST = 8192
_TOGETHER = 128  # tokens of a step, drafts included: about as many cost little more than one


@dataclass(frozen=True)
class Turn:
    """One question about an image.

    Attributes:
        task, of: one of `prompts.TASKS`, and the id of a question or an aspect. They identify its reading.
        text: of the user's turn.
        says: an answer of the assistant whose likelihood is wanted.
        write: whether the answer is wanted in words.
    """

    task: str
    of: str
    text: str
    says: str | None = None
    write: bool = False

    def conversation(self, images: int) -> list[dict[str, Any]]:
        """The turn as chat templates take it, images first."""
        content = [*({"type": "image"},) * images, {"type": "text", "text": self.text}]
        answer = [] if self.says is None else [{"role": "assistant", "content": [{"type": "text", "text": self.says}]}]
        return [{"role": "user", "content": content}, *answer]


@dataclass(frozen=True)
class Asked:
    """Images (none for text alone) and all turns about them. No two turns have the same task and `of`."""

    images: Sequence[Any]
    turns: Sequence[Turn]

    def chats(self) -> Chats:
        """The same as conversations that share their beginning."""
        return Chats(self.images, [turn.conversation(len(self.images)) for turn in self.turns])


@dataclass(frozen=True)
class Reading:
    """The model's answer to one turn.

    Attributes:
        level_logits: logits of `prompts.LEVELS` where the answer begins; nan or infinite if the model failed.
        text: what the model writes; None unless it was asked to.
        likelihood: probability that the assistant says exactly `Turn.says`; None if that is not given.
        finished: False when the text was cut off by the length limit.
        tokens: how many it wrote.
        tokens_read: of the turn; the shared prefix counts for the first one only.
    """

    level_logits: tuple[float, ...]
    tokens_read: int
    text: str | None = None
    finished: bool = True
    tokens: int = 0
    likelihood: float | None = None


Readings = dict[tuple[str, str], Reading]  # (task, of) -> reading


@dataclass
class _Place:
    """Where a turn's answer begins in the packed rows, and what is written there.

    Attributes:
        item, turn: whose it is.
        row, column: of the turn's last token.
        segment, prefix: ids of its tokens and of those that it hangs on (see `packing`).
        tokens_read: of the turn.
        position: of the token that was written last.
        tokens, finished: what has been written so far, and whether that is all.
        trusted: tokens of its next draft, at most: few where the last one was wrong.
    """

    item: int
    turn: Turn
    row: int
    column: int
    segment: int
    prefix: int
    tokens_read: int
    position: int = 0
    tokens: list[int] = field(default_factory=list)
    finished: bool = False
    trusted: int = 0

    def writes(self, limit: int) -> bool:
        """Whether there is more to write."""
        return bool(self.tokens) and not self.finished and len(self.tokens) < limit


class LocalModel:
    """A model with its processor, ready to read and write behind shared prefixes.

    Args:
        model: a transformers vision-language model with `lm_head`, or a PEFT model round one.
        processor: its processor, with a chat template.
        precision: of its weights, in words; nothing for plain float32.

    Attributes:
        drafts: what is likely to be written next.
        longest_draft: tokens of a draft, at most; with 0 each step writes one token.

    Raises:
        UserError: the score levels are not distinct single tokens, or the attention takes no mask.
    """

    def __init__(self, model: Any, processor: Any, precision: str = "") -> None:
        enable_shared_prefix(model)
        self.model, self.processor, self.precision = model.eval(), processor, precision
        self.backbone = backbone_of(model)
        self.head = self.backbone_owner.get_output_embeddings()
        self.level_ids = _level_ids(processor)
        self.drafts = Drafts()
        self.longest_draft = 0 if has_window(self.backbone) else MOST  # a window counts columns, the wrong ones too
        self.stop_ids = _stop_ids(processor.tokenizer, self.backbone_owner.generation_config)

    @property
    def backbone_owner(self) -> Any:
        """The transformers model itself, without PEFT's wrapper."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def longest(self) -> int:
        """Most tokens of a conversation: what the model was made for, and what a dense mask leaves room for."""
        return min(int(self.backbone.config.get_text_config().max_position_embeddings), _LONGEST)

    def encode(self, batch: Sequence[Asked]) -> tuple[list[Group], dict[str, Any]]:
        """Token ids and image tensors of a batch; raises ValueError for an item longer than the model takes."""
        groups, features = encode(self.processor, [asked.chats() for asked in batch], add_generation_prompt=True)
        for group in groups:
            tokens = len(group.prefix) + max(map(len, group.segments))
            if tokens >= self.longest:
                raise ValueError(f"{tokens} tokens are more than the limit of {self.longest}")
        return groups, features

    def read(self, batch: Sequence[Asked], max_new_tokens: int = 0) -> list[Readings]:
        """One forward pass over a batch, and where turns are to be written, greedy continuations on its cache.

        Args:
            batch: what is asked about which images.
            max_new_tokens: length limit of what is written.

        Returns:
            for each item, the reading of each of its turns.

        Raises:
            ValueError: an item is too long, or the model cannot take its image.
        """
        import torch

        groups, features = self.encode(batch)
        device = self.head.weight.device
        packed = pack(groups, self.processor.tokenizer.pad_token_id)
        inputs = {name: tensor.to(device) for name, tensor in (packed.tensors | features).items()}
        labels = inputs.pop("labels", None)
        places = self._places(batch, groups, packed, inputs)
        written = [place for place in places if place.turn.write]
        with torch.inference_mode():
            outputs = self.backbone(**inputs, use_cache=bool(written))
            hidden = outputs.last_hidden_state[[place.row for place in places], [place.column for place in places]]
            levels = self._level_logits(hidden).tolist()
            segments = inputs["segment_ids"]
            likelihoods = {} if labels is None else self._likelihoods(outputs.last_hidden_state, labels, segments)
            if written:
                first = zip(places, self.head(hidden).argmax(-1).tolist(), strict=True)
                self._start(written, [token for place, token in first if place.turn.write], inputs)
                self._write(written, inputs, outputs.past_key_values, max_new_tokens)
        readings: list[Readings] = [{} for _ in batch]
        for place, logits in zip(places, levels, strict=True):
            likelihood = likelihoods.get((place.row, place.segment))
            readings[place.item][place.turn.task, place.turn.of] = self._reading(place, logits, likelihood)
        return readings

    def _places(
        self, batch: Sequence[Asked], groups: Sequence[Group], packed: Packed, inputs: dict[str, Any]
    ) -> list[_Place]:
        """The place of every turn, in order."""
        rows, columns = map(list, zip(*(end for ends in packed.ends for end in ends), strict=True))
        ids = zip(*(inputs[name][rows, columns].tolist() for name in ("segment_ids", "prefix_ids")), strict=True)
        places = []
        for item, (asked, group, ends) in enumerate(zip(batch, groups, packed.ends, strict=True)):
            for number, (turn, end) in enumerate(zip(asked.turns, ends, strict=True)):
                read = len(group.segments[number]) + (len(group.prefix) if number == 0 else 0)
                (row, column), (segment, prefix) = end, next(ids)
                places.append(_Place(item, turn, row, column, segment, prefix, read))
        return places

    def _start(self, places: Sequence[_Place], tokens: Sequence[int], inputs: dict[str, Any]) -> None:
        """Write the first token of each place, which came with the pass that read the turns."""
        positions = model_positions(self.backbone, inputs, inputs["segment_ids"], inputs["prefix_ids"])
        if positions.ndim == 3:  # M-RoPE: text has the same position in all three dimensions
            positions = positions[0]
        for place, token in zip(places, tokens, strict=True):
            place.position, place.trusted = int(positions[place.row, place.column]), self.longest_draft
            self._append(place, token)

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
        logits: torch.Tensor = hidden.float() @ self.head.weight[self.level_ids].float().T
        return logits if self.head.bias is None else logits + self.head.bias[self.level_ids].float()

    def _reading(self, place: _Place, level_logits: list[float], likelihood: float | None) -> Reading:
        logits = tuple(level_logits)
        if not place.turn.write:
            return Reading(logits, place.tokens_read, likelihood=likelihood)
        text = self.processor.tokenizer.decode(place.tokens, skip_special_tokens=True).strip()
        return Reading(logits, place.tokens_read, text, place.finished, len(place.tokens))

    def _append(self, place: _Place, token: int) -> None:
        if token in self.stop_ids:
            place.finished = True
        elif not place.finished:
            place.tokens.append(token)
            place.position += 1
            self.drafts.note(place.tokens)

    def _write(self, places: Sequence[_Place], inputs: dict[str, Any], cache: Any, limit: int) -> None:
        """Continue all of them until each has finished, or has `limit` tokens.

        The cache of the forward pass is written on: a step feeds the last token of every place of a row at once, side
        by side, behind everything that the row holds, and behind each a draft of what may come next (see `drafting`).
        Segment and prefix ids keep them apart, as they did when the turns were read: a new token sees the turn it
        continues, the tokens written for that turn, and its prefix, whatever column they stand in. So the cache is
        never copied for a turn, all turns of an image together cost one step, and where a draft is not what the model
        chooses, its columns become padding.
        """
        import torch

        from .growing import grow

        grow(cache)
        segments: torch.Tensor = inputs["segment_ids"]
        slots = _slots(places, len(segments))
        device, pad = segments.device, self.processor.tokenizer.pad_token_id
        seen = segments  # of every column in the cache, whose segment it is: what the mask is made from
        while True:
            live = [row for row, members in enumerate(slots) if any(p and p.writes(limit) for p in members)]
            if not live:
                return
            # Rows that have finished would be carried along to the longest. Selecting copies the cache, so it pays only
            # once half of them have.
            if 2 * len(live) <= len(slots):
                cache.batch_select_indices(torch.tensor(live, device=device))
                slots, seen = [slots[row] for row in live], seen[live]
            most = _TOGETHER // sum(map(len, slots)) - 1
            fed = [[self._fed(place, limit, most) for place in row] for row in slots]
            width = max(len(tokens) for row in fed for tokens in row)
            step = [[_step(*pair, width, pad) for pair in zip(row, tokens)] for row, tokens in zip(slots, fed)]
            ids, positions, own, prefix = torch.tensor(step, device=device).flatten(1, 2).unbind(-1)
            # A finished place feeds padding, whose segment id nothing looks at; its columns stay in the cache unseen.
            hidden = self.backbone(
                input_ids=ids,
                position_ids=positions,
                segment_ids=torch.cat([seen, own], dim=1),
                prefix_ids=prefix,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            chosen = self.head(hidden).argmax(-1).unflatten(1, (-1, width)).tolist()
            right = [[self._accept(*place) for place in zip(*row)] for row in zip(slots, fed, chosen)]
            wrong = torch.arange(width, device=device) >= torch.tensor(right, device=device)[..., None]
            seen = torch.cat([seen, own.masked_fill(wrong.flatten(1), PADDING)], dim=1)

    def _fed(self, place: _Place | None, limit: int, most: int) -> list[int]:
        """The last token of a place and the draft behind it; nothing where there is nothing (more) to write."""
        if place is None or not place.writes(limit):
            return []
        most = min(most, place.trusted, limit - len(place.tokens) - 1)
        return [place.tokens[-1], *self.drafts.after(place.tokens, most)]

    def _accept(self, place: _Place | None, fed: Sequence[int], chosen: Sequence[int]) -> int:
        """Write what the model chose behind each token fed, as long as that was fed next; how many were right."""
        if place is None or not fed:
            return 0
        right = 0
        for token, drafted in zip(chosen, [*fed[1:], None]):
            right += 1
            self._append(place, token)
            if place.finished or token != drafted:
                break
        place.trusted = min(self.longest_draft, 2 * right)
        return right


def _slots(places: Sequence[_Place], rows: int) -> list[list[_Place | None]]:
    """The places of each row, filled up with None to the same number."""
    by_row: list[list[_Place | None]] = [[] for _ in range(rows)]
    for place in places:
        by_row[place.row].append(place)
    width = max(map(len, by_row))
    return [row + [None] * (width - len(row)) for row in by_row]


def _step(place: _Place | None, tokens: Sequence[int], width: int, pad: int) -> list[tuple[int, int, int, int]]:
    """Tokens to feed for a place, filled up to a width: each with its position, segment and prefix."""
    fed = []
    if place is not None:
        fed = [(token, place.position + n, place.segment, place.prefix) for n, token in enumerate(tokens)]
    return fed + [(pad, 0, PADDING, PADDING)] * (width - len(fed))


def _level_ids(processor: Any) -> list[int]:
    """Token ids of the score levels as they stand at the beginning of an assistant's turn."""
    prompt = tried(processor, [{"type": "text", "text": "?"}])

    def tokens(text: str) -> list[int]:
        ids: list[int] = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    before = tokens(prompt)
    spoken = [tokens(prompt + level) for level in LEVELS]
    if len({*map(tuple, spoken)}) != len(LEVELS) or any(ids[:-1] != before for ids in spoken):
        raise UserError(
            "The score levels 0 to 9 are not distinct single tokens in this tokenizer",
            "Their distribution is read from one position",
            "Use a tokenizer with one token per digit",
        )
    return [ids[-1] for ids in spoken]


def _stop_ids(tokenizer: Any, generation_config: Any) -> set[int]:
    """Token ids that end what a model writes."""
    configured = generation_config.eos_token_id
    stops = set(configured) if isinstance(configured, list) else {configured}
    return (stops | {tokenizer.eos_token_id, tokenizer.pad_token_id}) - {None}
