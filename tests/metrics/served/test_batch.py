"""Batch mode against a server of files and batches: half the price, the same judgements, nothing paid twice."""

from __future__ import annotations

import gzip
import json
import re

import httpx2
import pytest
from PIL import Image

from recipes.loopback.http import Response
from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.judges.loading import load_judge
from t2i_judge.records import Status
from t2i_judge.served.batch import BatchQueue
from t2i_judge.served.cache import CallCache, paid_in
from t2i_judge.served.concurrency import BudgetExceeded
from tests.metrics.conftest import FakeOpenAI
from tests.metrics.judges.test_dreambench import rate
from tests.metrics.judges.test_teacher import decomposition, has_image, text_of, verdict


class Compressed(Response):
    def encode(self) -> bytes:
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(self.body)}\r\n\r\n"
        return head.encode() + self.body


class BatchServer(FakeOpenAI):
    """Works a batch off when it is looked at for the second time. `respond` answers each of its calls."""

    endless = False  # whether the list of batches has no end, and none of ours

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict] = {}
        self.answered: list[str] = []
        self.broken = ""
        self.more: list[str] = []  # lines of every output beside the replies, in front
        self.output = b""  # in gzip, in the place of every output
        self.listed = 0
        self.silent = 0  # replies that every output lacks
        self.lost: list[Response] = []  # in the place of the answers about the first batches that are made

    async def handle(self, method: str, path: str, body: bytes) -> Response:
        if path.endswith("/files"):
            name = f"file-{len(self.files)}"
            self.files[name] = "\n".join(line for line in body.decode().split("\r\n") if line.startswith("{"))
            return Response(
                {"id": name, "object": "file", "bytes": 1, "created_at": 0, "filename": "f", "purpose": "batch"}
            )
        if found := re.search(r"/files/([\w-]+)/content", path):
            return Compressed(self.output) if self.output else Response(self.files[found[1]])
        if path.endswith("/batches") and method == "POST":
            request = json.loads(body)
            name = f"batch-{len(self.batches)}"
            self.batches[name] = {
                "id": name, "object": "batch", "endpoint": request["endpoint"], "completion_window": "24h",
                "created_at": len(self.batches), "input_file_id": request["input_file_id"], "status": "in_progress",
                "metadata": request["metadata"],
            }  # fmt: skip
            return self.lost.pop(0) if self.lost else Response(self.batches[name])
        if path.split("?")[0].endswith("/batches"):
            self.listed += 1
            if self.endless:
                odd = {"id": f"odd-{self.listed}", "object": "batch", "status": "completed", "metadata": None}
                return Response({"object": "list", "data": [odd], "has_more": True})
            return Response({"object": "list", "data": list(self.batches.values()), "has_more": False})
        if found := re.search(r"/batches/([\w-]+)$", path):
            return Response(self._look(found[1]))
        return await super().handle(method, path, body)

    def _look(self, name: str) -> dict:
        batch = self.batches[name]
        if self.broken:
            errors = {"object": "list", "data": [{"message": self.broken, "code": "x"}]}
            return {**batch, "status": "failed", "errors": errors}
        if batch["status"] == "in_progress" and batch.setdefault("looks", 0) >= 1:
            good, bad = [], []
            for line in map(json.loads, self.files[batch["input_file_id"]].splitlines()):
                self.answered.append(line["custom_id"])
                response = self.respond(line["body"], len(self.answered) - 1)
                entry = {"id": "r", "custom_id": line["custom_id"], "error": None}
                entry["response"] = {"status_code": response.status, "request_id": "q", "body": response.body}
                (good if response.status == 200 else bad).append(json.dumps(entry))
            self.files[f"{name}-out"], self.files[f"{name}-bad"] = (
                "\n".join([*self.more, *good[self.silent :]]),
                "\n".join(bad),
            )
            batch |= {"status": "completed", "output_file_id": f"{name}-out", "error_file_id": f"{name}-bad"}
        batch["looks"] = batch.get("looks", 0) + 1
        return batch


