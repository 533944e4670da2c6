"""Rewards: a number or openly none, in the caller's shape; and a client that outlives a server's restart."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from t2i_judge.errors import UserError
from t2i_judge.judges.loading import load_judge
from t2i_judge.rewards import LocalRewards, RewardClient, RewardError, flow_grpo_reward
from t2i_judge.served.address import Address
from tests.metrics.serving.conftest import png, running
from tests.ports import reserved_port
from tests.waiting import PATIENCE, eventually

PROMPTS = ["a", "b", "c"]


def pictures(number=3):
    return [Image.new("RGB", (16, 16), (number, n, 3)) for n in range(number)]


def test_three_lines_give_rewards_of_whatever_a_trainer_holds(serving, tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    client = RewardClient(serving.url)
    array = np.zeros((8, 8, 3), np.uint8)
    images = [tmp_path / "a.png", png(), array, Image.new("RGBA", (8, 8)), io.BytesIO(png())]
    rewards = client.score(images, ["a red square"] * 5)
    assert [reward.status for reward in rewards] == ["ok"] * 5
    assert all(0 <= float(reward) <= 10 for reward in rewards)
    assert rewards[0].score == rewards[1].score == rewards[4].score
    assert set(rewards[0].scores) >= {"overall"}
    assert client.score([], []) == []
    with pytest.raises(UserError, match="Lengths differ"):
        client.score(images, ["one"])
    client.close()


def test_a_failure_is_raised_or_nan_and_never_a_number(serving):
    images = [png(), b"broken", png((1, 2, 3)), object()]
    with pytest.raises(RewardError, match=r"No reward for 2 of 4 images \(2 image_error\)") as told:
        RewardClient(serving.url).score(images, ["p"] * 4)
    rewards = RewardClient(serving.url, on_failure="nan").score(images, ["p"] * 4)
    assert [math.isnan(reward.score) for reward in rewards] == [False, True, False, True]
    assert all(reward.reason for reward in (rewards[1], rewards[3]))
    assert [reward.status for reward in told.value.rewards] == [reward.status for reward in rewards]
    for wrong in ("zero", 0.0, None):
        with pytest.raises(UserError, match="what a failure becomes"):
            RewardClient(serving.url, on_failure=wrong)


def test_rewards_in_this_process_have_the_same_interface(serving):
    images = [*pictures(2), b"no"]
    local = LocalRewards("fake", on_failure="nan")
    judged = load_judge("fake").score(images, PROMPTS)
    assert [reward.score for reward in local.score(images, PROMPTS)] == [j.scores["overall"] for j in judged]
    assert isinstance(LocalRewards(load_judge("fake")).score(images, PROMPTS)[0].score, float)


def test_the_shape_of_flow_grpo(serving):
    import torch

    reward = flow_grpo_reward(RewardClient(serving.url, on_failure="nan"))
    batch = torch.rand(3, 3, 16, 16, dtype=torch.bfloat16) * 1.01 - 0.005
    scores, info = reward(batch, PROMPTS, [{}, {}, {}])
    assert [type(score) for score in scores] == [float] * 3
    assert info["status"] == ["ok"] * 3
    assert len(info["overall"]) == 3
    as_array = (batch.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    again, _ = reward(as_array, PROMPTS, None)
    assert again == scores
    batch[1] = math.nan
    scores, info = reward(batch, PROMPTS, None)
    assert [math.isnan(score) for score in scores] == [False, True, False]
    assert info["status"][1] == "image_error"


def test_nothing_heavy_is_imported():
    heavy = "torch", "transformers", "datasets", "fastapi", "PIL.Image", "numpy", "pydantic"
    code = f"import sys, t2i_judge.rewards; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_wrong_key_address_or_judge_is_said_at_once(serving, monkeypatch):
    with running("--judge", "fake", "--client-key-env", "SERVE_KEY", SERVE_KEY="right-key") as server:
        with pytest.raises(UserError, match=r"HTTP 401.*client_key_env"):
            RewardClient(server.url).score(pictures(), PROMPTS)
        monkeypatch.setenv("MY_KEY", "right-key")
        client = RewardClient(server.url, client_key_env="MY_KEY")
        assert len(client.score(pictures(), PROMPTS)) == 3
        assert "right-key" not in repr(client)
    with pytest.raises(UserError, match=r"HTTP 422.*no judge 'nobody'"):
        RewardClient(serving.url, judge="nobody").score(pictures(), PROMPTS)
    for nowhere in ("127.0.0.1:8000", "", " ", None):  # a variable that is not set: the key is not for OpenAI
        with pytest.raises(UserError, match="is not the address of a server"):
            RewardClient(nowhere, client_key="right-key")
    monkeypatch.setattr("t2i_judge.serving.reward_client._AWAY", 0.5)
    with pytest.raises(UserError, match=r"no answer from .* Start the server"):
        RewardClient("http://127.0.0.1:9").score(pictures(), PROMPTS)


class Foreign(BaseHTTPRequestHandler):
    """A server that is not ours, or was taken over, and may answer anything."""

    results = b"null"
    judge = b'{"name": "its", "revision": null, "score_range": [0, 10]}'

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.answer()

    def answer(self):
        body = b'{"results": %s, "judge": %s}' % (self.results, self.judge)
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        return


@contextmanager
def foreign(kind=Foreign, **said):
    """The address of such a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Said", (kind,), said)) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def result(**said):
    usual = {"id": "0", "status": "ok", "reason": None, "scores": {"overall": 5.0}, "score": 5.0}
    return ("[" + json.dumps(usual | said) + "]").encode()


