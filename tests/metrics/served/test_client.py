"""The client against a real server on loopback: what is sent, what is kept, what is tried again, what ends a run."""

from __future__ import annotations

import asyncio
import base64
import email.utils
import io
import logging
import multiprocessing
import time

import pytest
from PIL import Image

from recipes.loopback.http import Response
from t2i_judge.errors import UserError
from t2i_judge.inputs.images import EncodedImage, encode_image
from t2i_judge.records import Status
from t2i_judge.served.cache import CallCache, paid_in
from t2i_judge.served.client import OpenAIBackend
from t2i_judge.served.concurrency import Budget, BudgetExceeded, map_bounded
from t2i_judge.served.prices import Price
from t2i_judge.served.replies import extract_json
from t2i_judge.served.wire import Message
from tests.waiting import PATIENCE, until

KEY = "sk-very-secret-0123456789"


def picture(color: str = "red") -> EncodedImage:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(out, "PNG")
    return encode_image(out.getvalue())


@pytest.fixture
def connect(served):
    """Backends on the test's server; closed afterwards."""
    made = []

    def make(**options) -> OpenAIBackend:
        made.append(OpenAIBackend(options.pop("model", "m"), served.url, KEY, **options))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def ask(backend: OpenAIBackend, text: str = "hi", images=(), max_tokens: int = 50, **options):
    return backend.run(backend.ask([Message("user", text, tuple(images))], max_tokens, **options))


def test_the_image_goes_first_and_the_question_last(served, connect):
    image = picture()
    reply = ask(connect(), "what is it?", [image])
    assert reply.text == "hello"
    assert (reply.usage.calls, reply.usage.input_tokens, reply.usage.output_tokens) == (1, 100, 20)
    first, last = served.calls[0]["messages"][0]["content"]
    assert base64.b64decode(first["image_url"]["url"].split(",")[1]) == image.data
    assert last == {"type": "text", "text": "what is it?"}
    assert served.calls[0]["temperature"] == 0
    assert served.calls[0]["max_completion_tokens"] == 50


def test_a_call_is_made_once_and_everything_that_matters_is_in_its_key(served, connect, tmp_path):
    cache = tmp_path / "calls.sqlite"
    base = {"text": "a", "images": [picture()]}
    assert ask(connect(cache=cache), **base).cached is False
    again = ask(connect(cache=cache), **base)
    assert again.cached
    assert (again.text, again.usage.calls) == ("hello", 1)
    assert len(served.calls) == 1
    others = [
        (connect(cache=cache), {**base, "text": "b"}),
        (connect(cache=cache), {**base, "images": [picture("blue")]}),
        (connect(cache=cache), {**base, "images": [picture(), picture()]}),
        (connect(cache=cache), {**base, "max_tokens": 51}),
        (connect(cache=cache), {**base, "schema": ("s", {"type": "object"})}),
        (connect(cache=cache, model="other"), base),
        (connect(cache=cache, snapshot="2024"), base),
        (connect(cache=cache, parameters={"seed": 1}), base),
        (connect(cache=cache, parameters={"temperature": None}), base),
    ]
    for number, (backend, call) in enumerate(others, 2):
        assert not ask(backend, **call).cached
        assert len(served.calls) == number


def test_the_same_call_at_the_same_time_is_sent_once(served, connect):
    backend = connect()

    async def both():
        return await asyncio.gather(*(backend.ask([Message("user", "same")], 5) for _ in range(20)))

    assert {reply.text for reply in backend.run(both())} == {"hello"}
    assert len(served.calls) == 1


@pytest.mark.parametrize(
    ("response", "status", "says"),
    [
        (("completion", (None,), {"refusal": "I can't"}), Status.REFUSED, "I can't"),
        (("completion", ("par",), {"finish": "content_filter"}), Status.FILTERED, "content filter"),
        (("completion", ("cut of",), {"finish": "length"}), Status.UNPARSABLE, "length limit after 20"),
        (("completion", ("  ",), {}), Status.UNPARSABLE, "empty"),
        (("failure", (400, "bad", "content_policy_violation"), {}), Status.FILTERED, "content filter"),
        (("failure", (400, "image too small"), {}), Status.TRANSPORT, "image too small"),
        (("failure", (422, "what?"), {}), Status.TRANSPORT, "422"),
    ],
)
def test_what_is_no_answer_has_its_own_status_is_not_tried_again_and_not_kept(served, connect, response, status, says):
    name, positional, named = response
    served.respond = lambda request, n: getattr(served, name)(*positional, **named)
    backend = connect()
    for calls in (1, 2):
        reply = ask(backend)
        assert (reply.status, reply.text) == (status, None)
        assert says in reply.reason
        assert len(served.calls) == calls
    assert len(backend.cache) == 0


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_an_overloaded_server_is_asked_again(served, connect, status):
    served.respond = lambda request, n: served.failure(status) if n < 3 else served.completion("at last")
    backend = connect()
    assert ask(backend).text == "at last"
    assert (len(served.calls), backend.retries, backend.usage.calls) == (4, 3, 1)