@pytest.fixture
def server(served):
    with BatchServer() as running:
        running.completion, running.failure = served.completion, served.failure  # type: ignore[attr-defined]
        running.respond = lambda request, n: served.completion(verdict() if has_image(request) else decomposition())
        yield running


@pytest.fixture
def pictures(tmp_path):
    paths = []
    for number in range(4):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (8, 8), (number, 0, 0)).save(paths[-1])
    return paths


def score(server, pictures, tmp_path, **options):
    """Judge every picture in batches; the judgements, and how often work was done."""
    judge = load_judge(f"openai:m@{server.url}", cache=tmp_path / "calls.sqlite", **options)
    rounds = []

    def work() -> None:
        rounds.append(judge.score(pictures, [f"cat {n % 2}" for n in range(len(pictures))]))

    try:
        BatchQueue(judge.backend, tmp_path / "batches", poll=0.01).complete(work)
    finally:
        judge.close()
    return rounds[-1], len(rounds), judge.backend


def test_the_same_judgements_at_half_the_price(server, pictures, tmp_path):
    from t2i_judge.served.prices import Price

    judgements, rounds, backend = score(server, pictures, tmp_path, prices={"m": Price(10, 100)})
    assert all(judgement.status is Status.OK for judgement in judgements)
    assert rounds == 3  # decompositions, judgements, and the round that finds everything
    assert server.calls == []  # nothing was asked at the full price
    assert len(server.answered) == len(set(server.answered)) == 2 + 4
    assert judgements[0].usage.money == pytest.approx(0.003 / 2)
    assert backend.usage.money == pytest.approx(6 * 0.003 / 2)
    _, rounds, _ = score(server, pictures, tmp_path)
    assert (rounds, len(server.batches)) == (1, 2)


@pytest.mark.parametrize("body", ["no counts", "no completion"])
def test_replies_without_counts_are_taken_to_cost_what_they_can(server, pictures, tmp_path, body):
    """They cost nothing against the limit, however many there were, in later runs too."""
    from t2i_judge.served.prices import Price

    answer = server.respond
    server.respond = lambda request, n: Response(
        {**answer(request, n).body, "usage": None} if body == "no counts" else {"odd": n}
    )
    _, _, backend = score(server, pictures, tmp_path, prices={"m": Price(10, 100)}, max_cost=10)
    ledger = CallCache(tmp_path / "calls.sqlite").paid().money
    assert backend.budget.spent == pytest.approx(ledger)
    assert ledger > 0.01 * len(server.answered)  # a reply is a few hundred tokens at most


def test_calls_are_written_through_no_link(server, pictures, tmp_path):
    (mine := tmp_path / "mine").write_text("mine")
    (tmp_path / "batches").mkdir()
    (tmp_path / "batches/batch-0000.jsonl").symlink_to(mine)
    judgements, _, _ = score(server, pictures, tmp_path)
    assert all(judgement.status is Status.OK for judgement in judgements)
    assert mine.read_text() == "mine"


def test_failures_keep_their_status_and_are_not_asked_again_in_this_run(server, pictures, tmp_path):
    kinds = iter(
        [server.completion(None, refusal="no"), server.failure(400, "content_filter"), server.completion("what?")]
    )

    def respond(request, n):
        if not has_image(request):
            return server.completion(decomposition())
        if text_of(request).startswith("That is not"):
            return server.completion("what?")
        return next(kinds, server.completion(verdict()))

    server.respond = respond
    judgements, rounds, _ = score(server, pictures, tmp_path)
    statuses = sorted(judgement.status.value for judgement in judgements)
    assert statuses == ["filtered", "ok", "refused", "unparsable"]
    assert rounds == 4  # one more for the changed request of the unparsable one
    assert len(server.answered) == len(set(server.answered)) == 2 + 4 + 1


