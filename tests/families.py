"""Two model families at toy size: the MiniCPM-V-2.6 port and Qwen3-VL with its three-dimensional positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MINICPMV = Path(__file__).parent / "data" / "minicpmv" / "tiny_hub_layout"
FAMILIES = ("minicpmv", "qwen3_vl")
_IM_START, _IM_END, _PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
_VISION = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")
QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'][0]['text'] }}<|im_end|>"
    "{% endgeneration %}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>"
    "{% endif %}\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def family(name: str, attention: str = "sdpa") -> tuple[Any, Any]:
    """Model in float32 (the same each time) and processor."""
    return (_minicpmv if name == "minicpmv" else _qwen3_vl)(attention)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise, so that no two places look alike."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def _minicpmv(attention: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from t2i_judge.local.minicpmv.registration import register

    register()
    model = AutoModelForImageTextToText.from_pretrained(MINICPMV, dtype=torch.float32, attn_implementation=attention)
    return model, AutoProcessor.from_pretrained(MINICPMV)


def _qwen3_vl(attention: str) -> tuple[Any, Any]:
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    class ImagesOnly(Qwen3VLProcessor):
        """Video processors need torchvision, which the project does not."""

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument_name == "video_processor":
                return None
            return super().check_argument_for_proper_class(argument_name, argument)

    tokenizer = _byte_tokenizer()
    ids = dict(zip(("vision_start", "image", "vision_end", "video"), tokenizer.convert_tokens_to_ids(list(_VISION))))
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]},
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "patch_size": 8,
        "out_hidden_size": 64,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    }
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        **{f"{name}_token_id": ids[name] for name in ids},
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration._from_config(config, attn_implementation=attention).float()
    with torch.no_grad():
        for parameter in model.parameters():  # the usual start is too small to tell right from wrong
            parameter.mul_(3) if parameter.ndim > 1 else None
    images = Qwen2VLImageProcessorPil(patch_size=8, min_pixels=16 * 16, max_pixels=64 * 64)
    return model, ImagesOnly(images, tokenizer, None, chat_template=QWEN_TEMPLATE)


def _byte_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=_IM_END, pad_token=_PAD)
    fast.add_special_tokens({"additional_special_tokens": [_IM_START, *_VISION]})
    return fast
