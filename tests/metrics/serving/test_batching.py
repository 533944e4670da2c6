"""Batches form by themselves, callers take turns, nothing is judged twice, and whoever waits hears the outcome."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from t2i_judge.errors import UserError
from t2i_judge.judges.base import Judge
from t2i_judge.records import JudgeInfo, Judgement, Question, Status, Usage, failed
from t2i_judge.serving.batching import Batcher, Item
from t2i_judge.serving.requests import Malformed, read_json
from tests.waiting import PATIENCE, eventually


class Counting(Judge):
    """Remembers its calls, and makes none while it is not free; refuses what is to fail."""

    def __init__(self) -> None:
        super().__init__(JudgeInfo("counting", "double", "none"))
        self.calls: list[list[str]] = []
        self.free = threading.Event()
        self.free.set()

    def _score(self, items, explain, progress):
        self.calls.append([item.prompt for item in items])
        assert self.free.wait(PATIENCE)
        if any(item.prompt == "break" for item in items):
            raise UserError("no credit")
        return [self._one(item) for item in items]

    def _one(self, item):
        if item.prompt == "fail":
            return failed(item.image_id, item.prompt, self.info, Status.REFUSED, "a double")
        return Judgement(item.image_id, item.prompt, self.info, usage=Usage(1))


def item(judge, prompt, **rest):
    return Item(judge, b"", prompt, rest.pop("image_id", prompt), **rest)


def busy(judge, batcher):
    """A call that is made until the judge is free: what comes now is together, however slow the machine is."""
    judge.free.clear()
    future = batcher.submit(item(judge, "busy"))
    assert eventually(lambda: judge.calls == [["busy"]])
    return future


def call_of(judge, prompt):
    """The number of the call in which it was judged."""
    return next(number for number, prompts in enumerate(judge.calls) if prompt in prompts)


def test_what_comes_while_a_call_is_made_goes_into_the_next():
    judge, batcher = Counting(), Batcher(size=8)
    first = busy(judge, batcher)
    rest = [batcher.submit(item(judge, f"{n}")) for n in range(20)]
    judge.free.set()
    assert [future.result(PATIENCE).prompt for future in [first, *rest]] == ["busy", *map(str, range(20))]
    assert [len(call) for call in judge.calls] == [1, 8, 8, 4]


def test_a_moment_is_waited_for_more_and_no_longer(monkeypatch):
    judge, batcher = Counting(), Batcher(size=64)
    with monkeypatch.context() as patience, ThreadPoolExecutor(64) as threads:
        for name in ("_QUIET", "_LONGEST"):  # a busy machine does not send them in a moment
            patience.setattr(f"t2i_judge.serving.batching.{name}", PATIENCE)
        futures = list(threads.map(lambda n: batcher.submit(item(judge, str(n))), range(64)))
        assert len({future.result(PATIENCE).prompt for future in futures}) == 64
    assert len(judge.calls) == 1
    batcher.submit(item(judge, "alone")).result(PATIENCE)
    with batcher.expected():  # somebody who never comes
        batcher.submit(item(judge, "alone")).result(PATIENCE)


def test_a_moment_is_short(monkeypatch):
    """A hundredth of a second without anything new, a tenth where somebody is on the way; none for a full call."""
    judge, batcher = Counting(), Batcher(size=2)
    busy(judge, batcher)
    with monkeypatch.context() as clock:
        clock.setattr("t2i_judge.serving.batching.time", SimpleNamespace(monotonic=lambda: 1.0))
        future = batcher.submit(item(judge, "one"))
        batcher._waiting[0].arrived = 1.0
        assert 0.002 < batcher._patience() <= 0.05
        with batcher.expected():
            assert 0.05 < batcher._patience() <= 0.5
        last = batcher.submit(item(judge, "two"))
        assert batcher._patience() == 0.0
    judge.free.set()
    assert [each.result(PATIENCE).prompt for each in (future, last)] == ["one", "two"]


def test_one_callers_thousand_does_not_keep_out_the_others():
    judge, batcher = Counting(), Batcher(size=10)
    busy(judge, batcher)
    flood = [batcher.submit(item(judge, f"flood {n}", turns=("a",))) for n in range(200)]
    other = batcher.submit(item(judge, "other", turns=("b",)))
    judge.free.set()
    assert all(future.result(PATIENCE).status is Status.OK for future in [*flood, other])
    assert call_of(judge, "other") == 1
    assert sum(len(call) for call in judge.calls) == 202


def test_ranges_take_turns_and_in_a_range_addresses_whatever_they_ask():
    """Thirty addresses of one range, each with what does not go with the others', before one from elsewhere."""
    judge, batcher = Counting(), Batcher(size=10)
    busy(judge, batcher)
    flood = [
        batcher.submit(item(judge, f"flood {n}", turns=("a", f"a{n % 30}"), explain=n % 30 < 15)) for n in range(300)
    ]
    other = batcher.submit(item(judge, "other", turns=("b", "b1"), explain=True))
    again = batcher.submit(item(judge, "again", turns=("b", "b1")))
    judge.free.set()
    assert all(future.result(PATIENCE).status is Status.OK for future in [*flood, other, again])
    assert max(call_of(judge, "other"), call_of(judge, "again")) <= 4
    for number in range(0, 30, 15):  # and none of the thirty waits for another's tenth
        assert call_of(judge, f"flood {number}") < 8


