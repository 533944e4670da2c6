"""The client's benchmark lines: their shape, and the ones whose goal does not depend on how busy the machine is."""

from __future__ import annotations

import json

import pytest

from recipes.performance import client as bench_client

KEYS = {"name", "value", "unit", "goal", "limit", "n"}


def test_one_call_and_a_decomposition_against_t2i_evals_many():
    line = bench_client.calls_per_image(60)
    assert set(line) == KEYS
    assert line["value"] <= line["goal"]
    assert line["n"] == 60


def test_importing_costs_less_than_numpy():
    line = bench_client.import_time(3)
    assert set(line) == KEYS
    assert 0 < line["value"] <= line["goal"]


@pytest.mark.slow
def test_the_client_keeps_a_server_busy():
    efficiency, speed = bench_client.client(number=256, sequential=2)
    assert (efficiency["name"], speed["name"]) == ("client_efficiency", "client_vs_sequential")
    assert set(efficiency) == set(speed) == KEYS
    assert 0 < efficiency["value"] <= 1.05  # make bench measures it, on a quiet machine
    assert speed["value"] > 1
    json.dumps([efficiency, speed])


@pytest.mark.slow
def test_a_missed_throughput_is_taken_apart():
    told = bench_client.profile("client_efficiency", number=64)
    assert "CPU a judgement" in told and "bare openai client" in told
    assert not bench_client.profile("import_vs_numpy")
