"""Over plain HTTP: one visitor, or a range of addresses with fresh cookies without end, keeps nobody else out.

The Space sees its visitors through a proxy: a request from this machine comes from the last address that it was
forwarded for.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from types import SimpleNamespace

import httpx
import pytest

from annotation_store import AnnotationStore, FolderShelf
from app import build, launch_options
from counts import Counts
from judging import JudgeDesk
from limits import CALLS, REQUESTS, RESULTS, calls
from queueing import LEAST, Line, weight
from t2i_judge.errors import UserError
from t2i_judge.records import JudgeInfo, Status, failed
from tests.waiting import PATIENCE, eventually
from visitors import COOKIE, Visitor, new_cookie, visitor_of

OPENS = 4  # calls that a page sends at once when it opens, as seen in a browser


class Busy:
    """A judge that answers nobody while `free` is not set."""

    info, score_range, free = JudgeInfo("double", "double", "none"), (0, 10), threading.Event()

    def score(self, images, prompts, *_, **__):
        self.free.wait(2 * PATIENCE)
        return [failed("i", prompt, self.info, Status.REFUSED, "a double") for prompt in prompts]


@pytest.fixture(scope="module")
def app(tmp_path_factory, benchmark):
    store = AnnotationStore(FolderShelf(tmp_path_factory.mktemp("annotations")))
    demo = build(JudgeDesk(["tiny"], lambda name: Busy()), benchmark, store)
    demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, **launch_options())
    yield demo
    Busy.free.set()
    demo.close()


@pytest.fixture
def busy(app):
    """The judge answers nobody until the test ends; then all calls end."""
    Busy.free.clear()
    yield
    Busy.free.set()
    assert ended(app)


def ended(app) -> bool:
    """Do all calls end soon?"""
    return eventually(lambda: not app._queue.event_ids_to_events)


class Person:
    """Somebody who comes from an address, with a browser that keeps our cookie or without."""

    def __init__(self, line: httpx.Client, address: str, claims: str, cookie: bool) -> None:
        forwarded = ", ".join(filter(None, (claims, address)))
        self.headers = {"x-forwarded-for": forwarded} if forwarded else {}
        if cookie:
            self.headers["cookie"] = new_cookie(secure=False).split(b";")[0].decode()
        self.line = line

    def get(self, path: str, **options) -> httpx.Response:
        return self.line.get(path, headers=self.headers, **options)

    def post(self, path: str, **options) -> httpx.Response:
        return self.line.post(path, headers=self.headers, **options)


@pytest.fixture(scope="module")
def visit(app):
    """Come as somebody else: `visit("8.8.8.8", claims="1.1.1.1")`."""
    limits = httpx.Limits(max_connections=100)
    with httpx.Client(base_url=app.local_url.rstrip("/"), timeout=60, limits=limits) as line:

        def come(address: str = "", claims: str = "", cookie: bool = True) -> Person:
            return Person(line, address, claims, cookie)

        yield come


def ask(client: Person) -> httpx.Response:
    """A call that waits for the judge."""
    return client.post("/gradio_api/call/compose", json={"data": [1, False, []]})


def answer(client: Person) -> str:
    """What a call gets that waits for nothing."""
    event = client.post("/gradio_api/call/judge", json={"data": [None, "a cat", "tiny", False, None]})
    assert event.status_code == 200, event.text
    return client.get(f"/gradio_api/call/judge/{event.json()['event_id']}").text


def together(sent: list, most: int = 16) -> list:
    """What they return, called side by side."""
    with ThreadPoolExecutor(most) as pool:
        return list(pool.map(lambda one: one(), sent))


def test_one_visitors_calls_keep_nobody_else_out(app, visit, busy):
    hostile, other = visit("8.8.8.8"), visit("9.9.9.9")
    told = together([lambda: ask(hostile)] * 100)
    accepted = [each for each in told if each.status_code == 200]
    assert len(accepted) == calls().each == len(app._queue.event_ids_to_events)
    assert {each.text for each in told if each.status_code != 200} == {
        json.dumps(
            {"detail": "Too many requests are being processed. Try again when some of them are done."},
            separators=(",", ":"),
        )
    }
    assert {each.status_code for each in told} == {200, 429}
    assert "There is no picture" in answer(other)
    assert {each.json()["event_id"] for each in accepted} <= set(app._queue.event_ids_to_events), "they still wait"


def test_nor_do_those_of_a_range_with_fresh_cookies_and_forged_addresses(app, visit, busy, monkeypatch):
    """Two ranges, each of whose clients claims to be another: each has a share of what is left."""
    monkeypatch.setattr("queueing.calls", lambda: Counts("Too many", "Wait", each=8, together=40, share=0.5))
    for network, most in (("8.8.8", 13), ("9.9.9", 9)):
        crowd = [visit(f"{network}.{n}", claims=f"{n + 1}.1.1.1, 7.7.{n}.7") for n in range(20)]
        told = together([lambda client=client: ask(client) for client in crowd])
        assert [each.status_code for each in told].count(200) == most
    assert "There is no picture" in answer(visit("4.4.4.4"))
    assert "There is no picture" in answer(visit("4.4.4.4", cookie=False))


@pytest.mark.parametrize("address", ["8.8.8.8", ""])
@pytest.mark.parametrize("cookie", [True, False])
def test_twenty_pages_that_open_at_once_behind_one_address_are_served(visit, busy, address, cookie):
    """An office, or tests on this machine; also browsers that keep no cookie inside the Hub's frame."""
    office = [visit(address, cookie=cookie) for _ in range(20)]
    told = together([lambda client=client: ask(client) for client in office * OPENS], 40)
    assert {each.status_code for each in told} == {200}


