"""Which judges are offered, how they are asked, and where a visitor's key must never turn up."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import pytest
from PIL import Image, ImageDraw, ImageFont

import limits
from compare_tab import judge_all, unique
from composer import EXAMPLES, draw, faithful
from counts import Counts
from judge_tab import banner
from judging import JudgeDesk, Standing
from offers import OWN, PROVIDERS, OwnKey, offer, own_key
from scenes import rules
from settings import Settings, read_settings
from spending import UNKNOWN, Spending
from t2i_judge.errors import UserError
from t2i_judge.judges.loading import load_judge
from t2i_judge.records import Answer, JudgeInfo, Judgement, Question, Status, Usage, failed
from t2i_judge.served.concurrency import Budget
from t2i_judge.serving.shares import Shares
from tests.waiting import PATIENCE, until
from views import question_list
from visitors import NOBODY, Visitor

KEY = "sk-very-secret-123456"


class Leaky:
    """A served judge that repeats the key in whatever it says."""

    info = JudgeInfo("openai:m", "openai", "m")

    def __init__(self, key: str, fails: bool = False) -> None:
        self.key, self.fails, self.closed = key, fails, False

    def score(self, images, prompts, references=None, **_):
        if self.fails:
            raise UserError(f"401: {self.key} is not known")
        return [failed("i", prompts[0], self.info, Status.REFUSED, f"key {self.key} has no credit")]

    def close(self):
        self.closed = True


class Recorder:
    """A judge that answers nothing and remembers which questions it was given."""

    info = JudgeInfo("tiny", "double", "none")

    def __init__(self) -> None:
        self.given = []

    def score(self, images, prompts, references=None, *, questions, **_):
        self.given += questions
        return [self._lost(prompt, asked) for prompt, asked in zip(prompts, questions, strict=True)]

    def _lost(self, prompt, asked):
        asked = tuple(asked or rules.decompose(prompt))
        lost = tuple(Answer(q.id, status=Status.REFUSED, reason="a double") for q in asked)
        return Judgement("i", prompt, self.info, questions=asked, answers=lost)


class Refusing:
    """A judge that refuses everything."""

    info = JudgeInfo("double", "double", "none")

    def score(self, images, prompts, *_, **__):
        return [failed("i", prompt, self.info, Status.REFUSED, "a double") for prompt in prompts]


def ask(desk: JudgeDesk, name: str, **options):
    options = {"prompt": "a cat", "visitor": NOBODY, **options}
    return asyncio.run(desk.judge(name, Image.new("RGB", (8, 8)), image_id="i", **options))


def test_a_visitors_key_is_passed_on_once_and_never_repeated(caplog, capfd):
    caplog.set_level(logging.DEBUG)
    made = []

    def load(name, **options):
        made.append((name, options, Leaky(options["api_key"])))
        return made[-1][2]

    desk = JudgeDesk(["tiny"], load)
    own = own_key("OpenAI", "gpt-4o", KEY)
    told = ask(desk, OWN, own=own)
    [(name, options, judge)] = made
    assert name == f"openai:gpt-4o@{PROVIDERS['OpenAI']}"
    assert options["api_key"] == KEY
    assert judge.closed
    out, err = capfd.readouterr()
    for text in (told.reason, repr(own), repr(desk.__dict__), caplog.text, out, err):
        assert KEY not in text


def test_a_refused_key_is_not_repeated():
    desk = JudgeDesk(["tiny"], lambda name, api_key, **_: Leaky(api_key, fails=True))
    with pytest.raises(UserError, match=r"401: \[key\] is not known") as told:
        ask(desk, OWN, own=OwnKey("OpenAI", "m", KEY))
    assert told.value.__cause__ is None


def test_only_listed_providers_and_plain_names_are_called():
    for provider, model, key in (
        ("http://169.254.169.254", "m", KEY),
        ("OpenAI", "m@http://evil/v1", KEY),
        ("OpenAI", "", KEY),
        ("OpenAI", "m", "short"),
        ("OpenAI", "m", "with space and\nnewline"),
    ):
        with pytest.raises(UserError) as told:
            own_key(provider, model, key)
        assert key not in str(told.value)


def test_a_judge_that_is_not_offered_is_not_loaded():
    desk = JudgeDesk(["tiny"], lambda name, **_: pytest.fail(f"loaded {name}"))
    for name in ("openai:gpt-4o", "hf:../../etc", "nonsense"):
        with pytest.raises(UserError, match="not offered here"):
            ask(desk, name)
    with pytest.raises(UserError, match="no key yet"):
        ask(desk, OWN)


def test_why_the_owners_judge_does_not_open_stays_in_the_log(caplog):
    def load(name):
        raise UserError(f"/home/owner/secret/{name} is not a judge")

    with pytest.raises(UserError, match="tell the owner") as told:
        ask(JudgeDesk(["tiny"], load), "tiny")
    assert "/home/owner" not in str(told.value)
    assert "/home/owner/secret/tiny" in caplog.text


def test_the_real_loader_makes_a_judge_of_a_visitors_key():
    own = own_key("OpenAI", "gpt-4o-2024-11-20", KEY)
    judge = load_judge(own.judge, api_key=own.key, timeout=1.0, attempts=1)
    assert judge.info.model == "gpt-4o-2024-11-20"
    assert KEY not in repr(judge.__dict__)
    judge.close()


def test_every_offer_says_what_it_sees_and_what_not():
    for name in ("tiny", "openai:m@http://host/v1", "direct+openai:m", "hf:me/judge"):
        assert offer(name).sees
        assert offer(name).blind
    assert offer("openai:m@http://host/v1").kind == "remote"
    assert "host" not in offer("openai:m@http://host/v1").label, "the owner's address stays the owner's"


def test_a_comparison_asks_every_picture_the_same_questions(tmp_path):
    judge = Recorder()
    desk = JudgeDesk(["tiny"], lambda name: judge)
    uploads = []
    for seed, name in enumerate(("red", "green", "blue")):
        draw(faithful(EXAMPLES[0], seed)).save(tmp_path / f"{name}.png")
        uploads.append((str(tmp_path / f"{name}.png"), None))
    seen = []
    found = asyncio.run(
        judge_all(desk, uploads, EXAMPLES[0].text, "tiny", progress=lambda share, desc: seen.append(share))
    )
    assert [each.label for each in found] == ["red", "green", "blue"]
    first, *others = judge.given
    assert first is None
    assert others == [found[0].result.questions] * 2
    assert seen[-1] == (3, 3)
    with pytest.raises(UserError, match="A comparison takes 2 to 8"):
        asyncio.run(judge_all(desk, uploads[:1], EXAMPLES[0].text, "tiny"))


def test_pictures_after_one_that_failed_are_still_asked_the_same_questions(monkeypatch, tmp_path):
    given = []

    class Desk:
        async def judge(self, name, image, text, *, image_id, questions, **_):
            given.append(questions)
            info = JudgeInfo("double", "double", "pixels")
            if len(given) == 1:
                return failed(image_id, text, info, Status.REFUSED, "no")
            own = questions or (Question("q1", "intrinsic", ("cat",), f"Question {len(given)}?", "yes"),)
            return Judgement(image_id, text, info, scores={"overall": 5.0}, questions=own)

    for name in "abcd":
        draw(faithful(EXAMPLES[0], 1)).save(tmp_path / f"{name}.png")
    uploads = [(str(tmp_path / f"{name}.png"), None) for name in "abcd"]
    found = asyncio.run(judge_all(Desk(), uploads, "a cat", "double"))
    assert [each.label for each in found] == list("abcd")
    assert given == [None, None, found[1].result.questions, found[1].result.questions]


def test_a_judge_is_loaded_beside_everything_else_and_says_how_far_it_is(monkeypatch):
    go = threading.Event()
    judge = Refusing()

    def load(name):
        if name == "tiny":
            return judge
        go.wait(2 * PATIENCE)
        return Refusing()

    desk = JudgeDesk(["hf:me/judge", "tiny"], load, progress=lambda name: f"{name}: 3.1 of 16.4 GB are here")
    assert desk.standing("hf:me/judge").state == "ready", "nobody has asked for it"
    desk.start("hf:me/judge")
    assert desk.standing("hf:me/judge").state == "loading"
    assert re.search(r"hf:me/judge: 3\.1 of 16\.4 GB are here, \d+ s so far", desk.standing("hf:me/judge").line)
    with monkeypatch.context() as soon:
        soon.setattr("judging._PATIENCE", 0.1)
        line = r"still being loaded\. .*3\.1 of 16\.4 GB are here.* Try again in a minute"
        with pytest.raises(UserError, match=line):
            ask(desk, "hf:me/judge")
    assert ask(desk, "tiny").prompt == "a cat", "the others answer meanwhile"
    shown = str(banner(desk, "hf:me/judge"))
    assert "judge · runs here" in shown and "It is being loaded: hf:me/judge: 3.1 of 16.4 GB are here" in shown
    go.set()
    assert ask(desk, "hf:me/judge").prompt == "a cat"
    assert desk.standing("hf:me/judge") == Standing("ready")
    assert "loaded" not in banner(desk, "hf:me/judge")


@pytest.mark.parametrize("error", [UserError("no /home/owner"), MemoryError("no /home/owner"), KeyError("/home/owner")])
def test_a_judge_that_cannot_be_loaded_is_one_sentence_and_may_be_tried_again(error, monkeypatch):
    loaded = [error, Refusing()]

    def load(name):
        each = loaded.pop(0)
        if isinstance(each, Exception):
            raise each
        return each

    desk = JudgeDesk(["hf:me/judge"], load)
    for _ in range(2):  # not at once again: a load may take minutes
        with pytest.raises(UserError, match="judge · runs here is not available") as told:
            ask(desk, "hf:me/judge")
        assert "/home" not in str(told.value)
    standing = desk.standing("hf:me/judge")
    assert standing.state == "failed" and "Choose another judge" in standing.line and "/home" not in standing.line
    monkeypatch.setattr("judging._AGAIN", 0.0)
    assert ask(desk, "hf:me/judge").prompt == "a cat"


def test_no_visitor_reads_a_servers_address():
    address = "http://10.0.0.7:8000/v1"

    class Talkative(Refusing):
        def score(self, images, prompts, *_, **__):
            if prompts == ["fail"]:
                raise UserError(f"{address} rejected the API key", "HTTP 401", "Set OPENAI_API_KEY to a valid key")
            reason = f"no answer from {address} (10.0.0.7 port 8000)"
            return [failed("i", prompts[0], self.info, Status.TRANSPORT, reason)]

    desk = JudgeDesk([f"openai:m@{address}", "openai:m@http://10.0.0.8/v1"], lambda name: Talkative())
    assert list(desk.offers) == ["openai:m", "openai:m (2)", OWN]
    assert "10.0.0" not in json.dumps(ask(desk, "openai:m").to_json())
    assert "no answer from [server]" in str(ask(desk, "openai:m").reason)
    with pytest.raises(UserError, match="m · served does not answer") as told:
        ask(desk, "openai:m", prompt="fail")
    with pytest.raises(UserError, match="not offered here") as unknown:
        ask(desk, f"openai:m@{address}")
    assert "10.0.0" not in str(told.value) + str(unknown.value).replace(f"openai:m@{address}", "")


def test_those_who_wait_for_a_local_judge_are_judged_together():
    go = threading.Event()

    class Slow(Recorder):
        calls: ClassVar[list] = []

        def score(self, images, prompts, references=None, *, explain, **options):
            self.calls.append((tuple(prompts), explain))
            assert go.wait(PATIENCE)
            return super().score(images, prompts, references, **options)

    desk = JudgeDesk(["tiny"], lambda name: Slow())
    image = Image.new("RGB", (8, 8))
    prompts = [f"a {color} circle" for color in ("red", "green", "blue", "yellow", "purple", "orange")]

    async def visit():
        about = {"image_id": "i", "visitor": NOBODY}
        asked = [asyncio.create_task(desk.judge("tiny", image, p, explain=p == prompts[3], **about)) for p in prompts]
        assert await until(lambda: sum(len(call[0]) for call in Slow.calls) + len(desk._local._waiting) == 6)
        go.set()
        return await asyncio.gather(*asked)

    assert [judgement.prompt for judgement in asyncio.run(visit())] == prompts
    assert Slow.calls.count(((prompts[3],), True)) == 1  # what wants words goes by itself
    together = [asked for asked, explain in Slow.calls if not explain]
    assert len(together) <= 2  # the first may have been begun before the others came
    assert sorted(sum(together, ())) == sorted({*prompts} - {prompts[3]})


@pytest.mark.parametrize("cookies", [1, 100])
def test_nobody_keeps_a_local_judge_from_who_comes_from_elsewhere(monkeypatch, cookies):
    """A hundred calls at a time, without end, of one browser or of as many cookies; a newcomer asks for one picture."""
    like = limits.LOCAL
    local = Shares(like.what, like.each, like.together, like.patience)
    monkeypatch.setattr("judging.LOCAL", local)
    of_a_call, turns = [], threading.Semaphore(0)

    class Slow(Refusing):
        def score(self, images, prompts, *_, **__):
            of_a_call.append(list(prompts))
            assert turns.acquire(timeout=PATIENCE)
            return super().score(images, prompts)

    desk = JudgeDesk(["tiny"], lambda name: Slow())

    async def flood(number: int) -> None:
        visitor = Visitor(f"cookie {number % cookies}", address="8.8.8.8")
        while True:
            with suppress(UserError):
                await desk.judge("tiny", Image.new("RGB", (8, 8)), "flood", image_id="i", visitor=visitor)
            await asyncio.sleep(0.01)

    async def next_call() -> None:
        """Let the call end that is made; another begins at once, for the crowd waits."""
        before = len(of_a_call)
        turns.release()
        assert await until(lambda: len(of_a_call) > before)

    async def calls_of_a_newcomer() -> int:
        """How many are made from when it comes until its own is made."""
        visitor, begun = Visitor("new", address="9.9.9.9"), len(of_a_call)
        task = asyncio.create_task(desk.judge("tiny", Image.new("RGB", (8, 8)), "new", image_id="i", visitor=visitor))

        def has_its_place() -> bool:
            queued = any(job.item.prompt == "new" for job in desk._local._waiting)
            return queued or visitor.turns in local._waiting or "new" in of_a_call[-1]

        while "new" not in of_a_call[-1]:
            assert await until(has_its_place)
            await next_call()
        made = len(of_a_call) - begun
        await next_call()
        await task
        return made

    async def all_of_it() -> None:
        calls = [asyncio.create_task(flood(number)) for number in range(100)]
        assert await until(lambda: len(of_a_call) == 1)
        for _ in range(8):  # the crowd comes again and again
            await next_call()
        for _ in range(3):
            assert await calls_of_a_newcomer() <= 2, "the call that gathers, and its own"
        for call in calls:
            call.cancel()
        turns.release(1_000)

    asyncio.run(all_of_it())
    assert max(map(len, of_a_call)) <= limits.MAX_IMAGES


def test_labels_are_told_apart():
    assert unique(["a", "b", "a"]) == ["a (1)", "b", "a (2)"]
    assert unique(["a", "a", "a (1)"]) == ["a (2)", "a (3)", "a (1)"]


def test_settings_come_from_the_environment_over_the_release(tmp_path):
    (tmp_path / "release.json").write_text('{"benchmark": "me/bench", "judge": "tiny", "version": "1.0.0"}')
    release = tmp_path / "release.json"
    assert read_settings({}, release).benchmark == "me/bench"
    chosen = read_settings(
        {"BENCHMARK": "x", "JUDGES": "a, b", "ANNOTATIONS_REPO": "me/a", "HF_TOKEN": "hf_t"}, release
    )
    assert (chosen.benchmark, chosen.more_judges, chosen.annotations_repo) == ("x", ("a", "b"), "me/a")
    assert "hf_t" not in repr(chosen)
    assert isinstance(chosen, Settings)


def test_text_in_pictures_is_offered_for_what_it_is_and_its_reading_is_shown_in_words():
    offered = offer("ocr:rapidocr")
    assert (offered.kind, offered.name) == ("local", "ocr:rapidocr") and "judges only text" in offered.blind
    picture = Image.new("RGB", (320, 120), "white")
    ImageDraw.Draw(picture).text((20, 30), "SUMMER SALE", fill="black", font=ImageFont.load_default(40))
    desk = JudgeDesk(["fake", "ocr:rapidocr"], load_judge)
    prompt = 'a poster "SUMMER SALE"'
    judged = asyncio.run(desk.judge("ocr:rapidocr", picture, prompt, image_id="i", visitor=NOBODY))
    assert judged.scores["overall"] == 10
    shown = str(question_list(judged))
    assert "read: SUMMER SALE" in shown and "confidence" not in shown


class Paid(Refusing):
    """A served judge of the owner's that has its price."""

    def __init__(self, money: float | None = 0.5, status: Status = Status.OK) -> None:
        self.money, self.status, self.asked = money, status, 0

    def score(self, images, prompts, *_, **__):
        self.asked += 1
        usage = Usage(calls=1, money=self.money)
        if self.status is not Status.OK:
            return [replace(failed("i", prompts[0], self.info, self.status, "a double"), usage=usage)]
        return [Judgement("i", prompts[0], self.info, usage=usage)]


