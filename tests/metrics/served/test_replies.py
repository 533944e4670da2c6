"""The score grammar and the JSON reader: what is accepted, what is not, and that nothing is ever made up."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_judge.records import ASPECTS, Question, Status
from t2i_judge.served.replies import extract_json, parse_answers, parse_score, parse_summaries
from t2i_judge.served.verdicts import ReplyError

in_range = st.integers(0, 100).map(lambda tenths: tenths / 10)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("8", 8),
        (" 7.5\n", 7.5),
        ("8/10", 8),
        ("8 / 10", 8),
        ("8 out of 10", 8),
        ("**8**", 8),
        ("**Score:** 8/10", 8),
        ("Score: 8", 8),
        ("score = 8.", 8),
        ("The final score is 8.", 8),
        ("Rating: 10/10!", 10),
        ("`0`", 0),
        ('"3"', 3),
        ("8,", 8),
        ('{"score": 6}', 6),
        ('```json\n{"score": "6"}\n```', 6),
    ],
)
def test_scores_as_models_write_them(text, score):
    assert parse_score(text) == score


@pytest.mark.parametrize(
    "text",
    ["", "good", "8 or 9", "8-9", "I give 8 because", "4/5", "80%", "nan", "inf", "1e1", "8,5", "eight", "v8", "Q1: 8",
     '{"score": null}', '{"score": true}', '{"rating": 8}', "[8]", "{", '{"score": [8]}', "N/A", "８", "/10", "8/",
     "--8", "8 8", "0x8", "8/10/10", '{"score": "high"}', '{"score": {"a": 1}}', '{"score": "{8}"}'],
)  # fmt: skip
def test_what_is_no_score_is_unparsable(text):
    with pytest.raises(ReplyError) as caught:
        parse_score(text)
    assert caught.value.status is Status.UNPARSABLE
    assert caught.value.reason


@pytest.mark.parametrize("text", ["11", "-1", "10.1", "100", "-0.5/10", '{"score": 11}', "**12**"])
def test_scores_outside_are_out_of_range_and_never_clipped(text):
    with pytest.raises(ReplyError) as caught:
        parse_score(text)
    assert caught.value.status is Status.OUT_OF_RANGE


@given(in_range, st.sampled_from(["{}", "**{}**", "{}/10", "Score: {}", " {} ", "{}.", '{{"score": {}}}', "`{}`"]))
def test_every_number_in_range_survives_every_dress(number, dress):
    assert parse_score(dress.format(number)) == number


@given(st.text(max_size=40))
def test_any_text_gives_a_score_in_range_that_it_contains_or_a_reply_error(text):
    try:
        score = parse_score(text)
    except ReplyError as error:
        assert error.status in (Status.UNPARSABLE, Status.OUT_OF_RANGE)
    else:
        assert 0 <= score <= 10
        assert f"{score:g}".split(".")[0] in text


@given(st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.none() | st.booleans() | st.text(max_size=5))
def test_json_values_are_scores_in_range_or_errors(value):
    try:
        score = parse_score(json.dumps({"score": value}))
    except ReplyError:
        return
    assert 0 <= score <= 10


records = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=5), records, min_size=1, max_size=4))
@pytest.mark.parametrize(
    "dress",
    [
        "{}",
        " {}\n",
        "```json\n{}\n```",
        "```\n{}\n```",
        "Here you are:\n\n{}",
        "So:\n```json\n{}\n```\n",
        "<answer>{}</answer>",
    ],
)
def test_an_object_that_is_the_reply_or_its_end_is_read(dress, record):
    assert extract_json(dress.replace("{}", json.dumps(record))) == record


@given(st.dictionaries(st.text(min_size=1, max_size=5), records, min_size=1, max_size=4))
@pytest.mark.parametrize(
    "dress", ["{} Anything else?", "{}{}", "{}\n{}", "{a draft} {}", "[{}]", "[{}", '"verdict": {}', "{}}", "{{}"]
)
def test_an_object_with_something_behind_or_beside_it_is_not(dress, record):
    with pytest.raises(ReplyError, match="no JSON object"):
        extract_json(dress.replace("{}", json.dumps(record)))


@pytest.mark.parametrize("text", ["", "no", "[1]", "{", "{'a': 1}", "null", "3", "{}x{", "[" * 5000, '{"a":' * 5000])
def test_without_an_object_there_is_an_error(text):
    with pytest.raises(ReplyError, match="no JSON object"):
        extract_json(text)


QUESTIONS = [
    Question("q1", "intrinsic", ("cat",), "Is there a cat?", "yes"),
    Question("q2", "appearance", ("cat",), "Is the cat clean?", None, ("q1",)),
]


def given_answer(**changes):
    return {"question_id": "q1", "answer": "yes", "matches": True, "explanation": "there", "score": 9, **changes}


def test_answers_come_in_the_order_of_the_questions():
    second = {"question_id": "q2", "answer": "clean", "matches": True, "explanation": "sharp", "score": 7.5}
    stranger = given_answer(question_id="q9")
    answers = parse_answers({"answers": [second, stranger, given_answer()]}, QUESTIONS)
    assert [(a.question_id, a.score, a.matches, a.text) for a in answers] == [
        ("q1", 9.0, True, "yes"),
        ("q2", 7.5, True, "clean"),
    ]
    assert all(answer.status is Status.OK for answer in answers)


@pytest.mark.parametrize(
    ("items", "status", "reason"),
    [
        ([], Status.UNPARSABLE, "not answered"),
        ([given_answer(), given_answer(score=1)], Status.UNPARSABLE, "more than once"),
        ([given_answer(matches=False, answer="no", score=10)], Status.UNPARSABLE, "one of them is wrong"),
        ([given_answer(score=11)], Status.OUT_OF_RANGE, "11"),
        ([given_answer(score=None)], Status.UNPARSABLE, "null"),
        ([given_answer(score="very good")], Status.UNPARSABLE, "very good"),
        ([given_answer(matches="perhaps")], Status.UNPARSABLE, "perhaps"),
        ([given_answer(matches=None)], Status.UNPARSABLE, "neither"),
    ],
)
def test_an_answer_that_does_not_fit_fails_alone(items, status, reason):
    first, second = parse_answers(
        {"answers": [*items, {"question_id": "q2", "answer": "ok", "matches": True, "explanation": "", "score": 5}]},
        QUESTIONS,
    )
    assert (first.status, first.score) == (status, None)
    assert reason in first.reason
    assert second.status is Status.OK


@given(records)
def test_any_answers_give_one_answer_a_question_or_a_reply_error(value):
    try:
        answers = parse_answers({"answers": value}, QUESTIONS)
    except ReplyError:
        return
    assert [answer.question_id for answer in answers] == ["q1", "q2"]
    assert all(answer.score is None or 0 <= answer.score <= 10 for answer in answers)


@given(records)
def test_any_summaries_are_read_without_harm(value):
    for aspect, summary in parse_summaries({"summaries": value}, ASPECTS).items():
        assert summary.aspect == aspect
        assert summary.score is None or 0 <= summary.score <= 10


def test_summaries_of_aspects_that_were_not_asked_are_left_out():
    given = {aspect: {"explanation": "fine", "score": 3} for aspect in (*ASPECTS, "overall")}
    assert list(parse_summaries({"summaries": given}, ["appearance"])) == ["appearance", "overall"]
