"""Figures that take seconds are computed once, one at a time and in turns, and what means the same is the same view."""

from __future__ import annotations

import asyncio
import threading
from itertools import permutations

import pytest

import limits
from explore_tab import view_of
from explore_views import ALL
from figures import Figures
from t2i_judge.serving.shares import Shares
from tests.waiting import PATIENCE, until
from visitors import NOBODY, Visitor


@pytest.fixture(autouse=True)
def _fresh_turns(monkeypatch):
    like = limits.FIGURES
    monkeypatch.setattr("figures.FIGURES", Shares(like.what, like.each, like.together, like.patience))


def test_order_and_repeats_of_filters_make_no_new_view(benchmark):
    some = benchmark.generators[:3]
    meant = view_of(benchmark, [ALL, some, "direct", "overall", 10])
    for chosen in (*permutations(some), some * 5):
        assert view_of(benchmark, [ALL, list(chosen), "direct", "overall", 10.4]) == meant
    everything = view_of(benchmark, [ALL, None, "direct", "overall", 0])
    for places in (None, 0.3, -1e300, float("nan")):
        chosen = benchmark.generators[::-1]
        assert view_of(benchmark, [ALL, chosen, "direct", "overall", places]) == everything
    assert view_of(benchmark, [ALL, [], "direct", "overall", 1e300]).disagreement == 100


def test_a_figure_is_computed_once_and_the_last_few_are_kept():
    computed: list[str] = []

    def compute(name: str) -> str:
        computed.append(name)
        return name * 2

    async def asked(figures, *names):
        return await asyncio.gather(*(figures.of(name, NOBODY) for name in names))

    figures = Figures(compute, most=2)
    assert asyncio.run(asked(figures, "a", "a", "b", "a")) == ["aa", "aa", "bb", "aa"]
    assert computed == ["a", "b"], "also for those who ask while it is computed"
    asyncio.run(asked(figures, "c", "b"))
    assert computed == ["a", "b", "c"]
    asyncio.run(asked(figures, "a"))
    assert computed == ["a", "b", "c", "a"]


def test_one_is_computed_at_a_time_and_who_comes_from_elsewhere_is_next():
    computed: list[str] = []
    go, at_work = threading.Event(), threading.Lock()

    def compute(name: str) -> str:
        assert at_work.acquire(blocking=False), "two at a time"
        computed.append(name)
        go.wait(PATIENCE)
        at_work.release()
        return name

    async def all_of_it():
        figures = Figures(compute)
        flood = [
            asyncio.create_task(figures.of(f"flood {n}", Visitor(f"cookie {n}", address="8.8.8.8"))) for n in range(30)
        ]
        assert await until(lambda: len(computed) == 1)
        flood[0].cancel()  # who leaves makes no room for another while the work goes on
        other = asyncio.create_task(figures.of("other", Visitor("new", address="9.9.9.9")))
        await asyncio.sleep(0.1)
        assert len(computed) == 1
        go.set()
        assert await other == "other"
        assert computed.index("other") <= 2
        await asyncio.gather(*flood, return_exceptions=True)

    asyncio.run(all_of_it())
    assert sorted(computed) == sorted([*(f"flood {n}" for n in range(30)), "other"])


def test_what_cannot_be_computed_is_told_and_tried_again():
    outcomes = iter([ValueError("no"), None])

    def compute(name: str) -> str:
        if error := next(outcomes):
            raise error
        return name

    figures = Figures(compute)
    with pytest.raises(ValueError, match="no"):
        asyncio.run(figures.of("a", NOBODY))
    assert asyncio.run(figures.of("a", NOBODY)) == "a"