def judged(desk: JudgeDesk, times: int, name: str = "openai:m", **options) -> str:
    """What ends so many judgements, empty where nothing does."""
    for _ in range(times):
        try:
            ask(desk, name, **options)
        except UserError as error:
            return str(error)
    return ""


@pytest.fixture
def paid_in_an_hour(monkeypatch) -> Counts:
    """As in the Space, but of this test alone."""
    like = limits.PAID
    mine = Counts(like.fact, like.fix, each=like.each, together=like.together, share=like.share, seconds=like.seconds)
    monkeypatch.setattr("judging.PAID", mine)
    return mine


@pytest.mark.parametrize(
    ("money", "status", "judgements"),
    [(0.5, Status.OK, 4), (None, Status.OK, 200), (None, Status.TRANSPORT, 200), (0.0, Status.OK, 250)],
)
def test_the_owners_money_ends_served_judging_for_the_day(money, status, judgements, monkeypatch, paid_in_an_hour):
    judge = Paid(money, status)
    desk = JudgeDesk(["openai:m@http://10.0.0.7/v1", "tiny"], lambda name: judge, max_cost=2.0)
    told = judged(desk, 250)
    assert judge.asked == judgements
    assert ("cost today what its owner allows. Choose another judge or your own key" in told) == (judgements < 250)
    assert "10.0.0.7" not in told
    assert not judged(desk, 3, "tiny"), "what runs here costs nothing"
    monkeypatch.setattr("spending._today", lambda: "2100-01-01")
    assert not judged(desk, 1), "the next day"