def test_dropped_connections_timeouts_and_garbage_are_tried_again(served, connect):
    from recipes.loopback.http import Response

    backend = connect()

    async def slow():
        await asyncio.Event().wait()

    def respond(request, n):
        # The call before the one that is not answered sets its limit, so that a slow machine misses no other.
        backend.server._http.timeout = 0.3 if n == len(broken) - 2 else PATIENCE
        return (broken[n] or slow()) if n < len(broken) else served.completion("fine")

    broken = [Response(drop=True), Response("{not json"), Response("<html>", 200), Response({"odd": 1}), None]
    served.respond = respond
    assert ask(backend).text == "fine"
    assert len(served.calls) == len(broken) + 1


def test_a_server_that_stays_broken_is_a_transport_failure_with_its_reason(served, connect):
    served.respond = lambda request, n: served.failure(503, "down for repairs")
    reply = ask(connect(attempts=3))
    assert reply.status is Status.TRANSPORT
    assert "503" in reply.reason
    assert "down for repairs" in reply.reason
    assert "3 attempts" in reply.reason
    assert len(served.calls) == 3


@pytest.mark.parametrize("form", ["seconds", "date", "milliseconds"])
def test_retry_after_is_obeyed(served, connect, form):
    def refusal():
        date = email.utils.formatdate(time.time() + 2, usegmt=True)  # whole seconds: at least 1 s away
        header = {
            "seconds": {"Retry_After": "1"},
            "date": {"Retry_After": date},
            "milliseconds": {"Retry_After_Ms": "900"},
        }[form]
        return served.failure(429, **header)

    served.respond = lambda request, n: served.completion("ok") if n else refusal()
    started = time.monotonic()
    assert ask(connect()).text == "ok"
    assert time.monotonic() - started > 0.85


@pytest.mark.parametrize(
    ("response", "says"),
    [
        ((401, f"Incorrect API key {KEY}"), "rejected the API key"),
        ((403, "forbidden"), "rejected the API key"),
        ((404, "no such model"), "does not know the model 'm'"),
        ((429, "quota", "insufficient_quota"), "no credit"),
    ],
)
def test_what_would_fail_every_call_ends_the_run_in_one_line(served, connect, response, says):
    served.respond = lambda request, n: served.failure(*response)
    backend = connect()
    with pytest.raises(UserError, match=says) as caught:
        ask(backend)
    assert len(served.calls) == (
        2 if response[0] == 403 else 1
    )  # a 403 may be about one image: something else is asked
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("status", [200, 400, 403, 429])
def test_no_credit_ends_the_run_whatever_its_status(served, connect, status):
    said = {"error": {"message": "Your credit balance is too low", "type": "invalid_request_error"}}
    served.respond = lambda request, n: Response(said, status)
    with pytest.raises(UserError, match="no credit"):
        ask(connect())
    assert len(served.calls) <= 3


@pytest.mark.parametrize("status", [200, 400, 403, 500])
def test_a_refused_prompt_that_is_repeated_ends_nothing(served, connect, status):
    """An error that repeated `NO CREDIT CARDS` was no credit left; one that repeated an argument refused it."""

    def respond(request, n):
        text = str(request["messages"][-1]["content"])
        return served.failure(status, f"Invalid prompt: {text}") if "sign" in text else served.completion("fine")

    served.respond = respond
    backend = connect(parameters={"top_p": 0.5}, attempts=2)
    assert ask(backend, "a cat").text == "fine"
    refused = ask(backend, "a shop with a sign that says NO CREDIT CARDS beside one that says 'top_p'")
    assert (refused.text, "NO CREDIT" in refused.reason) == (None, True)
    assert ask(backend, "a dog").text == "fine"


