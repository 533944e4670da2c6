"""A board that grows: what was judged is carried over whole, by whatever name its server has, and through any kill."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from t2i_judge.boards import judging
from t2i_judge.boards.items import BoardItem
from t2i_judge.boards.judging import COLUMNS, ITEMS, KEPT, judged, prepare
from t2i_judge.errors import UserError
from t2i_judge.judges.fake import FakeJudge
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


def plan(folder: Path, judge: str = "fake", size: int = 3, **options) -> Run:
    return Run(str(folder / ITEMS), COLUMNS, judge, options, folder, size=size, keep=KEPT)


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