def test_the_same_twice_is_judged_once_under_each_callers_name_and_paid_once():
    judge, batcher = Counting(), Batcher(keep=2)
    judge.free.clear()
    twins = [batcher.submit(item(judge, "p", image_id=name, key="k")) for name in "abc"]
    judge.free.set()
    results = [future.result(PATIENCE) for future in twins]
    assert [result.image_id for result in results] == ["a", "b", "c"]
    assert [result.usage.calls for result in results] == [1, 0, 0]
    kept = batcher.known("k", "d")
    assert kept is not None
    assert (kept.result(0).image_id, kept.result(0).usage.calls) == ("d", 0)
    assert judge.calls == [["p"]]
    for key in ("l", "m"):
        batcher.submit(item(judge, key, key=key)).result(PATIENCE)
    assert batcher.known("k", "d") is None  # the oldest goes


def test_what_failed_may_be_tried_again_and_is_not_kept():
    judge, batcher = Counting(), Batcher(keep=8)
    assert batcher.submit(item(judge, "fail", key="k")).result(PATIENCE).status is Status.REFUSED
    assert batcher.known("k", "d") is None
    for _ in range(2):
        with pytest.raises(UserError, match="no credit"):
            batcher.submit(item(judge, "break", key="b")).result(PATIENCE)
    assert judge.calls == [["fail"], ["break"], ["break"]]
    assert batcher.submit(item(judge, "fine")).result(PATIENCE).status is Status.OK


def test_what_a_judge_cannot_take_fails_alone():
    """One text with half of a surrogate pair was the exception of everybody in the same call."""

    class Crashing(Counting):
        def _one(self, item):
            if item.prompt.startswith("crash"):
                raise TypeError(item.prompt)
            return super()._one(item)

    judge, batcher = Crashing(), Batcher()
    busy(judge, batcher)
    futures = {prompt: batcher.submit(item(judge, prompt)) for prompt in ("a", "crash 1", "b", "c", "crash 2", "d")}
    judge.free.set()
    for prompt, future in futures.items():
        if prompt.startswith("crash"):
            with pytest.raises(TypeError, match=prompt):
                future.result(PATIENCE)
        else:
            assert future.result(PATIENCE).status is Status.OK
    assert max(map(len, judge.calls)) == 6, "they were in one call"


def test_what_a_judge_says_of_itself_is_asked_once():
    judge, batcher = Counting(), Batcher()
    busy(judge, batcher)
    futures = [batcher.submit(item(judge, prompt)) for prompt in ("a", "break", "b")]
    judge.free.set()
    for future in futures:
        with pytest.raises(UserError, match="no credit"):
            future.result(PATIENCE)
    assert judge.calls == [["busy"], ["a", "break", "b"]]


