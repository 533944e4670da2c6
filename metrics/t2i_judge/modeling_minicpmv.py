"""MiniCPM-V-2.6 on transformers' own SigLIP encoder and Qwen2 model, with own NaViT embeddings and resampler.

The mathematics follows openbmb/MiniCPM-V-2_6; golden vectors of the original code hold it there (tests/data/minicpmv).
Nothing is kept in non-persistent buffers, because `from_pretrained` of transformers 5 leaves those uninitialised.
"""

# mypy: disable-error-code="assignment,override,misc,arg-type,union-attr"
# (transformers declares wider attribute and argument types than its own subclasses use)

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear, scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationMixin, PreTrainedModel, Qwen2Model, SiglipPreTrainedModel, SiglipVisionConfig
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from transformers.models.siglip.modeling_siglip import SiglipEncoder
from transformers.utils.generic import can_return_tuple

from .configuration_minicpmv import MiniCPMVConfig

# Upstream tensor name (as a pattern) -> name here. Loading applies it, `save_pretrained` reverses it.
CHECKPOINT_RENAMINGS = {
    r"^llm.model.": "model.language_model.",
    r"^llm.lm_head.": "lm_head.",
    r"^vpm.": "model.vision_tower.",
    r"^resampler.": "model.resampler.",
}
RESAMPLER_HEAD_DIM = 128


@lru_cache(maxsize=1024)
def position_buckets(patches: int, grid_side: int) -> tuple[int, ...]:
    """Index in the trained position grid, of `grid_side` cells, of each of `patches` patches along one side.

    The reference computes this in float32 and its rounding shows: for 25, 49, 50, 55... patches the result is neither
    floor(grid_side * i / patches) nor what transformers' own nearest positions give. Hence float32 here, on any device.
    """
    edges = torch.arange(1 / grid_side, 1.0, 1 / grid_side)
    step = 1 / torch.tensor(patches, dtype=torch.float32)
    places = torch.arange(0, 1 - 1e-6, step.item())
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


class MiniCPMVPreTrainedModel(PreTrainedModel):
    """What the classes of the port share."""

    config: MiniCPMVConfig
    config_class = MiniCPMVConfig
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _no_split_modules = ["Qwen2DecoderLayer", "SiglipEncoderLayer", "MiniCPMVVisionEmbeddings", "MiniCPMVResampler"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MiniCPMVResampler):
            init.trunc_normal_(module.query, std=0.02)
            init.normal_(module.proj, std=module.proj.shape[0] ** -0.5)
        elif isinstance(module, MiniCPMVResamplerAttention):
            init.xavier_uniform_(module.in_proj_weight)
            init.zeros_(module.in_proj_bias)


