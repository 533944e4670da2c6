"""Judgements survive JSON, a dataset and a killed writer; a score never goes with a failure."""

import json
import os
import stat

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from t2i_judge.errors import UserError
from t2i_judge.files import append_jsonl, read_jsonl, write_atomic
from t2i_judge.records import (
    ALL_ASPECTS,
    Answer,
    JudgeInfo,
    Judgement,
    Question,
    Status,
    Usage,
    count_statuses,
    failed,
    judgement_features,
)

JUDGE = JudgeInfo("tiny", "local", "t2i-judge-tiny", "abc", "123")
text = st.text(max_size=20)
scores = st.none() | st.floats(0, 10)
levels = st.none() | st.dictionaries(st.sampled_from("0123456789"), st.floats(0, 1), min_size=1)
questions = st.builds(
    Question, text, st.sampled_from(ALL_ASPECTS), st.tuples(text), text, st.none() | text, st.just(()) | st.tuples(text)
)
answers = st.builds(Answer, text, st.none() | text, st.none() | st.booleans(), scores, st.none() | text, levels)
judgements = st.builds(
    Judgement,
    image_id=text,
    prompt=text,
    judge=st.just(JUDGE),
    scores=st.dictionaries(st.sampled_from(ALL_ASPECTS), scores),
    summary_scores=st.dictionaries(st.sampled_from(ALL_ASPECTS), scores),
    questions=st.lists(questions, max_size=3).map(tuple),
    answers=st.lists(answers, max_size=3).map(tuple),
    rationale=st.none() | text,
    usage=st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.floats(0, 9)),
)


@given(judgements)
def test_a_judgement_survives_json(judgement):
    assert Judgement.from_json(json.loads(json.dumps(judgement.to_json()))) == judgement


def test_a_judgement_survives_a_dataset():
    answer = Answer("q1", "red", True, 10.0, "it is red", {"9": 1.0})
    good = Judgement("a", "a red circle", JUDGE, scores={"overall": 10.0, "appearance": None}, answers=(answer,))
    bad = failed("b", "a red circle", JUDGE, Status.REFUSED, "the model declined")
    rows = Dataset.from_list([good.to_json(), bad.to_json()], features=judgement_features())
    back = [Judgement.from_json(row) for row in rows]
    assert back[0].answers == good.answers
    assert back[0].scores["overall"] == 10.0
    assert (back[1].status, back[1].reason) == (Status.REFUSED, "the model declined")


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_is_finite(score):
    with pytest.raises(ValueError, match="finite"):
        Answer("q1", score=score)


def test_a_failure_has_a_reason_and_no_score():
    with pytest.raises(ValueError, match="needs a reason"):
        Answer("q1", status=Status.REFUSED)
    with pytest.raises(ValueError, match="cannot carry"):
        Answer("q1", score=3.0, status=Status.REFUSED, reason="declined")
    assert count_statuses([Status.OK, Status.REFUSED, Status.REFUSED]) == {"refused": 2}


def test_what_is_not_a_judgement_is_said_in_one_line():
    with pytest.raises(UserError) as error:
        Judgement.from_json({"image_id": "a"})
    assert "\n" not in str(error.value)


def test_a_torn_last_line_is_left_out_and_a_broken_one_is_named(tmp_path):
    path = tmp_path / "x.jsonl"
    append_jsonl(path, [{"a": 1}])
    with path.open("a") as out:
        out.write('{"a": ')
    assert list(read_jsonl(path)) == [{"a": 1}]
    path.write_text('{"a": 1}\n{"a": \n{"a": 2}\n')
    with pytest.raises(UserError, match="line 2"):
        list(read_jsonl(path))


@pytest.mark.parametrize("line", ["[1, 2]", "3", "null", '"text"'])
def test_a_line_that_is_no_object_is_said(tmp_path, line):
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"a": 1}}\n{line}\n')
    with pytest.raises(UserError, match="line 2 is not an object"):
        list(read_jsonl(path))


def test_write_atomic_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_atomic(path, "old")

    def no_space(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("t2i_judge.files.os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_write_atomic_lets_read_whom_the_umask_lets(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "x", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode


def test_write_atomic_keeps_who_may_read_a_file(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    path.chmod(0o640)
    write_atomic(path, "new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o640)