def test_a_usable_second_reply_is_found_by_the_next_run(server, pictures, tmp_path):
    def respond(request, n):
        if not has_image(request):
            return server.completion(decomposition())
        return server.completion(verdict() if text_of(request).startswith("That is not") else "what?")

    server.respond = respond
    first, rounds, _ = score(server, pictures, tmp_path)
    assert ({judgement.status for judgement in first}, rounds) == ({Status.OK}, 4)
    again, rounds, backend = score(server, pictures, tmp_path)
    assert (rounds, len(server.answered)) == (1, 2 + 4 + 4)
    assert [judgement.to_json() for judgement in again] == [judgement.to_json() for judgement in first]


@pytest.mark.parametrize("moment", ["submitting", "waiting"])
def test_a_run_that_is_stopped_finds_its_batches_again(server, pictures, tmp_path, monkeypatch, moment):
    with monkeypatch.context() as stopped:

        def stop(self, *arguments):
            if moment == "waiting" or arguments[1]["id"]:
                raise KeyboardInterrupt
            return note(self, *arguments)

        note = BatchQueue._note
        stopped.setattr(BatchQueue, "_collect" if moment == "waiting" else "_note", stop)
        with pytest.raises(KeyboardInterrupt):
            score(server, pictures, tmp_path)
    assert len(server.batches) == 1
    judgements, _, _ = score(server, pictures, tmp_path)
    assert all(judgement.status is Status.OK for judgement in judgements)
    assert len(server.answered) == len(set(server.answered)) == 6
    assert len(server.batches) == 2


def test_a_batch_that_is_collected_again_is_paid_for_once(server, pictures, tmp_path, monkeypatch):
    """A run that was killed between storing replies and noting it had them counted twice by the next one."""
    from t2i_judge.served.prices import Price

    prices = {"m": Price(10, 100)}

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(BatchQueue, "_end", stop)
        with pytest.raises(KeyboardInterrupt):
            score(server, pictures, tmp_path, prices=prices)
    assert paid_in(tmp_path / "calls.sqlite") == pytest.approx(2 * 0.003 / 2)
    _, _, backend = score(server, pictures, tmp_path, prices=prices)
    assert backend.usage.money == pytest.approx(4 * 0.003 / 2)
    assert backend.budget.spent == pytest.approx(4 * 0.003 / 2)
    assert paid_in(tmp_path / "calls.sqlite") == pytest.approx(6 * 0.003 / 2)


@pytest.mark.parametrize("lost", [Response({}, drop=True), Response({"error": {"message": "?"}}, status=502)])
def test_a_batch_whose_answer_is_lost_is_not_made_again(server, pictures, tmp_path, lost):
    server.lost = [lost]
    judgements, _, _ = score(server, pictures, tmp_path)
    assert all(judgement.status is Status.OK for judgement in judgements)
    assert len(server.answered) == len(set(server.answered)) == 6
    assert len(server.batches) == 2


def test_a_batch_is_found_behind_an_earlier_one_of_the_same_calls_that_failed(server, pictures, tmp_path):
    """The server lists the oldest first; the earlier one was taken for it, and the new one was paid for in vain."""
    server.broken = "too many tokens enqueued"
    with pytest.raises(UserError, match="batch-0 failed"):
        score(server, pictures, tmp_path)
    server.broken, server.batches["batch-0"]["status"] = "", "failed"
    server.lost = [Response({}, drop=True)]
    judgements, _, _ = score(server, pictures, tmp_path)
    assert all(judgement.status is Status.OK for judgement in judgements)
    assert len(server.answered) == len(set(server.answered)) == 6 and len(server.batches) == 3


def test_a_rejected_batch_is_one_line(server, pictures, tmp_path):
    server.broken = "too many tokens enqueued"
    with pytest.raises(UserError, match=r"batch-0 failed\. too many tokens enqueued"):
        score(server, pictures, tmp_path)
    server.broken = ""
    assert all(judgement.status is Status.OK for judgement in score(server, pictures, tmp_path)[0])


def test_a_budget_is_looked_at_before_anything_is_sent(server, pictures, tmp_path):
    from t2i_judge.served.prices import Price

    with pytest.raises(BudgetExceeded, match="2 calls may cost"):
        score(server, pictures, tmp_path, prices={"m": Price(10, 100)}, max_cost=0.1)
    assert server.batches == {}


