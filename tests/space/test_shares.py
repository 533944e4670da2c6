"""No visitor holds everything: shares are bounded, fair, in order, and come back whatever happens."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from compare_tab import judge_all
from judging import JudgeDesk
from limits import DECODING, PIXELS, UPLOAD
from t2i_judge.errors import UserError
from t2i_judge.records import JudgeInfo, Status, failed
from t2i_judge.serving.shares import Shares, Turns, account_of, is_public, range_of
from tests.waiting import PATIENCE, until
from uploads import pixels
from visitors import Visitor


def shares(each: float = 2, together: float = 4, patience: float = PATIENCE) -> Shares:
    return Shares("all are busy", each, together, patience)


def test_an_account_holds_no_more_than_its_share_and_all_no_more_than_there_is():
    pool, most = shares(), {"one": 0.0, "all": 0.0}

    async def work(account: str) -> None:
        async with pool.held(account):
            most["one"] = max(most["one"], *pool._held.values())
            most["all"] = max(most["all"], sum(pool._held.values()))
            await asyncio.sleep(0.01)

    async def everybody() -> None:
        await asyncio.gather(*(work(f"visitor-{n % 2}") for n in range(50)))

    asyncio.run(everybody())
    assert most == {"one": 2, "all": 4}
    assert not pool._held and not pool._waiting


def test_a_flood_keeps_nobody_else_waiting():
    pool = shares(each=1, together=4)

    async def work(account: str, go: asyncio.Event) -> None:
        async with pool.held(account):
            await go.wait()

    async def everybody() -> None:
        go, now = asyncio.Event(), asyncio.Event()
        now.set()
        flood = [asyncio.create_task(work("hostile", go)) for _ in range(20)]
        await asyncio.sleep(0)
        await work("honest", now)
        assert not any(task.done() for task in flood)
        go.set()
        await asyncio.gather(*flood)

    asyncio.run(everybody())


def order_of(pool: Shares, waiting: Sequence[str | Turns], work: float = 0.002) -> list[str | Turns]:
    """Who had their turn when, of accounts that wait while others hold all there is."""
    order: list[str | Turns] = []

    async def one(account: str | Turns) -> None:
        async with pool.held(account):
            order.append(account)
            await asyncio.sleep(work)

    async def everybody() -> None:
        busy = [await pool.take(f"busy-{n}", pool.each) for n in range(int(pool.together / pool.each))]
        tasks = [asyncio.create_task(one(account)) for account in waiting]
        await asyncio.sleep(0)  # all that wait have said so
        for release in busy:
            release()
        await asyncio.gather(*tasks)

    asyncio.run(everybody())
    return order


def test_a_range_of_addresses_has_one_turn_as_everybody_else():
    """Whoever has many addresses may send from all of them; the next visitor waits for one of each range."""
    flood = [f"203.0.113.{n}" for n in range(40)] + [f"2001:db8:7:{n}::/64" for n in range(40)]
    order = order_of(shares(each=1, together=1), [*flood, "198.51.100.7", "a1b2c3"])
    assert {"198.51.100.7", "a1b2c3"} == set(order[2:4])
    assert sorted(order) == sorted([*flood, "198.51.100.7", "a1b2c3"])


def fresh(number: int, address: str = "8.8.8.8") -> Visitor:
    """A browser that has just got its cookie."""
    return Visitor(browser=f"{address} {number}", address=address)


@pytest.mark.parametrize("pool", [DECODING, PIXELS], ids=["decoders", "pixels"])
def test_fresh_cookies_of_one_address_never_keep_a_newcomer_waiting(pool):
    """However many wait before: what comes free next goes to who comes from elsewhere."""
    pool = Shares(pool.what, pool.each, pool.together, pool.patience)

    async def waits() -> int:
        flood = [asyncio.create_task(pool.take(fresh(number).turns, pool.each)) for number in range(85)]
        await asyncio.sleep(0)
        newcomer = Visitor("new", address="1.1.1.1").turns
        mine = asyncio.create_task(pool.take(newcomer, pool.each))
        await asyncio.sleep(0)
        turns = 0
        while newcomer in pool._waiting and turns < 85:
            assert await until(lambda: any(task.done() for task in flood))
            first = next(task for task in flood if task.done())
            flood.remove(first)
            first.result()()
            turns += 1
        await mine
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
        return turns

    assert asyncio.run(waits()) == 1


def test_a_newcomer_of_another_range_has_three_pictures_opened_one_after_the_other():
    """What an upload and its judgement take, while every cookie of an address sends one picture after the other."""
    pool, served = shares(each=1, together=4), []

    async def hostile(number: int, ends: asyncio.Semaphore) -> None:
        while True:
            async with pool.held(fresh(number).turns):
                served.append(number)
                await ends.acquire()

    async def three_turns() -> None:
        for _ in range(3):
            async with pool.held(Visitor("new", address="1.1.1.1").turns):
                pass

    async def everybody() -> int:
        """How many of the flood had their turn while the newcomer had three."""
        ends = asyncio.Semaphore(0)
        flood = [asyncio.create_task(hostile(number, ends)) for number in range(85)]
        assert await until(lambda: len(served) == 4)
        newcomer = asyncio.create_task(three_turns())
        while not newcomer.done():
            turns = len(served)
            ends.release()
            assert await until(lambda before=turns: newcomer.done() or len(served) > before)
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
        return len(served) - 4

    assert asyncio.run(everybody()) <= 3 * pool.together  # behind 85 cookies they would be 85 before the first


def test_addresses_take_turns_in_a_range_and_browsers_behind_an_address():
    flood = [fresh(number).turns for number in range(40)]
    neighbour, mine = fresh(0, "8.8.8.9").turns, fresh(99).turns
    order = order_of(shares(each=1, together=1), [*flood, neighbour, mine])
    assert order.index(neighbour) == 1
    assert order.index(mine) == len(order) - 1, "the newest of one address"


def test_of_a_private_network_each_cookie_has_turns_of_its_own():
    """Behind a proxy that does not tell, everybody has one address."""
    cookies = [Visitor(f"cookie-{number}", address="10.0.0.1").turns for number in range(3)]
    assert cookies == [("cookie-0",), ("cookie-1",), ("cookie-2",)]
    assert Visitor(address="10.0.0.1").turns == ("10.0.0.1",) and Visitor().turns == ("",)


def test_the_last_of_the_crowd_is_the_newest_cookie_of_the_busiest_address(monkeypatch):
    monkeypatch.setattr("t2i_judge.serving.shares._MOST_TOGETHER", 8)
    pool = Shares("all are busy", 1, 1, 30, waiting=8)

    async def crowd() -> list[int]:
        await pool.take("first")
        others = [fresh(0, "8.8.8.9"), fresh(0, "1.1.1.1"), fresh(1, "1.1.1.1")]
        kept = [asyncio.create_task(pool.take(other.turns)) for other in others]
        flood = [asyncio.create_task(pool.take(fresh(number).turns)) for number in range(8)]
        assert await until(lambda: sum(task.done() for task in flood) == 3)
        gone = [number for number, task in enumerate(flood) if task.done()]
        assert not any(task.done() for task in kept)
        for task in (*kept, *flood):
            task.cancel()
        await asyncio.gather(*kept, *flood, return_exceptions=True)
        return gone

    assert asyncio.run(crowd()) == [5, 6, 7]


def test_neighbours_in_a_range_take_turns():
    order = order_of(shares(each=4, together=4), ["10.0.0.1"] * 40 + ["10.0.0.2"])
    assert order.index("10.0.0.2") <= 4


def test_newcomers_without_end_keep_nobody_waiting():
    pool = shares(each=1, together=1)

    async def waits() -> int:
        release, turns = await pool.take("first"), 0
        mine = asyncio.create_task(pool.take("198.51.100.7"))
        await asyncio.sleep(0)
        while not mine.done() and turns < 50:
            coming = asyncio.create_task(pool.take(f"203.0.{turns}.1"))
            await asyncio.sleep(0)
            release()
            await asyncio.wait([mine, coming], return_when="FIRST_COMPLETED")
            turns += 1
        return turns

    assert asyncio.run(waits()) == 1


def test_more_than_may_wait_are_told_so_those_of_the_largest_crowd_first(monkeypatch):
    monkeypatch.setattr("t2i_judge.serving.shares._MOST_TOGETHER", 64)
    pool = shares(each=1, together=1, patience=30)

    async def crowd() -> list:
        await pool.take("first")
        one = asyncio.create_task(pool.take("198.51.100.7"))
        flood = [asyncio.create_task(pool.take(f"203.0.113.{n % 20}")) for n in range(100)]
        await asyncio.sleep(0)
        late = asyncio.create_task(pool.take("192.0.2.9"))
        assert await until(lambda: sum(task.done() for task in flood) == 102 - 64)
        gone = [task.exception() for task in flood if task.done()]
        assert not one.done() and not late.done() and sum(map(len, pool._waiting.values())) == 64
        for task in (one, late, *flood):
            task.cancel()
        await asyncio.gather(one, late, *flood, return_exceptions=True)
        return gone

    gone = asyncio.run(crowd())
    assert {str(each) for each in gone} == {"64 requests are waiting. all are busy at the moment. Try again later."}
    assert not pool._waiting and pool._held == {"first": 1}


def test_a_client_is_its_address_and_of_ipv6_its_subscriber():
    assert account_of("2001:db8:1:2:3:4:5:6") == account_of("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert account_of("::ffff:192.0.2.1") == account_of("192.0.2.1") == "192.0.2.1"
    assert range_of("192.0.2.1") == range_of("192.0.2.200") == "192.0.2.0/24" != range_of("192.0.3.1")
    assert range_of("2001:db8:1:2::/64") == range_of(account_of("2001:db8:1:9::1")) == "2001:db8:1::/48"
    assert account_of("fe80::1%eth0").startswith("fe80::") and account_of("") == range_of("") == ""
    assert account_of("testclient") == range_of("testclient") == "testclient"
    assert is_public("8.8.8.8") and not any(map(is_public, ("127.0.0.1", "10.1.2.3", "::1", "testclient", "")))


def test_what_is_larger_than_a_share_goes_alone():
    pool = shares(each=2, together=4)

    async def alone() -> None:
        async with pool.held("a", 10):
            with pytest.raises(UserError, match=r"turn did not come in 0 s.*all are busy"):
                await shares_with(pool, 0.05).take("b", 1)

    asyncio.run(alone())
    assert not pool._held


def shares_with(pool: Shares, patience: float) -> Shares:
    pool.patience = patience
    return pool


def test_a_share_comes_back_when_its_holder_is_cancelled_or_never_gets_it():
    pool = shares(each=1)

    async def hold() -> None:
        async with pool.held("a"):
            await asyncio.sleep(10)

    async def cancelled() -> None:
        tasks = [asyncio.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(0.01)
        for task in reversed(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with pool.held("a"):
            assert pool._held == {"a": 1}

    asyncio.run(cancelled())
    assert not pool._held and not pool._waiting


def test_too_many_that_wait_are_refused():
    pool = shares(each=1, patience=1)

    async def flood() -> list:
        async with pool.held("a"):
            return await asyncio.gather(*(pool.take("a") for _ in range(200)), return_exceptions=True)

    told = {str(each) for each in asyncio.run(flood()) if isinstance(each, UserError)}
    assert any("64 requests of yours are waiting" in each for each in told)


def test_a_visitor_who_leaves_frees_the_decoder_only_when_it_is_done(tmp_path, monkeypatch):
    """Else pictures sent and cancelled would fill all of them."""
    started, busy = threading.Event(), threading.Event()

    class Slow:
        def pixels(self, data, limits):
            started.set()
            busy.wait(PATIENCE)
            return Image.new("RGB", (8, 8))

    monkeypatch.setattr("uploads._DECODERS", Slow())
    (tmp_path / "x.png").write_bytes(b"")

    async def leave() -> None:
        task = asyncio.create_task(pixels(str(tmp_path / "x.png"), Visitor("hostile")))
        assert await until(started.is_set)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert DECODING._held == {"hostile": 1}
        busy.set()
        assert await until(lambda: not DECODING._held)

    asyncio.run(leave())


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="Linux tells the peak of memory")
def test_a_comparison_of_eight_large_pictures_takes_the_memory_of_two(tmp_path):
    side = int(UPLOAD.pixels**0.5)
    paths = []
    for number in range(8):
        out = io.BytesIO()
        Image.new("RGB", (side, side), (number * 30, 0, 0)).save(out, "PNG")
        (tmp_path / f"{number}.png").write_bytes(out.getvalue())
        paths.append((str(tmp_path / f"{number}.png"), None))

    class Judge:
        info, held = JudgeInfo("double", "double", "none"), []

        def score(self, images, prompts, *_, **__):
            self.held.append(sum(PIXELS._held.values()))
            time.sleep(0.1)
            return [failed("i", prompt, self.info, Status.REFUSED, "a double") for prompt in prompts]

    desk = JudgeDesk(["tiny"], lambda name: Judge())

    def compared(uploads) -> float:
        """MB that the process grew by, at most."""
        Path("/proc/self/clear_refs").write_text("5")
        before = peak()
        found = asyncio.run(judge_all(desk, uploads, "a cat", "tiny", caller=Visitor("visitor")))
        assert len(found) == 8
        return peak() - before

    small = compared([(paths[0][0], None)] * 8)
    assert compared(paths) < 450, small  # with what is on its way from the decoder; eight would take 770
    assert 0 < max(Judge.held) <= 200_000_000
    assert not PIXELS._held


def peak() -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1000
