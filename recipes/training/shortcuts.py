"""What a training of a small model on a CPU spends without learning, spent once, or not at all.

Of a step of the embedded judge, unpacking its 4-bit weights for each product was a tenth, walking through its 400
modules, five times per step, a twentieth: without them no bit changes. Beside an adapter whose rank is half the width
of a layer, its products and sums cost more than the layer's own: added to the weights first, they change by rounding.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

_ROOM = 500_000_000  # bytes that unpacked weights may take beside the packed ones


def keep_unpacked(model: Module) -> None:
    """Have the 4-bit layers of a small model on a CPU multiply by their weights as unpacked now: the same products.

    The weights stay packed beside that, and are saved as such. Layers that compute in another type than the one their
    weights had are left alone: there bitsandbytes rounds a second time.
    """
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    layers: list[Any] = [module for module in model.modules() if isinstance(module, Linear4bit)]
    layers = [
        layer
        for layer in layers
        if layer.weight.device.type == "cpu" and layer.compute_dtype == layer.weight.quant_state.dtype
    ]
    if sum(layer.in_features * layer.out_features * layer.compute_dtype.itemsize for layer in layers) > _ROOM:
        return
    for layer in layers:
        layer.forward = partial(_product, dequantize_4bit(layer.weight.data, layer.weight.quant_state), layer.bias)


def _product(weight: Tensor, bias: Tensor | None, states: Tensor) -> Tensor:
    from torch.nn.functional import linear

    product: Tensor = linear(states.to(weight.dtype), weight, None if bias is None else bias.to(weight.dtype))
    return product.to(states.dtype)


def multiply_once(model: Module) -> None:
    """Have adapted layers multiply by base and adapter added up, where that is fewer operations: x (W + s B A)'.

    Forward and backward, T tokens cost a layer of i x o weights about 2 T i o + 3 T r (i + o) operations the usual way,
    x W' + s (x A') B', and 3 T i o so. Only layers of `keep_unpacked` are changed, and of adapters without dropout.

    Source of the adapter's product: LoRA, arXiv 2106.09685, section 4.1.
    """
    from peft.tuners.lora import LoraLayer
    from torch.nn import Identity

    layers: list[Any] = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for layer in (layer for layer in layers if "forward" in vars(layer.base_layer)):
        weight, bias = layer.base_layer.forward.args
        down, up, scaling = layer.lora_A["default"].weight, layer.lora_B["default"].weight, layer.scaling["default"]
        dropout = not isinstance(layer.lora_dropout["default"], Identity)
        if weight.dtype == down.dtype and not dropout and 3 * len(down) * sum(weight.shape) > weight.numel():
            layer.forward = partial(_adapted_product, weight, bias, down, up, scaling)


def _adapted_product(
    weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float, states: Tensor
) -> Tensor:
    from torch import addmm

    return _product(addmm(weight, up, down, alpha=scaling), bias, states)


def walk_once(model: Any) -> None:
    """Remember the parameters of a PEFT model that one process trains, whose modules stay as they are from now on."""
    parameters, train, base = list(model.parameters()), model.train, model.get_base_model()
    model.parameters = lambda recurse=True: iter(parameters)
    model.train = lambda mode=True: model if model.training == mode else train(mode)
    base.num_parameters = lru_cache(base.num_parameters)  # by which each step counts its floating-point operations
