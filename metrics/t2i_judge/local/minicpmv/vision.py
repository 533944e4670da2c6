"""The eyes of MiniCPM-V-2.6: SigLIP on patches of any grid (NaViT), and the resampler that makes tokens of them.

The mathematics follows openbmb/MiniCPM-V-2_6. Positions are computed when needed: transformers 5 leaves non-persistent
buffers uninitialised in `from_pretrained`.
"""

# mypy: disable-error-code="assignment,override,misc,arg-type,union-attr"
# (transformers declares wider attribute and argument types than its own subclasses use)

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear, scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence
from transformers import SiglipPreTrainedModel, SiglipVisionConfig
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.siglip.modeling_siglip import SiglipEncoder

from .configuration import MiniCPMVConfig

RESAMPLER_HEAD_DIM = 128


@lru_cache(maxsize=1024)
def position_buckets(patches: int, grid_side: int) -> tuple[int, ...]:
    """Index in the trained position grid, of `grid_side` cells, of each of `patches` patches along one side.

    The reference computes this in float32 and its rounding shows: for 25, 49, 50, 55... patches the result is neither
    floor(grid_side * i / patches) nor what transformers' own nearest positions give. Hence float32 here, on any device.
    """
    exact: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}  # whatever the defaults of the moment are
    edges = torch.arange(1 / grid_side, 1.0, 1 / grid_side, **exact)
    step = 1 / torch.tensor(patches, **exact)
    places = torch.arange(0, 1 - 1e-6, step.item(), **exact)
    return tuple(torch.bucketize(places, edges, right=True).tolist())


@lru_cache(maxsize=1024)
def _sincos(dim: int, length: int) -> torch.Tensor:
    """Sines then cosines of the places 0..length-1, float32 (length, dim)."""
    omega = 1.0 / 10000 ** (np.arange(dim // 2, dtype=np.float32) / (dim / 2.0))
    angles = np.arange(length, dtype=np.float32)[:, None] * omega.astype(np.float32)
    return torch.from_numpy(np.concatenate([np.sin(angles), np.cos(angles)], axis=1))


def sincos_positions(dim: int, height: int, width: int, device: torch.device) -> torch.Tensor:
    """The resampler's position table, float32 (height, width, dim): first half the column, second half the row."""
    columns = _sincos(dim // 2, width).to(device)[None].expand(height, -1, -1)
    rows = _sincos(dim // 2, height).to(device)[:, None].expand(-1, width, -1)
    return torch.cat([columns, rows], dim=-1)


class MiniCPMVVisionEmbeddings(nn.Module):
    """Patch embeddings plus positions of the nearest cells of the trained grid (NaViT, arXiv 2307.06304)."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        self.patch_size = int(config.patch_size)
        self.grid_side = int(config.image_size) // self.patch_size
        self.patch_embedding = nn.Conv2d(
            config.num_channels, config.hidden_size, kernel_size=self.patch_size, stride=self.patch_size
        )
        self.position_embedding = nn.Embedding(self.grid_side**2, config.hidden_size)

    def forward(self, pixel_values: torch.Tensor, target_sizes: list[list[int]]) -> torch.Tensor:
        """Embed a packed strip of patches.

        Args:
            pixel_values: (1, channels, patch, patches * patch), the patches of all slices side by side.
            target_sizes: rows and columns of patches of each slice.

        Returns:
            (patches, hidden), the slices one after another.
        """
        patches = pixel_values[0].unflatten(-1, (-1, self.patch_size)).permute(2, 0, 1, 3)
        ids = [
            row * self.grid_side + column
            for height, width in target_sizes
            for row in position_buckets(height, self.grid_side)
            for column in position_buckets(width, self.grid_side)
        ]
        position_ids = torch.tensor(ids, device=pixel_values.device)
        return self.patch_embedding(patches).flatten(1) + self.position_embedding(position_ids)


class MiniCPMVVisionTower(SiglipPreTrainedModel):
    """SigLIP for slices of any shape; no head, no pooling."""

    config: SiglipVisionConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _input_embed_layer = "patch_embedding"

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__(config)
        self.embeddings = MiniCPMVVisionEmbeddings(config)
        self.encoder = SiglipEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def forward(self, embeddings: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode slices, each of which sees only itself.

        Args:
            embeddings: one (patches, hidden) tensor a slice.

        Returns:
            Hidden states (slices, longest, hidden), zero-padded on the right, and the mask (slices, longest), true on
            patches.
        """
        hidden = pad_sequence(embeddings, batch_first=True)
        lengths = torch.tensor([len(slice_) for slice_ in embeddings], device=hidden.device)
        mask = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
        attention = create_bidirectional_mask(config=self.config, inputs_embeds=hidden, attention_mask=mask)
        encoded = self.encoder(inputs_embeds=hidden, attention_mask=attention).last_hidden_state
        return self.post_layernorm(encoded), mask


class MiniCPMVResamplerAttention(nn.Module):
    """Multi-head cross-attention under nn.MultiheadAttention's parameter names.

    Not that class itself: it reads `out_proj.weight` directly, which gives garbage once the layer is 4-bit.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.num_heads = hidden_size // RESAMPLER_HEAD_DIM
        self.in_proj_weight = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * hidden_size))
        self.out_proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """From (batch, queries, hidden) to keys and values (batch, keys, hidden); `mask` is true on real keys."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        query, key, value = (
            linear(states, weight, bias).unflatten(-1, (self.num_heads, RESAMPLER_HEAD_DIM)).transpose(1, 2)
            for states, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        attended = scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class MiniCPMVResampler(nn.Module):
    """One cross-attention from `query_num` learned queries to the patches of a slice."""

    def __init__(self, config: MiniCPMVConfig) -> None:
        super().__init__()
        hidden_size = config.hidden_size
        self.query = nn.Parameter(torch.empty(config.query_num, hidden_size))
        self.kv_proj = nn.Linear(config.vision_config.hidden_size, hidden_size, bias=False)
        self.attn = MiniCPMVResamplerAttention(hidden_size)
        self.ln_q = nn.LayerNorm(hidden_size, eps=1e-6)
        self.ln_kv = nn.LayerNorm(hidden_size, eps=1e-6)
        self.ln_post = nn.LayerNorm(hidden_size, eps=1e-6)
        self.proj = nn.Parameter(torch.empty(hidden_size, hidden_size))

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor, target_sizes: list[list[int]]) -> torch.Tensor:
        """Slices (slices, patches, vision hidden) with their mask and sizes -> features (slices, query_num, hidden)."""
        values = self.ln_kv(self.kv_proj(hidden))
        dim, device = values.shape[-1], values.device
        tables = [sincos_positions(dim, height, width, device).flatten(0, 1) for height, width in target_sizes]
        keys = values + pad_sequence(tables, batch_first=True).to(values.dtype)
        queries = self.ln_q(self.query).expand(len(values), -1, -1)
        return self.ln_post(self.attn(queries, keys, values, mask)) @ self.proj
