"""A board that grows: what was judged is carried over whole, by whatever name its server has, and through any kill."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from t2i_judge.boards import judging
from t2i_judge.boards.items import BoardItem
from t2i_judge.boards.judging import COLUMNS, ITEMS, KEPT, judged, prepare
from t2i_judge.calibration import Calibration
from t2i_judge.conformal import Conformal, read_intervals
from t2i_judge.errors import UserError
from t2i_judge.judges.fake import FakeJudge
from t2i_judge.records import Answer
from t2i_judge.runs import shards
from t2i_judge.runs.shards import Run


class Counting(FakeJudge):
    """It tells which pictures it was asked about."""

    def __init__(self, name: str = "fake") -> None:
        super().__init__(name)
        self.asked: list[str] = []

    def _score(self, items, explain, progress):
        self.asked += [item.image_id for item in items]
        return super()._score(items, explain, progress)


@pytest.fixture
def items(tmp_path: Path) -> list[BoardItem]:
    """Three generators, four prompts."""
    made = []
    for number, (generator, prompt) in enumerate(itertools.product("abc", range(4))):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        made.append(BoardItem(f"{generator}/{prompt}", generator, f"prompt {prompt}", str(prompt), str(path), digest))
    return made


def plan(
    folder: Path,
    judge: str = "fake",
    size: int = 3,
    decompositions: Path | None = None,
    explain: bool = False,
    **options,
) -> Run:
    about = {"decompositions": decompositions, "explain": explain}
    return Run(str(folder / ITEMS), COLUMNS, judge, options, folder, size=size, keep=KEPT, **about)


def finish(folder: Path, items: list[BoardItem], counting: Counting, **more) -> list[str]:
    """Judge a board's items. Returns the ids that were asked about."""
    counting.asked.clear()
    run = prepare(folder, items, plan(folder, **more))
    for shard, rows in run.shards():
        run.do(shard, rows, counting)
    scores = {image.item.id: image.scores for image in judged(run, items)}
    alone = {item.id: FakeJudge()._judge(item.id, item.prompt).scores for item in items}
    assert all(scores[item.id] == alone[item.id] for item in items)
    return counting.asked


@pytest.mark.parametrize("size", [1, 3, 5, 500])
def test_another_generator_costs_its_own_images_only(tmp_path, items, size):
    """A shard with one new image was judged as a whole."""
    judge, run = Counting(), tmp_path / "run"
    assert len(finish(run, items[:8], judge, size=size)) == 8
    assert finish(run, items, judge, size=size) == [item.id for item in items[8:]]
    assert finish(run, [*items[8:], *items[:4]], judge, size=size) == []
    assert finish(run, items, judge, size=size) == [], "of an earlier list, too"


class Killed(BaseException):
    """As SIGKILL: nothing after it is done."""


def test_what_is_known_outlives_a_kill_at_any_moment(tmp_path, items, monkeypatch):
    """Killed while shards were carried over, a run judged the others again, or was the folder of another run."""
    judge, whole = Counting(), tmp_path / "whole"
    finish(whole, items[:8], judge)
    steps = 0

    def slowly(name: str, module) -> None:
        do = getattr(module, name)

        def step(*arguments, **options):
            nonlocal steps
            if (steps := steps - 1) < 0:
                raise Killed
            return do(*arguments, **options)

        monkeypatch.setattr(module, name, step)

    for name, module in (("write_atomic", judging), ("write_items", judging), ("write_atomic", shards)):
        slowly(name, module)
    remove = SimpleNamespace(file=Path.unlink)
    slowly("file", remove)
    by_one = SimpleNamespace(rmtree=lambda folder, **_: [remove.file(path) for path in sorted(folder.iterdir())])
    monkeypatch.setattr(judging, "shutil", by_one)
    for moment in range(100):
        folder = tmp_path / "run"
        steps = 1000
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        steps = moment
        try:
            prepare(folder, items, plan(folder))
        except Killed:
            steps = 1000
            assert finish(folder, items, judge) == [item.id for item in items[8:]], f"killed at step {moment}"
        else:
            break
    assert 5 < moment < 100


@pytest.mark.parametrize(
    "address", ["http://user:pw@127.0.0.1:9/v1", "http://127.0.0.1:9/v1?key=k", "http://127.0.0.1:9"]
)
def test_a_board_grows_whose_judge_s_address_has_a_login(tmp_path, items, address):
    """Its name was compared with the one in run.json, which never has a login or a key: remove this folder, it said."""
    name = f"openai:m@{address}"
    judge, run = Counting("openai:m"), tmp_path / "run"
    assert len(finish(run, items[:8], judge, judge=name)) == 8
    assert "pw" not in (run / "run.json").read_text() and "key=k" not in (run / "run.json").read_text()
    assert finish(run, items, judge, judge=name) == [item.id for item in items[8:]]
    with pytest.raises(UserError, match="is the folder of another run"):
        finish(run, items[:8], judge, judge="openai:other@http://127.0.0.1:9/v1")
    with pytest.raises(UserError, match="is the folder of another run"):
        finish(run, items[:8], judge, judge=name, max_tokens=9)
    assert finish(run, items, judge, judge=name) == []


class Questioned(Counting):
    """It answers the questions that it is given, as a judge does that decomposes prompts."""

    def _score(self, items, explain, progress):
        judged = super()._score(items, explain, progress)
        own = [tuple(item.questions or ()) for item in items]
        yes = [tuple(Answer(question.id, "yes", True, 9.0) for question in questions) for questions in own]
        return [replace(one, questions=q, answers=a) for one, q, a in zip(judged, own, yes)]


