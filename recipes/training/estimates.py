"""Estimates parameters, memory and tokens of a training from a configuration alone. No weights are loaded.

The memory figures are arithmetic, not measurements; `recipes.measure` measures on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recipes.recipe.config import Recipe, resolve
from recipes.recipe.sections import Quantization
from recipes.training.checks import V26, check_hub_version, check_version, read_object
from t2i_judge.errors import UserError
from t2i_judge.local.minicpmv.registration import register

if TYPE_CHECKING:
    from torch.nn import Module

# Bytes a weight takes in NF4: half a byte, a quantised scale for each 64 and a float for each 256 of those.
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
_LOSS_CHUNK = 256  # rows of logits that trl's fused loss holds at a time


@dataclass(frozen=True)
class Size:
    """Parameters by what becomes of them, and bytes on one device.

    Attributes:
        parameters: of the base.
        quantised: of those, in 4 bits.
        trainable: of the adapter.
        resident: bytes of base and adapter.
        training: bytes of gradients and optimizer state.
        activations: bytes of what the backward pass needs of one micro-batch, about.
    """

    parameters: int
    quantised: int
    trainable: int
    resident: float
    training: float
    activations: float

    @property
    def peak(self) -> float:
        """Bytes at the fullest moment, about."""
        return self.resident + self.training + self.activations


def base_config(recipe: Recipe) -> Any:
    """The base's configuration: from its folder, from this package for MiniCPM-V-2.6, else from the Hub.

    Raises:
        UserError: another model whose config.json is neither in a folder nor to be had from the Hub, or cannot be read.
    """
    from t2i_judge.local.minicpmv.configuration import MiniCPMVConfig

    register()
    name, revision = recipe.base.model, recipe.base.revision
    if (folder := resolve(name)).is_dir():
        check_version(read_object(folder / "config.json"), str(folder))
        return _auto_config(str(folder))
    if name == V26:
        return MiniCPMVConfig()
    try:
        check_hub_version(name, revision)
    except OSError as error:
        raise UserError(
            f"There is no config.json of {name}",
            "It has the size of the model, and it is neither in a folder of that name nor on the Hub",
            "Set base.model to a folder with its config.json, or run the command with a connection",
        ) from error
    return _auto_config(name, revision)


def _auto_config(source: str, revision: str | None = None) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"The library transformers cannot read the config.json of {source}", reason, "Check base.model"
        ) from error


def meta_model(recipe: Recipe, config: Any) -> Module:
    """The base with the recipe's adapter on the meta device: shapes without memory."""
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForImageTextToText

    from recipes.training.fine_tuning import lora_config

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
        try:
            return get_peft_model(model, lora_config(recipe))
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                "The adapter matches no module of this base", reason, "Correct adapter.target_modules"
            ) from error


def estimate(recipe: Recipe, config: Any, tokens: int) -> Size:
    """Size of the recipe's training with micro-batches of so many tokens in all (rows times tokens of a row)."""
    model = meta_model(recipe, config)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parameters = sum(p.numel() for p in model.parameters()) - trainable
    quantised = _quantised(model, recipe.quantization)
    width = 2 if recipe.training.bf16 else 4
    adapter_width = 2 if recipe.quantization and recipe.training.bf16 else 4
    resident = quantised * NF4_BYTES + (parameters - quantised) * width + trainable * adapter_width
    return Size(
        parameters,
        quantised,
        trainable,
        resident,
        trainable * adapter_width * 3,
        _activations(recipe, config.get_text_config(), tokens, width),
    )


def _quantised(model: Any, quantization: Quantization | None) -> int:
    """Weights that bitsandbytes would hold in 4 bits: those of linear layers that are not skipped."""
    from torch import nn

    if quantization is None:
        return 0
    linears = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "lora_" not in name
    }
    skipped = tuple(quantization.skip_modules)
    return sum(module.weight.numel() for name, module in linears.items() if not name.startswith(skipped))


def _activations(recipe: Recipe, text: Any, tokens: int, width: int) -> float:
    """Bytes kept for the backward pass of the language model, plus a chunk of logits.

    With checkpointing each layer keeps its input, and one layer at a time keeps its inside: about eight states of the
    hidden size (norms, queries, attention, residuals) and three of the intermediate size, and its dequantised matrix.
    """
    inside = tokens * (8 * text.hidden_size + 3 * text.intermediate_size) * width
    inputs = text.num_hidden_layers * tokens * text.hidden_size * width
    kept = inputs + inside if recipe.training.gradient_checkpointing else text.num_hidden_layers * inside
    dequantised = text.hidden_size * text.intermediate_size * width if recipe.quantization else 0
    return kept + dequantised + 2 * _LOSS_CHUNK * text.vocab_size * 4


def image_tokens(recipe: Recipe, config: Any, size: tuple[int, int]) -> int | None:
    """Tokens of one image of that (width, height); None where only the model's processor knows and it is not here."""
    width, height = size
    if config.model_type == "minicpmv":
        from t2i_judge.local.minicpmv.processing import choose_grid

        stated = (config.slice_config or {}).get("max_slice_nums", 9)
        limit = stated if recipe.base.max_slice_nums is None else recipe.base.max_slice_nums
        resolution = (config.slice_config or {}).get("scale_resolution", config.image_size)
        columns, rows = choose_grid(width, height, resolution, limit) or (0, 0)
        slices = (config.query_num + 2) * columns * rows + max(rows - 1, 0)
        return config.query_num + 5 + slices
    from recipes.training.fine_tuning import load_processor

    try:
        return sum(load_processor(recipe)._get_num_multimodal_tokens(image_sizes=[(height, width)])["num_image_tokens"])
    except (UserError, AttributeError):
        return None
