"""Vision-language models of many families at toy size, random, in folders as their users have them.

    folder = write_family("qwen2_5_vl", tmp_path / "qwen")      # a name of `FAMILIES`

Every vocabulary holds single tokens for yes and no in several spellings, as real ones do. Weights are larger than a
usual start, so that what goes wrong in a position or a mask is seen in the logits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.families import MINICPMV

HIDDEN = 32
_WORDS = ("yes", "Yes", "YES", "no", "No", "two", "three")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CHAT_TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


def _tokenizer(*special: str, bos: str | None = None, **named: str) -> Any:
    """Byte-level BPE that knows a few words; with `bos`, one that begins every text with it, as Llama's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = []
    for word in (*_WORDS, *(f"Ġ{word}" for word in _WORDS)):
        for cut in range(2, len(word) + 1):
            if word[:cut] not in vocabulary:
                vocabulary[word[:cut]] = len(vocabulary)
                merges.append((word[: cut - 1], word[cut - 1]))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"} | ({"bos_token": bos} if bos else {})
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, extra_special_tokens=named or None, **names)
    fast.add_special_tokens(
        {"additional_special_tokens": [*_CHAT_TOKENS, *special]}, replace_extra_special_tokens=False
    )
    if bos:
        ids = [(bos, fast.convert_tokens_to_ids(bos))]
        fast.backend_tokenizer.post_processor = processors.TemplateProcessing(f"{bos} $A", special_tokens=ids)
    return fast


