"""Answers of servers, from a real one on loopback: each is a reply or one call's status, and none ends a run."""

from __future__ import annotations

import copy
import math
from contextlib import suppress
from itertools import product

import pytest

from recipes.loopback.http import Response
from t2i_judge.errors import UserError
from t2i_judge.records import Status
from t2i_judge.served.client import OpenAIBackend
from t2i_judge.served.completions import NotACompletion, read_completion
from t2i_judge.served.prices import Price
from t2i_judge.served.rejections import Rejection
from t2i_judge.served.wire import Message
from tests.metrics.conftest import completion, failure

THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "2 or so"}]}
DASHSCOPE = "Input data may contain inappropriate content."
OPENROUTER = {"code": 403, "message": "it was flagged", "metadata": {"reasons": ["violence"], "provider_name": "p"}}


def body(finish="stop", **message):
    whole = completion("8").body
    return {**whole, "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}]}


@pytest.fixture
def ask(served):
    backend = OpenAIBackend("m", served.url, "k")
    served.respond = lambda request, n: completion("fine")
    backend.run(backend.ask([Message("user", "first")], 5))
    served.calls.clear()

    def call(response):
        served.respond = response if callable(response) else lambda request, n: response
        return backend.run(backend.ask([Message("user", "second")], 5))

    yield call
    backend.close()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "8"}], "8"),
        ([THOUGHT, {"type": "text", "text": "8"}], "\n8"),
        ([{"type": "text", "text": "1"}, THOUGHT, {"type": "text", "text": "0"}], "1\n0"),
        (["8"], "8"),
        ({"type": "text", "text": "8"}, "8"),
        ("half \ud83d", "half \ufffd"),
        ("\ud83d\ude00", "\U0001f600"),
    ],
)
def test_content_in_every_shape(ask, content, text):
    reply = ask(Response(body(content=content)))
    assert (reply.status, reply.text) == (Status.OK, text)


@pytest.mark.parametrize(
    ("response", "status", "says", "calls"),
    [
        (Response({"error": {"message": "upstream", "code": 502}}), Status.TRANSPORT, "upstream", 2),
        (Response({"error": "so sorry"}), Status.TRANSPORT, "so sorry", 2),
        (Response({"error": {"code": "x", "message": DASHSCOPE}}), Status.FILTERED, "inappropriate", 1),
        (Response({"choices": [{"error": {"code": 502, "message": "gone"}}]}), Status.TRANSPORT, "gone", 2),
        (Response({**body(), "choices": []}), Status.UNPARSABLE, "without a message", 1),
        (Response({**body(), "choices": None}), Status.UNPARSABLE, "without a message", 1),
        (Response({**body(), "choices": [None]}), Status.UNPARSABLE, "without a message", 1),
        (Response(body(content=None, tool_calls=[{"id": "1"}])), Status.UNPARSABLE, "a tool", 1),
        (Response(body(content=None, reasoning_content="8")), Status.UNPARSABLE, "only thinking", 1),
        (Response(body(content="", reasoning="8")), Status.UNPARSABLE, "only thinking", 1),
        (Response(body(content=[THOUGHT])), Status.UNPARSABLE, "empty", 1),
        (Response(body(content=7)), Status.UNPARSABLE, "empty", 1),
        (Response(body(content="8", refusal="no")), Status.REFUSED, "no", 1),
        (Response(body(content=[{"type": "refusal", "refusal": "no"}])), Status.REFUSED, "no", 1),
        (Response(body("safety", content="8")), Status.FILTERED, "safety", 1),
        (Response(body("SAFETY", content=None)), Status.FILTERED, "safety", 1),
        (Response(body("sensitive", content="")), Status.FILTERED, "sensitive", 1),
        (Response(body("MAX_TOKENS", content="8")), Status.UNPARSABLE, "cut off", 1),
        (Response([]), Status.TRANSPORT, "not a chat completion", 2),
        (Response("nothing"), Status.TRANSPORT, "not a chat completion", 2),
        (Response("[" * 100_000), Status.TRANSPORT, "not a chat completion", 2),
        (failure(400, DASHSCOPE, "data_inspection_failed"), Status.FILTERED, "inappropriate", 1),
        (failure(400, "ResponsibleAIPolicyViolation", "content_filter"), Status.FILTERED, "ResponsibleAI", 1),
        (failure(403, "Your input was flagged"), Status.FILTERED, "flagged", 1),
        (Response({"error": OPENROUTER}, 403), Status.FILTERED, "flagged", 1),
    ],
)  # fmt: skip
def test_what_is_no_reply_is_one_calls_status(ask, served, response, status, says, calls):
    reply = ask(response)
    assert (reply.status, reply.text) == (status, None)
    assert says in reply.reason
    assert len(served.calls) == calls


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        "many",
        {"prompt_tokens": None},
        {"prompt_tokens": -3, "completion_tokens": 10**400},
        {"prompt_tokens": True},
    ],
)
def test_counts_that_are_none_count_nothing(ask, usage):
    reply = ask(Response({**body(content="8"), "usage": usage}))
    assert (reply.text, reply.usage.calls, reply.usage.input_tokens, reply.usage.output_tokens) == ("8", 1, 0, 0)


