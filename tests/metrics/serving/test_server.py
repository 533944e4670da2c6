"""`t2i-judge serve` over real HTTP: what it answers, what it refuses, and that no failure is ever a number."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from types import SimpleNamespace

import httpx2
import pytest
import uvicorn
from PIL import Image
from starlette.exceptions import HTTPException

from t2i_judge import load_judge
from t2i_judge.inputs.cells import ImageError
from t2i_judge.inputs.decoding import Decoders
from t2i_judge.serving import admission, connections
from t2i_judge.serving import server as server_module
from t2i_judge.serving import service as service_module
from t2i_judge.serving.admission import Admission
from t2i_judge.serving.requests import Malformed, Wanted, picture, read_form
from t2i_judge.serving.service import Full, Service, ServiceLimits
from tests.metrics.conftest import FakeOpenAI, failure
from tests.metrics.serving.conftest import png, running, text
from tests.waiting import PATIENCE, eventually, until

KEY = "loopback-key-0123456789"


def item(number=0, **rest):
    return {"image": text(png((number % 256, number // 256, 9))), "prompt": "a red square", **rest}


def test_results_stand_in_order_each_with_its_own_status(serving):
    broken = ["%%%", "", "http://127.0.0.1:9/a.png", "file:///etc/passwd", "/etc/passwd", text(b"\x89PNG\r\n\x1a\n no")]
    items = [item(1, id="a"), *({"image": sent, "prompt": "x"} for sent in broken), item(2, id="b"), item(3, prompt="")]
    answer = serving.score(items)
    assert answer.status_code == 200
    body = answer.json()
    assert [result["status"] for result in body["results"]] == [
        "ok", *["image_error"] * len(broken), "ok", "ok"
    ]  # fmt: skip
    for result in body["results"]:
        assert set(result) == {"id", "status", "reason", "score", "scores"}
        assert (result["score"] is None) == (result["status"] != "ok")
        assert bool(result["reason"]) == (result["status"] != "ok")
    assert [body["results"][0]["id"], body["results"][-2]["id"]] == ["a", "b"]
    assert "not fetched" in body["results"][3]["reason"]
    assert body["judge"]["name"] == "fake"
    assert {"calls", "input_tokens", "output_tokens", "seconds", "money"} == set(body["usage"])


def test_a_data_url_an_upload_and_base64_are_the_same_picture(serving):
    data = png((7, 7, 7))
    url = f"data:image/png;base64,{text(data)}"
    sent = [serving.score([{"image": image, "prompt": "p"}]).json()["results"][0] for image in (text(data), url)]
    form = serving.client.post("/score", files={"image": ("a.png", data, "image/png")}, data={"prompt": "p"})
    assert form.status_code == 200
    assert sent[0] == sent[1] == form.json()["results"][0]
    two = serving.client.post(
        "/score",
        files=[("image", ("a", data)), ("image", ("b", b"no"))],
        data={"prompt": ["p", "q"], "explain": "true"},
    )
    assert [r["status"] for r in two.json()["results"]] == ["ok", "image_error"]
    assert two.json()["results"][0]["answers"][0]["question_id"] == "q1"


def test_spaces_between_all_letters_cost_no_more_than_the_text():
    sent = "Qk0A " * 1_000_000
    tracemalloc.start()
    assert len(picture(sent)) == 3_000_000
    assert tracemalloc.get_traced_memory()[1] < 6 * len(sent)
    tracemalloc.stop()
    for broken in ("Qk0!", "Qk0\xe9", "Q"):
        with pytest.raises(ImageError, match="its base64 is broken"):
            picture(broken)
    with pytest.raises(ImageError, match="no image"):
        picture(" = ")


def test_answers_come_when_asked_for_and_own_questions_are_asked(serving):
    [result] = serving.score([item(4)], explain=True).json()["results"]
    assert {"question", "aspect", "score", "status"} <= set(result["answers"][0])
    question = {"id": "q1", "aspect": "intrinsic", "text": "Is it red?", "expected": "yes"}
    assert serving.score([item(4, questions=[question])]).status_code == 200
    assert serving.score([item(4, questions=[{"id": "q1"}])]).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b'{"items": 3}', b'{"items": [{"image": "x"}]}', b'{"items": [{"prompt": "x"}]}',
        b'{"items": [{"image": 1, "prompt": "x"}]}', b'{"items": [{"image": "x", "prompt": "x", "pormpt": 1}]}',
        b'{"items": [], "judge": "nobody"}', b'{"requests": [{"history": []}]}', b"[" * 100_000, b"\xff",
        b'{"items": [0, 0, 0, 0]}',
        pytest.param(b'{"items": [' + b"0," * 100_000 + b"0]}", id="many numbers"),
        pytest.param(b'{"items": [' + b"{}," * 1_000_000 + b"{}]}", id="many objects"),
        pytest.param(b'{"requests": [{"history": [' + b"1," * 9_000 + b"1]}]}", id="a long history"),
        pytest.param(b'{"items": [{' + b",".join(b'"%d": 0' % n for n in range(9_000)) + b"}]}", id="many keys"),
        pytest.param(b'{"items": [{"questions": [' + b"1," * 200 + b"1]}]}", id="many questions"),
    ],
)  # fmt: skip
def test_a_malformed_request_is_a_422_that_repeats_nothing(serving, body):
    answer = serving.client.post("/score", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["msg"]
    assert len(answer.content) < 2_000, "a mistake told a million times would be the attack"
    assert "input" not in answer.json()["detail"][0]


def test_forms_that_do_not_fit_are_a_422(serving):
    data = png()
    for files, fields in (
        ([("image", ("a", data))], {}),
        ([], {"prompt": "x"}),
        ([("image", ("a", data)), ("image", ("b", data))], {"prompt": "x"}),
        ([("image", ("a", data))], {"prompt": "x", "pormpt": "y"}),
    ):
        answer = serving.client.post("/score", files=files or [("nothing", ("a", b""))], data=fields)
        assert answer.status_code == 422, answer.text
    assert serving.client.post("/score", content=b"x", headers={"content-type": "text/plain"}).status_code == 422


def form(prompt: bytes, part: bytes = b"") -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n' + part + b"\r\n"
    image = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    return head + prompt + b"\r\n" + image + png() + b"\r\n--b--\r\n"


@pytest.mark.parametrize("charset", ["punycode", "utf-7", "idna", "utf-8; charset=punycode"])
def test_a_form_in_another_charset_is_refused_before_it_is_parsed(serving, charset):
    """400 kB of punycode kept the server from everybody, its health included; 900 kB are minutes of work."""
    kind = {"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
    start = time.monotonic()
    answer = serving.client.post("/score", content=form(b"999" * 300_000), headers=kind)
    assert answer.status_code == 422 and "UTF-8" in answer.json()["detail"][0]["msg"]
    assert time.monotonic() - start < 30


def test_a_forms_letters_are_utf_8_whatever_a_part_says(serving):
    for charset in ("", "; charset=utf-8"):
        kind = {"content-type": f"multipart/form-data; boundary=b{charset}"}
        body = form(b"+2AA- red", b"Content-Type: text/plain; charset=utf-7\r\n")
        answer = serving.client.post("/score", content=body, headers=kind)
        assert answer.json()["results"][0]["status"] == "ok"
    two = [("content-type", f"multipart/form-data; boundary=b{rest}") for rest in ("", "; charset=utf-7")]
    assert serving.client.post("/score", content=form(b"+2AA- red"), headers=two).status_code == 422


@pytest.mark.parametrize("name", ["prompt", "id", "judge", "explain"])
def test_half_of_a_surrogate_pair_is_no_text_of_a_form(name):
    fields = {"image": [b""], "prompt": ["a red square"], name: ["\udfff red"]}
    with pytest.raises(Malformed, match="surrogate"):
        read_form(fields)
    assert read_form({**fields, name: ["\U0001f600"]}).items


def test_it_tells_about_itself(serving):
    assert serving.client.get("/health").json()["status"] == "ok"
    judges = serving.client.get("/judges").json()
    assert judges["judges"][0]["name"] == "fake"
    assert judges["judges"][0]["score_range"] == [0.0, 10.0]
    assert serving.client.get("/rewards").json() == {"rewards": ["fake"]}
    schema = serving.client.get("/openapi.json").json()
    content = schema["paths"]["/score"]["post"]["requestBody"]["content"]
    assert {"application/json", "multipart/form-data"} == set(content)
    example = content["application/json"]["examples"]["one image"]["value"]
    assert serving.client.post("/score", json=example).json()["results"][0]["status"] == "ok"
    assert serving.client.get("/docs").status_code == 200
    figures = serving.client.get("/metrics").text
    for name in ("judge_calls_total", "items_total", "requests_total", "queue_items", "request_seconds_bucket"):
        assert f"t2i_judge_{name}" in figures


def test_unirls_reward_service_is_spoken(serving):
    good = {"history": [{"text": "a cat", "image_b64": text(png((5, 5, 5)))}], "required_rewards": ["fake"]}
    bad = {"history": [{"text": "a cat", "image_b64": "%%"}], "required_rewards": ["fake"], "metadata": {"a": 1}}
    body = serving.client.post("/score", json={"requests": [good, bad]}).json()
    assert body["results"][0]["fake"]["fake"] == body["results"][0]["fake"]["overall"]
    assert body["results"][1] == {}
    assert body["errors"][0] == {}
    assert body["errors"][1]["fake"].startswith("image_error")


def test_many_requests_make_few_calls_and_the_same_twice_makes_one(tmp_path):
    with running("--judge", "fake", go=tmp_path / "go") as server, ThreadPoolExecutor(64) as threads:
        asked = [threads.submit(server.score, [item(1000 + n)]) for n in range(64)]
        assert eventually(lambda: server.queue() == 64)
        (tmp_path / "go").touch()
        answers = [each.result() for each in asked]
        assert [a.json()["results"][0]["status"] for a in answers] == ["ok"] * 64
        assert server.calls() <= 8
        before = server.calls()
        again = [server.score([item(1000)]).json()["results"][0] for _ in range(3)]
        assert server.calls() == before
        assert again[0] == answers[0].json()["results"][0]


def test_without_the_key_nothing_is_answered_but_its_health():
    with running("--judge", "fake", "--client-key-env", "SERVE_KEY", SERVE_KEY=KEY) as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {KEY}x"}):
            answer = server.client.post("/score", json={"items": [item()]}, headers=headers)
            assert answer.status_code == 401
            assert KEY not in answer.text
            assert server.client.get("/metrics", headers=headers).status_code == 401
        assert server.client.get("/health").status_code == 200
        right = {"Authorization": f"Bearer {KEY}"}
        assert server.client.post("/score", json={"items": [item()]}, headers=right).status_code == 200


def test_a_page_of_another_address_is_refused(serving):
    answer = serving.client.post("/score", json={"items": []}, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    answer = serving.client.post("/score", json={"items": []}, headers={"Origin": "http://localhost:3000"})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/judges", "/health", "/metrics", "/openapi.json"])
def test_another_name_for_this_machine_is_refused(serving, path):
    """DNS rebinding: a page's own name leads here now, so that its browser thinks the answer is the page's."""
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "]["):
        answer = serving.client.get(path, headers={"Host": host})
        assert answer.status_code == 421 and "localhost" in answer.json()["detail"], host
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:80"):
        assert serving.client.get(path, headers={"Host": host}).status_code == 200, host


def test_with_the_key_a_proxy_may_call_it_as_it_likes():
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def status(headers, **options):
        answers = []

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            answers.append(message)

        door = Admission(application, KEY, 1_000, 2_000, ("127.0.0.1", "localhost"), **options)
        await door({"type": "http", "path": "/health", "headers": headers}, receive, send)
        return answers[0]["status"]

    host, key = (b"host", b"judge.example"), (b"authorization", f"Bearer {KEY}".encode())
    assert asyncio.run(status([host, key], local=True)) == 200
    assert asyncio.run(status([host], local=True)) == 421
    assert asyncio.run(status([host])) == 200


def test_one_client_never_holds_every_decoder(monkeypatch):
    """Slow pictures of one client; another's is decoded beside them."""
    monkeypatch.setattr(Decoders, "size", lambda self, data, limits: (8, 8))
    slow, working = threading.Event(), []

    def pixels(self, data, limits):
        if data == b"slow":
            working.append(data)
            slow.wait(PATIENCE)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(Decoders, "pixels", pixels)
    monkeypatch.setattr(service_module, "picture", str.encode)

    async def all_of_it():
        judge = load_judge("fake")
        service = Service({"fake": judge}, ServiceLimits())
        first = asyncio.create_task(service.judge([Wanted("slow", "x", id=str(n)) for n in range(20)], False, "a"))
        assert await until(lambda: len(working) == 2)
        [other] = await asyncio.wait_for(service.judge([Wanted("quick", "x")], False, "b"), PATIENCE / 2)
        assert len(working) == 2 and other.status == "ok"
        slow.set()
        assert {judgement.status for judgement in await first} == {"ok"}
        service.close()

    asyncio.run(all_of_it())