def test_after_a_fatal_error_nothing_more_is_sent(served, connect):
    async def answer(request, n):
        await asyncio.sleep(0.05)
        return served.failure(401)

    served.respond = answer
    backend = connect(concurrency=4)

    async def call(number: int):
        return await backend.ask([Message("user", str(number))], 5)

    with pytest.raises(UserError):
        backend.run(map_bounded(call, range(100), 4))
    assert len(served.calls) <= 4


def test_the_key_is_nowhere_to_be_seen(served, connect, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    served.respond = lambda request, n: served.failure(400, f"your key {KEY} is odd") if n else served.completion("ok")
    backend = connect(cache=tmp_path / "calls.sqlite")
    ask(backend, "a")
    assert KEY not in str(ask(backend, "b"))
    assert KEY not in repr(backend) + caplog.text
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    "response",
    [
        Response({}, 307, {"Location": f"http://127.0.0.1:9/{KEY}"}),
        Response({"error": {"message": "x" * 280 + KEY + "x" * 280}}, 401),
        Response("x" * 80 + KEY, 200),
        Response({"error": {"message": KEY, "code": KEY}}, 429, {"Retry-After": "9" * 20}),
    ],
)
def test_no_half_of_the_key_stands_in_what_is_said_about_a_hostile_server(served, connect, response):
    served.respond = lambda request, n: response
    try:
        said = str(ask(connect(attempts=1)).reason)
    except UserError as error:
        said = str(error)
    assert said and KEY[:8] not in said


def test_no_key_for_openai_itself_is_an_error_and_none_for_another_server_is_not(monkeypatch, served):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        OpenAIBackend("gpt-4o")
    backend = OpenAIBackend("m", served.url)
    assert ask(backend).text == "hello"
    backend.close()


def test_a_server_that_rejects_schemas_is_asked_without(served, connect):
    def respond(request, n):
        return served.failure(400, "response_format not supported") if "response_format" in request else completion

    completion = served.completion('{"a": 1}')
    served.respond = respond
    backend = connect()
    for number in range(3):
        reply = ask(backend, str(number), schema=("s", {"type": "object"}))
        assert extract_json(reply.text) == {"a": 1}
    assert len(served.calls) == 5  # the first with a schema, as any JSON, without; the others once


def test_never_more_at_once_than_allowed_and_fewer_when_the_server_says_so(served, connect):
    async def answer(request, n):
        await asyncio.sleep(0.02)
        return served.failure(429) if served._now > 4 else served.completion("ok")

    served.respond = answer
    backend = connect(concurrency=16, attempts=30)

    async def call(number: int):
        return await backend.ask([Message("user", str(number))], 5)

    replies = backend.run(map_bounded(call, range(120), 16))
    assert all(reply.text == "ok" for reply in replies)
    assert served.most <= 16
    assert backend.server.limit.limit < 10
    rejected = len(served.calls) - 120
    assert rejected < 60  # it learned; without it every round of 16 would be rejected in part


@pytest.mark.parametrize("concurrency", [1, 8])
def test_max_cost_stops_before_the_call_that_would_exceed_it(served, connect, concurrency):
    price = {"m": Price(input=10.0, output=100.0)}  # a call: 100 tokens in, 20 out = 0.003 dollars
    backend = connect(prices=price, max_cost=0.05, concurrency=concurrency)

    async def call(number: int):
        return await backend.ask([Message("user", str(number))], 20)

    with pytest.raises(BudgetExceeded, match=r"of \$0.05"):
        backend.run(map_bounded(call, range(100), concurrency))
    assert backend.usage.money == pytest.approx(0.003 * len(served.calls))
    assert backend.usage.money <= 0.05
    assert len(served.calls) >= 14  # and not much earlier than it had to


def test_a_model_that_costs_more_than_expected_stops_no_other_of_the_same_budget(served, connect):
    served.respond = lambda request, n: served.completion("ok", usage=(100, 20 if request["model"] == "b" else 2000))
    options = {"prices": dict.fromkeys("ab", Price(input=10.0, output=100.0)), "max_cost": Budget(1.0)}
    dear, other = connect(model="a", **options), connect(model="b", **options)
    assert ask(dear, max_tokens=5).usage.money == pytest.approx(0.201)
    assert ask(other, max_tokens=5000).text == "ok"  # 0.5 dollars at most
    with pytest.raises(BudgetExceeded):
        ask(dear, "again", max_tokens=50)