def test_judgements_at_the_same_time_stay_within_the_money():
    """What is still being judged counts as much as the dearest before it."""
    spending, go = Spending(1.0), threading.Event()
    done: Counter[str] = Counter()

    def dear() -> Judgement:
        go.wait(PATIENCE)
        return Judgement("i", "a cat", Refusing.info, usage=Usage(money=0.3))

    def visit() -> None:
        try:
            spending.on(dear)
            done["judged"] += 1
        except UserError:
            done["refused"] += 1

    go.set()
    visit()
    go.clear()
    threads = [threading.Thread(target=visit) for _ in range(16)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join()
    assert done == {"judged": 3, "refused": 14}


@pytest.mark.parametrize(("most", "money"), [(0.05, 0.06), (0.005, 0.001)])
def test_a_judgement_dearer_than_a_day_is_made_once_a_day(most, money, monkeypatch):
    """One of 6 cents shut a Space of 5 cents a day for good; half a cent a day allowed nothing at all."""
    spending = Spending(most)

    def made(cost: float) -> int:
        """How many are made in a day."""
        number = 0
        with pytest.raises(UserError, match="come back tomorrow"):
            while True:
                spending.on(lambda: Judgement("i", "a cat", Refusing.info, usage=Usage(money=cost)))
                number += 1
        return number

    made(money)
    for day in (1, 2):
        monkeypatch.setattr("spending._today", lambda day=day: f"2100-01-0{day}")
        assert made(money) >= 1
    monkeypatch.setattr("spending._today", lambda: "2100-01-03")
    assert made(most / 50) >= 1  # the first may still cost what the last of yesterday did
    monkeypatch.setattr("spending._today", lambda: "2100-01-04")
    assert made(most / 50) > 30 or most < UNKNOWN


def test_a_new_day_begins_with_what_judgements_cost_the_day_before(monkeypatch):
    """Sixteen at once, each taken for a cent, would cost an owner more than the day's money."""
    spending = Spending(0.05)
    spending.on(lambda: Judgement("i", "a cat", Refusing.info, usage=Usage(money=0.06)))
    monkeypatch.setattr("spending._today", lambda: "2100-01-01")

    def second() -> Judgement:
        with pytest.raises(UserError, match="come back tomorrow"):
            spending.on(lambda: pytest.fail("asked at the same time"))
        return Judgement("i", "a cat", Refusing.info, usage=Usage(money=0.06))

    spending.on(second)


def test_no_money_is_no_judgement():
    with pytest.raises(UserError, match="come back tomorrow"):
        Spending(0.0).on(lambda: pytest.fail("asked"))


def test_a_judge_that_crashes_has_cost_something_and_holds_no_money():
    spending = Spending(0.02)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            spending.on(lambda: 1 / 0)
    with pytest.raises(UserError, match="come back tomorrow"):
        spending.on(lambda: pytest.fail("asked"))


def test_calls_whose_answers_are_lost_cost_the_owner_what_they_may_have_cost(paid_in_an_hour):
    """A judge that answers too late was paid for each attempt, and counted a cent for a judgement."""
    lost = Paid(None, Status.TRANSPORT)
    lost.backend = SimpleNamespace(budget=Budget())

    def score(*given, **options):
        lost.backend.budget.spent += 0.3  # three attempts
        return Paid.score(lost, *given, **options)

    lost.score = score
    desk = JudgeDesk(["openai:m@http://10.0.0.7/v1"], lambda name: lost, max_cost=2.0)
    assert "cost today" in judged(desk, 50)
    assert lost.asked == 7


def test_what_a_backend_has_spent_is_counted_once():
    judge = SimpleNamespace(backend=SimpleNamespace(budget=Budget()))
    spending, paid = Spending(1.0), Judgement("i", "a cat", Refusing.info, usage=Usage(money=0.1))

    def two_at_once() -> Judgement:  # another, at the same time, has cost as much, and is counted with this one
        judge.backend.budget.spent += 0.2
        return paid

    for judging in (two_at_once, lambda: paid) * 4:
        spending.on(judging, judge)
    spending.on(lambda: paid, judge)
    judge.backend.budget.spent += 0.2
    spending.on(lambda: paid, judge)
    with pytest.raises(UserError, match="come back tomorrow"):
        spending.on(two_at_once, judge)


def test_served_judges_are_asked_so_often_an_hour_whatever_cookies_are_shown(paid_in_an_hour):
    judge = Paid(0.0)
    desk = JudgeDesk(["openai:m@http://10.0.0.7/v1", "tiny"], lambda name, **_: judge)
    one = Visitor("one", address="8.8.8.8")
    told = judged(desk, 300, visitor=one)
    assert judge.asked == 200 and "in the last hour" in told and "Choose another judge or your own key" in told
    assert judged(desk, 1, visitor=Visitor("fresh", address="8.8.8.9")) == told, "of the same range"
    assert not judged(desk, 100, visitor=Visitor("other", address="1.1.1.1"))
    judge.close = lambda: None
    assert not judged(desk, 5, OWN, own=OwnKey("OpenAI", "m", KEY), visitor=one), "their own money"
    assert not judged(desk, 5, "tiny", visitor=one)


def test_one_visitor_holds_four_of_the_threads_for_served_judges(monkeypatch, paid_in_an_hour):
    like, go, at_work = limits.THREADS, threading.Event(), Counter()
    monkeypatch.setattr("judging.THREADS", Shares(like.what, like.each, like.together, like.patience))

    class Slow(Paid):
        def score(self, images, prompts, *_, **__):
            at_work[prompts[0]] += 1
            if prompts[0] == "slow":
                go.wait(PATIENCE)
            return super().score(images, prompts)

        def close(self):
            pass

    desk = JudgeDesk(["openai:m@http://10.0.0.7/v1"], lambda name, **_: Slow(0.0))
    image, own = Image.new("RGB", (8, 8)), OwnKey("OpenAI", "m", KEY)

    def asked(name: str, prompt: str, visitor: Visitor):
        key = own if name == OWN else None
        return asyncio.create_task(desk.judge(name, image, prompt, image_id="i", own=key, visitor=visitor))

    async def visits() -> None:
        flood = [asked(name, "slow", Visitor("one", address="8.8.8.8")) for name in ("openai:m", OWN) * 10]
        assert await until(lambda: at_work["slow"] == 4)
        await asyncio.wait_for(asked("openai:m", "quick", Visitor("other", address="1.1.1.1")), PATIENCE / 2)
        flood[1].cancel()
        await asyncio.sleep(0.1)
        assert at_work["slow"] == 4, "its thread is still at work"
        go.set()
        await asyncio.gather(*flood, return_exceptions=True)

    asyncio.run(visits())
    assert at_work == {"slow": 20, "quick": 1}


@pytest.mark.parametrize(("text", "dollars"), [("", 5.0), ("0", 0.0), ("12.5", 12.5)])
def test_the_owner_says_what_a_day_may_cost(text, dollars, tmp_path):
    assert read_settings({"MAX_COST": text}, tmp_path / "none").max_cost == dollars


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "five", "$5"])
def test_a_bound_that_is_no_number_is_one_line(text, tmp_path):
    with pytest.raises(UserError, match=r"MAX_COST is .* US dollars a day"):
        read_settings({"MAX_COST": text}, tmp_path / "none")