def test_large_bodies_of_one_client_do_not_keep_anothers_waiting():
    """150 connections of one address, with a megabyte each, kept everybody's pictures unread for minutes."""

    async def all_of_it():
        service, read, go = Service({"fake": load_judge("fake")}, ServiceLimits()), [], threading.Event()

        def slowly(whose):
            read.append(whose)
            assert go.wait(PATIENCE)

        crowd = [asyncio.create_task(service.read("8.8.8.8", slowly, "crowd")) for _ in range(50)]
        assert await until(lambda: len(read) == 1)
        newcomer = asyncio.create_task(service.read("9.9.9.9", slowly, "newcomer"))
        await asyncio.sleep(0)  # all that wait have said so
        go.set()
        await asyncio.gather(newcomer, *crowd)
        assert read.index("newcomer") <= 2 and len(read) == 51
        service.close()

    asyncio.run(all_of_it())


def test_a_large_body_whose_turn_does_not_come_is_a_429():
    service, busy, reading = Service({"fake": load_judge("fake")}, ServiceLimits()), threading.Event(), []
    large, answers = {"image": text(png() + bytes(300_000)), "prompt": "x"}, []

    async def all_of_it():
        first = asyncio.create_task(service.read("8.8.8.8", lambda: reading.append(busy.wait(PATIENCE))))
        assert await until(lambda: service._readings._held and service._reader._threads)
        service._readings.patience = 0.05
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(server_module.application(service)), base_url="http://localhost"
        ) as client:
            answers.append(await client.post("/score", json={"items": [large]}))
        busy.set()
        await first

    asyncio.run(all_of_it())
    service.close()
    assert answers[0].status_code == 429 and "large requests are being read" in answers[0].json()["detail"]