def asking(path: Path, word: str, prompts: Sequence[int]) -> Path:
    question = {"id": "q1", "aspect": "intrinsic", "entities": [word], "text": f"Is there a {word}?", "expected": "yes"}
    lines = [{"prompt": f"prompt {n}", "questions": [{**question, "depends_on": []}]} for n in prompts]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def test_a_board_is_judged_by_one_set_of_questions(tmp_path, items):
    """A generator added with other questions was compared with what the earlier ones' answers made."""
    name = "openai:m@http://127.0.0.1:9"
    judge, run = Questioned("openai:m"), tmp_path / "run"
    circle = asking(tmp_path / "circle.jsonl", "circle", range(2))
    more = asking(tmp_path / "more.jsonl", "circle", range(4))
    star = asking(tmp_path / "star.jsonl", "star", range(2))

    def judged_with(some, questions) -> list[str]:
        return finish(run, some, judge, judge=name, decompositions=questions)

    assert len(judged_with(items[:4], circle)) == 4
    assert judged_with(items[:8], circle) == [item.id for item in items[4:8]]
    assert judged_with(items, more) == [item.id for n, item in enumerate(items) if n >= 8 or n % 4 >= 2]
    assert judged_with(items[:8], more) == []
    assert judged_with(items, star) == [item.id for item in items], "those without a question may have had another"
    assert judged_with(items[:8], None) == [item.id for item in items[:8]]
    assert {tuple(one["questions"]) for one in plan(run, judge=name).judgements()} == {()}


def test_other_questions_and_shards_need_no_other_folder(tmp_path, items):
    """They were refused, but where an image came along."""
    name = "openai:m@http://127.0.0.1:9"
    judge, run = Questioned("openai:m"), tmp_path / "run"
    circle = asking(tmp_path / "circle.jsonl", "circle", range(4))
    star = asking(tmp_path / "star.jsonl", "star", range(2))
    finish(run, items, judge, judge=name, decompositions=circle)
    assert finish(run, items, judge, judge=name, decompositions=circle, size=5) == []
    asked = finish(run, items, judge, judge=name, decompositions=star, size=5)
    assert asked == [item.id for item in items], "those without a question may have had another"
    assert finish(run, items, judge, judge=name, decompositions=star, size=5) == []


def test_a_board_is_judged_with_explanations_or_without(tmp_path, items):
    judge, run = Counting(), tmp_path / "run"
    finish(run, items[:8], judge)
    with pytest.raises(UserError, match="explain was False and is True"):
        finish(run, items, judge, explain=True)


def test_a_judge_with_questions_of_its_own_is_not_asked_again_for_others(tmp_path, items):
    judge, run = Counting(), tmp_path / "run"
    finish(run, items[:8], judge, decompositions=asking(tmp_path / "a.jsonl", "circle", range(4)))
    other = asking(tmp_path / "b.jsonl", "star", range(4))
    assert finish(run, items, judge, decompositions=other) == [item.id for item in items[8:]]


def test_a_board_s_lines_carry_the_intervals_of_today(tmp_path, items):
    """Those of images that came back carried the intervals of the run in which they were judged."""
    files = {}
    for name, width in (("narrow", 1.0), ("wide", 3.0)):
        own = Conformal("human_mean", 0.9, width, Calibration("linear", (0, 10), (0, 10), 60), 60, 60)
        files[name] = tmp_path / f"{name}.json"
        files[name].write_text(json.dumps({"intervals": own.to_json()}))
    run, widths = tmp_path / "run", {}

    def finished(some, name) -> None:
        judge = Counting()
        judge.intervals = read_intervals(files[name])
        finish(run, some, judge, intervals=files[name])
        held = [line["interval"] for line in plan(run).judgements()]
        widths[name] = {round(one["high"] - one["low"], 6) for one in held}

    finished(items, "narrow")
    finished(items[:8], "narrow")
    narrow = widths["narrow"]
    finished(items[:8], "wide")
    finished(items, "wide")
    assert len(widths["wide"]) == len(narrow) == 1 and widths["wide"] != narrow


def test_a_score_is_of_the_bytes_that_were_judged(tmp_path, items):
    """A picture was replaced between listing and judging, and later put back."""
    judge, run, picture = Counting(), tmp_path / "run", Path(items[0].image)
    listed = picture.read_bytes()
    begun = prepare(run, items, plan(run))
    Image.new("RGB", (8, 8), "white").save(picture)
    for shard, rows in begun.shards():
        begun.do(shard, rows, judge)
    picture.write_bytes(listed)
    again = prepare(run, items, plan(run))
    assert again.forget_changed("sha256") == {"a changed image": 1}
    assert finish(run, items, judge) == [items[0].id]
    assert again.forget_changed("sha256") == {}


def test_judgements_by_other_questions_are_kept(tmp_path, items):
    """What was paid for was thrown away when other questions were asked once."""
    name = "openai:m@http://127.0.0.1:9"
    judge, run = Questioned("openai:m"), tmp_path / "run"
    circle, star = (asking(tmp_path / f"{word}.jsonl", word, range(4)) for word in ("circle", "star"))
    for some, questions in ((items, circle), (items[:8], star)):
        assert len(finish(run, some, judge, judge=name, decompositions=questions)) == len(some)
    assert finish(run, items, judge, judge=name, decompositions=circle) == []
    assert finish(run, items[:8], judge, judge=name, decompositions=star) == []
    assert len(finish(run, items[:6], judge, judge=name)) == 6, "nobody knows that the judge would choose these"