def test_a_call_that_ended_counts_no_longer(app, visit):
    Busy.free.set()
    visitor = visit("8.8.8.8")
    for _ in range(int(calls().each) + 2):
        assert "There is no picture" in answer(visitor)
    assert ended(app)


def test_all_calls_that_may_be_at_work_have_a_place(app):
    """Else those of one, waiting for a judge, would keep the others from even being looked at."""
    assert app._queue.max_thread_count >= CALLS == calls().together


def event(client: Person, function: int, data: list, session: str) -> str:
    """Fire an event as the page does; what comes of it, or the refusal."""
    body = {"fn_index": function, "data": data, "session_hash": session, "event_data": None, "trigger_id": None}
    joined = client.post("/gradio_api/queue/join", json=body)
    if joined.status_code != 200:
        return f"{joined.status_code} {joined.json()['detail']}"
    return client.get("/gradio_api/queue/data", params={"session_hash": session}).text


def entrance(app) -> int:
    """The function behind the button with which an annotator comes in."""
    config = app.get_config_file()
    [button] = [each["id"] for each in config["components"] if each["props"].get("elem_id") == "enter"]
    return next(each["id"] for each in config["dependencies"] if [button, "click"] in map(list, each["targets"]))


def test_a_range_with_fresh_cookies_leaves_an_hours_new_names_to_others(app, visit, monkeypatch):
    monkeypatch.setattr("annotate_tab.NAMES", Counts("too many new names", "Wait", each=3, together=40, share=0.2))
    function = entrance(app)

    def enters(client: Person, name: str) -> bool:
        told = event(client, function, [name, "", "general"], f"s-{name}")
        assert ("Keep this code" in told) != ("too many new names" in told), told
        return "Keep this code" in told

    one = visit("8.8.8.8")
    assert [enters(one, f"one{n}") for n in range(4)] == [True, True, True, False]
    assert sum(enters(visit(f"8.8.8.{n}"), f"many{n}") for n in range(12)) == 3
    assert sum(enters(visit(f"8.8.8.{n}", cookie=False), f"none{n}") for n in range(3)) == 0
    assert enters(visit("9.9.9.9"), "other")
    assert all(enters(visit(), f"house{n}") for n in range(20))