def test_a_range_of_the_internet_never_fills_the_queue():
    service = Service({"fake": load_judge("fake")}, ServiceLimits(queue=100))
    for number in range(5):
        service.admit(10, f"8.8.8.{number}")
    with pytest.raises(Full):
        service.admit(1, "8.8.8.200")
    service.admit(10, "9.9.9.9")
    service.leave(10, "8.8.8.1")
    service.admit(10, "8.8.8.200")
    assert service.waiting == 60
    for _ in range(4):  # this machine's own trainer may use all that is left
        service.admit(10, "127.0.0.1")
    with pytest.raises(Full):
        service.admit(1, "127.0.0.1")
    service.close()


def test_bodies_items_and_pixels_are_bounded():
    limits = ["--max-body", "1", "--max-items", "4", "--max-pixels", "1"]
    with running("--judge", "fake", *limits) as server:
        large = {"items": [{"image": "A" * 1_100_000, "prompt": "x"}]}
        assert server.client.post("/score", json=large).status_code == 413
        chunks = (b"x" * 100_000 for _ in range(20))
        assert (
            server.client.post("/score", content=chunks, headers={"content-type": "application/json"}).status_code
            == 413
        )
        assert server.score([item(n) for n in range(5)]).status_code == 422
        [result] = server.score([{"image": text(png(side=1200)), "prompt": "x"}]).json()["results"]
        assert result["status"] == "image_error"
        assert "pixels" in result["reason"]
        assert server.score([item()]).status_code == 200


