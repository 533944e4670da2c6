"""Shared-prefix packing: an image is encoded once, and every question about it is answered beside the others.

One row holds one or several *groups*, an image's prefix P and its N segments (question, and answer in training):

    columns       0 1 2 3   4 5 6   7 8 9 10   11 12   13 14   15
    tokens        a a a a   b b b   c c c c    d  d    e  e    pad
    segment_ids   0 0 0 0   1 1 1   2 2 2 2    3  3    4  4    -1
    prefix_ids    0 0 0 0   0 0 0   0 0 0 0    3  3    3  3    -1
    position_ids  0 1 2 3   4 5 6   4 5 6 7    0  1    2  3    0

    may look at   a b c d e
              a   \\            a token sees what stands before it, and of that only
              b   # \\          its own segment and the prefix that this segment hangs on
              c   #   \\        (\\ = causal, # = all)
              d         \\
              e         # \\

so that a segment computes what it would compute behind its prefix alone: same loss, same gradients, same scores, for
P + NS tokens instead of N(P + S). A text-only group has an empty prefix. Training (the collator) and judging (the local
backend) use this one layout: they hand `segment_ids` and `prefix_ids` to a model that `enable_shared_prefix` prepared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import UserError, quoted

if TYPE_CHECKING:
    from torch import Tensor, nn

IGNORED = -100  # label of a token that is not learnt
PADDING = -1  # segment and prefix id of padding
_FULL, _SLIDING = "full_attention", "sliding_attention"  # kinds of layers, by transformers' names
# Models whose image tokens see each other in both directions, and the token types in which an image is 1.
_IMAGES_SEE_THEMSELVES = {"gemma3": "token_type_ids"}


@dataclass(frozen=True)
class Group:
    """A prefix and the segments that hang on it, as token ids.

    Attributes:
        prefix: ids of the chat up to and including the image(s); empty for text.
        segments: ids of what follows, independent of each other.
        labels: for each segment, the id to learn at each position, or `IGNORED`; the first of them is `IGNORED`.
        token_types: per-token inputs of the prefix other than ids, by name (`mm_token_type_ids`); 0 in segments.
    """

    prefix: Sequence[int]
    segments: Sequence[Sequence[int]]
    labels: Sequence[Sequence[int]] = ()
    token_types: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Tokens it takes in a row."""
        return len(self.prefix) + sum(map(len, self.segments))


@dataclass(frozen=True)
class Packed:
    """Groups laid out in rows.

    Attributes:
        tensors: (rows, length) each: input_ids, attention_mask (1 on tokens, 0 on padding), position_ids, segment_ids,
            prefix_ids; labels where the groups have them; their token types.
        ends: for each group, the (row, column) of the last token of each of its segments.
    """

    tensors: dict[str, Tensor]
    ends: list[list[tuple[int, int]]]


def fill_rows(lengths: Sequence[int], capacity: int | None = None) -> list[list[int]]:
    """Indices of the groups of each row, in order: as many as fit into `capacity` tokens.

    The order is kept because image features lie in the order of the images. A capacity below the longest group, or
    None, is raised to the longest group: a group is never cut.
    """
    limit = max(capacity or 0, *lengths)
    rows: list[list[int]] = []
    room = -1
    for index, length in enumerate(lengths):
        if length > room:
            rows.append([])
            room = limit
        rows[-1].append(index)
        room -= length
    return rows


def pack(groups: Sequence[Group], pad_id: int, capacity: int | None = None) -> Packed:
    """Lay groups out in rows of at most `capacity` tokens (see `fill_rows`), padded on the right."""
    import torch

    names = sorted({name for group in groups for name in group.token_types})
    fills = {"input_ids": pad_id, "attention_mask": 0, "segment_ids": PADDING, "prefix_ids": PADDING}
    fills |= {"labels": IGNORED} if any(group.labels for group in groups) else {}
    fills |= dict.fromkeys(names, 0)
    rows = fill_rows([group.length for group in groups], capacity)
    width = max(sum(groups[index].length for index in row) for row in rows)
    tensors = {name: torch.full((len(rows), width), fill) for name, fill in fills.items()}
    ends: list[list[tuple[int, int]]] = []
    for row, members in enumerate(rows):
        columns, last = _row([groups[index] for index in members], fills)
        for name, values in columns.items():
            tensors[name][row, : len(values)] = torch.tensor(values)
        ends += [[(row, column) for column in group_ends] for group_ends in last]
    positions = torch.arange(width).expand(len(rows), -1)
    tensors["position_ids"] = restart_positions(positions, tensors["segment_ids"], tensors["prefix_ids"])
    return Packed(tensors, ends)