def test_invented_sessions_do_not_push_out_what_others_have(app, visit, monkeypatch):
    """By a call, by a heartbeat, and by calls without any session, of each of which Gradio keeps a state."""
    monkeypatch.setattr("guard.VISITS", Counts("too many new visits", "Wait", each=6, together=100, share=0.1))
    capacity, app.state_holder.capacity = app.state_holder.capacity, 20
    function = entrance(app)
    try:
        mine = visit("9.9.9.9")
        assert "cannot be used as a name" in event(mine, function, ["?", "", "general"], "mine")
        one = visit("8.8.8.8")
        told = [event(one, function, ["?", "", "general"], f"one-{n}") for n in range(8)]
        assert [each.startswith("429 too many new visits") for each in told] == [False] * 6 + [True] * 2
        fresh = [visit(f"8.8.8.{n}").get(f"/gradio_api/heartbeat/beat-{n}x{'y' * 70}") for n in range(3)]
        assert {each.status_code for each in fresh} == {400}
        told = [event(visit(f"8.8.8.{n}"), function, ["?", "", "general"], f"many-{n}") for n in range(12)]
        assert [each.startswith("429") for each in told] == [False] * 3 + [True] * 9
        assert visit("8.8.8.77").get("/gradio_api/heartbeat/invented").status_code == 429
        for _ in range(25):
            assert "There is no picture" in answer(one)
        assert ended(app)
        assert "mine" in app.state_holder.session_data
        assert len(app.state_holder.session_data) < capacity
        assert "cannot be used as a name" in event(mine, function, ["?", "", "general"], "mine"), "it is known"
    finally:
        app.state_holder.capacity = capacity


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("compose", ["x", False, []]),  # the function refuses it
        ("compose", []),  # so does the gate
        ("judge", [{"path": "/etc/passwd"}, "a cat", "tiny", False, None]),
        ("judge", [None, "a cat", ["no", "choice"], False, None]),  # and Gradio
        ("compose", [1, False, 5]),  # a failure
        ("leaderboard", []),  # an answer
    ],
)
def test_a_call_without_a_session_leaves_no_state_however_it_ends(app, visit, name, data):
    client, before = visit("8.8.8.8"), set(app.state_holder.session_data)
    for _ in range(3):
        told = client.post(f"/gradio_api/call/{name}", json={"data": data})
        assert "event: " in client.get(f"/gradio_api/call/{name}/{told.json()['event_id']}").text
    assert ended(app)
    assert set(app.state_holder.session_data) == before == set(app.state_holder.time_last_used)


def test_nor_while_it_is_at_work_or_once_it_is_cancelled(app, visit, busy):
    client, before = visit("8.8.8.8"), set(app.state_holder.session_data)
    number = next(key for key, fn in app.fns.items() if fn.api_name == "compose")
    made = ask(client).json()["event_id"]
    time.sleep(0.3)
    assert set(app.state_holder.session_data) == before
    cancel = {"session_hash": made, "fn_index": number, "event_id": made}
    assert client.post("/gradio_api/cancel", json=cancel).json() == {"success": True}
    assert ended(app)
    assert set(app.state_holder.session_data) == before


def test_a_call_costs_no_settings_of_components_and_no_statistics(app, visit, monkeypatch):
    """Of 67 ms of work for 40 bytes they were 50."""
    made = []
    monkeypatch.setattr("gradio.state_holder.SessionState.__init__", lambda *_: made.append("a state"))
    monkeypatch.setattr("gradio.queueing.Queue._get_df", lambda *_: made.append("statistics"))
    assert "There is no picture" in answer(visit("8.8.8.8"))
    assert ended(app)
    assert made == []


def joins(client: Person, session: str) -> httpx.Response:
    """A call whose result nobody fetches yet."""
    return client.post("/gradio_api/call/leaderboard", json={"data": [], "session_hash": session})


def test_results_that_one_never_fetches_are_so_many_and_others_find_room(app, visit, monkeypatch):
    """40 MB of requests whose results lay there took 1.1 GB."""
    monkeypatch.setattr(RESULTS, "each", 5 * LEAST)
    one = visit("8.8.8.8")
    made = []
    for n in range(8):
        told = joins(one, f"unread-{n % 2}")
        made += [told.json()["event_id"]] if told.status_code == 200 else []
        assert ended(app)
    assert len(made) == 5
    assert told.json() == {"detail": "Too many results wait for you to fetch them. Fetch them, or wait a minute."}
    assert "There is no picture" in answer(visit("8.8.8.8"))
    assert "process_completed" in one.get("/gradio_api/queue/data", params={"session_hash": "unread-0"}).text
    assert joins(one, "unread-1").status_code == 200, "what is fetched counts no longer"
    assert ended(app)


