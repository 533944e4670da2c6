"""A LoRA added to its base's weights one tensor at a time: the memory of a shard, whatever the size of the model.

    merge_shards(base, adapter, output)    # output: *.safetensors and, of several shards, their index

W + s B A with s = alpha / r (arXiv 2106.09685, equation 3), summed in float32 and rounded once. Tensors
keep the names and the shards of the base's own files; MiniCPM-V-2.6 is written under upstream's names, whoever wrote
the base.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.training.checks import read_object
from t2i_judge.errors import UserError, quoted
from t2i_judge.files import write_atomic
from t2i_judge.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from t2i_judge.local.precision import Precision

INDEX = "model.safetensors.index.json"
_LORA = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)\.weight")
_PLAIN = {"peft_type": "LORA", "use_dora": False, "bias": "none", "modules_to_save": None, "fan_in_fan_out": False}


@dataclass(frozen=True)
class LowRank:
    """One layer's adapter: the factors, (r, in) and (out, r), and what their product is multiplied by."""

    a: Tensor
    b: Tensor
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        """Of the weight that it belongs to."""
        return self.b.shape[0], self.a.shape[1]

    def added_to(self, weight: Tensor) -> Tensor:
        """The merged weight, in float32."""
        return weight.float() + (self.b.float() @ self.a.float()) * self.scale  # in peft's order, to the bit


def merge_shards(
    base: Path, adapter: Path, output: Path, trained_on: Precision | None = None, dtype: str = "bfloat16"
) -> None:
    """Write the weights of `base` with the LoRA in `adapter` added, as safetensors into `output`.

    Args:
        base: a folder with config.json and *.safetensors.
        adapter: a folder with adapter_config.json and adapter_model.safetensors.
        output: an existing folder.
        trained_on: where that is 4-bit weights, the base's are first rounded to what those keep: an adapter learns to
            make up for that rounding, and over other weights it says something else.
        dtype: of what is written; a small judge that was trained in float32 may say nothing in bfloat16.

    Raises:
        UserError: an adapter of another kind, or one of whose layers the base has none.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    layers, model = read_adapter(adapter), meta_model(base)
    quantised = _quantised(model, trained_on)
    module_name, written_name = _namings(model)
    places: dict[str, str] = {}
    size = 0
    for shard in Progress(shards(base), desc="merge", unit="shard"):
        merged: dict[str, Tensor] = {}
        with safe_open(shard, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no dictionary)
                tensor = file.get_tensor(name)
                layer = layers.pop(module_name(name), None)
                if layer and tensor.shape != layer.shape:
                    raise _foreign(adapter, base, name)
                if trained_on and module_name(name) in quantised:
                    tensor = _rounded(tensor, trained_on)
                whole = layer.added_to(tensor) if layer else tensor
                merged[written_name(name)] = whole.to(getattr(torch, dtype)) if whole.is_floating_point() else whole
        save_file(merged, output / shard.name, metadata={"format": "pt"})
        places |= dict.fromkeys(merged, shard.name)
        size += sum(tensor.nbytes for tensor in merged.values())
    if layers:
        raise _foreign(adapter, base, next(iter(layers)))
    if (base / INDEX).is_file():
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))}
        write_atomic(output / INDEX, json.dumps(index, indent=2) + "\n")


def _quantised(model: Any, trained_on: Precision | None) -> set[str]:
    """The weights that a training had in 4 bits: of linear layers that it did not skip."""
    from torch.nn import Linear

    if trained_on is None or trained_on.four_bit is None:
        return set()
    skipped = trained_on.four_bit.skip_modules
    linears = (name for name, module in model.named_modules() if isinstance(module, Linear))
    return {f"{name}.weight" for name in linears if not name.startswith(skipped)}


def _rounded(weight: Tensor, trained_on: Precision) -> Tensor:
    """What the 4 bits of a training keep of a weight."""
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    assert trained_on.four_bit is not None
    quant_type, double = trained_on.four_bit.quant_type, trained_on.four_bit.double_quant
    loaded = weight.to(getattr(torch, trained_on.dtype))
    return dequantize_4bit(*quantize_4bit(loaded, quant_type=quant_type, compress_statistics=double))


def _foreign(adapter: Path, base: Path, name: str) -> UserError:
    return UserError(
        f"{adapter.name} adapts {name}", f"{base.name} has no such weight of that shape", "Use the adapter's own base"
    )


def read_adapter(adapter: Path) -> dict[str, LowRank]:
    """Name of a weight in the model -> its adapter. Raises `UserError` for what is no plain LoRA on linear layers."""
    from safetensors.torch import load_file

    config = read_object(adapter / "adapter_config.json")
    if odd := [key for key, plain in _PLAIN.items() if config.get(key, plain) not in (plain, [])]:
        raise UserError(
            f"{adapter.name} has {odd[0]}: {quoted(config[odd[0]])}",
            "Only plain LoRA can be merged",
            "Train without it",
        )
    factors: dict[str, dict[str, Tensor]] = {}
    for name, tensor in load_file(adapter / "adapter_model.safetensors").items():
        if (match := _LORA.fullmatch(name)) is None:
            raise UserError(
                f"{adapter.name} has the tensor {name}", "Only plain LoRA can be merged", "Train without it"
            )
        factors.setdefault(match[1], {})[match[2]] = tensor
    return {f"{layer}.weight": LowRank(f["A"], f["B"], _scale(config, layer)) for layer, f in factors.items()}


def _scale(config: Mapping[str, Any], layer: str) -> float:
    """alpha / r of a layer, or alpha / sqrt(r) of rank-stabilised LoRA (arXiv 2312.03732)."""
    rank = _of_layer(config.get("rank_pattern"), layer, config["r"])
    alpha = _of_layer(config.get("alpha_pattern"), layer, config["lora_alpha"])
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _of_layer(patterns: Mapping[str, Any] | None, layer: str, otherwise: Any) -> Any:
    """The first pattern's value that fits a layer's name, as peft looks it up."""
    fitting = (value for pattern, value in (patterns or {}).items() if re.match(rf"(.*\.)?({pattern})$", layer))
    return next(fitting, otherwise)


def meta_model(base: Path) -> Any:
    """The base without its weights: names, shapes and types."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from t2i_judge.local.minicpmv.registration import register

    register()
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(base), dtype=torch.bfloat16)


def shards(base: Path) -> Sequence[Path]:
    """The base's weight files in order; those that its index names where it has one."""
    if (base / INDEX).is_file():
        return [base / name for name in sorted(set(read_object(base / INDEX)["weight_map"].values()))]
    return sorted(base.glob("*.safetensors"))


def _namings(model: Any) -> tuple[Callable[[str], str], Callable[[str], str]]:
    """Name in a base's file -> the model's own name for it, and the name to write it under.

    The first is transformers' own conversion of checkpoint names. Where it would also join or cut tensors, the name
    fits no layer, and the merge says so.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    mapping = get_model_conversion_mapping(model)
    renamings, weights = [entry for entry in mapping if isinstance(entry, WeightRenaming)], model.state_dict()

    def module_name(name: str) -> str:
        return rename_source_key(name, renamings, [], model.base_model_prefix, weights)[0]

    if model.config.model_type != "minicpmv":
        return module_name, str
    from t2i_judge.local.minicpmv.modeling import upstream_name

    return module_name, lambda name: upstream_name(module_name(name))


def tensor_names(folder: Path) -> Iterator[str]:
    """Names of all tensors in a folder's weight files."""
    from safetensors import safe_open

    for shard in shards(folder):
        with safe_open(shard, "pt") as file:
            yield from file.keys()