def test_who_sends_nothing_takes_nobodys_room(serving):
    """Eight connections that each announce the largest body there may be, and send one byte of it."""
    head = b"POST /score HTTP/1.1\r\nHost: localhost\r\n"
    head += b"Content-Type: application/json\r\nContent-Length: 64000000\r\n\r\n{"
    address = serving.url.removeprefix("http://").split(":")
    with ExitStack() as held:
        for _ in range(8):
            held.enter_context(socket.create_connection((address[0], int(address[1])))).sendall(head)
        time.sleep(0.3)
        assert serving.score([item()]).status_code == 200


def test_bodies_of_a_range_take_half_of_the_room():
    """Eight that were sent but for their last bytes, from one address, took all of it for five minutes."""

    async def all_of_it():
        ends, standing = asyncio.Event(), []

        async def application(scope, receive, send):
            while (await receive())["more_body"]:
                pass
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        door = Admission(application, None, 1_000, 2_000, ())

        async def status(address):
            parts, sent = iter([b"x" * 900, b""]), []

            async def receive():
                if (part := next(parts)) == b"":
                    standing.append(address)
                    await ends.wait()
                return {"type": "http.request", "body": part, "more_body": part != b""}

            async def send(message):
                sent.append(message)

            scope = {"type": "http", "path": "/score", "headers": [(b"content-length", b"900")], "client": (address, 1)}
            try:
                await door(scope, receive, send)
            except HTTPException as error:
                return error.status_code
            return sent[0]["status"]

        addresses = ["8.8.8.1", "8.8.8.2", "8.8.8.3", "9.9.9.9", "127.0.0.1"]
        tasks = []
        for address in addresses:
            tasks.append(asyncio.create_task(status(address)))
            assert await until(lambda: len(standing) == len(tasks))
        ends.set()
        # the last: two bodies are all there is room for
        assert await asyncio.gather(*tasks) == [200, 429, 429, 200, 429]
        assert await status("8.8.8.2") == 200 and door.held == 0 and not door._of_range

    asyncio.run(all_of_it())


