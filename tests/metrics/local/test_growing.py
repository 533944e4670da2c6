"""A cache that grows in place holds what transformers' own holds."""

from __future__ import annotations

import torch
from transformers import DynamicCache

from t2i_judge.local.growing import grow


def test_what_is_written_and_kept_is_what_a_plain_cache_holds() -> None:
    plain, growing = DynamicCache(), DynamicCache()
    for layer in range(2):
        for cache in (plain, growing):
            torch.manual_seed(layer)
            cache.update(torch.randn(5, 2, 7, 3), torch.randn(5, 2, 7, 3), layer)
    grow(growing)
    for step, width in enumerate([1] * 9 + [4] * 6):
        if step in (3, 8):
            for cache in (plain, growing):
                cache.batch_select_indices(torch.tensor([0, 2, 3][: 4 - step // 3]))
        for layer in range(2):
            states = torch.randn(2, len(plain.layers[0].keys), 2, width, 3)
            expected = plain.update(*states, layer)
            assert all(map(torch.equal, growing.update(*states, layer), expected))
        assert growing.get_seq_length() == plain.get_seq_length()


def test_other_caches_stay_as_they_are() -> None:
    class Other:
        layers = (1, 2)

    grow(Other())
    grow(None)
    assert Other.layers == (1, 2)