def test_what_nobody_waits_for_is_not_judged_and_a_twin_still_hears():
    judge, batcher = Counting(), Batcher()
    busy(judge, batcher)
    gone, left = batcher.submit(item(judge, "gone", key="g")), batcher.submit(item(judge, "left", key="l"))
    twin = batcher.submit(item(judge, "left", image_id="twin", key="l"))
    assert gone.cancel()
    assert left.cancel()
    judge.free.set()
    assert twin.result(PATIENCE).image_id == "twin"
    assert twin.result(PATIENCE).usage.calls == 1
    assert judge.calls == [["busy"], ["left"]]


def test_what_does_not_go_together_is_judged_apart():
    judge, other, batcher = Counting(), Counting(), Batcher()
    futures = [
        busy(judge, batcher),
        batcher.submit(item(judge, "a")),
        batcher.submit(item(other, "b")),
        batcher.submit(item(judge, "c", explain=True)),
        batcher.submit(item(judge, "d", reference=b"")),
        batcher.submit(item(judge, "e")),
    ]
    judge.free.set()
    for future in futures:
        future.result(PATIENCE)
    assert sorted(judge.calls) == [["a", "e"], ["busy"], ["c"], ["d"]]
    assert other.calls == [["b"]]


def test_threads_end_when_there_is_nothing_to_do(monkeypatch):
    monkeypatch.setattr("t2i_judge.serving.batching._IDLE", 0.1)
    judge, batcher = Counting(), Batcher(threads=4)
    for _ in range(2):
        batcher.submit(item(judge, "a")).result(PATIENCE)
        assert eventually(lambda: batcher._working == 0)


def test_a_call_takes_a_bounded_number_of_questions():
    judge, batcher = Counting(), Batcher(size=32)
    busy(judge, batcher)
    questions = [Question(f"q{n}", "intrinsic", (), "Is it there?", "yes") for n in range(100)]
    futures = [batcher.submit(item(judge, str(n), questions=questions)) for n in range(12)]
    judge.free.set()
    assert all(future.result(PATIENCE).status is Status.OK for future in futures)
    assert max(map(len, judge.calls)) == 5


def test_a_call_that_writes_takes_fewer_so_that_nobody_waits_for_an_hour():
    """A large model on a GPU writes 160 tokens about a question in five seconds: 512 of them took 44 minutes."""
    judge, batcher = Counting(), Batcher(size=32)
    busy(judge, batcher)
    questions = [Question(f"q{n}", "intrinsic", (), "Is it there?", "yes") for n in range(12)]
    futures = [batcher.submit(item(judge, str(n), questions=questions, explain=True)) for n in range(10)]
    judge.free.set()
    assert all(future.result(PATIENCE).status is Status.OK for future in futures)
    assert max(map(len, judge.calls)) == 2


def test_judgements_that_are_kept_take_so_much_memory_and_no_more():
    """4,096 of them may each have megabytes of questions."""
    judge, batcher = Counting(), Batcher(keep=4096)
    batcher._kept.most = 3_000_000
    entities = tuple("a" * 20_000 for _ in range(40))  # a million bytes in key and judgement, shared by both
    asked = [Question("q1", "intrinsic", tuple(f"{n}{e}" for e in entities), "Is it red?", "yes") for n in range(6)]
    for number, question in enumerate(asked):
        batcher.submit(item(judge, "p", questions=(question,), key=(number, question))).result(PATIENCE)
    assert 0 < len(batcher._kept) < 4
    assert batcher.known((5, asked[5]), "again") is not None
    assert batcher.known((0, asked[0]), "again") is None


@pytest.mark.parametrize(("explain", "number", "is_read"), [(True, 32, True), (True, 33, False), (False, 100, True)])
def test_of_an_item_so_many_questions_are_answered_in_words(explain, number, is_read):
    question = {"id": "q", "aspect": "intrinsic", "text": "Is it there?"}
    items = [{"image": "", "prompt": "p", "questions": [question | {"id": f"q{n}"} for n in range(number)]}]
    body = json.dumps({"items": items, "explain": explain}).encode()
    if is_read:
        assert len(read_json(body, 1).items[0].questions) == number
    else:
        with pytest.raises(Malformed, match="with explain, an item has at most 32 questions"):
            read_json(body, 1)