def test_a_fork_spends_nothing_of_its_parents_limit_but_reads_kept_replies(served, connect):
    """Each of a data loader's workers, which are forks, had the whole of max_cost once more."""
    backend = connect(prices={"m": Price(input=10.0, output=100.0)}, max_cost=0.05)
    ask(backend, "known")
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def work() -> None:
        there.send(ask(backend, "known").text)
        with pytest.raises(UserError) as caught:
            ask(backend, "new")
        there.send(str(caught.value))

    fork = context.Process(target=work)
    fork.start()
    try:
        assert here.poll(PATIENCE), "a call of a fork waits forever"
        assert here.recv() == "hello"
        assert here.poll(PATIENCE)
        assert "is a fork, and has no part of max_cost" in here.recv()
    finally:
        fork.kill()
        fork.join()
    assert len(served.calls) == 1
    assert ask(backend, "another").text == "hello"  # of the parent, for which nothing has changed


def test_a_server_that_counts_no_tokens_is_paid_as_much_as_a_call_can_cost(served, connect):
    served.respond = lambda request, n: Response({**served.completion("ok").body, "usage": None})
    backend = connect(prices={"m": Price(input=10.0, output=100.0)}, max_cost=0.05)
    with pytest.raises(BudgetExceeded):
        for number in range(100):
            ask(backend, str(number), max_tokens=100)
    assert len(served.calls) == 4  # 0.0102 dollars each at most
    assert backend.usage.money is None


def test_what_a_server_that_counts_no_tokens_may_have_been_paid_is_on_the_ledger(served, connect, tmp_path):
    """A second run with the same limit began with all of it again."""
    served.respond = lambda request, n: Response({**served.completion("ok").body, "usage": None})
    ledger = tmp_path / "calls.sqlite"
    for number in range(2):
        spent = CallCache(ledger).paid().money or 0.0
        backend = connect(prices={"m": Price(10.0, 100.0)}, max_cost=0.025, cache=ledger, spent=spent)
        with pytest.raises(BudgetExceeded):
            for text in "abc":
                ask(backend, f"{text}{number}", max_tokens=100)
    assert len(served.calls) == 2
    assert CallCache(ledger).paid().calls == 2  # each is counted once


@pytest.mark.parametrize("kind", ["a time-out", "a broken connection", 500, 502, 504, 520, "no completion"])
def test_attempts_whose_answers_are_lost_may_have_been_paid_for(served, connect, tmp_path, kind):
    """Ten slow calls were sent thirty times, and none of it counted against the limit."""

    async def respond(request: object, n: int) -> Response:
        if n == 0:
            return served.completion("ok")
        await asyncio.sleep(1.0 if kind == "a time-out" else 0.0)
        if isinstance(kind, int):
            return Response({"error": {"message": "upstream"}}, status=kind)
        return Response(drop=True) if kind == "a broken connection" else Response({"odd": n})

    served.respond = respond
    backend = connect(
        prices={"m": Price(10.0, 100.0)}, max_cost=0.05, timeout=0.2, concurrency=4, cache=tmp_path / "calls.sqlite"
    )

    async def call(number: int):
        return await backend.ask([Message("user", str(number))], 100)

    with pytest.raises(BudgetExceeded):
        backend.run(map_bounded(call, range(20), 4))
    assert 3 <= len(served.calls) <= 6  # one for 0.003 dollars, and 0.0102 for each that was lost
    assert backend.budget.spent <= 0.05
    assert CallCache(tmp_path / "calls.sqlite").paid().money == pytest.approx(backend.budget.spent)


def test_what_was_never_sent_costs_nothing(served, connect):
    served.respond = lambda request, n: (
        Response({"error": {"message": "busy"}}, status=503) if n < 4 else served.completion("ok")
    )
    backend = connect(prices={"m": Price(10.0, 100.0)}, max_cost=0.012)
    assert ask(backend, max_tokens=100).text == "ok"
    assert backend.budget.spent == pytest.approx(0.003)


@pytest.mark.parametrize("status", [200, 500, 502, 520])
def test_a_page_of_who_never_answered_costs_nothing(served, connect, tmp_path, status):
    """A mistyped address, and a gateway before a server that was down, spent most of max_cost for good."""
    served.respond = lambda request, n: Response("<html>Welcome!</html>", status=status)
    ledger = tmp_path / "calls.sqlite"
    backend = connect(prices={"m": Price(10.0, 100.0)}, max_cost=0.012, cache=ledger)
    assert [ask(backend, text, max_tokens=100).status for text in "ab"] == [Status.TRANSPORT] * 2
    assert len(served.calls) >= 4 and not CallCache(ledger).paid().money
    served.respond = lambda request, n: served.completion("ok")
    assert ask(backend, max_tokens=100).text == "ok"
    served.respond = lambda request, n: Response("<html>Sorry!</html>", status=status)
    ask(backend, "c", max_tokens=50)
    assert CallCache(ledger).paid().money == backend.budget.spent > 0.003 + 0.005