def test_a_body_that_stands_still_or_is_one_too_many_is_refused(monkeypatch):
    monkeypatch.setattr(admission, "_STILL", 0.1)
    kept: list[bytes] = []

    async def application(scope, receive, send):
        more = True
        while more:
            message = await receive()
            kept.append(message["body"])
            more = message["more_body"]

    async def ask(door, *chunks, ends=False):
        left = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        left += [{"type": "http.request", "body": b"", "more_body": False}] if ends else []

        async def receive():
            if not left:
                await asyncio.Event().wait()
            return left.pop(0)

        headers = [(b"transfer-encoding", b"chunked")]
        await door({"type": "http", "path": "/score", "headers": headers}, receive, None)

    async def all_of_it():
        door = Admission(application, None, 1_000, 2_000, ())
        with pytest.raises(HTTPException) as still:
            await ask(door, b"x" * 900)
        assert still.value.status_code == 408
        monkeypatch.setattr(admission, "_STILL", PATIENCE)
        waiting = [asyncio.create_task(ask(door, b"x" * 900)) for _ in range(2)]
        assert await until(lambda: door.held == 1_800)
        with pytest.raises(HTTPException) as full:
            await ask(door, b"x" * 900)
        assert (full.value.status_code, full.value.headers) == (429, {"retry-after": "1"})
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await ask(door, b"x" * 900, ends=True)
        assert door.held == 0

    asyncio.run(all_of_it())


async def flooding(scope, receive, send):
    """Answers with twelve megabytes, which no socket's own buffer holds, once the whole request is here."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"12000000")]})
    await send({"type": "http.response.body", "body": b"x" * 12_000_000})


ASKED = b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


@asynccontextmanager
async def listening(application):
    """A server of our connections; its port."""
    server = uvicorn.Server(uvicorn.Config(application, port=0, http=connections.Connection, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def unread(port, *requests):
    """A client that asks and reads no more than that it is answered; the rest is told by its reader."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    writer.write(requests[0])
    assert (await asyncio.wait_for(reader.readline(), PATIENCE)).startswith(b"HTTP/1.1 200")
    for request in requests[1:]:
        writer.write(request)
        await asyncio.sleep(0.2)  # in which nothing should happen
    return reader, writer


