"""A cache that is written on for hundreds of steps without being copied each time, as transformers' own is."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_MORE = 0.5  # room that is made beyond what is needed, as a share of it: every column is copied about twice in all


def grow(cache: Any) -> None:
    """Give each plain layer of a filled cache room to grow; other kinds of layers and of caches stay as they are."""
    if isinstance(cache, DynamicCache):
        cache.layers = [_Growing(layer) if type(layer) is DynamicLayer else layer for layer in cache.layers]


class _Growing(DynamicLayer):
    """Keys and values as views of larger tensors, into whose free columns the new ones are written."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype, self.device, self.is_initialized = layer.dtype, layer.device, layer.is_initialized
        filled: Any = layer
        self.keys, self.values = filled.keys, filled.values
        self._rooms: tuple[torch.Tensor, ...] = ()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new columns behind the others; see `DynamicLayer.update`."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if not self._rooms or end > self._rooms[0].shape[-2]:
            self._rooms = tuple(_with_room(states, end + int(_MORE * end)) for states in (self.keys, self.values))
        for room, states in zip(self._rooms, (key_states, value_states), strict=True):
            room[..., start:end, :] = states
        self.keys, self.values = (room[..., :end, :] for room in self._rooms)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows, which are copied; see `DynamicLayer.batch_select_indices`."""
        super().batch_select_indices(indices)
        self._rooms = ()


def _with_room(states: torch.Tensor, columns: int) -> torch.Tensor:
    """(rows, heads, length, dim) -> (rows, heads, columns, dim), the first of them filled."""
    room = states.new_empty((*states.shape[:-2], columns, states.shape[-1]))
    room[..., : states.shape[-2], :] = states
    return room
