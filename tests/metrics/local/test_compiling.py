"""Functions that modules have compiled as they are imported wait for their first call; all else is as torch does it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from t2i_judge.local.compiling import compiled_when_called


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """With what options torch was asked to compile so far; what it compiles says so."""
    options_of: list[dict[str, Any]] = []

    def compiler(model=None, **options):
        options_of.append(options)
        return lambda *values: ("compiled", model(*values))

    monkeypatch.setattr(torch, "compile", compiler)
    return options_of


def test_a_function_is_compiled_at_its_first_call_and_once(asked) -> None:
    before = torch.compile
    with compiled_when_called():

        @torch.compile
        def twice(x):
            return 2 * x

        @torch.compile(dynamic=False)
        def half(x):
            return x / 2

    assert torch.compile is before and asked == []
    assert twice(1) == ("compiled", 2) and twice(2) == ("compiled", 4) and asked == [{}]
    assert half(4) == ("compiled", 2) and asked == [{}, {"dynamic": False}]
    assert twice.__name__ == "twice", "as decorators behind it look at it"


def test_a_module_is_compiled_at_once(asked) -> None:
    with compiled_when_called():
        torch.compile(torch.nn.Identity(), mode="reduce-overhead")
        assert asked == [{"mode": "reduce-overhead"}]


def test_torch_has_its_own_again_where_an_import_fails() -> None:
    before = torch.compile
    with pytest.raises(ImportError), compiled_when_called():
        raise ImportError("no peft")
    assert torch.compile is before