def test_a_result_that_nobody_fetches_ends(app, visit, monkeypatch):
    monkeypatch.setattr("queueing._KEPT", 0.5)
    one, before, queue = visit("9.9.9.9"), RESULTS.sum, app._queue
    made = joins(one, "forgotten").json()["event_id"]
    assert joins(visit("9.9.9.9", cookie=False), "forgotten").status_code == 200
    assert ended(app)
    assert eventually(lambda: "forgotten" not in queue.pending_event_ids_session)
    assert "forgotten" not in queue.pending_messages_per_session
    assert RESULTS.sum <= before
    assert "no such call" in one.get(f"/gradio_api/call/leaderboard/{made}").text


def test_a_result_counts_for_the_memory_that_it_takes():
    assert 1_000_000 < weight({"output": {"data": ["x" * 1_000_000]}}) < 1_002_000
    assert weight({"data": ["\U0001f600" * 250_000]}) > 1_000_000


def test_calls_that_join_at_the_same_moment_have_no_more_places():
    async def push(*_, **__):
        await asyncio.sleep(0.1)

    pending = SimpleNamespace(max_size=1)
    queue = SimpleNamespace(
        push=push, process_events=None, pending_messages_per_session=pending, event_ids_to_events={}
    )
    line, request = Line(queue), SimpleNamespace(scope=scope("8.8.8.8"))

    async def many():
        return await asyncio.gather(*(line.join(None, request) for _ in range(200)), return_exceptions=True)

    assert asyncio.run(many()).count(None) == 85, "a third, as a range's share of half of what is free"
    assert line._joining == []


def test_no_answer_repeats_a_long_text(app, visit):
    """A name of a model that nobody has came back as 2.7 MB."""
    config = app.get_config_file()
    labels = {each["id"]: each["props"].get("label") for each in config["components"]}
    wanted = ["Provider", "Model", "Your key"]
    own = next(each["id"] for each in config["dependencies"] if [labels[i] for i in each["inputs"]] == wanted)
    one, long = visit("8.8.8.8"), "'\U0001f600" * 10_000
    for n, data in enumerate((["OpenAI", long, "x" * 10], [long, "gpt", "x" * 10], ["OpenAI", "gpt", long])):
        told = event(one, own, data, f"long-{n}")
        assert "process_completed" in told and len(told) < 6_000
    for data in ([long, False, []], [1, False, [long]], [1, False, [{long: 1}]], [1, False, [{"count": long}]]):
        made = one.post("/gradio_api/call/compose", json={"data": data}).json()["event_id"]
        told = one.get(f"/gradio_api/call/compose/{made}").text
        assert told.startswith("event: error") and len(told) < 3_000
    function = entrance(app)
    told = event(one, function, ["x" * 33, "", "general"], "long-name")
    assert "has 33 characters. 32 are allowed. Shorten it." in told


def test_half_of_a_surrogate_pair_is_no_text_anywhere_and_costs_no_log(visit, capfd):
    one = visit("8.8.8.8")
    one.headers["content-type"] = "application/json"
    half = r"\udfff"  # JSON can say it
    for name, data in (
        ("judge", f'[null, "{half} red", "tiny", false, null]'),
        ("judge", f'[null, "red", "{half}", false, null]'),
        ("compose", f'[1, false, [{{"{half}": 1}}]]'),
        ("leaderboard", f'["{half}", "people"]'),
    ):
        body = f'{{"data": {data}}}'.encode()
        made = one.post(f"/gradio_api/call/{name}", content=body).json()["event_id"]
        assert "half of a surrogate pair" in one.get(f"/gradio_api/call/{name}/{made}").text
    assert "Traceback" not in "".join(capfd.readouterr())


def test_calls_within_a_minute_are_so_many(visit, monkeypatch):
    monkeypatch.setattr("guard.REQUESTS", Counts("Too many requests", "Wait", each=6, together=60, share=0.2))
    one = visit("8.8.8.8")
    told = [one.post("/gradio_api/call/leaderboard", json={"data": []}) for _ in range(8)]
    assert [each.status_code for each in told] == [200] * 6 + [429] * 2
    assert told[-1].json() == {"detail": "Too many requests. Wait."}
    fresh = [visit(f"8.8.8.{n}").post("/gradio_api/cancel", json={}).status_code for n in range(9)]
    assert fresh.count(429) == 5
    assert "There is no picture" in answer(visit("9.9.9.9"))
    assert "There is no picture" in answer(visit())


