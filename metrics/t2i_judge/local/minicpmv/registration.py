"""Registers MiniCPM-V-2.6 with transformers' Auto classes, so that its Hub folder loads without remote code."""

from __future__ import annotations


def register() -> None:
    """Register the native MiniCPM-V-2.6 classes with transformers. Calling it again changes nothing.

    Afterwards `AutoConfig`, `AutoTokenizer`, `AutoImageProcessor`, `AutoProcessor` and `AutoModelForImageTextToText`
    load a folder or Hub repository in openbmb/MiniCPM-V-2_6's layout; `save_pretrained` writes its tensor names back.
    """
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoModelForImageTextToText,
        AutoProcessor,
        AutoTokenizer,
    )
    from transformers.conversion_mapping import register_checkpoint_conversion_mapping
    from transformers.core_model_loading import WeightRenaming

    from .configuration import MiniCPMVConfig
    from .modeling import CHECKPOINT_RENAMINGS, MiniCPMVForConditionalGeneration
    from .processing import MiniCPMVImageProcessor, MiniCPMVProcessor, MiniCPMVTokenizer

    AutoConfig.register("minicpmv", MiniCPMVConfig, exist_ok=True)
    AutoTokenizer.register(MiniCPMVConfig, tokenizer_class=MiniCPMVTokenizer, exist_ok=True)
    backends: dict[str, type] = {"pil": MiniCPMVImageProcessor, "torchvision": MiniCPMVImageProcessor}
    AutoImageProcessor.register(MiniCPMVConfig, image_processor_classes=backends, exist_ok=True)
    AutoProcessor.register(MiniCPMVConfig, MiniCPMVProcessor, exist_ok=True)
    AutoModelForImageTextToText.register(MiniCPMVConfig, MiniCPMVForConditionalGeneration, exist_ok=True)
    register_checkpoint_conversion_mapping(
        MiniCPMVForConditionalGeneration.__name__,
        [WeightRenaming(upstream, ours) for upstream, ours in CHECKPOINT_RENAMINGS.items()],
        overwrite=True,
    )
