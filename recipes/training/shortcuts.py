"""What a training spends on a small model without learning, spent once instead of every step: no bit of it changes.

On a CPU a step of the embedded judge takes 75 ms; unpacking its 4-bit weights for each product was a tenth of that, and
walking through its 400 modules, five times per step, a twentieth.
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


def walk_once(model: Any) -> None:
    """Remember the parameters of a PEFT model that one process trains, whose modules stay as they are from now on."""
    parameters, train, base = list(model.parameters()), model.train, model.get_base_model()
    model.parameters = lambda recurse=True: iter(parameters)
    model.train = lambda mode=True: model if model.training == mode else train(mode)
    base.num_parameters = lru_cache(base.num_parameters)  # by which each step counts its floating-point operations
