"""Every dialect that was reported of a real server: judged through the public door, and what it costs to learn it."""

from __future__ import annotations

import base64
import io
import math
import time
from collections import Counter
from contextlib import contextmanager

import pytest
from PIL import Image

from recipes.loopback.dialects import DIALECTS, KEY, DialectServer, verdict
from t2i_judge import load_judge
from t2i_judge.errors import UserError
from t2i_judge.records import Judgement, Status
from t2i_judge.served.batch import BatchQueue
from tests.metrics.conftest import FakeOpenAI

IMAGES = 5  # two calls each
SCORE = 6.0  # sqrt(9 x min(4, 5))
NO_ADDRESS = "http://127.0.0.1:9/v1"


def pictures(number: int = IMAGES) -> list[bytes]:
    made = []
    for shade in range(number):
        out = io.BytesIO()
        Image.new("RGB", (32, 32), (40 * shade, 90, 30)).save(out, "PNG")
        made.append(out.getvalue())
    return made


@contextmanager
def speaking(name: str, seconds: float = 0.0):
    """A server of that dialect, and its address without /v1."""
    server = FakeOpenAI()
    dialect = DialectServer(DIALECTS[name], seconds)
    server.handle = dialect.handle  # type: ignore[method-assign]
    with server:
        yield dialect, server.url.removesuffix("/v1")


def judged(address: str, number: int = IMAGES, **options) -> tuple[list[Judgement], list[str]]:
    judge = load_judge(f"direct+openai:m@{address}", **options)
    try:
        return judge.score(pictures(number), [f"prompt {n}" for n in range(number)]), judge.notes
    finally:
        judge.close()


def chats(dialect: DialectServer) -> list[dict]:
    return [entry for entry in dialect.log if "completions" in entry["path"] and entry["method"] == "POST"]


@pytest.mark.parametrize(
    ("name", "refused", "note"),
    [
        ("plain", 0, ""),
        ("no-v1", 1, ""),
        ("reasoning", 2, "temperature is not sent"),
        ("deepseek", 2, "in words only"),
        ("objects", 1, "as a JSON object"),
        ("vllm-words", 2, "in words only"),
        ("unnamed", 2, "in words only"),
        ("llama-cpp-python", 1, "as a JSON object"),
        ("mistral", 1, "max_tokens"),
        ("replicate", 3, "the length limit is sent as max_tokens"),
        ("capped", 1, "fewer tokens than planned"),
    ],
)
def test_a_dialect_is_learned_by_one_call_and_remembered_for_the_run(name, refused, note):
    with speaking(name) as (dialect, url):
        judgements, notes = judged(f"{url}/v1")
    assert [(j.status, j.scores["overall"]) for j in judgements] == [(Status.OK, SCORE)] * IMAGES, judgements[0].reason
    assert len(chats(dialect)) == 2 * IMAGES + refused
    assert note in " ".join(notes)
    assert bool(notes) == bool(note)


def test_a_window_smaller_than_planned_leaves_each_prompt_its_own_room():
    with speaking("small-context") as (dialect, url):
        judgements, notes = judged(url)
    assert [(j.status, j.scores["overall"]) for j in judgements] == [(Status.OK, SCORE)] * IMAGES, judgements[0].reason
    assert Counter(entry["body"]["max_tokens"] for entry in chats(dialect)) == {500: 2 * IMAGES, 300: 2 * IMAGES}
    assert "fewer tokens than planned" in " ".join(notes)


@pytest.mark.parametrize("name", ["long-prompt", "long-prompt-without-numbers"])
def test_one_prompt_that_is_too_long_shortens_no_reply_to_another(name):
    """All later replies were limited to the 20 tokens that were left beside that prompt, cut off, and paid for."""
    with speaking(name) as (dialect, url):
        judged(url, concurrency=1)
        planned = chats(dialect)[0]["body"]["max_tokens"]
        assert [entry["body"]["max_tokens"] for entry in chats(dialect)[-6:]] == [planned] * 6


def test_what_ignores_one_name_of_the_limit_gets_the_other():
    with speaking("llama-cpp-python") as (_, url):
        judgements, _ = judged(url)
    assert max(judgement.usage.output_tokens for judgement in judgements) <= 40


def test_a_model_that_thinks_gets_the_room_that_it_is_given():
    with speaking("thinking") as (dialect, url):
        judgements, _ = judged(url, max_tokens=4000)
        assert {judgement.status for judgement in judgements} == {Status.OK}
        assert len(chats(dialect)) == 2 * IMAGES
        cut, _ = judged(url, 1, max_tokens=1000)
        assert cut[0].status is Status.UNPARSABLE
        assert "--max-tokens" in cut[0].reason
        assert len(chats(dialect)) == 2 * IMAGES + 2  # the same request would be cut off again


def test_parameters_go_into_every_request_and_a_refused_one_ends_the_run():
    with speaking("no-seed") as (dialect, url):
        judged(url, parameters={"reasoning_effort": "low", "temperature": None, "seed": 3})
        assert all(entry["body"]["reasoning_effort"] == "low" for entry in chats(dialect))
        assert all("temperature" not in entry["body"] for entry in chats(dialect))
        assert sum("seed" in entry["body"] for entry in chats(dialect)) == 1
    with pytest.raises(UserError, match="--max-tokens"):
        judged(NO_ADDRESS, parameters={"max_tokens": 5})
    with pytest.raises(UserError, match="--api-key-env"):
        judged(NO_ADDRESS, parameters={"api_key": "sk-secret"})
    for number in (math.inf, -math.inf, math.nan):  # they stood in run.json, which was no JSON then
        with pytest.raises(UserError, match="The parameters cannot be sent"):
            judged(NO_ADDRESS, parameters={"logit_bias": {"5": [number]}})


