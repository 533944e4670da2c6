"""Benchmark of zero-shot judging: twelve questions about a picture packed into one forward, against one forward each.

    python -m recipes.bench zero_shot

A Qwen2.5-VL of a few million random parameters, on the CPU. Both ways must give the same scores.
"""

from __future__ import annotations

import statistics
from typing import Any

from t2i_judge.local.answers import AnswerModel
from t2i_judge.local.prompting import Asking
from t2i_judge.local.ways import BY_NAME, PACKED, PLAIN

from .packing import ROUNDS, TOKENIZER, limit, ratio

QUESTIONS, GOAL, EQUAL = 12, 6, 1e-3
_IMAGE = "<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>"
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_PIXELS = 896  # a side: 1,024 tokens, as a photograph has
_TURN = "Is there a red circle {}? Is the answer yes?"  # about 45 tokens of this vocabulary of letters, as ours have
Line = dict[str, Any]


def bench() -> list[Line]:
    """All of this module's lines; about a minute."""
    return [packed_speedup()]


def packed_speedup(questions: int = QUESTIONS) -> Line:
    """Seconds of the plain way over those of the packed one. Raises RuntimeError where their scores differ."""
    import numpy as np
    import torch
    from PIL import Image

    model = _model()
    noise = np.random.default_rng(0).integers(0, 256, (_PIXELS, _PIXELS, 3), dtype=np.uint8)
    asking = Asking([Image.fromarray(noise)], [_TURN.format(number % 10) for number in range(questions)])

    def scores(way: str) -> Any:
        with torch.inference_mode():
            [read] = BY_NAME[way](model.model, model.prompter, [asking])
        yes, no = (read.log_probabilities[:, list(tokens)].logsumexp(-1) for tokens in model.tokens.values())
        return 10 * torch.sigmoid(yes - no)

    difference = float((scores(PACKED) - scores(PLAIN)).abs().max())
    if difference > EQUAL:
        raise RuntimeError(f"packed and plain scores differ by {difference:.1g}")
    [group], _ = model.prompter.groups([asking])
    bound = limit(len(group.prefix), statistics.mean(map(len, group.segments)), questions)
    value = ratio(lambda: scores(PLAIN), lambda: scores(PACKED))
    return {"name": "zero_shot_packed_speedup", "value": value, "unit": "x", "goal": GOAL, "limit": bound, "n": ROUNDS}


def _model() -> AnswerModel:
    """Always the same one."""
    import torch
    from transformers import (
        AutoTokenizer,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2VLImageProcessorPil,
    )

    from t2i_judge.local.processors import images_only

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", *_IMAGE]})
    names = ("vision_start", "image", "vision_end", "video")
    ids: dict[str, Any] = {f"{n}_token_id": tokenizer.convert_tokens_to_ids(t) for n, t in zip(names, _IMAGE)}
    text: dict[str, Any] = {
        "hidden_size": 256,
        "intermediate_size": 2048,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
    }
    text |= {"num_key_value_heads": 2, "vocab_size": len(tokenizer)}
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [8, 12, 12]}}
    vision: dict[str, Any] = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 2,
        "out_hidden_size": 256,
    }
    text |= {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=torch.float32)
    images = Qwen2VLImageProcessorPil(max_pixels=_PIXELS**2)
    processor = images_only("Qwen2_5_VLProcessor").from_args_and_dict([images, tokenizer], {"chat_template": _TEMPLATE})
    return AnswerModel(model, processor)
