"""No visitor holds everything: shares are bounded, fair, in order, and come back whatever happens."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from compare_tab import judge_all
from judging import JudgeDesk
from limits import DECODING, PIXELS, UPLOAD
from t2i_judge.errors import UserError
from t2i_judge.records import JudgeInfo, Status, failed
from t2i_judge.serving.shares import Shares
from uploads import pixels


def shares(each: float = 2, together: float = 4, patience: float = 5.0) -> Shares:
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
    pool, order = shares(each=1, together=4), []

    async def work(account: str, seconds: float) -> None:
        async with pool.held(account):
            await asyncio.sleep(seconds)
        order.append(account)

    async def everybody() -> None:
        flood = [asyncio.create_task(work("hostile", 0.05)) for _ in range(20)]
        await asyncio.sleep(0.01)
        await work("honest", 0.01)
        assert sum(not task.done() for task in flood) >= 19
        await asyncio.gather(*flood)

    asyncio.run(everybody())
    assert order.index("honest") <= 1


def test_what_is_larger_than_a_share_goes_alone():
    pool = shares(each=2, together=4)

    async def alone() -> None:
        async with pool.held("a", 10):
            with pytest.raises(UserError, match=r"turn did not come in 0 seconds.*all are busy"):
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
    assert any("64 of your requests are waiting" in each for each in told)


def test_a_visitor_who_leaves_frees_the_decoder_only_when_it_is_done(tmp_path, monkeypatch):
    """Else pictures sent and cancelled would fill all of them."""
    busy = threading.Event()

    class Slow:
        def pixels(self, data, limits):
            busy.wait(5)
            return Image.new("RGB", (8, 8))

    monkeypatch.setattr("uploads._DECODERS", Slow())
    (tmp_path / "x.png").write_bytes(b"")

    async def leave() -> None:
        task = asyncio.create_task(pixels(str(tmp_path / "x.png"), "hostile"))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert DECODING._held == {"hostile": 1}
        busy.set()
        await asyncio.sleep(0.1)
        assert not DECODING._held

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
        found = asyncio.run(judge_all(desk, uploads, "a cat", "tiny", account="visitor"))
        assert len(found) == 8
        return peak() - before

    small = compared([(paths[0][0], None)] * 8)
    assert compared(paths) < 450, small  # with what is on its way from the decoder; eight would take 770
    assert 0 < max(Judge.held) <= 200_000_000
    assert not PIXELS._held


def peak() -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1000