def test_azure_gets_its_query_and_its_header():
    with speaking("azure") as (dialect, url):
        address = f"{url}/openai/deployments/m?api-version=2024-10-21"
        judgements, _ = judged(address, api_key=KEY)
    assert {judgement.status for judgement in judgements} == {Status.OK}
    assert len(chats(dialect)) == 2 * IMAGES


@pytest.mark.parametrize(("name", "status"), [("moderated", Status.FILTERED), ("dashscope", Status.FILTERED)])
def test_one_refused_image_is_its_own_status_and_ends_nothing(name, status):
    with speaking(name) as (dialect, url):
        judgements, _ = judged(f"{url}/v1", concurrency=1)
    assert Counter(judgement.status for judgement in judgements) == {Status.OK: IMAGES - 1, status: 1}
    reason = next(judgement.reason for judgement in judgements if judgement.status is status)
    assert "flagged" in reason or "inappropriate content" in reason
    assert len(chats(dialect)) == 2 * IMAGES


def test_an_error_with_http_200_is_asked_once_more_and_no_oftener():
    with speaking("error-200") as (dialect, url):
        judgements, _ = judged(f"{url}/v1", concurrency=1)
        assert {judgement.status for judgement in judgements} == {Status.OK}
        assert len(chats(dialect)) == 2 * IMAGES + 1
    with speaking("always-200") as (dialect, url):
        judgements, _ = judged(f"{url}/v1", 1)
        assert judgements[0].status is Status.TRANSPORT
        assert len(chats(dialect)) == 4  # two calls, twice each


@pytest.mark.parametrize(
    ("name", "says", "calls"),
    [
        ("closed", "rejected the API key", 1),
        ("litellm", "does not know the model 'm'.*Invalid model name", 5),
        ("blind", "does not accept images", 4 + 3),
        ("openrouter-blind", "does not accept images.*No endpoints found that support image input", 1 + 3),
        ("elsewhere", "redirects to http://127.0.0.1:9", 1),
        ("hour", "asks to wait 60 minutes", 1),
        ("quota", "no credit left", 1),
    ],
)
def test_what_would_fail_every_call_is_found_by_the_first(name, says, calls):
    begun = time.monotonic()
    with speaking(name) as (dialect, url), pytest.raises(UserError, match=says):
        judged(f"{url}/v1", 20)
    assert len(chats(dialect)) <= calls
    assert time.monotonic() - begun < 120


def test_a_server_of_one_slot_is_hardly_ever_asked_for_more():
    with speaking("one-slot", seconds=0.01) as (dialect, url):
        judgements, _ = judged(f"{url}/v1", 24, attempts=20)
    assert {judgement.status for judgement in judgements} == {Status.OK}
    assert len(chats(dialect)) < 48 + 15  # of 48 calls


def test_two_servers_of_one_model_do_not_share_replies(tmp_path):
    cache = tmp_path / "calls.sqlite"
    with speaking("plain") as (first, one), speaking("plain") as (second, two):
        for url in (one, two, f"{one}/v1"):
            judged(url, 1, cache=cache)
    assert (len(chats(first)), len(chats(second))) == (2, 2)


def test_a_slow_drip_and_a_flood_end(served):
    from recipes.loopback.http import Response

    served.respond = lambda request, n: Response("x" * 20_000_000)
    judgements, _ = judged(served.url, 1)
    assert judgements[0].status is Status.TRANSPORT
    assert "larger than 16 MB" in judgements[0].reason


def test_a_server_without_batches_says_so_in_one_line(tmp_path):
    with speaking("plain") as (_, url):
        judge = load_judge(f"direct+openai:m@{url}/v1")
        queue = BatchQueue(judge.backend, tmp_path / "batches")
        with pytest.raises(UserError, match=r"does not accept batches.*Leave out --batch"):
            queue.complete(lambda: judge.score(pictures(1), ["a cat"]) and None)
        judge.close()


def taking(served, side, replies):
    """A server that refuses an image of more pixels per side."""

    def respond(request, n):
        parts = [part for part in request["messages"][0]["content"] if part["type"] == "image_url"]
        data = [base64.b64decode(part["image_url"]["url"].partition(",")[2]) for part in parts]
        if max(max(Image.open(io.BytesIO(each)).size) for each in data) > side:
            return served.failure(413, "Payload Too Large")
        return served.completion(replies(request))

    return respond


def test_large_images_are_scaled_to_what_a_server_takes(served):
    served.respond = taking(served, 16, verdict)
    small, _ = judged(served.url, 1, max_image_side=16)
    assert (small[0].status, small[0].scores["overall"]) == (Status.OK, SCORE)
    large, _ = judged(served.url, 1)
    assert large[0].status is Status.TRANSPORT
    assert "--max-image-side" in large[0].reason
    assert large[0].image_id == small[0].image_id  # the picture is the same, however it was sent


def test_both_images_of_a_pair_are_scaled_too(served):
    """Two images of 2000 pixels were sent as they were, twice, whatever the limit said."""
    served.respond = taking(served, 16, lambda request: '{"explanation": "x", "winner": "first"}')
    judge = load_judge(f"pair+openai:m@{served.url}", max_image_side=16)
    (made,) = judge.compare(*([data] for data in pictures(2)), ["a cat"])
    judge.close()
    assert (made.status, len(served.calls)) == (Status.OK, 2)