@pytest.mark.parametrize("score", ["NaN", "1e400", '"9"', "true", "[9]", "1" + "0" * 400, "1e300", "-7", "10.1"])
def test_what_is_no_number_of_the_judges_range_is_no_reward(score):
    said = result(score=5).replace(b'"score": 5', b'"score": %s' % score.encode())
    with foreign(results=said) as address, pytest.raises(UserError, match="gives no rewards"):
        RewardClient(f"http://{address}").score(pictures()[:1], PROMPTS[:1])


def test_the_range_is_that_of_the_judge_who_answers_and_stays_the_same():
    """It was asked for once: after a restart with another judge, scores were read by the range of the first."""
    told = result(score=0.5, scores={"overall": 0.5})
    other = Foreign.judge.replace(b"10", b"1")
    with foreign(results=told) as address, foreign(results=told, judge=other) as restarted:
        client = RewardClient(f"http://{address}")
        assert client.score(pictures()[:1], PROMPTS[:1])[0].score == 0.5
        client.address = Address.parse(f"http://{restarted}")
        with pytest.raises(UserError, match=r"in the range \[0, 1\] now, and did by .*\[0, 10\].* make a new client"):
            client.score(pictures()[:1], PROMPTS[:1])
        assert RewardClient(f"http://{restarted}").score(pictures()[:1], PROMPTS[:1])[0].score == 0.5


@pytest.mark.parametrize(
    "said",
    [b"5", b"[" * 200_000, b'{"a": 1}', b"[{}]", *(result(**{name: odd}) for name, odd in (
        ("scores", {"overall": 5.0, "appearance": 1e9}),
        ("status", ["ok"]), ("status", "fine"), ("scores", "overall"), ("scores", {"overall": "1e9"}), ("scores", [1]),
    ))],
)  # fmt: skip
def test_what_is_no_judgement_is_one_line(said):
    with foreign(results=said) as address, pytest.raises(UserError, match="gives no rewards"):
        RewardClient(f"http://{address}").score(pictures()[:1], PROMPTS[:1])


def test_scores_of_other_images_are_nobodys_reward():
    said = b"[%s, %s]" % (result(id="1", score=1.0)[1:-1], result(id="0", score=9.0)[1:-1])
    with foreign(results=said) as address, pytest.raises(UserError, match="gives rewards for other images"):
        RewardClient(f"http://{address}").score(pictures()[:2], PROMPTS[:2])


@pytest.mark.parametrize("other", [{"name": "another"}, {"revision": "2"}, {"revision": None, "name": "another"}])
def test_another_judge_than_before_is_said(other):
    first = {"name": "its", "revision": None, "score_range": [0, 10]}
    known = first | {"revision": "1"}
    with ExitStack() as servers:
        urls = [
            servers.enter_context(foreign(results=result(), judge=json.dumps(judge).encode()))
            for judge in (first, known, first, known | other)
        ]
        client = RewardClient(f"http://{urls[0]}")
        for url in urls[:3]:  # what failed does not tell which snapshot judged it
            client.address = Address.parse(f"http://{url}")
            assert client.score(pictures()[:1], PROMPTS[:1])[0].score == 5
        client.address = Address.parse(f"http://{urls[3]}")
        with pytest.raises(UserError, match=r"Rewards of two judges cannot be mixed"):
            client.score(pictures()[:1], PROMPTS[:1])