def test_a_page_and_a_script_stay_far_below_that():
    assert REQUESTS.seconds == 60
    assert REQUESTS.each >= 5 * 60 and REQUESTS.each >= 20 * OPENS


def test_who_waits_for_nothing_is_told_so_and_the_log_stays_short(visit, capfd):
    visitor = visit("8.8.8.8")
    for n in range(5):
        told = visitor.get("/gradio_api/queue/data", params={"session_hash": f"nobody-{n}"})
        assert "session_not_found" in told.text
        assert "no such call" in visitor.get(f"/gradio_api/call/judge/nothing{n}").text
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said
    assert len(said) < 200


@pytest.mark.parametrize("path", ["queue/join", "call/judge", "upload"])
def test_a_body_that_stands_still_or_drips_ends_with_a_line(app, monkeypatch, capfd, path):
    for module in ("guard", "intake"):
        monkeypatch.setattr(f"{module}._STILL", 0.5)
        monkeypatch.setattr(f"{module}._WHOLE", 1.5)
    host, port = app.local_url.rstrip("/").removeprefix("http://").split(":")
    for drips in (False, True):
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as line:
            kind = "Content-Type: multipart/form-data; boundary=x"
            head = f"POST /gradio_api/{path} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n"
            line.sendall(f"{head}Content-Length: 90000\r\n\r\n--x".encode())
            start, told = time.monotonic(), b""
            line.settimeout(0.2)
            while not told and time.monotonic() - start < PATIENCE:
                with suppress(TimeoutError):
                    told = line.recv(1000)
                if drips and not told:
                    line.sendall(b"-")
            assert told.startswith(b"HTTP/1.1 408 ")
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said and "without" not in said


def test_requests_of_one_browser_that_are_open_are_so_many(app, visit, monkeypatch):
    monkeypatch.setattr("guard.OPEN", Counts("Too many requests", "Wait", each=3, together=100))
    visitor = visit("8.8.8.8")
    host, port = app.local_url.rstrip("/").removeprefix("http://").split(":")
    head = "".join(f"{name}: {value}\r\n" for name, value in visitor.headers.items())
    with ExitStack() as stack:
        for _ in range(3):  # bodies that do not come
            line = stack.enter_context(socket.create_connection((host, int(port)), timeout=PATIENCE))
            line.sendall(
                f"POST /gradio_api/queue/join HTTP/1.1\r\nHost: [::1]\r\n{head}Content-Length: 9\r\n\r\n".encode()
            )
        assert eventually(lambda: visitor.get("/gradio_api/app_id").status_code != 200)
        refused = visitor.get("/gradio_api/app_id")
        assert (refused.status_code, refused.json()) == (429, {"detail": "Too many requests. Wait."})
        assert visitor.get("/config").status_code == 200
        assert visit("8.8.8.8").get("/gradio_api/app_id").status_code == 200
    assert eventually(lambda: visitor.get("/gradio_api/app_id").status_code == 200)


def scope(peer: str, *forwarded: str) -> dict:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return {"client": (peer, 1) if peer else None, "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("8.8.8.8", [], "8.8.8.8"),
        ("8.8.8.8", ["9.9.9.9"], "8.8.8.8"),  # a peer on the internet is no proxy of ours: its own claim
        ("10.1.2.3", ["9.9.9.9"], "9.9.9.9"),
        ("10.1.2.3", ["1.1.1.1, 10.0.0.1, 9.9.9.9"], "9.9.9.9"),
        ("10.1.2.3", ["1.1.1.1", "2.2.2.2, 9.9.9.9"], "9.9.9.9"),  # headers are read as one, in their order
        ("127.0.0.1", ["1.1.1.1,9.9.9.9:4711"], "9.9.9.9"),
        ("::1", ["1.1.1.1,[2606:4700::1]:443"], "2606:4700::1"),
        ("fd00::5", ["2606:4700::1"], "2606:4700::1"),
        ("10.1.2.3", ["9.9.9.9, unknown"], ""),  # whoever it is, it is not what a client says
        ("10.1.2.3", ["9.9.9.9,"], ""),
        ("10.1.2.3", ["9.9.9.9, 10.7.7.7"], "10.7.7.7"),
        ("10.1.2.3", [], "10.1.2.3"),
        ("10.1.2.3", ["x" * 60_000], ""),
        ("", [], ""),
        ("testclient", [], ""),
    ],
)
def test_the_address_is_what_the_nearest_proxy_wrote(peer, forwarded, address):
    assert visitor_of(scope(peer, *forwarded)).address == address