@pytest.mark.parametrize(
    ("usage", "output"),
    [
        ({"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 3020}, 2020),
        ({"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 1020}, 20),
        ({"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 7}, 20),
        ({"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 10**400}, 20),
        ({"prompt_tokens": 1000, "completion_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 15}}, 20),
        ({"prompt_tokens": 1000, "completion_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 900}}, 920),
        ({"prompt_tokens": 1000, "completion_tokens": 20, "completion_tokens_details": [{"reasoning_tokens": 9}]}, 20),
        ({"prompt_tokens": 1000, "total_tokens": 1500}, 500),
    ],
)
@pytest.mark.parametrize("batch", [False, True])
def test_thinking_is_paid_for_wherever_it_is_counted(usage, output, batch):
    """What stood only in the total was free: a call for 2 cents counted .15."""
    price = Price(1.25, 10.0)
    reply = read_completion({**body(content="8"), "usage": usage}, price, 0.0, batch)
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (1000, output)
    assert reply.usage.money == price.cost(1000, output, batch)


HALF = [
    {"completion_tokens": 20},
    {"prompt_tokens": None, "completion_tokens": 20},
    {"prompt_tokens": 0, "completion_tokens": 20},
    {"prompt_tokens": 10**30, "completion_tokens": 1},
    {"prompt_tokens": math.nan, "completion_tokens": 1},
    {"prompt_tokens": 1000},
    {"prompt_tokens": 1000, "completion_tokens": None},
    {"prompt_tokens": 1000, "completion_tokens": 0},
    {"prompt_tokens": 1000, "completion_tokens": 10**30},
    {"total_tokens": 1020, "completion_tokens": 20},
    {"total_tokens": 1020},
]


@pytest.mark.parametrize("usage", HALF)
def test_a_call_costs_what_it_can_at_most_where_only_one_kind_of_token_is_counted(served, usage):
    """What was not counted was free, and a run went on past its limit."""
    served.respond = lambda request, n: Response({**body(content="8"), "usage": usage})
    backend = OpenAIBackend("m", served.url, "k", prices={"m": Price(1.25, 10.0)}, max_cost=0.01)
    with pytest.raises(UserError, match="Stopped at"):
        for number in range(20):
            reply = backend.run(backend.ask([Message("user", f"number {number}")], 500))
            assert (reply.text, reply.usage.money) == ("8", None)
    assert len(served.calls) == 1 and backend.budget.spent > 0.005
    assert backend.cache.paid().money == pytest.approx(backend.budget.spent)
    backend.close()


def test_a_reply_without_words_may_have_cost_no_output():
    usage = {"prompt_tokens": 1000, "completion_tokens": 0}
    reply = read_completion({**body("content_filter", content=""), "usage": usage}, Price(1.25, 10.0), 0.0)
    assert (reply.status, reply.usage.money) == (Status.FILTERED, 0.00125)


ANYTHING = (None, True, 0, -1, -(10**400), 1e308, math.nan, math.inf, "", "8", "\ud800", [], {}, [[]], [None], {"a": 1})
TOKEN = {"token": "8", "logprob": -0.1}
WHOLE = {
    **body(content="8", refusal=None, reasoning_content=None),
    "error": {"message": "m", "code": "c", "metadata": {"reasons": ["r"]}, "detail": [{"msg": "m", "loc": ["a"]}]},
    "detail": [{"msg": "m", "loc": ["body", "a"], "type": "t"}],
}
WHOLE["choices"][0]["logprobs"] = {"content": [{**TOKEN, "top_logprobs": [TOKEN]}]}


def _places(value, way=()):
    yield way
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from _places(value[key], (*way, key))


def _with(value, way, other):
    if not way:
        return other
    changed = copy.copy(value)
    changed[way[0]] = _with(value[way[0]], way[1:], other)
    return changed


def test_anything_at_any_place_is_a_reply_or_no_completion():
    for way, other in product(_places(WHOLE), ANYTHING):
        record = _with(WHOLE, way, other)
        for status in (200, 400, 429):
            str(Rejection.of(status, record)).encode("utf-8", "surrogatepass")
        without = (
            {name: value for name, value in record.items() if name != "error"} if isinstance(record, dict) else record
        )
        with suppress(NotACompletion):
            reply = read_completion(without, None, 0.1)
            assert all(-math.inf < value <= 0 for value in (reply.likeliest or {}).values())


@pytest.mark.parametrize("model", [None, 7, ["m"], "\ud800"])
def test_a_model_without_a_name_is_none(ask, model):
    reply = ask(Response({**body(content="8"), "model": model}))
    assert reply.model in (None, "\ufffd")


def test_one_picture_that_is_forbidden_ends_nothing(ask, served):
    reply = ask(lambda request, n: failure(403, "not this one") if "second" in str(request) else completion("OK"))
    assert reply.status is Status.FILTERED
    assert "not this one" in reply.reason


def test_before_anything_worked_403_is_the_key(served):
    backend = OpenAIBackend("m", served.url, "k")
    served.respond = lambda request, n: failure(403, "forbidden")
    with pytest.raises(UserError, match="rejected the API key"):
        backend.run(backend.ask([Message("user", "hi")], 5))
    backend.close()
