"""The limits under concurrency: money is never overspent, errors end what is under way first, order is kept."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2i_judge.errors import UserError
from t2i_judge.served.concurrency import (
    AdaptiveLimit,
    Budget,
    BudgetExceeded,
    Estimates,
    EventLoop,
    gather_all,
    map_bounded,
)


@settings(max_examples=60)
@given(
    costs=st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1)), min_size=1, max_size=40),
    limit=st.floats(0.05, 10),
    workers=st.integers(1, 8),
)
def test_a_budget_is_kept_whatever_the_calls_cost(costs, limit, workers):
    """Calls cost at most their estimate, in any order; the limit holds at every moment."""
    budget, client = Budget(limit), Estimates()

    async def call(cost):
        estimate, share = cost
        await budget.reserve(estimate, client)
        await asyncio.sleep(0)
        await budget.settle(estimate, estimate * share, client)
        assert budget.spent <= limit + 1e-9

    try:
        asyncio.run(map_bounded(call, costs, workers))
    except BudgetExceeded:
        assert budget.spent + max(estimate for estimate, _ in costs) > limit


@pytest.mark.parametrize(("spent", "again"), [(None, "may spend as much once more"), (0.0, "Raise max_cost and run")])
def test_a_limit_says_whether_the_next_run_has_it_anew(spent, again):
    """A command that is run in a loop pays its limit each time; a build counts what all its runs have paid."""
    with pytest.raises(BudgetExceeded, match=f"Stopped at .*{again}.*paid replies are kept"):
        asyncio.run(Budget(0.1, spent).reserve(0.2, Estimates()))


def test_a_budget_learns_that_its_estimates_are_too_low():
    async def spend():
        budget, client, calls = Budget(1.0), Estimates(), 0
        with pytest.raises(BudgetExceeded):
            while True:
                await budget.reserve(0.01, client)
                await budget.settle(0.01, 0.3, client)
                calls += 1
        return budget.spent, calls

    spent, calls = asyncio.run(spend())
    assert calls == 3
    assert spent == pytest.approx(0.9)


def test_what_estimates_lack_is_set_aside_for_calls_under_way_too():
    async def spend():
        budget, client = Budget(1.0), Estimates()
        for _ in range(2):  # two calls that stay under way to the end
            await budget.reserve(0.01, client)
        with pytest.raises(asyncio.TimeoutError):
            while True:
                await asyncio.wait_for(budget.reserve(0.01, client), 0.05)
                await budget.settle(0.01, 0.3, client)
        for _ in range(2):
            await budget.settle(0.01, 0.3, client)
        return budget.spent

    assert asyncio.run(spend()) <= 1.0


def test_a_clients_bad_estimates_say_nothing_about_anothers_calls_and_the_limit_holds():
    """One judge cost twenty times its estimate, and a shared budget of ten dollars was shut to all at two cents."""

    async def spend():
        budget, bad, good = Budget(10.0), Estimates(), Estimates()
        await budget.reserve(0.001, bad)
        await budget.settle(0.001, 0.02, bad)
        await budget.reserve(0.6, good)
        assert not await budget.again(0.6, bad)  # it may cost twelve dollars
        await budget.reserve(0.4, bad)
        assert not await budget.again(1.4, good)  # eight dollars are set aside for the other
        assert await budget.again(1.3, good)
        await budget.settle(0.4, 8.0, bad)
        for cost in (0.6, 1.3):
            await budget.settle(cost, cost, good)
        return budget.spent

    assert asyncio.run(spend()) == pytest.approx(9.92)


def test_map_keeps_order_takes_items_late_and_stops_after_an_error():
    taken, ended = [], []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    async def work(number):
        await asyncio.sleep(0.001 * (5 - number % 5))
        if number == 10:
            raise ValueError("ten")
        ended.append(number)
        return number

    with pytest.raises(ValueError, match="ten"):
        asyncio.run(map_bounded(work, items(), 4))
    assert len(taken) < 50
    assert set(taken) - {10} == set(ended)  # what was begun has ended
    assert asyncio.run(map_bounded(lambda number: asyncio.sleep(0, number * 2), range(7), 3)) == [0, 2, 4, 6, 8, 10, 12]
    assert asyncio.run(map_bounded(work, [], 3)) == []


def test_gather_waits_for_all_before_it_raises():
    ended = []

    async def slow():
        await asyncio.sleep(0.02)
        ended.append(True)

    async def broken():
        raise ValueError("at once")

    async def both():
        await gather_all([broken(), slow()])

    with pytest.raises(ValueError, match="at once"):
        asyncio.run(both())
    assert ended


def test_a_limit_halves_once_a_round_and_grows_back():
    async def play():
        limit = AdaptiveLimit(16)
        sent = [await limit.__aenter__() for _ in range(8)]
        for when in sent:
            limit.overloaded(when)
        halved = limit.limit
        for _ in range(500):
            limit.succeeded()
        return halved, limit.limit

    assert asyncio.run(play()) == (8, 16)
    with pytest.raises(UserError, match="concurrency"):
        AdaptiveLimit(0)


def test_ctrl_c_lets_calls_under_way_end():
    loop, told, ended = EventLoop(), [], []

    async def call():
        for _ in range(1000):  # the call outlives the interrupt, however slow the machine is
            await asyncio.sleep(0.01)
            if told:
                break
        ended.append(True)

    async def interrupted():
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        await call()

    with pytest.raises(KeyboardInterrupt):
        loop.run(interrupted(), on_interrupt=lambda: told.append(True))
    assert told
    assert ended
    loop.close()


def test_no_more_is_begun_than_there_are_items():
    """Two images with a concurrency of three millions took three gigabytes."""
    begun = []

    async def work(number):
        begun.append(len(asyncio.all_tasks()))
        await asyncio.sleep(0)
        return number

    assert asyncio.run(map_bounded(work, [1, 2], 10_000)) == [1, 2]
    assert max(begun) == 3  # with the one that waits for them
    with pytest.raises(UserError, match=r"The concurrency is 3,000,000.*at most 10,000"):
        AdaptiveLimit(3_000_000)
