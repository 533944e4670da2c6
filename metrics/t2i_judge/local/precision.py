"""The precision in which a judge's weights are loaded: the one of its training, which judge.json names.

An adapter learns to compensate for the rounding of the weights below it. Over weights of another precision, a small
judge may answer differently, or not at all. So a judge is measured, and loaded by default, in the precision of its
training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import UserError, quoted

NONE = "none"  # the word for weights that are not quantised, whatever judge.json says
NF4 = "nf4"
_QUANTIZED = (NF4, "fp4")
_TYPES = ("float32", "bfloat16", "float16")
_AGAIN = "Download judge.json again, or say another one"
# transformers matches these from the start of a module's full name: a bare "vision_tower" would skip nothing.
_KEPT = ("lm_head", "model.vision_tower", "model.resampler", "model.visual", "model.vision_model", "model.connector")
_LARGE = 1_000_000_000  # parameters; a larger model is not loaded in float32, which takes twice its file's size


@dataclass(frozen=True)
class FourBit:
    """Weights in 4 bits (QLoRA, arXiv 2305.14314), by the names of a recipe's `quantization`.

    Attributes:
        quant_type: "nf4" or "fp4".
        double_quant: whether the scales are quantised as well.
        compute_dtype: what weights are unpacked to, and multiplied in.
        skip_modules: modules that stay as they are, each by its full name.
    """

    quant_type: str = NF4
    double_quant: bool = True
    compute_dtype: str = "bfloat16"
    skip_modules: tuple[str, ...] = _KEPT

    @classmethod
    def from_card(cls, settings: Mapping[str, Any]) -> FourBit:
        """From judge.json; keys beyond ours are left aside. Raises `UserError` for values that are none of these."""
        known = {field.name: settings[field.name] for field in fields(cls) if field.name in settings}
        skipped = known.get("skip_modules", ())
        if not isinstance(skipped, list | tuple) or not all(isinstance(name, str) for name in skipped):
            raise UserError(f"The modules left in full are {quoted(skipped)}", "They are a list of names", _AGAIN)
        if known.get("quant_type", NF4) not in _QUANTIZED or not isinstance(known.get("double_quant", True), bool):
            fact = "The quantization in judge.json is unknown"
            raise UserError(
                fact, f"Its quant_type is one of {', '.join(_QUANTIZED)}, double_quant true or false", _AGAIN
            )
        return cls(**known | {"skip_modules": tuple(skipped)})

    def config(self) -> Any:
        """transformers' configuration of it."""
        import torch
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.quant_type,
            bnb_4bit_use_double_quant=self.double_quant,
            bnb_4bit_compute_dtype=getattr(torch, self.compute_dtype),
            llm_int8_skip_modules=list(self.skip_modules),
        )


@dataclass(frozen=True)
class Precision:
    """The type of the weights that are not quantised ("float32", ...), and how the others are; None: all are alike."""

    dtype: str
    four_bit: FourBit | None = None

    def __str__(self) -> str:
        """What stands in the backend of a judgement; nothing for plain float32."""
        parts = [self.four_bit.quant_type] if self.four_bit else []
        return " ".join([*parts, *([self.dtype] if self.dtype != "float32" else [])])


def said_in(backend: str) -> str:
    """The precision that the backend of a judgement names, in words; one that names none is of plain float32."""
    words = backend.replace(",", " ").split()
    return " ".join(word for word in words if word in (*_QUANTIZED, *_TYPES)) or "float32"


def choose(
    card: Mapping[str, Any], quantization: str | None, dtype: str | None, device: str, parameters: int
) -> Precision:
    """The precision to load a judge in: what the user asks for, else what judge.json says, else what fits.

    Args:
        card: the contents of judge.json: `quantization` (a recipe's, or None) and `dtype`; a quantisation that is
            `rounded` stands in the base's weights already, which are then loaded as they are.
        quantization: "nf4", "none" or None.
        dtype: "float32", "bfloat16", "float16" or None.
        device: "cpu", "cuda", ...
        parameters: of the base.

    Raises:
        UserError: the quantization or the type is unknown.
    """
    if quantization not in (None, NF4, NONE):
        raise UserError(
            f"The quantization {quoted(quantization)} is unknown", "There are two", f'Use "{NF4}" or "{NONE}"'
        )
    trained = card.get("quantization") or {}
    if not isinstance(trained, Mapping):
        raise UserError(f"The quantization in judge.json is {quoted(trained)}", "It has settings by name", _AGAIN)
    four_bit = None
    if quantization == NF4 or (quantization is None and trained and not trained.get("rounded")):
        four_bit = FourBit.from_card(trained) if trained else FourBit(compute_dtype=dtype or "bfloat16")
    dtype = dtype or card.get("dtype")
    for name in (dtype, four_bit.compute_dtype if four_bit else None):
        if name not in (None, *_TYPES):
            raise UserError(f"No weights are of the type {quoted(name)}", f"It is one of {', '.join(_TYPES)}", _AGAIN)
    if dtype is None:
        short = four_bit or device.startswith("cuda") or parameters > _LARGE
        dtype = "bfloat16" if short else "float32"
    return Precision(dtype, four_bit)


def require_bitsandbytes(name: str) -> None:
    """Raise `UserError` if 4-bit weights are not possible on this machine."""
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"{name} was trained on weights in 4 bits, and bitsandbytes is not installed",
            "With other weights its scores would differ",
            f'Run: pip install bitsandbytes, or ask for other weights (quantization="{NONE}")',
        )