def test_the_command_line(server, pictures, tmp_path, monkeypatch, capsys):
    table, out = tmp_path / "t.csv", tmp_path / "out"
    table.write_text("prompt,image\n" + "".join(f"cat,{path.name}\n" for path in pictures))
    arguments = ["score", str(table), "--judge", f"openai:m@{server.url}", "--out", str(out), "--batch"]
    real = BatchQueue.__init__
    monkeypatch.setattr(BatchQueue, "__init__", lambda self, *a, **k: real(self, *a, **{**k, "poll": 0.01}))
    assert main([*arguments, "--shard-size", "3"]) == 0
    assert server.calls == []
    assert len(server.batches) == 2  # not two a shard
    assert "4 items, failed: none" in capsys.readouterr().out
    assert main(["score", str(table), "--judge", "fake", "--out", str(tmp_path / "f"), "--batch"]) == 2
    assert "Only served judges support it" in capsys.readouterr().err


def test_two_axes_with_a_plan_each_in_batches(server, pictures, tmp_path, monkeypatch):
    rate(server, preserved=2, followed=4)
    table, out = tmp_path / "t.csv", tmp_path / "out"
    table.write_text("prompt,image,reference\n" + "".join(f"cat,{p.name},{pictures[0].name}\n" for p in pictures[1:]))
    real = BatchQueue.__init__
    monkeypatch.setattr(BatchQueue, "__init__", lambda self, *a, **k: real(self, *a, **{**k, "poll": 0.01}))
    judge = ["--judge", f"dreambench+openai:m@{server.url}", "--reference-column", "reference"]
    assert main(["score", str(table), *judge, "--out", str(out), "--batch"]) == 0
    rows = [json.loads(line) for line in (out / "shards/000000.jsonl").read_text().splitlines()]
    assert [(row["scores"]["concept_preservation"], row["scores"]["prompt_following"]) for row in rows] == [(2, 4)] * 3
    assert server.calls == [] and len(server.batches) == 2  # the plans, then the scores


def line(key: object, text: str = '{"score": 0}') -> str:
    body = {"model": "m", "choices": [{"finish_reason": "stop", "message": {"content": text}}]}
    return json.dumps({"custom_id": key, "response": {"status_code": 200, "body": body}})


def test_a_server_answers_for_no_call_that_it_was_not_asked(server, pictures, tmp_path):
    cache = CallCache(tmp_path / "calls.sqlite")
    cache.put("another's", "gpt", {"text": "paid"})
    server.more = [line("another's"), line("nobody's")]
    judgements, rounds, backend = score(server, pictures, tmp_path)
    assert all(judgement.status is Status.OK for judgement in judgements) and rounds == 3
    assert (cache.get("another's"), cache.get("nobody's"), len(cache)) == ({"text": "paid"}, None, 1 + 2 + 4)
    assert backend.usage.calls == 6
    cache.close()


@pytest.mark.parametrize(
    "odd",
    [
        "no json",
        "[1]",
        "3",
        "null",
        "{}",
        line([1]),
        line({}),
        line(None),
        '{"a": ' * 9000,
        "9" * 5000,
        '{"custom_id": "\\ud800"}',
    ],
    ids=range(11),
)
def test_lines_that_are_no_replies_are_left_out(server, pictures, tmp_path, odd):
    server.more, told = [odd], []
    judge = load_judge(f"openai:m@{server.url}", cache=tmp_path / "calls.sqlite")
    judgements = []
    work = lambda: judgements.append(judge.score(pictures, ["cat"] * 4))  # noqa: E731
    BatchQueue(judge.backend, tmp_path / "batches", poll=0.01, tell=told.append).complete(work)
    judge.close()
    assert all(judgement.status is Status.OK for judgement in judgements[-1])
    assert [said for said in told if "left out" in said] == [
        f"batch batch-{number}: 1 line of its output left out: no reply to a call of this batch" for number in range(2)
    ]


