"""Four-bit training: the configuration in the port's module names, guards, and weights that lose nothing to it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from recipes.recipe.sections import Quantization
from t2i_judge.errors import UserError, quoted
from t2i_judge.local.precision import FourBit

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import BitsAndBytesConfig

# Vision, resampler and head of MiniCPM-V-2.6 stay in bf16. transformers matches a skipped name from the START of a
# module's full name: a bare "vision_tower" or "resampler" would skip nothing.
MINICPMV = Quantization(skip_modules=("lm_head", "model.vision_tower", "model.resampler"))
# LoRA on the language model only; bare "q_proj" and the like would also match the vision tower.
LANGUAGE_MODEL_LINEARS = r".*language_model\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"


def four_bit_config(quantization: Quantization = MINICPMV) -> BitsAndBytesConfig:
    """transformers' configuration of a recipe's quantisation (QLoRA, arXiv 2305.14314: NF4, double quantisation)."""
    return FourBit.from_card(asdict(quantization)).config()


def prepare_four_bit(model: Module, quantization: Quantization = MINICPMV) -> Module:
    """Make a model loaded with `four_bit_config` safe to train; a model without 4-bit layers is left as it is.

    On a CPU with avx512_bf16 the first evaluation under no_grad makes bitsandbytes 0.50 repack the 4-bit weights in
    place. Training afterwards goes on with wrong gradients and no error. So the repacking is switched off here.

    Returns:
        The same model.

    Raises:
        UserError: where a module that should have been skipped is 4-bit all the same.
    """
    from bitsandbytes.nn import Linear4bit

    four_bit = {name: module for name, module in model.named_modules() if isinstance(module, Linear4bit)}
    for skipped in quantization.skip_modules:
        parts = skipped.split(".")
        for name in four_bit:
            if parts[-1] in name.split("."):
                raise UserError(
                    f"{name} was loaded in 4 bits although the recipe skips {quoted(skipped)}",
                    "The library transformers matches a skipped name from the start of the module's full name",
                    "Write the full name, for MiniCPM-V-2.6 model.vision_tower and model.resampler",
                )
    for module in four_bit.values():
        module.support_avx512bf16_for_cpu = False
    return model


def round_to_four_bits(module: Module) -> None:
    """Replace the weights of all linear layers inside by what `four_bit_config` keeps of them, in place.

    LoRA learns on top of the rounded weights. Over weights that are rounded already, an adapter means the same with
    and without bitsandbytes; over others, a small model's does not.
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit
    from torch.nn import Linear

    for layer in module.modules():
        if isinstance(layer, Linear):
            with torch.no_grad():
                kept = quantize_4bit(layer.weight.float(), quant_type="nf4", compress_statistics=True)
                layer.weight.copy_(dequantize_4bit(*kept))
