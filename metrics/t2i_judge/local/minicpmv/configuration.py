"""Configuration of MiniCPM-V-2.6, flat as on the Hub: Qwen2's fields at top level, SigLIP's in `vision_config`."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import Qwen2Config, SiglipVisionConfig
from transformers.configuration_utils import SubConfigSpec

# Upstream's tokenizer puts its image tokens directly behind `<|im_end|>` (eos), always in this order.
_OFFSETS_FROM_EOS = {"image_start_id": 1, "image_end_id": 2, "slice_start_id": 11, "slice_end_id": 12}
# SigLIP so400m on a grid of 70 x 70 patches.
_SO400M = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "image_size": 980,
    "patch_size": 14,
}


@strict
class MiniCPMVConfig(Qwen2Config):
    """Configuration of `MiniCPMVForConditionalGeneration`; reads and writes openbmb/MiniCPM-V-2_6's own config.json.

    It is a Qwen2 configuration, so `get_text_config()` returns the object itself. Without arguments it is the published
    8.1B model's.

    Args:
        vision_config: the SigLIP tower (`SiglipVisionConfig` or its fields).
        query_num: tokens that the resampler makes of each slice.
        vision_batch_size: most slices that go through the vision tower at once; bounds memory, changes no number.
        image_start_id, image_end_id, slice_start_id, slice_end_id: ids of `<image>`, `</image>`, `<slice>`, `</slice>`;
            left out, they follow from `eos_token_id` as in upstream's vocabulary.
        version: must be 2.6; the other MiniCPM-V versions share the model type but not the architecture.

    Raises:
        ValueError: for the configuration of another MiniCPM-V version.
    """

    model_type = "minicpmv"
    sub_configs_defaults = {"vision_config": SubConfigSpec(SiglipVisionConfig, init_kwargs=_SO400M)}
    default_theta = 1000000.0

    vocab_size: int = 151666
    hidden_size: int = 3584
    intermediate_size: int = 18944
    num_hidden_layers: int = 28
    num_attention_heads: int = 28
    num_key_value_heads: int | None = 4
    bos_token_id: int | None = 151643
    eos_token_id: int | list[int] | None = 151645
    vision_config: Any = None
    slice_config: dict[str, Any] | None = None
    query_num: int = 64
    image_size: int = 448
    patch_size: int = 14
    vision_batch_size: int = 16
    drop_vision_last_layer: bool = False
    use_image_id: bool = True
    slice_mode: bool = True
    batch_vision_input: bool = True
    version: float | str = 2.6
    image_start_id: int | None = None
    image_end_id: int | None = None
    slice_start_id: int | None = None
    slice_end_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if str(self.version) != "2.6":
            raise ValueError(
                f"This is the configuration of MiniCPM-V version {self.version}; this port is of version 2.6 only. "
                "Use openbmb/MiniCPM-V-2_6, or a class made for that version."
            )
        if self.drop_vision_last_layer:
            raise ValueError("drop_vision_last_layer=true: version 2.6 uses every stored vision layer.")
        kwargs.pop("auto_map", None)  # remote code: never followed, so never written back
        super().__post_init__(**kwargs)
        for name, offset in _OFFSETS_FROM_EOS.items():
            if getattr(self, name) is None and isinstance(self.eos_token_id, int):
                setattr(self, name, self.eos_token_id + offset)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in transformers; a config.json without a version is of 2.0 or 2.5, which wrote none."""
        if "version" not in config_dict:
            config_dict = config_dict | {"version": 2.0 if config_dict.get("hidden_size") == 2304 else 2.5}
        return super().from_dict(config_dict, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """The fields as upstream writes them: its architecture name, and a flat `rope_theta` for older readers."""
        fields = super().to_dict()
        fields["architectures"] = ["MiniCPMV"]
        fields["rope_theta"] = fields["rope_parameters"]["rope_theta"]
        for name, offset in _OFFSETS_FROM_EOS.items():
            if isinstance(self.eos_token_id, int) and fields.get(name) == self.eos_token_id + offset:
                del fields[name]
        return fields