def test_a_call_without_a_reply_fails_and_is_not_sent_for_ever(server, pictures, tmp_path):
    server.silent = 1
    judgements, _, _ = score(server, pictures, tmp_path)
    assert len(server.batches) == 2  # of two decompositions one, so of four pictures two, of which one
    assert sorted(judgement.status.value for judgement in judgements) == ["ok", "transport", "transport", "transport"]
    assert {judgement.reason for judgement in judgements if judgement.reason} and len(server.answered) == 2 + 2
    server.silent = 0
    assert all(judgement.status is Status.OK for judgement in score(server, pictures, tmp_path)[0])


@pytest.mark.parametrize(
    "response", [None, [], "x", {"status_code": 200}, {"status_code": 200, "body": []}, {"body": "x"}]
)
def test_odd_replies_are_a_status(server, pictures, tmp_path, response):
    real = server._look

    def look(name):
        batch = real(name)
        if batch.get("output_file_id"):
            keys = [json.loads(each)["custom_id"] for each in server.files[batch["input_file_id"]].splitlines()]
            odd = [json.dumps({"custom_id": key, "response": response, "error": response}) for key in keys]
            server.files[f"{name}-out"] = "\n".join(odd)
        return batch

    server._look = look
    judgements, _, _ = score(server, pictures, tmp_path)
    assert {judgement.status for judgement in judgements} == {Status.TRANSPORT}


def test_what_no_run_noted_is_one_line(server, pictures, tmp_path):
    digest, notes = "0" * 64, tmp_path / "batches" / "batches.json"
    notes.parent.mkdir()
    (outside := tmp_path / "mine.keys").write_text("{}")
    for noted in (
        {"../mine": {"id": "b", "done": False}},
        {digest: 3},
        {digest: {"id": 3, "done": False}},
        {digest: {}},
    ):
        notes.write_text(json.dumps(noted))
        with pytest.raises(UserError, match="has an unknown format"):
            score(server, pictures, tmp_path)
    for keys in (None, "[1]", '{"a": "1"}', '{"a": -1.0}', '{"a": 1e999}', "no json"):
        notes.write_text(json.dumps({digest: {"id": "batch-0", "done": False}}))
        if keys:
            (notes.parent / f"{digest}.keys").write_text(keys)
        server.batches["batch-0"] = {"id": "batch-0", "object": "batch", "status": "failed"}
        with pytest.raises(UserError, match=rf"{digest}\.keys"):
            score(server, pictures, tmp_path)
    assert outside.read_text() == "{}" and not server.answered


def test_an_answer_that_is_no_batch_is_one_line(server, pictures, tmp_path):
    server._look = lambda name: {"status": "in_progress", "request_counts": "many"}
    with pytest.raises(UserError, match="did not answer with a batch"):
        score(server, pictures, tmp_path)


def asked_in_vain(server, pictures, tmp_path, monkeypatch):
    """A run whose batch does not end in time; the batches that are looked at later do."""
    with monkeypatch.context() as patched:
        patched.setattr("t2i_judge.served.batch._LONGEST_WAIT", 0.05)
        patched.setattr(server, "_look", lambda name: {**server.batches[name], "status": "in_progress"})
        with pytest.raises(UserError, match="has not ended"):
            score(server, pictures, tmp_path)


def test_a_batch_that_never_ends_is_not_waited_for_without_end(server, pictures, tmp_path, monkeypatch):
    asked_in_vain(server, pictures, tmp_path, monkeypatch)
    judgements, _, _ = score(server, pictures, tmp_path)
    assert all(judgement.status is Status.OK for judgement in judgements)
    assert len(server.answered) == len(set(server.answered)), "nothing was sent again"


