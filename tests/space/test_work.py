"""What the page does in threads is done in turn, and what all may take home is made once: nobody's calls freeze it."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import gradio as gr
import httpx
import pytest

from annotate_tab import _known
from annotations import VisitorRating
from app import launch_options
from guard import GuardedBlocks, caller_of
from limits import EXPORTS, WORK
from t2i_judge.errors import UserError
from tests.waiting import PATIENCE, eventually
from visitors import Visitor, new_cookie


class Desk:
    """Notes who is served, in order, and how many at a time; all wait until it is open."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.now: Counter[str] = Counter()
        self.most = self.most_of_one = 0
        self.lock, self.open = threading.Lock(), threading.Event()

    def work(self, request: gr.Request) -> str:
        caller = caller_of(request)
        with self.lock:
            self.order.append(caller.address)
            self.now[caller.browser] += 1
            self.most, self.most_of_one = max(self.most, self.now.total()), max(self.most_of_one, *self.now.values())
        self.open.wait(2 * PATIENCE)
        with self.lock:
            self.now[caller.browser] -= 1
        return "done"


@pytest.fixture(scope="module")
def worked():
    """An app that does nothing else, and its desk."""
    desk = Desk()
    with GuardedBlocks(analytics_enabled=False) as demo:
        gr.api(desk.work, api_name="work")
    demo.queue(default_concurrency_limit=None, api_open=False)
    _, url, _ = demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, **launch_options())
    yield url.rstrip("/"), desk
    demo.close()


def call(url: str, address: str, cookie: str) -> str:
    headers = {"x-forwarded-for": address, "cookie": cookie}
    event = httpx.post(f"{url}/gradio_api/call/work", json={"data": []}, headers=headers, timeout=2 * PATIENCE)
    assert event.status_code == 200, event.text
    return httpx.get(
        f"{url}/gradio_api/call/work/{event.json()['event_id']}", headers=headers, timeout=2 * PATIENCE
    ).text


def fresh() -> str:
    return new_cookie(secure=False).split(b";")[0].decode()


def waiting() -> int:
    return sum(map(len, WORK._waiting.values()))


def test_work_goes_by_turns_and_a_newcomer_from_elsewhere_is_next(worked, monkeypatch):
    monkeypatch.setattr(WORK, "patience", 2 * PATIENCE)  # all wait until the last has come
    url, desk = worked
    mine = fresh()
    cookies = [mine] * 8 + [fresh() for _ in range(8)]
    with ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(call, url, f"8.8.8.{number}", each) for number, each in enumerate(cookies)]
        try:
            assert eventually(lambda: waiting() == len(cookies) - WORK.together)
            calls.append(pool.submit(call, url, "9.9.9.9", fresh()))
            assert eventually(lambda: waiting() == len(cookies) - WORK.together + 1)
        finally:
            desk.open.set()
        assert all("complete" in each.result() for each in calls)
    assert desk.order.index("9.9.9.9") < 2 * WORK.together  # of those that begin once the first have ended
    assert (desk.most, desk.most_of_one) == (WORK.together, WORK.each)


def test_who_waits_too_long_reads_why_and_keeps_no_place(worked, monkeypatch):
    url, desk = worked
    desk.open.clear()
    mine = fresh()
    with ThreadPoolExecutor(2) as pool:
        try:
            first = pool.submit(call, url, "8.8.8.8", mine)
            assert eventually(lambda: desk.now.total() == 1)
            with monkeypatch.context() as soon:
                soon.setattr(WORK, "patience", 0.1)
                late = call(url, "8.8.8.8", mine)
            assert "Your turn did not come in 0 s. The page has much to do at the moment." in late
        finally:
            desk.open.set()
        assert "complete" in first.result()
    assert "complete" in call(url, "8.8.8.8", mine)


def test_what_is_said_of_all_annotations_is_computed_once_until_there_is_another(store):
    asked = []
    known = _known(lambda of: asked.append(len(of.all())) or asked[-1], store)
    assert [known(), known()] == [0, 0]
    annotator, _ = store.enter("ann", "")
    store.save("item", annotator, (VisitorRating("overall", None, 5.0, "so"),))
    assert [known(), known()] == [1, 1]
    assert asked == [0, 1]


def test_a_vote_that_is_taken_back_makes_another_version(store):
    annotator, _ = store.enter("ann", "")
    store.vote(("a", "b"), "a\nb", annotator, "a", "a")
    known = _known(lambda of: len(of.votes()), store)
    assert known() == 1
    store.withdraw(store.last_vote(annotator))
    assert known() == 0


def test_a_browser_exports_a_few_times_in_ten_minutes_and_a_range_leaves_some_to_others():
    def admitted(people: list[Visitor]) -> int:
        def takes(each: Visitor) -> bool:
            try:
                EXPORTS.take(each)
            except UserError:
                return False
            return True

        return sum(map(takes, people))

    assert admitted([Visitor("a" * 32, None, "9.9.9.9")] * 30) == EXPORTS.each
    assert admitted([Visitor(f"{number:032}", None, "8.8.8.8") for number in range(200)]) <= 6
    assert admitted([Visitor("b" * 32, None, "1.1.1.1")]) == 1