async def cut_off(reader) -> bool:
    """Whether the server hangs up before the answer is whole."""
    try:
        return len(await asyncio.wait_for(reader.read(-1), PATIENCE)) < 12_000_000
    except ConnectionError:
        return True


def test_answers_that_nobody_reads_hold_no_bodies_and_no_connections(monkeypatch):
    """On each connection a request whose answer is large, then one with the largest body."""
    monkeypatch.setattr(connections, "_STILL", 1.0)
    door = Admission(flooding, None, 100_000, 200_000, ())

    async def all_of_it():
        async with listening(door) as port:
            first, second = ASKED % 1 + b"x", ASKED % 100_000 + b"x" * 100_000
            silent = [await unread(port, first, second) for _ in range(3)]
            assert door.held == 0, "a body waits for an answer to be read"
            monkeypatch.setattr(connections, "_STILL", PATIENCE)
            reader, writer = await unread(port, ASKED % 100_000 + b"x" * 100_000)
            assert len(await reader.readexactly(12_000_000)) == 12_000_000, "who reads is answered"
            writer.close()
            assert await until(lambda: not connections.Connection._unread)
            assert [await cut_off(reader) for reader, _ in silent] == [True] * 3
            for _, writer in silent:
                writer.close()

    asyncio.run(all_of_it())


def test_who_reads_slowly_is_waited_for_but_not_without_end(monkeypatch):
    monkeypatch.setattr(connections, "_STILL", PATIENCE)  # it looks when we say so

    async def all_of_it():
        async with listening(flooding) as port:
            reader, writer = await unread(port, ASKED % 0)
            [connection] = connections.Connection._unread
            for is_late in (False, False, True):
                before = connection._left
                while connection.transport.get_write_buffer_size() >= before:
                    await reader.readexactly(100_000)
                if is_late:
                    monkeypatch.setattr(connections, "_READ", 0.0)
                connection._look_again()
                assert (connection in connections.Connection._unread) != is_late
            assert await cut_off(reader)
            writer.close()

    asyncio.run(all_of_it())


def test_only_so_much_lies_unread(monkeypatch):
    """The range with most of it loses the oldest; who comes from elsewhere is answered."""
    monkeypatch.setattr(connections, "_MOST_UNREAD", 20_000_000)
    ranges = iter(["8.8.8.8", "9.9.9.9", "8.8.8.9", "8.8.8.10"])
    monkeypatch.setattr(connections, "account_of", lambda address: next(ranges))

    async def all_of_it():
        async with listening(flooding) as port:
            silent = [await unread(port, ASKED % 0) for _ in range(4)]
            assert len(connections.Connection._unread) <= 2
            assert [await cut_off(reader) for reader, _ in silent] == [True, False, True, False]
            for _, writer in silent:
                writer.close()

    asyncio.run(all_of_it())