@pytest.mark.parametrize("state", ["in_progress", "failed", "odd"])
def test_a_batch_in_trouble_keeps_no_replies_of_others(server, pictures, tmp_path, monkeypatch, state):
    """Those behind one that never ended were stored neither in this run nor in the next, which waited for it again."""
    monkeypatch.setattr("t2i_judge.served.batch._LONGEST_WAIT", 0.05)
    monkeypatch.setattr("t2i_judge.served.batch._MOST_CALLS", 1)  # two batches of one call each
    look = server._look

    def in_trouble(name: str) -> dict:
        if name == "batch-0":
            return {"status": "in_progress", "request_counts": "many"} if state == "odd" else {"status": state}
        server.batches[name]["looks"] = 1  # it has ended
        return look(name)

    server._look = in_trouble
    with pytest.raises(UserError, match="batch"):
        score(server, pictures, tmp_path)
    states = json.loads((tmp_path / "batches/batches.json").read_text()).values()
    assert {noted["id"]: noted["done"] for noted in states} == {"batch-0": state == "failed", "batch-1": True}
    assert len(server.answered) == 1
    server._look = look
    monkeypatch.setattr("t2i_judge.served.batch._LONGEST_WAIT", 60.0)
    judgements, _, _ = score(server, pictures, tmp_path)
    assert all(judgement.status is Status.OK for judgement in judgements)
    assert len(server.answered) == len(set(server.answered)), "nothing was sent again"


def test_keys_noted_without_costs_are_of_an_earlier_version(server, pictures, tmp_path, monkeypatch):
    """Their batch was said to be of no run, and paid for twice."""
    asked_in_vain(server, pictures, tmp_path, monkeypatch)
    (path,) = (tmp_path / "batches").glob("*.keys")
    path.write_text(json.dumps([*json.loads(path.read_text())]))
    judgements, _, _ = score(server, pictures, tmp_path)
    assert all(judgement.status is Status.OK for judgement in judgements)
    assert len(server.answered) == len(set(server.answered)) == 6


def test_a_key_that_a_batch_repeats_is_not_shown(server, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-mine-alone")
    server.respond = lambda request, n: server.failure(400, "sk-of-mine-alone is wrong")
    judgements, _, _ = score(server, pictures, tmp_path)
    assert {"[key] is wrong" in judgement.reason for judgement in judgements} == {True}
    assert not any("sk-of-mine" in judgement.reason for judgement in judgements)


def test_a_redirect_takes_no_prompt_elsewhere(server, pictures, tmp_path):
    """13 kB of prompts and pictures went along."""
    with BatchServer() as other:
        server.handle = redirecting(server.handle, other.url)
        with pytest.raises(UserError, match=rf"redirects to {re.escape(other.url)}/files \(HTTP 307\)\. .* not sent"):
            score(server, pictures, tmp_path)
        assert not other.files


def redirecting(real, url):
    async def handle(method, path, body):
        if path.endswith("/files"):
            return Response({}, status=307, headers={"Location": f"{url}/files"})
        return await real(method, path, body)

    return handle


def test_an_output_without_an_end_is_one_line(server, pictures, tmp_path, monkeypatch):
    """6 MB in gzip took 6 GB, and again for each attempt."""
    largest = 300_000
    monkeypatch.setattr("t2i_judge.served.files._LARGEST", largest)
    bomb = gzip.compress(bytes(100 * largest))
    read, real = [], httpx2.Response.iter_bytes

    def counted(response, *arguments):
        for part in real(response, *arguments):
            read.append(len(part))
            yield part

    monkeypatch.setattr(httpx2.Response, "iter_bytes", counted)
    server.output = bomb
    with pytest.raises(UserError, match=r"the reply is larger than 0 MB"):
        score(server, pictures, tmp_path, attempts=1)
    assert sum(read) < 5_000_000


def test_a_list_of_batches_need_not_end(server, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("t2i_judge.served.batch._MOST_BATCHES", 50)
    monkeypatch.setattr(BatchServer, "endless", True)
    server.lost = [Response({"error": {"message": "?"}}, status=502)]
    with pytest.raises(UserError, match="its list has more than 50 batches"):
        score(server, pictures, tmp_path)
    assert 50 < server.listed < 60 and len(server.batches) == 1
