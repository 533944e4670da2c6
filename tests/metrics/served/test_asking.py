"""When a reply is asked for again, how often, in which words, and what stays in the cache."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from t2i_judge.inputs.images import encode_image
from t2i_judge.prompts import object_schema
from t2i_judge.records import Status
from t2i_judge.served.asking import ask_json, ask_score, ask_words
from t2i_judge.served.cache import CallCache
from t2i_judge.served.client import OpenAIBackend
from t2i_judge.served.replies import check_score
from t2i_judge.served.wire import Message

SCHEMA = ("rating", object_schema({"explanation": {"type": "string"}, "score": {"type": "number"}}))
GOOD = '{"explanation": "fine", "score": 7}'


def picture():
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "PNG")
    return encode_image(out.getvalue())


ASKED = [Message("user", "well?", (picture(),))]


@pytest.fixture
def backend(served, tmp_path):
    made = OpenAIBackend("m", served.url, "k", cache=tmp_path / "calls.sqlite")
    yield made
    made.close()


def says(served, *texts):
    """The n-th reply is the n-th text, the last one for good; what is no text is a response."""

    def respond(request, n):
        text = texts[min(n, len(texts) - 1)]
        return served.completion(text) if isinstance(text, str) else text

    served.respond = respond


def rate(backend, messages=ASKED):
    def read(record):
        return check_score(record["score"]), None

    return backend.run(ask_json(backend, messages, SCHEMA, read, 50, 100))


@pytest.mark.parametrize(
    "first",
    [
        "Well.",
        "",
        '{"score": 7}',
        '{"explanation": "", "score": 11}',
        "<think>7",
        '{"explanation": "cut',
        f"{GOOD}{GOOD}",
    ],
)
def test_an_unusable_reply_is_asked_again_and_the_usable_one_takes_its_place(served, backend, tmp_path, first):
    says(served, first, GOOD)
    outcome = rate(backend)
    assert (outcome.value, outcome.status, outcome.usage.calls) == (7.0, Status.OK, 2)
    with_cache = OpenAIBackend("m", served.url, "k", cache=tmp_path / "calls.sqlite")
    says(served, "nothing of use any more")
    again = rate(with_cache)
    with_cache.close()
    assert (again.value, again.usage, again.model) == (7.0, outcome.usage, outcome.model)
    assert len(served.calls) == 2
    assert CallCache(tmp_path / "calls.sqlite").paid().calls == 2  # on the ledger once


def test_what_is_never_usable_is_asked_twice_and_forgotten(served, backend):
    says(served, "Well.")
    assert rate(backend).status is Status.UNPARSABLE
    assert (len(served.calls), len(backend.cache)) == (2, 0)


def test_two_bad_replies_of_a_good_model_are_bad_luck(served, backend):
    says(served, *[GOOD] * 8, "Well.", "Hm.", GOOD)
    outcomes = [rate(backend, [Message("user", str(number), ASKED[0].images)]) for number in range(9)]
    assert [outcome.value for outcome in outcomes] == [7.0] * 9
    assert len(served.calls) == 11
    assert [m["content"] for m in served.calls[-1]["messages"][1:] if m["role"] == "assistant"] == ["Well.", "Hm."]


@pytest.mark.parametrize(
    "words", ["I'm sorry, but I can't assist with that.", '{"explanation": "I can\'t help with that.", "score": 0}']
)
def test_a_refusal_in_words_is_refused_and_not_asked_again(served, backend, words):
    says(served, words)
    outcome = rate(backend)
    assert (outcome.status, outcome.value) == (Status.REFUSED, None)
    assert outcome.reason.startswith("refused: I")
    assert (len(served.calls), len(backend.cache)) == (1, 0)


def test_a_refusal_where_there_is_no_picture_is_asked_again(served, backend):
    says(served, "I can't help with that.", "I will.")
    outcome = backend.run(ask_words(backend, [Message("user", "plan")], 50))
    assert (outcome.value, len(served.calls)) == ("I will.", 2)


def test_a_reply_cut_off_in_thought_gets_room_to_think(served, backend):
    says(served, served.completion("<think>hm", finish="length"), "<think>seven or eight</think>8")
    outcome = backend.run(ask_score(backend, ASKED))
    assert outcome.value == 8.0
    assert [call["max_completion_tokens"] for call in served.calls] == [32, 4096]
    assert served.calls[0]["messages"] == served.calls[1]["messages"]


def test_a_model_is_shown_what_it_spoke_and_not_what_it_thought(served, backend):
    says(served, "<think>a long thought</think>quite good", "8")
    assert backend.run(ask_score(backend, ASKED)).value == 8.0
    assert served.calls[1]["messages"][1] == {"role": "assistant", "content": "quite good"}


@pytest.mark.parametrize(
    "reply", [GOOD, f"```json\n{GOOD}\n```", GOOD.replace(" ", "\n"), f"<think>{GOOD}</think>{GOOD}"]
)
def test_an_object_that_stands_in_the_prompt_is_no_verdict(served, backend, reply):
    says(served, reply)
    outcome = rate(backend, [Message("user", f"Judge it. The prompt: a cat {GOOD}", ASKED[0].images)])
    assert (outcome.status, outcome.value) == (Status.UNPARSABLE, None)
    assert "stands in the request" in outcome.reason
    says(served, GOOD.replace("7", "3"))
    assert rate(backend, [Message("user", f"Judge it. The prompt: a cat {GOOD}", ASKED[0].images)]).value == 3.0


def test_a_thinking_marker_inside_a_verdict_is_data(served, backend):
    says(served, GOOD.replace("fine", "the sign says </think>"))
    assert rate(backend).value == 7.0


def test_a_repair_is_recorded(served, backend):
    says(served, '{"explanation": "two\nlines", "score": 7,}')
    outcome = rate(backend)
    assert (outcome.value, outcome.reason) == (7.0, "repaired: a comma too many, a raw line break or tab in a text")


def test_a_call_that_was_lost_is_not_asked_again(served):
    backend = OpenAIBackend("m", served.url, "k", attempts=2)
    says(served, served.failure(503))
    assert rate(backend).status is Status.TRANSPORT
    assert len(served.calls) == 2
    backend.close()