def _text(tokenizer: Any, **rest: Any) -> dict[str, Any]:
    """Sizes of a small language model."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 4096,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        **rest,
    }


_SIGLIP = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 8,
}
_HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}}


def _qwen_tokens() -> tuple[Any, dict[str, int]]:
    tokenizer = _tokenizer("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")
    names = {"vision_start": "vision_start", "image_pad": "image", "vision_end": "vision_end", "video_pad": "video"}
    return tokenizer, {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for token, name in names.items()
    }


_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
_QWEN_PIXELS = {"patch_size": 8, "temporal_patch_size": 2, "merge_size": 2, "min_pixels": 256, "max_pixels": 4096}


def _qwen2_5_vl() -> tuple[Any, ...]:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer, ids = _qwen_tokens()
    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 8}
    vision |= {"out_hidden_size": HIDDEN, "window_size": 32, "fullatt_block_indexes": [1]}
    config = Qwen2_5_VLConfig(text_config=_text(tokenizer, **_MROPE), vision_config=vision, **ids)
    images = {"image_processor_type": "Qwen2VLImageProcessor", **_QWEN_PIXELS}
    return Qwen2_5_VLForConditionalGeneration, config, tokenizer, "Qwen2_5_VLProcessor", images, _QWEN_IMAGE


def _qwen3_vl() -> tuple[Any, ...]:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    tokenizer, ids = _qwen_tokens()
    config = Qwen3VLConfig(text_config=_text(tokenizer, **_MROPE), vision_config=_QWEN3_VISION, **ids)
    images = {"image_processor_type": "Qwen2VLImageProcessor", **_QWEN_PIXELS}
    return Qwen3VLForConditionalGeneration, config, tokenizer, "Qwen3VLProcessor", images, _QWEN_IMAGE


_QWEN3_VISION = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_heads": 2,
    "patch_size": 8,
    "out_hidden_size": HIDDEN,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0],
}


def _linear(tokenizer: Any) -> dict[str, Any]:
    """A language model with linear attention in every second layer."""
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 0], "partial_rotary_factor": 0.5}
    sizes = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2}
    sizes |= {"linear_num_value_heads": 2, "linear_conv_kernel_dim": 2, "full_attention_interval": 2}
    return _text(tokenizer, rope_parameters=rope, **sizes)


def _qwen3_5() -> tuple[Any, ...]:
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    tokenizer, ids = _qwen_tokens()
    vision = {name: value for name, value in _QWEN3_VISION.items() if name != "deepstack_visual_indexes"}
    config = Qwen3_5Config(text_config=_linear(tokenizer), vision_config=vision, **ids)
    images = {"image_processor_type": "Qwen2VLImageProcessor", **_QWEN_PIXELS}
    return Qwen3_5ForConditionalGeneration, config, tokenizer, "Qwen3VLProcessor", images, _QWEN_IMAGE


def _internvl() -> tuple[Any, ...]:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    tokenizer = _tokenizer(**named, video_token="<video>")
    vision = {**_SIGLIP, "image_size": [32, 32], "patch_size": [8, 8]}
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **_text(tokenizer)},
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    images = {"image_processor_type": "GotOcr2ImageProcessor", "size": {"height": 32, "width": 32}, **_HALVES}
    images |= {"crop_to_patches": True, "max_patches": 4}
    return (
        InternVLForConditionalGeneration,
        config,
        tokenizer,
        "InternVLProcessor",
        images,
        "<IMG_CONTEXT>\n",
        {"image_seq_length": 4},
    )


def _llava() -> tuple[Any, ...]:
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    tokenizer = _tokenizer("<image>", bos="<s>")
    config = LlavaConfig(
        text_config={"model_type": "llama", **_text(tokenizer)},
        vision_config={"model_type": "clip_vision_model", "image_size": 32, "projection_dim": 16, **_SIGLIP},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    images = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, **_HALVES}
    images |= {"crop_size": {"height": 32, "width": 32}}
    rest = {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return LlavaForConditionalGeneration, config, tokenizer, "LlavaProcessor", images, "<image>\n", rest


def _idefics3() -> tuple[Any, ...]:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    return _idefics(Idefics3Config, Idefics3ForConditionalGeneration, "Idefics3Processor", "Idefics3ImageProcessor")


def _smolvlm() -> tuple[Any, ...]:
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    return _idefics(SmolVLMConfig, SmolVLMForConditionalGeneration, "SmolVLMProcessor", "SmolVLMImageProcessor")


def _idefics(config_class: Any, model: Any, processor: str, images_class: str) -> tuple[Any, ...]:
    rows = [f"<row_{row}_col_{column}>" for row in (1, 2, 3, 4) for column in (1, 2, 3, 4)]
    named = {
        "image_token": "<image>",
        "fake_image_token": "<fake_token_around_image>",
        "global_image_token": "<global-img>",
        "end_of_utterance_token": "<end_of_utterance>",
    }
    tokenizer = _tokenizer(*rows, **named)
    config = config_class(
        text_config={"model_type": "llama", **_text(tokenizer)},
        vision_config={"image_size": 32, **_SIGLIP},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    images = {"image_processor_type": images_class, "size": {"longest_edge": 64}, **_HALVES}
    images |= {"max_image_size": {"longest_edge": 32}, "do_image_splitting": True}
    return model, config, tokenizer, processor, images, "<image>", {"image_seq_len": 4}


def _gemma3() -> tuple[Any, ...]:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer = _tokenizer(bos="<bos>", **named)
    layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 12}
    rope = {kind: {"rope_type": "default", "rope_theta": 1e4} for kind in ("sliding_attention", "full_attention")}
    config = Gemma3Config(
        text_config=_text(tokenizer, rope_parameters=rope, query_pre_attn_scalar=8, **layers),
        vision_config={"image_size": 32, **_SIGLIP},
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
    )
    images = {"image_processor_type": "Gemma3ImageProcessor", "size": {"height": 32, "width": 32}, **_HALVES}
    template_image = "<start_of_image>"
    return (
        Gemma3ForConditionalGeneration,
        config,
        tokenizer,
        "Gemma3Processor",
        images,
        template_image,
        {"image_seq_length": 4},
    )


def _minicpmv4_6() -> tuple[Any, ...]:
    from transformers import MiniCPMV4_6Config, MiniCPMV4_6ForConditionalGeneration

    named = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "image_start_token": "<image>",
        "image_end_token": "</image>",
        "slice_start_token": "<slice>",
        "slice_end_token": "</slice>",
        "image_id_start_token": "<image_id>",
        "image_id_end_token": "</image_id>",
    }
    tokenizer = _tokenizer(**named)
    vision = {**_SIGLIP, "patch_size": 14, "image_size": 56, "insert_layer_id": 0}
    config = MiniCPMV4_6Config(
        text_config={"model_type": "qwen3_5_text", **_linear(tokenizer)},
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        patch_size=14,
    )
    images = {"image_processor_type": "MiniCPMV4_6ImageProcessor", "scale_resolution": 56, "patch_size": 14, **_HALVES}
    return MiniCPMV4_6ForConditionalGeneration, config, tokenizer, "MiniCPMV4_6Processor", images, "<|image_pad|>"


def _mllama() -> tuple[Any, ...]:
    from transformers import MllamaConfig, MllamaForConditionalGeneration

    tokenizer = _tokenizer("<|image|>", bos="<|begin_of_text|>")
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
        "attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "max_num_tiles": 4,
        "vision_output_dim": 32,
        "intermediate_layers_indices": [1],
        "supported_aspect_ratios": [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
    }
    text = _text(tokenizer, num_hidden_layers=3, cross_attention_layers=[1])
    text["vocab_size"] = len(tokenizer) - 1  # the image token comes behind the vocabulary
    config = MllamaConfig(
        text_config=text, vision_config=vision, image_token_index=tokenizer.convert_tokens_to_ids("<|image|>")
    )
    images = {"image_processor_type": "MllamaImageProcessor", "size": {"height": 32, "width": 32}, **_HALVES}
    images |= {"max_image_tiles": 4}
    return MllamaForConditionalGeneration, config, tokenizer, "MllamaProcessor", images, "<|image|>"


_MAKERS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "internvl": _internvl,
    "llava": _llava,
    "idefics3": _idefics3,
    "smolvlm": _smolvlm,
    "gemma3": _gemma3,
    "qwen3_5": _qwen3_5,
    "minicpmv4_6": _minicpmv4_6,
    "mllama": _mllama,
}
FAMILIES = (*_MAKERS, "minicpmv")


def write_family(name: str, folder: Path) -> Path:
    """Write a random model of that family, with its processor and chat template, and return the folder."""
    import torch

    if name == "minicpmv":
        return _write_minicpmv(folder)
    model_class, config, tokenizer, processor, images, image, *rest = _MAKERS[name]()
    torch.manual_seed(0)
    model = model_class._from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6) if parameter.ndim > 1 else parameter.add_(torch.randn_like(parameter) * 0.2)
            if not parameter.any():  # some projections start with nothing, and would show no image
                parameter.normal_(std=0.3)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(CHATML.replace("IMAGE", image))
    (folder / "preprocessor_config.json").write_text(json.dumps(images | {"processor_class": processor}))
    if rest:
        (folder / "processor_config.json").write_text(json.dumps(rest[0] | {"processor_class": processor}))
    return folder


def _write_minicpmv(folder: Path) -> Path:
    """The tiny MiniCPM-V-2.6 in upstream's layout, which learns to spell yes and no."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from t2i_judge.local.minicpmv.registration import register

    register()
    model = AutoModelForImageTextToText.from_pretrained(MINICPMV, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(MINICPMV)
    processor.tokenizer.add_tokens([*_WORDS, *(f" {word}" for word in _WORDS)])
    torch.manual_seed(0)
    model.resize_token_embeddings(len(processor.tokenizer))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