@pytest.mark.parametrize("judge", [b"{}", b"[]", b'{"score_range": 3}', b'{"score_range": [0, "high"]}', b"["])
def test_a_server_that_tells_no_range_is_none_of_ours(judge):
    with foreign(results=result(), judge=judge) as address, pytest.raises(UserError, match="gives no rewards"):
        RewardClient(f"http://{address}").score(pictures()[:1], PROMPTS[:1])


class Endless(Foreign):
    def answer(self):
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b" " * 1_000_000)


def test_a_reply_without_end_is_left_at_16_mb_and_not_asked_for_again():
    with foreign(Endless) as address, pytest.raises(UserError, match="larger than 16 MB"):
        RewardClient(f"http://{address}").score(pictures()[:1], PROMPTS[:1])


class Dripping(Foreign):
    def answer(self):
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:  # until the client leaves
                self.wfile.write(b" ")
                time.sleep(0.05)


def test_a_reply_that_drips_ends_with_the_timeout():
    came = pytest.raises(UserError, match=r"no whole reply within .* No reward came within 1 s")
    with foreign(Dripping) as address, came:
        RewardClient(f"http://{address}", timeout=1).score(pictures()[:1], PROMPTS[:1])


def test_a_login_in_the_address_is_sent_and_not_shown():
    class Asking(Foreign):
        seen: list = []

        def answer(self):
            self.seen.append(self.headers["authorization"])
            self.send_error(400)

    with foreign(Asking) as address:
        client = RewardClient(f"http://me:hunter2@{address}/")
        with pytest.raises(UserError, match=f"http://{address} refuses") as told:
            client.score(pictures()[:1], PROMPTS[:1])
    assert Asking.seen == ["Basic " + base64.b64encode(b"me:hunter2").decode()]
    assert "hunter2" not in repr(client) + str(told.value)


def test_many_images_go_in_several_requests_and_too_large_ones_in_smaller():
    noise = [Image.fromarray(np.random.default_rng(n).integers(0, 255, (200, 200, 3), np.uint8)) for n in range(12)]
    with running("--judge", "fake", "--max-body", "1", "--queue", "8", "--max-items", "8") as server:
        rewards = RewardClient(server.url).score(noise, ["p"] * 12)  # 1.9 MB in base64; a queue that is full at times
        assert [reward.status for reward in rewards] == ["ok"] * 12
        with pytest.raises(UserError, match=r"HTTP 413.*--max-body"):
            RewardClient(server.url).score([Image.effect_noise((1200, 1200), 90)], ["p"])


def test_a_fork_asks_on_its_own_and_so_does_its_parent_afterwards(serving):
    """A data loader's workers are forks: their copies of the client waited for a thread that only the parent had."""
    client = RewardClient(serving.url)
    expected = client.score(pictures(), PROMPTS)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    fork = context.Process(target=lambda: there.send([client.score(pictures(), PROMPTS) for _ in range(20)]))
    fork.start()
    try:
        assert [client.score(pictures(), PROMPTS) for _ in range(20)] == [expected] * 20
        assert here.poll(PATIENCE) and here.recv() == [expected] * 20
    finally:
        fork.kill()
    client.close()


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_is_ended_and_started_again_loses_no_reward(tmp_path, sign):
    images = [Image.new("RGB", (16, 16), (n, 1, 1)) for n in range(80)]
    rewards: list = []
    with reserved_port() as port:
        with running("--judge", "fake", "--batch-size", "8", port=port, go=tmp_path / "go") as server:
            client = RewardClient(server.url)
            asking = threading.Thread(target=lambda: rewards.extend(client.score(images, ["p"] * 80)))
            asking.start()
            assert eventually(lambda: server.queue() > 8)
            server.process.send_signal(sign)
            assert eventually(server.is_closed) and asking.is_alive()
            (tmp_path / "go").touch()
            server.process.wait(PATIENCE)
        with running("--judge", "fake", port=port) as again:
            asking.join(PATIENCE)
            assert [reward.status for reward in rewards] == ["ok"] * 80
            expected = RewardClient(again.url).score(images, ["p"] * 80)
    assert [reward.score for reward in rewards] == [reward.score for reward in expected]