class MiniCPMVModel(MiniCPMVPreTrainedModel):
    """Vision tower, resampler and Qwen2 model, without the language-modelling head."""

    def __init__(self, config: MiniCPMVConfig) -> None:
        super().__init__(config)
        self.vision_tower = MiniCPMVVisionTower._from_config(config.vision_config)
        self.resampler = MiniCPMVResampler(config)
        self.language_model = Qwen2Model._from_config(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.embed_tokens = value

    def get_image_features(self, pixel_values: torch.Tensor, target_sizes: torch.Tensor) -> torch.Tensor:
        """Features of packed slices, without gradient where vision tower and resampler are frozen.

        Args:
            pixel_values: (1, channels, patch, patches * patch), as the processor packs them.
            target_sizes: (slices, 2), rows and columns of patches.

        Returns:
            (slices, query_num, hidden).
        """
        trained = (*self.vision_tower.parameters(), *self.resampler.parameters())
        frozen = not any(parameter.requires_grad for parameter in trained)
        sizes, step = target_sizes.tolist(), self.config.vision_batch_size
        with torch.no_grad() if frozen else nullcontext():
            embeddings = self.vision_tower.embeddings(pixel_values.to(self.vision_tower.dtype), sizes)
            slices = embeddings.split([height * width for height, width in sizes])
            features = [
                self.resampler(*self.vision_tower(slices[i : i + step]), sizes[i : i + step])
                for i in range(0, len(slices), step)
            ]
        return torch.cat(features)

    def get_placeholder_mask(self, input_ids: torch.Tensor) -> torch.Tensor:
        """True where `input_ids` (batch, length) reserves a place for an image feature.

        Such a place lies in a run of `query_num` equal tokens strictly between `<image>` and `</image>` or `<slice>`
        and `</slice>`; the same token elsewhere (a user may well type `<unk>`) is text.
        """
        config, places = self.config, torch.zeros_like(input_ids, dtype=torch.bool)
        if input_ids.shape[1] < config.query_num + 2:
            return places
        windows = input_ids.unfold(1, config.query_num + 2, 1)
        first, last, run = windows[..., 0], windows[..., -1], windows[..., 1:-1]
        image = (first == config.image_start_id) & (last == config.image_end_id)
        slice_ = (first == config.slice_start_id) & (last == config.slice_end_id)
        spans = (image | slice_) & (run == run[..., :1]).all(-1)
        rows, starts = spans.nonzero(as_tuple=True)
        columns = starts[:, None] + torch.arange(1, config.query_num + 1, device=input_ids.device)
        places[rows[:, None], columns] = True
        return places

    def embed_images(
        self, input_ids: torch.Tensor, pixel_values: torch.Tensor, target_sizes: torch.Tensor
    ) -> torch.Tensor:
        """Token embeddings (batch, length, hidden) with the image features in their places, in order.

        Raises:
            ValueError: where the text reserves another number of places than there are features.
        """
        inputs_embeds = self.get_input_embeddings()(input_ids)
        places = self.get_placeholder_mask(input_ids)
        reserved, slices = int(places.sum()), len(target_sizes)
        if reserved != slices * self.config.query_num:
            raise ValueError(
                f"Image features and image tokens do not match: the text reserves {reserved} places, {slices} slices "
                f"fill {slices * self.config.query_num}. A max_length that cuts image tokens does this."
            )
        features = self.get_image_features(pixel_values, target_sizes).to(inputs_embeds)
        return inputs_embeds.masked_scatter(places[..., None], features)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        target_sizes: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Hidden states of a batch; images only where `pixel_values` and `target_sizes` are given.

        Args:
            input_ids: (batch, length).
            pixel_values, target_sizes: slices of the whole batch, in the order of their markers.
            attention_mask: (batch, length), or a 4-D mask that the Qwen2 model takes as it is (shared-prefix packing).
            position_ids: (batch, length); by default the attended tokens are counted, so that padding shifts nothing.
            past_key_values, use_cache, inputs_embeds: as in transformers' Qwen2 model.
        """
        if pixel_values is not None and inputs_embeds is None:
            inputs_embeds = self.embed_images(input_ids, pixel_values, target_sizes)
        if position_ids is None and attention_mask is not None and attention_mask.ndim == 2:
            new = inputs_embeds if input_ids is None else input_ids
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -new.shape[1] :]
        return self.language_model(
            input_ids=input_ids if inputs_embeds is None else None,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )


class MiniCPMVForConditionalGeneration(MiniCPMVPreTrainedModel, GenerationMixin):
    """MiniCPM-V-2.6 with its language-modelling head."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}

    def __init__(self, config: MiniCPMVConfig) -> None:
        super().__init__(config)
        self.model = MiniCPMVModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_image_features(self, pixel_values: torch.Tensor, target_sizes: torch.Tensor) -> torch.Tensor:
        """See `MiniCPMVModel.get_image_features`."""
        return self.model.get_image_features(pixel_values, target_sizes)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        target_sizes: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits of a batch, and the loss where `labels` (batch, length; -100 ignored) are given.

        Takes what `MiniCPMVModel.forward` takes; `logits_to_keep` as in transformers: 0 for all positions, n for the
        last n, or their indices.
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            target_sizes=target_sizes,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        target_sizes: torch.Tensor | None = None,
        is_first_iteration: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Images enter on the first step only; later steps find them in the cache."""
        inputs = super().prepare_inputs_for_generation(input_ids, is_first_iteration=is_first_iteration, **kwargs)
        if is_first_iteration or not kwargs.get("use_cache", True):
            inputs |= {"pixel_values": pixel_values, "target_sizes": target_sizes}
        return inputs