def test_where_every_peer_is_a_proxy_the_first_entry_is_no_address(monkeypatch):
    """uvicorn then takes what the client claims for the peer."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    assert visitor_of(scope("1.1.1.1", "1.1.1.1, 9.9.9.9")).address == "9.9.9.9"


def test_a_private_address_is_no_crowd():
    assert Visitor(address="8.8.8.8").crowd == Visitor("a" * 32, address="8.8.8.200").crowd == "8.8.8.0/24"
    assert Visitor(address="2606:4700:1:2::3").crowd == "2606:4700:1::/48"
    for address in ("10.1.2.3", "127.0.0.1", "::1", "fd00::1", "169.254.1.1", "100.64.0.1", ""):
        assert Visitor(address=address).crowd == ""


def people(network: str, number: int) -> list[Visitor]:
    """As many browsers, each at an address of its own in one range."""
    return [Visitor(f"{network}{n:03}", address=f"{network}.{n}") for n in range(number)]


def admitted(counts: Counts, visitors: list[Visitor], amount: float = 1) -> int:
    def takes(visitor: Visitor) -> bool:
        try:
            counts.take(visitor, amount)
        except UserError:
            return False
        return True

    return sum(takes(visitor) for visitor in visitors)


def test_a_range_has_a_share_of_what_others_leave_and_a_newcomer_finds_room():
    counts = Counts("Too many", "Wait", each=5, together=100)
    assert admitted(counts, people("8.8.8", 1) * 20) == 5
    assert admitted(counts, people("8.8.8", 200)) == 45, "half of all, together with the first"
    crowds = [admitted(counts, people(f"9.9.{n}", 200)) for n in range(4)]
    assert crowds == sorted(crowds, reverse=True)
    assert crowds[0] == 25
    assert admitted(counts, people("4.4.4", 1)) == 1
    assert counts.sum <= 100


def test_who_may_be_anybody_is_bound_by_the_sum_alone():
    counts = Counts("Too many", "Wait", each=5, together=100)
    assert admitted(counts, [Visitor(address="10.0.0.1")] * 200) == 100
    assert admitted(counts, people("8.8.8", 1)) == 0


def test_what_was_taken_counts_for_its_time_and_once_by_its_name(monkeypatch):
    counts, now = Counts("Too many", "Wait", each=2, together=100, seconds=60), [1_000.0]
    monkeypatch.setattr("counts.time", SimpleNamespace(monotonic=lambda: now[0]))
    [visitor] = people("8.8.8", 1)
    for _ in range(5):
        counts.take(visitor, name="a")
    counts.take(visitor, name="b")
    with pytest.raises(UserError, match="Too many"):
        counts.take(visitor, name="c")
    counts.take(visitor, name="a")
    now[0] += 60
    counts.take(visitor, name="c")
    assert counts.sum == 1
    assert counts._names == {"c"}


def test_what_is_given_back_leaves_nothing():
    counts = Counts("Too many", "Wait", each=2, together=100)
    [visitor] = people("8.8.8", 1)
    with counts.held(visitor), counts.held(visitor), pytest.raises(UserError), counts.held(visitor):
        pass
    assert counts.sum == 0
    assert not counts._sums


def test_a_cookie_that_nobody_was_given_is_no_browser():
    forged = {"client": ("8.8.8.8", 1), "headers": [(b"cookie", f"{COOKIE}={'0' * 64}".encode())]}
    assert visitor_of(forged).browser == ""
    assert visitor_of(forged).crowd == "8.8.8.0/24"