def test_a_connection_whose_head_does_not_come_is_closed(monkeypatch):
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def all_of_it():
        server = uvicorn.Server(uvicorn.Config(application, port=0, http=connections.Connection, lifespan="off"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        two = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP"
        for sent, seconds in ((b"", 0.3), (b"GET / HTTP/1.1\r\nX: ", 0.3), (two, PATIENCE / 2)):
            monkeypatch.setattr(connections, "_HEAD", seconds)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"HTTP/1.1 200") == (b"Host" in sent)
            writer.close()
        server.should_exit = True
        await serving

    asyncio.run(all_of_it())


def test_no_connection_is_upgraded(monkeypatch):
    """One that was is no longer watched, and keeps its place for ever; any library for it may be installed."""
    configured = []

    class Recorded:
        def __init__(self, config) -> None:
            configured.append(config)

        def run(self, sockets) -> None:
            pass

    service = SimpleNamespace(limits=SimpleNamespace(seconds=1))
    monkeypatch.setattr(server_module, "Server", Recorded)
    monkeypatch.setattr(server_module, "application", lambda service: None)
    monkeypatch.setattr(server_module.signal, "signal", lambda *_: None)
    server_module.run(service, "127.0.0.1", 0, None, 1_000)
    assert [config.ws for config in configured] == ["none"]


def test_a_range_of_the_internet_has_so_many_connections(monkeypatch):
    monkeypatch.setattr(connections, "_FROM_A_RANGE", 3)
    internet = iter([True] * 5 + [False])
    monkeypatch.setattr(connections, "is_public", lambda account: next(internet))

    async def all_of_it():
        config = uvicorn.Config(lambda *_: None, port=0, http=connections.Connection, lifespan="off")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        lines = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        assert await asyncio.wait_for(lines[3][0].read(), PATIENCE) == b""
        assert await until(lambda: connections.Connection._open.total() == 3)
        lines[0][1].close()
        assert await until(lambda: connections.Connection._open.total() == 2)
        for _ in range(2):  # in the place of the one that left, and from a private network
            lines.append(await asyncio.open_connection("127.0.0.1", port))
        assert await until(lambda: len(server.server_state.connections) == 4)
        await asyncio.sleep(0.1)  # in which nothing should happen
        assert not any(reader.at_eof() for reader, _ in (*lines[1:3], *lines[4:]))
        for _, writer in lines:
            writer.close()
        assert await until(lambda: not connections.Connection._open)
        server.should_exit = True
        await serving

    asyncio.run(all_of_it())


def test_a_full_queue_says_when_to_come_again(tmp_path):
    with running("--judge", "fake", "--queue", "4", go=tmp_path / "go") as server, ThreadPoolExecutor(1) as threads:
        asked = threads.submit(server.score, [item(n) for n in range(4)])
        assert eventually(lambda: server.queue() == 4)
        full = server.score([item(9)])
        assert full.status_code == 429
        assert 1 <= int(full.headers["retry-after"]) <= 60
        (tmp_path / "go").touch()
        assert [result["status"] for result in asked.result().json()["results"]] == ["ok"] * 4


def test_what_is_late_says_so(tmp_path):
    with running("--judge", "fake", "--deadline", "1", go=tmp_path / "go") as server:
        late = server.score([item(n) for n in range(4)]).json()["results"]
    assert {result["status"] for result in late} == {"transport"}
    assert all(result["score"] is None and "within 1 s" in result["reason"] for result in late)


def test_sigterm_answers_what_was_accepted_and_ends_well(tmp_path):
    with running("--judge", "fake", go=tmp_path / "go") as server, ThreadPoolExecutor(5) as threads:
        asked = [
            threads.submit(httpx2.post, f"{server.url}/score", json={"items": [item(n)]}, timeout=PATIENCE)
            for n in range(5)
        ]
        assert eventually(lambda: server.queue() == 5)
        server.process.terminate()
        assert eventually(server.is_closed)
        (tmp_path / "go").touch()
        assert [each.result().json()["results"][0]["status"] for each in asked] == ["ok"] * 5
        assert server.process.wait(PATIENCE) == 0


def test_a_served_judge_that_is_refused_is_a_502_and_its_address_stays_here():
    with FakeOpenAI() as upstream:
        upstream.respond = lambda request, n: failure(401, "Incorrect API key")
        name = f"direct+openai:m@{upstream.url}"
        with running("--judge", name, "--judge", "fake") as server:
            assert server.client.get("/judges").json()["judges"][0]["name"] == "direct+openai:m"
            answer = server.score([item()])
            assert answer.status_code == 502
            assert "score" not in answer.text
            assert upstream.url.partition("//")[2].removesuffix("/v1") not in answer.text
            assert server.score([item()], judge="fake").json()["results"][0]["status"] == "ok"


def test_it_does_not_start_where_it_cannot_serve(capfd, monkeypatch):
    from t2i_judge.cli import main

    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--judge", "fake", "--port", str(taken.getsockname()[1])]) == 2
    assert "Cannot serve at" in capfd.readouterr().err
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    assert main(["serve", "--judge", "fake", "--client-key-env", "NO_SUCH_KEY"]) == 2
    assert "empty or not set" in capfd.readouterr().err
    assert main(["serve", "--judge", "fake", "--judge", "fake"]) == 2
    assert "Two judges are called" in capfd.readouterr().err