def _row(groups: Sequence[Group], fills: Mapping[str, int]) -> tuple[dict[str, list[int]], list[list[int]]]:
    """The columns of one row by name, and for each group the columns in which its segments end."""
    columns: dict[str, list[int]] = {name: [] for name in fills}
    ends: list[list[int]] = []
    next_id = 0

    def append(ids: Sequence[int], prefix_id: int, **rest: Sequence[int]) -> None:
        nonlocal next_id
        known = {
            "input_ids": ids,
            "attention_mask": [1] * len(ids),
            "segment_ids": [next_id] * len(ids),
            "prefix_ids": [prefix_id] * len(ids),
            **rest,
        }
        for name, fill in fills.items():
            columns[name] += known.get(name) or [fill] * len(ids)
        next_id += 1

    for group in groups:
        prefix_id = next_id
        if group.prefix:
            append(group.prefix, prefix_id, **group.token_types)
        ends.append([])
        for index, segment in enumerate(group.segments):
            labels = {"labels": group.labels[index]} if group.labels else {}
            append(segment, prefix_id if group.prefix else next_id, **labels)
            ends[-1].append(len(columns["input_ids"]) - 1)
    return columns, ends


def restart_positions(positions: Tensor, segment_ids: Tensor, prefix_ids: Tensor) -> Tensor:
    """Positions of a row read straight through -> positions of the layout, where each segment follows its prefix.

    Args:
        positions: (rows, length), or (3, rows, length) for M-RoPE, of the row as if it were one text. Segments are
            text, so their positions go up by one per token in every dimension.
        segment_ids, prefix_ids: (rows, length).
    """
    import torch

    columns = torch.arange(segment_ids.shape[-1], device=segment_ids.device)
    of_prefix = segment_ids == prefix_ids
    group_start = _last(_changes(prefix_ids), columns)
    segment_start = _last(_changes(segment_ids), columns)
    first_segment = _last(~of_prefix & (segment_start == columns) & of_prefix.roll(1, -1), columns)

    def at(index: Tensor) -> Tensor:
        return positions.gather(-1, index.expand_as(positions))

    behind_prefix = (at(first_segment) - at(group_start)).masked_fill(of_prefix, 0)
    return positions - at(segment_start) + behind_prefix


def _changes(ids: Tensor) -> Tensor:
    changed = ids != ids.roll(1, -1)
    changed[..., 0] = True
    return changed


def _last(marks: Tensor, columns: Tensor) -> Tensor:
    """For each column, the last marked one up to it (0 where there is none)."""
    return (marks * columns).cummax(-1).values


def shared_prefix_mask(segment_ids: Tensor, prefix_ids: Tensor) -> Tensor:
    """Who sees whom: bool (rows, 1, queries, keys), true where a query may attend to a key.

    Args:
        segment_ids: (rows, keys), cached tokens included.
        prefix_ids: (rows, queries); the queries are the last of the keys.
    """
    import torch

    keys, queries = segment_ids.shape[1], prefix_ids.shape[1]
    causal = torch.ones(queries, keys, dtype=torch.bool, device=segment_ids.device).tril(keys - queries)
    own, key = segment_ids[:, keys - queries :, None], segment_ids[:, None, :]
    return (causal & ((key == own) | (key == prefix_ids[:, :, None])))[:, None]


