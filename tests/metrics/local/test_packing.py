"""The shared-prefix layout: what stands where, who sees whom, and that rows lose nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from t2i_judge.errors import UserError
from t2i_judge.local.packing import (
    IGNORED,
    PADDING,
    Group,
    enable_shared_prefix,
    fill_rows,
    flex_block_mask,
    pack,
    restart_positions,
    shared_prefix_mask,
)
from tests.families import family

TOKENS = st.lists(st.integers(1, 99), min_size=1, max_size=4)
GROUPS = st.lists(
    st.builds(Group, prefix=st.one_of(st.just([]), TOKENS), segments=st.lists(TOKENS, min_size=1, max_size=3)),
    min_size=1,
    max_size=4,
)


def test_the_drawing_in_the_docstring():
    groups = [
        Group([10] * 4, [[11] * 3, [12] * 4], [[IGNORED, 1, 1], [IGNORED, 2, 2, 2]], {"kinds": [1, 1, 1, 0]}),
        Group([13] * 2, [[14] * 2], [[IGNORED, 3]], {"kinds": [1, 0]}),
        Group([15] * 16, [], (), {"kinds": [0] * 16}),
    ]
    packed = pack(groups, pad_id=0, capacity=16)
    first = {name: tensor[0].tolist() for name, tensor in packed.tensors.items()}
    assert first["input_ids"] == [10] * 4 + [11] * 3 + [12] * 4 + [13] * 2 + [14] * 2 + [0]
    assert first["segment_ids"] == [0] * 4 + [1] * 3 + [2] * 4 + [3] * 2 + [4] * 2 + [PADDING]
    assert first["prefix_ids"] == [0] * 11 + [3] * 4 + [PADDING]
    assert first["position_ids"] == [0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 7, 0, 1, 2, 3, 0]
    assert first["attention_mask"] == [1] * 15 + [0]
    assert first["labels"] == [IGNORED] * 5 + [1, 1, IGNORED, 2, 2, 2, IGNORED, IGNORED, IGNORED, 3, IGNORED]
    assert first["kinds"] == [1, 1, 1, 0] + [0] * 7 + [1, 0] + [0] * 3
    assert packed.ends == [[(0, 6), (0, 10)], [(0, 14)], []]


@given(GROUPS, st.integers(1, 30))
def test_each_segment_sees_its_prefix_and_itself_only(groups, capacity):
    """From the mask and the positions alone, every token's context is its own conversation up to it."""
    packed = pack(groups, pad_id=0, capacity=capacity)
    ids, positions = packed.tensors["input_ids"], packed.tensors["position_ids"]
    mask = shared_prefix_mask(packed.tensors["segment_ids"], packed.tensors["prefix_ids"])[:, 0]
    for group, ends in zip(groups, packed.ends, strict=True):
        for segment, (row, column) in zip(group.segments, ends, strict=True):
            seen = mask[row, column].nonzero().flatten()
            assert ids[row, seen].tolist() == [*group.prefix, *segment]
            assert positions[row, seen].tolist() == list(range(len(seen)))
    assert mask.diagonal(dim1=1, dim2=2).all(), "no token sees nothing: that would be nan"


@given(GROUPS)
def test_flex_attention_gets_the_same_mask(groups):
    from torch.nn.attention.flex_attention import create_mask

    packed = pack(groups, pad_id=0, capacity=40)
    layout = packed.tensors["segment_ids"], packed.tensors["prefix_ids"]
    block_mask = flex_block_mask(*layout)
    rows, width = layout[0].shape
    assert block_mask.shape == (rows, 1, width, width)
    dense = create_mask(block_mask.mask_mod, rows, 1, width, width, device="cpu")
    assert torch.equal(dense, shared_prefix_mask(*layout))


def test_queries_behind_a_cache_see_what_they_continue():
    seen = torch.tensor([[0, 0, 1, 2, 2, 1, 2]])  # prefix, two segments, and one new token of each
    mask = shared_prefix_mask(seen, torch.tensor([[0, 0]]))
    assert mask[0, 0].int().tolist() == [[1, 1, 1, 0, 0, 1, 0], [1, 1, 0, 1, 1, 0, 1]]


def test_positions_in_three_dimensions_restart_behind_the_image():
    """An image of 2 x 2 tokens takes positions 1 and 2 in height and width; text goes on at 3."""
    segments = torch.tensor([[0, 0, 0, 0, 0, 0, 1, 1, 2, 2]])
    prefixes = torch.zeros_like(segments)
    straight = torch.tensor([[[0, 1, 1, 1, 1, 3, 4, 5, 6, 7]], [[0, 1, 1, 2, 2, 3, 4, 5, 6, 7]]])
    restarted = restart_positions(straight, segments, prefixes)
    assert restarted[0, 0].tolist() == [0, 1, 1, 1, 1, 3, 4, 5, 4, 5]
    assert restarted[1, 0].tolist() == [0, 1, 1, 2, 2, 3, 4, 5, 4, 5]


@given(st.lists(st.integers(1, 20), min_size=1), st.one_of(st.none(), st.integers(1, 60)))
def test_rows_keep_the_order_and_their_capacity(lengths, capacity):
    rows = fill_rows(lengths, capacity)
    assert [index for row in rows for index in row] == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= max(capacity or 0, *lengths) for row in rows)


def test_a_model_without_a_layout_behaves_as_before():
    model, processor = family("minicpmv")
    inputs = processor(text=["a cat"], return_tensors="pt")
    with torch.no_grad():
        before = model(**inputs).logits
        enable_shared_prefix(model)
        enable_shared_prefix(model)
        assert torch.equal(model(**inputs).logits, before)
    assert len(model.base_model._forward_pre_hooks) == 1


def test_attention_without_a_mask_is_refused():
    model, _ = family("minicpmv")
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(UserError, match="flash_attention_2"):
        enable_shared_prefix(model)
