"""Templates, levels and decompositions: what is asked, and what comes back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_judge import decompose, prompts
from t2i_judge.records import ASPECTS, PERSONALISED_ASPECTS, Question

word = st.text("abcdefghij klm?'", min_size=1, max_size=12).filter(lambda s: s.strip(" ,") and s.strip() != "-")
cell = word.map(lambda s: " ".join(s.split()))


@st.composite
def decompositions(draw):
    questions = []
    for n in range(1, draw(st.integers(1, 6)) + 1):
        parents = draw(st.lists(st.integers(1, n), unique=True, max_size=2)) if n > 1 else []
        questions.append(
            Question(
                f"q{n}",
                draw(st.sampled_from(ASPECTS)),
                tuple(draw(st.lists(cell, min_size=1, max_size=2))),
                draw(cell),
                draw(st.none() | cell),
                tuple(f"q{p}" for p in parents if p != n),
            )
        )
    return questions


@given(decompositions())
def test_lines_and_back(questions):
    assert decompose.from_lines(decompose.to_lines(questions)) == questions


@given(decompositions())
def test_json_and_back(questions):
    assert decompose.from_json('{"questions": ' + prompts.questions_json(questions) + "}") == questions


@given(st.text(max_size=80))
def test_no_text_crashes_the_parsers(text):
    for parse in (decompose.from_lines, decompose.from_json):
        try:
            assert parse(text)
        except ValueError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no questions"),
        ("appearance | cat | nice?", "line 1"),
        ("mood | cat | nice? | - | -", "unknown aspect"),
        ("appearance | cat | nice? | - | 7", "not another question"),
    ],
)
def test_a_bad_decomposition_says_what_is_off(line, message):
    with pytest.raises(ValueError, match=message):
        decompose.from_lines(line)


def test_levels_span_the_range_and_are_never_clipped():
    assert [prompts.score_to_level(s) for s in (0, 5, 10)] == ["0", "4", "9"]
    assert (prompts.level_to_score(0), prompts.level_to_score(9)) == (0, 10)
    for level in prompts.LEVELS:
        assert prompts.score_to_level(prompts.level_to_score(int(level))) == level
    for outside in (-0.1, 10.1, float("nan")):
        with pytest.raises(ValueError, match="outside"):
            prompts.score_to_level(outside)


def test_braces_in_a_prompt_stay_text():
    question = Question("q1", "intrinsic", ("x",), "Is {prompt} there?", "{expected}")
    assert "{prompt}" in prompts.student_prompt("score", question)
    assert "{aspect}" in prompts.student_prompt("summarise", prompt="a {aspect}", aspect="intrinsic")


def test_every_task_has_a_template_and_a_changed_template_another_hash():
    assert set(prompts.STUDENT) == set(prompts.TASKS)
    assert prompts.template_hash("a", "b") != prompts.template_hash("ab")
    students = {prompts.student_hash(personalised) for personalised in (False, True)}
    assert len({*students, prompts.TEACHER_HASH, prompts.STAGED_HASH}) == 4


def test_what_the_reference_shows_is_asked_for_in_one_wording():
    assert f'"{prompts.AS_IN_REFERENCE}"' in prompts.TEACHER_DECOMPOSE_PERSONALISED
    assert f'"{prompts.AS_IN_REFERENCE}"' in prompts.TEACHER_JUDGE
    for expected, wanted in (
        ("As in the reference.", True),
        ("as in the reference", True),
        ("red", False),
        (None, False),
    ):
        assert prompts.wants_reference(Question("q1", "concept_preservation", (), "What?", expected)) is wanted


def test_schemas_are_strict_and_json():
    for schema in (prompts.decompose_schema(), prompts.judge_schema(PERSONALISED_ASPECTS)):
        assert json.loads(json.dumps(prompts.response_format("x", schema)))["json_schema"]["strict"] is True
        assert schema["additionalProperties"] is False
