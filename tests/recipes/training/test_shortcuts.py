"""What a training does once instead of every step changes no bit of it; what it adds up first changes by rounding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from peft import get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForImageTextToText

from recipes.recipe.sections import Quantization
from recipes.training.fine_tuning import lora_config
from recipes.training.quantization import MINICPMV, four_bit_config, prepare_four_bit
from recipes.training.shortcuts import keep_unpacked, multiply_once, walk_once
from t2i_judge.local.minicpmv.registration import register
from tests.recipes.scenes_build import smoke_recipe

TINY = Path(__file__).parents[2] / "data" / "minicpmv" / "tiny_hub_layout"


def four_bit(compute: str, dtype: torch.dtype = torch.float32):
    register()
    settings = Quantization(compute_dtype=compute, skip_modules=MINICPMV.skip_modules)
    model = AutoModelForImageTextToText.from_pretrained(
        TINY, dtype=dtype, quantization_config=four_bit_config(settings)
    )
    return prepare_four_bit(model, settings)


def products(layer: Linear4bit | LoraLayer, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    states = torch.randn(2, 9, layer.in_features, dtype=dtype, requires_grad=True)
    product = layer(states)
    product.backward(torch.randn_like(product))
    assert states.grad is not None
    return product.detach(), states.grad


@pytest.mark.parametrize(("compute", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_products_and_gradients_are_those_of_bitsandbytes(compute: str, dtype: torch.dtype) -> None:
    model = four_bit(compute, dtype)
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    before = [products(layer, dtype) for layer in layers]
    keep_unpacked(model)
    assert all("forward" in vars(layer) for layer in layers)
    for layer, expected in zip(layers, before, strict=True):
        assert all(map(torch.equal, products(layer, dtype), expected))
    assert layers[0].weight.dtype == torch.uint8


def test_layers_that_would_round_twice_are_left_alone(monkeypatch) -> None:
    model = four_bit("bfloat16")
    keep_unpacked(model)
    assert not any("forward" in vars(module) for module in model.modules())
    monkeypatch.setattr("recipes.training.shortcuts._ROOM", 1)
    model = four_bit("float32")
    keep_unpacked(model)
    assert not any("forward" in vars(module) for module in model.modules())


def gradients(layer: LoraLayer, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """Product, and gradients of its input and of the adapter's two matrices."""
    down, up = (matrices["default"].weight for matrices in (layer.lora_A, layer.lora_B))
    down.grad = up.grad = None
    torch.manual_seed(1)
    torch.nn.init.normal_(up)
    product, gradient = products(layer, dtype)
    assert down.grad is not None and up.grad is not None
    return product, gradient, down.grad, up.grad


@pytest.mark.parametrize(("rank", "changed"), [(64, True), (1, False)])
def test_base_and_adapter_are_added_up_where_the_rank_is_high(rank: int, changed: bool) -> None:
    recipe = smoke_recipe()
    adapter = replace(recipe.adapter, r=rank, dropout=0.0)
    model = get_peft_model(four_bit("float32"), lora_config(replace(recipe, adapter=adapter)))
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    before = [gradients(layer) for layer in layers]
    multiply_once(model)
    assert not any("forward" in vars(layer) for layer in layers), "only layers whose weights were unpacked"
    keep_unpacked(model)
    multiply_once(model)
    assert layers and all(("forward" in vars(layer)) == changed for layer in layers)
    for layer, expected in zip(layers, before, strict=True):
        for ours, its in zip(gradients(layer), expected, strict=True):
            torch.testing.assert_close(ours, its, rtol=1e-4, atol=1e-4 * float(its.abs().max()))


def test_an_adapter_with_dropout_is_left_to_peft() -> None:
    recipe = smoke_recipe()
    adapter = replace(recipe.adapter, r=64, dropout=0.1)
    model = get_peft_model(four_bit("float32"), lora_config(replace(recipe, adapter=adapter)))
    keep_unpacked(model)
    multiply_once(model)
    assert not any("forward" in vars(module) for module in model.modules() if isinstance(module, LoraLayer))


def test_a_model_that_was_walked_has_its_parameters_and_modes() -> None:
    model = get_peft_model(four_bit("float32"), lora_config(smoke_recipe()))
    names, count = [name for name, _ in model.named_parameters()], model.num_parameters(exclude_embeddings=True)
    parameters = list(model.parameters())
    walk_once(model)
    assert [id(one) for one in model.parameters()] == [id(one) for one in parameters]
    assert [name for name, _ in model.named_parameters()] == names
    assert model.num_parameters(exclude_embeddings=True) == count
    for mode in (False, False, True):
        assert model.train(mode) is model and {module.training for module in model.modules()} == {mode}
    model.eval()
    assert not model.training
    parameters[-1].grad = torch.ones_like(parameters[-1])
    model.zero_grad()
    assert all(one.grad is None for one in parameters)