def test_other_forms_of_a_call_may_have_been_paid_for(served, connect):
    """Each that is tried for a call that was refused without a reason, and broke in mid-work."""
    served.respond = lambda request, n: Response({"error": {"message": "no"}}, status=500 if n else 400)
    backend = connect(prices={"m": Price(10.0, 100.0)}, max_cost=0.025)
    assert ask(backend, max_tokens=100, schema=("s", {"type": "object"})).text is None
    assert len(served.calls) == 3  # the first was refused; the two after it can have cost 0.0102 dollars each
    assert backend.budget.spent == pytest.approx(0.0204, abs=5e-4)


def test_a_call_that_broke_and_is_said_in_another_way_may_have_been_paid_for(served, connect):
    refused = Response({"error": {"message": "Unknown parameter: 'response_format'"}}, status=500)
    served.respond = lambda request, n: served.completion("ok") if n else refused
    backend = connect(prices={"m": Price(10.0, 100.0)}, max_cost=0.025)
    assert ask(backend, max_tokens=100, schema=("s", {"type": "object"})).text == "ok"
    assert len(served.calls) == 2 and served.calls[0]["response_format"] != served.calls[1]["response_format"]
    assert backend.budget.spent == pytest.approx(0.0102 + 0.003, abs=5e-4)


@pytest.mark.parametrize("limit", [float("nan"), -1.0])
def test_a_limit_is_a_number_of_dollars(connect, limit):
    """Nothing is larger than nan: there was no limit."""
    with pytest.raises(UserError, match="It is a limit in US dollars"):
        connect(max_cost=limit, prices={"m": Price(10.0, 100.0)})


def test_max_cost_needs_a_price(connect):
    with pytest.raises(UserError, match=r"price of .* is unknown"):
        connect(max_cost=1.0)


def test_it_runs_inside_a_running_loop(served, connect):
    backend = connect()

    async def notebook_cell() -> str | None:
        return ask(backend).text

    assert asyncio.run(notebook_cell()) == "hello"


def test_check_tells_a_dead_address_from_a_live_one(served, connect):
    connect().check()
    dead = OpenAIBackend("m", "http://127.0.0.1:9/v1")
    with pytest.raises(UserError, match=r"no answer from http://127.0.0.1:9/v1"):
        dead.check()
    dead.close()


def test_a_call_under_way_is_on_the_ledger_for_what_it_can_cost(tmp_path, served):
    """Those of a worker that was killed were paid for once more, beyond the limit."""
    ledger, seen = tmp_path / "calls.sqlite", []

    def respond(request, n):
        seen.append(paid_in(ledger))
        return served.failure({1: 429, 2: 500}[n]) if n in (1, 2) else served.completion("fine")

    served.respond = respond
    price = Price(100, 1000)
    backend = OpenAIBackend("m", served.url, "k", cache=ledger, prices={"m": price}, max_cost=9)
    for number in range(2):
        backend.run(backend.ask([Message("user", f"number {number}")], 50))
    backend.close()
    call, most = price.cost(100, 20), seen[0]
    assert most > 0.05  # of dollars: fifty tokens
    # A call that is turned away is sent again; an answer that is lost may be paid for.
    assert seen == pytest.approx([most, call + most, call + most, call + 2 * most])
    assert paid_in(ledger) == pytest.approx(2 * call + most)


def test_a_call_that_is_cancelled_stays_on_the_ledger(tmp_path, served):
    """On a second Ctrl-C it was taken for nothing, though the server goes on with it."""
    ledger = tmp_path / "calls.sqlite"

    async def respond(request, n):
        await asyncio.sleep(5)
        return served.completion("fine")

    async def cancelled():
        call = asyncio.create_task(backend.ask([Message("user", "number")], 50))
        assert await until(lambda: bool(served.calls))
        for task in list(backend._under_way.values()):
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    served.respond = respond
    backend = OpenAIBackend("m", served.url, "k", cache=ledger, prices={"m": Price(100, 1000)}, max_cost=9)
    backend.run(cancelled())
    backend.close()
    assert paid_in(ledger) > 0.05
