"""MiniCPM-V-2.6 on transformers' own SigLIP encoder and Qwen2 model, with own NaViT embeddings and resampler.

The mathematics follows openbmb/MiniCPM-V-2_6; golden vectors of the original code hold it there (tests/data/minicpmv).
"""

# mypy: disable-error-code="assignment,override,misc,arg-type,union-attr,index"
# (transformers declares wider attribute and argument types than its own subclasses use)

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from transformers import GenerationMixin, PreTrainedModel, Qwen2Model
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils.generic import can_return_tuple

from .configuration import MiniCPMVConfig
from .vision import MiniCPMVResampler, MiniCPMVResamplerAttention, MiniCPMVVisionTower

# Upstream tensor name (as a pattern) -> name here. Loading applies it, `save_pretrained` reverses it.
CHECKPOINT_RENAMINGS = {
    r"^llm.model.": "model.language_model.",
    r"^llm.lm_head.": "lm_head.",
    r"^vpm.": "model.vision_tower.",
    r"^resampler.": "model.resampler.",
}


def upstream_name(name: str) -> str:
    """What upstream calls a tensor that has this name here."""
    for upstream, ours in CHECKPOINT_RENAMINGS.items():
        if name.startswith(ours):
            return upstream.removeprefix("^") + name.removeprefix(ours)
    return name


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
        """The table of token embeddings, (vocabulary, hidden)."""
        return self.language_model.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Put another table in its place."""
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
        """The table of token embeddings, (vocabulary, hidden)."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Put another table in its place."""
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

    def _expand_inputs_for_generation(
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        target_sizes: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """Rows for beams or several answers; each copy of a row needs its slices, which lie flat over the batch."""
        if pixel_values is not None and expand_size > 1:
            slices_of_row = self.model.get_placeholder_mask(input_ids).sum(1) // self.config.query_num
            numbers = torch.arange(len(target_sizes), device=target_sizes.device).split(slices_of_row.tolist())
            order = torch.cat([row.repeat(expand_size) for row in numbers])
            widths = target_sizes.prod(1) * pixel_values.shape[2]
            slices = pixel_values.split(widths.tolist(), dim=-1)
            pixel_values = torch.cat([slices[number] for number in order.tolist()], dim=-1)
            target_sizes = target_sizes[order]
        ids, kwargs = super()._expand_inputs_for_generation(expand_size, is_encoder_decoder, input_ids, **kwargs)
        return ids, kwargs | {"pixel_values": pixel_values, "target_sizes": target_sizes}