def flex_block_mask(segment_ids: Tensor, prefix_ids: Tensor) -> Any:
    """The same as a FlexAttention `BlockMask`: blocks that nobody looks at are never computed."""
    from torch.nn.attention.flex_attention import create_block_mask

    (rows, keys), queries = segment_ids.shape, prefix_ids.shape[1]
    past = keys - queries

    def visible(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        there = segment_ids[row, key]
        return (key <= query + past) & ((there == segment_ids[row, query + past]) | (there == prefix_ids[row, query]))

    return create_block_mask(visible, rows, None, queries, keys, device=segment_ids.device)


def backbone_of(model: Any) -> Any:
    """The model without its language-modelling head, of a transformers model or of a PEFT model round it."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.base_model


def enable_shared_prefix(model: nn.Module) -> None:
    """Teach a model's backbone the keyword arguments `segment_ids` and `prefix_ids`; calling it again changes nothing.

    From them a hook builds the mask that the attention implementation in use wants (and, for models with M-RoPE, the
    positions), before the backbone sees its inputs. Without them the model behaves as before. `attention_mask` stays
    2-D outside, because trainers sum it to count tokens.

    Raises:
        UserError: for attention implementations that take no mask (flash attention).
    """
    backbone: Any = backbone_of(model)
    implementation = _implementation(backbone)
    if implementation not in ("sdpa", "eager", "flex_attention"):
        raise UserError(
            f"The attention implementation {quoted(implementation)} cannot do shared-prefix packing",
            "It does not support block masks",
            "Load the model with attn_implementation='sdpa', 'eager' or 'flex_attention'",
        )
    if not getattr(backbone, "shared_prefix_enabled", False):
        backbone.register_forward_pre_hook(_expand_layout, with_kwargs=True)
        backbone.shared_prefix_enabled = True


def _implementation(backbone: Any) -> str:
    return str(backbone.config.get_text_config()._attn_implementation)


def _expand_layout(
    backbone: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    segment_ids, prefix_ids = kwargs.pop("segment_ids", None), kwargs.pop("prefix_ids", None)
    if segment_ids is None:
        return None
    masks = layer_masks(backbone, kwargs, segment_ids, prefix_ids)
    if kwargs.get("past_key_values") is None:
        kwargs["position_ids"] = model_positions(backbone, kwargs, segment_ids, prefix_ids)
    kwargs["attention_mask"] = masks
    return args, kwargs


def layer_masks(backbone: Any, inputs: Mapping[str, Any], segment_ids: Tensor, prefix_ids: Tensor) -> Any:
    """The mask that this model's attention takes; a dictionary by kind of layer where its layers differ.

    Args:
        backbone: see `backbone_of`.
        inputs: its inputs; `position_ids` as `pack` lays them out, and the token types.
        segment_ids, prefix_ids: (rows, keys) and (rows, queries), as `shared_prefix_mask` takes them.

    Raises:
        UserError: it has layers that no mask keeps apart (linear or chunked attention), or FlexAttention where more
            than the layout counts.
        ValueError: there is a cache that is longer than a sliding window.
    """
    kinds, window = _layers(backbone)
    images = inputs.get(_IMAGES_SEE_THEMSELVES.get(backbone.config.model_type, ""))
    cached = inputs.get("past_key_values") is not None
    if unknown := kinds - {_FULL, _SLIDING}:
        raise UserError(
            f"{unknown.pop()} cannot be packed", "No mask separates its questions", "Ask one question at a time"
        )
    implementation = _implementation(backbone)
    if implementation == "flex_attention":
        if window or images is not None:
            raise UserError(
                "The attention flex_attention cannot be used with sliding windows or image blocks",
                "Its mask does not have them",
                "Load the model with attn_implementation='sdpa'",
            )
        return flex_block_mask(segment_ids, prefix_ids)
    whole = shared_prefix_mask(segment_ids, prefix_ids)
    if images is not None and not cached:
        whole = whole | _same_image(images)
    near = whole & _in_window(inputs, segment_ids, window, cached) if window else whole
    ready = {_FULL: whole, _SLIDING: near}
    if implementation == "eager":
        ready = {kind: _additive(backbone, mask) for kind, mask in ready.items()}
    return ready if kinds - {_FULL} else ready[_SLIDING]


def has_window(backbone: Any) -> bool:
    """Whether some of a model's layers see only the nearest tokens."""
    return bool(_layers(backbone)[1])


def _layers(backbone: Any) -> tuple[set[str], int | None]:
    """The kinds of its layers, none where all are alike; and the window in which some see, if any do."""
    config = backbone.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    return kinds, None if kinds == {_FULL} else getattr(config, "sliding_window", None)


def _same_image(token_types: Tensor) -> Tensor:
    """(rows, 1, length, length): whether two tokens belong to one run of image tokens."""
    image = token_types == 1
    runs = (_changes(token_types).cumsum(-1)).masked_fill(~image, -1)
    return ((runs[:, :, None] == runs[:, None, :]) & image[:, :, None])[:, None]


def _in_window(inputs: Mapping[str, Any], segment_ids: Tensor, window: int, cached: bool) -> Tensor:
    """(rows, 1, queries, keys): whether a key's position is less than `window` before the query's."""
    keys = segment_ids.shape[1]
    if cached:  # where its keys stand is not known any more
        if keys > window:
            raise ValueError(f"{keys} tokens are more than the sliding window of {window}")
        return segment_ids.new_ones(1, 1, 1, 1).bool()
    positions: Tensor = inputs["position_ids"]
    return (positions[:, :, None] - positions[:, None, :] < window)[:, None]


def _additive(backbone: Any, mask: Tensor) -> Tensor:
    """The mask as eager attention takes it: added to the scores."""
    import torch

    dtype = backbone.get_input_embeddings().weight.dtype
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def model_positions(backbone: Any, inputs: Mapping[str, Any], segment_ids: Tensor, prefix_ids: Tensor) -> Tensor:
    """Position ids as this model counts them: (rows, length), or (3, rows, length) for M-RoPE with images.

    M-RoPE models (Qwen-VL) give image tokens positions in time, height and width; their own `get_rope_index` reads the
    row straight through, and `restart_positions` does the rest.
    """
    positions: Tensor = inputs["position_ids"]
    if inputs.get("image_grid_thw") is None or not hasattr(backbone, "get_rope_index"):
        return positions
    straight, _ = backbone.get_rope_index(
        inputs["input_ids"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        image_grid_thw=inputs["image_grid_thw"],
        attention_mask=inputs["attention_mask"],
    )
    return restart_positions(straight, segment_ids, prefix_ids)
