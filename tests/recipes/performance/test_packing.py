"""The packing benchmarks measure the workload that they state."""

from __future__ import annotations

import pytest

from recipes.performance import packing as bench_packing
from t2i_judge.local.chats import Chats, encode


@pytest.mark.parametrize(("questions", "bound"), [(4, 3.3), (8, 5.4), (16, 7.9)])
def test_the_limit_is_the_stated_one(questions, bound):
    assert bench_packing.limit(680, 50, questions) == pytest.approx(bound, abs=0.05)


@pytest.mark.parametrize(("picture", "tokens"), [("sliced", 680), ("unsliced", 85)])
def test_prefix_and_segments_have_the_stated_length(picture, tokens):
    _, processor = bench_packing._toy()
    turns = [bench_packing._conversation(processor, index) for index in range(16)]
    (group,), _ = encode(processor, [Chats([bench_packing._picture(picture)], turns)])
    assert len(group.prefix) == pytest.approx(tokens, abs=12)
    assert {len(segment) for segment in group.segments} == {bench_packing.SEGMENT}


def test_a_line_has_what_the_bench_prints(monkeypatch):
    monkeypatch.setattr(bench_packing, "ROUNDS", 1)
    line = bench_packing.train_speedup(2, "unsliced")
    assert line.keys() == {"name", "value", "unit", "goal", "limit", "n"}
    assert line["goal"] == pytest.approx(0.85 * line["limit"]) and line["value"] > 0


def test_a_missed_ratio_is_taken_apart(monkeypatch):
    monkeypatch.setattr(bench_packing, "ROUNDS", 1)
    told = bench_packing.profile("train_shared_prefix_speedup_2_unsliced")
    assert all(part in told for part in ("tokens allow", "collate", "forward", "backward"))
    assert not bench_packing.profile("judge_one_forward_speedup")
