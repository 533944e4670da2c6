"""Templates, levels and decompositions: what is asked, and what comes back."""

import ast
import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_judge import decompose, prompts, records
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


FIRST = Question("q1", "intrinsic", ("cat",), "Is there a cat?", "yes")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"id": "q1"}, "two questions have the id 'q1'"),  # both had the answer of the last
        ({"aspect": "concept_preservation"}, "question q2: 'concept_preservation' is not asked beside 'intrinsic'"),
        ({"text": None}, "question q2: text is None and not a text"),
        ({"text": " "}, "question q2: text is ' ' and not a text"),
        ({"expected": 2}, "question q2: expected is 2 and not a text"),
        ({"id": 2}, "question 2: id is 2 and not a text"),
        ({"entities": ("cat", None)}, r"question q2: entities \['cat', None\] are not all texts"),
    ],
)
def test_questions_that_cannot_be_judged_say_why(second, message):
    with pytest.raises(ValueError, match=message):
        decompose.check([FIRST, replace(FIRST, **{"id": "q2"} | second)])


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
    students = {prompts.student_hash(*way) for way in product((False, True), repeat=2)}
    assert len({*students, prompts.TEACHER_HASH, prompts.STAGED_HASH}) == 6


STUDENTS = {"student": (False,), "personalised": (True,), "answers first": (False, True)}
ASKED = ("DIRECT_STUDENT_HASH", "TEACHER_HASH", "STAGED_HASH", "DIRECT_HASH", "PAIR_HASH")
# Name in `prompts` -> the versions that it belongs to; what is sent to nobody.
SENT = {
    "STUDENT": {*STUDENTS},
    "AFTER_ANSWERS": {"answers first"},
    "AS_EXPECTED": {"answers first"},
    "NOT_AS_EXPECTED": {"answers first"},
    "DECOMPOSE_PERSONALISED": {"personalised"},
    "NOTHING_EXPECTED": {*STUDENTS},
    "SUMMARY_SCORE": {*STUDENTS},
    "DIRECT": {"DIRECT_STUDENT_HASH"},
    "DIRECT_AXIS": {"DIRECT_STUDENT_HASH"},
    "TEACHER_DECOMPOSE": {"TEACHER_HASH", "STAGED_HASH"},
    "TEACHER_DECOMPOSE_PERSONALISED": {"TEACHER_HASH", "STAGED_HASH"},
    "TEACHER_JUDGE": {"TEACHER_HASH"},
    "STAGED_ANSWER": {"STAGED_HASH"},
    "STAGED_EXPLAIN": {"STAGED_HASH"},
    "STAGED_SCORE": {"STAGED_HASH"},
    "TEACHER_SUMMARISE": {"STAGED_HASH"},
    "REFERENCE_NOTE": {"TEACHER_HASH", "STAGED_HASH"},
    "RE_ASK_JSON": {"TEACHER_HASH", "STAGED_HASH", "DIRECT_HASH", "PAIR_HASH"},
    "RE_ASK_SCORE": {"STAGED_HASH"},
    "DIRECT_CONSISTENCY": {"DIRECT_HASH"},
    "DIRECT_QUALITY": {"DIRECT_HASH"},
    "PAIR": {"PAIR_HASH"},
    "_COMPARED": {"PAIR_HASH"},
    "PAIR_SCHEMA": {"PAIR_HASH"},
    "SUMMARY_SCHEMA": {"TEACHER_HASH", "STAGED_HASH"},
    "DIRECT_CONSISTENCY_SCHEMA": {"DIRECT_HASH"},
    "DIRECT_QUALITY_SCHEMA": {"DIRECT_HASH"},
    "decompose_schema": {"TEACHER_HASH", "STAGED_HASH"},
    "judge_schema": {"TEACHER_HASH"},
}
UNSENT = {"NO_REFERENCE", "AS_IN_REFERENCE"}  # a reason of ours; a word that stands in the templates themselves
# Zero-shot: a judge's own template, hashed as it stands or as the user gives it; and what decides about no score.
ZERO_SHOT = {"ZERO_SHOT", "VQA", "SOFT_TIFA"} | {"ZERO_SHOT_WORDS", "SHOWN_SCHEMA", "PAIR_WORD"}


def versions(changed: str | None = None) -> dict[str, str]:
    """The versions that `prompts` names, with one of its texts or schemas another one."""
    tree, out = ast.parse(Path(prompts.__file__).read_text()), []
    for node in tree.body:
        out.append(node)
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        name = node.name if isinstance(node, ast.FunctionDef) else getattr(targets[0], "id", None)
        if changed and name == changed:
            value = f"{name} | {{'score': 'x'}}" if name in ("STUDENT", "AFTER_ANSWERS") else f"another({name})"
            out += ast.parse(f"{name} = {value}").body
    tree.body = out
    values = {"__name__": prompts.__name__, "__package__": "t2i_judge", "another": another}
    exec(compile(tree, "prompts", "exec"), values)
    named = {name: values[name] for name in ASKED if name in values}
    return named | {name: values["student_hash"](*way) for name, way in STUDENTS.items()}


def another(thing):
    if callable(thing):
        return lambda *arguments: {**thing(*arguments), "x": 1}
    return thing + " Please." if isinstance(thing, str) else {**thing, "x": 1}


@pytest.mark.parametrize("name", SENT)
def test_whatever_is_sent_belongs_to_a_version(name):
    before, after = versions(), versions(name)
    assert {version for version in before if before[version] != after[version]} == SENT[name]


def test_no_text_is_forgotten_here():
    texts = {name for name, value in vars(prompts).items() if isinstance(value, str) and name.isupper()}
    assert {name for name in texts if not name.endswith("_HASH") and name not in vars(records)} == (
        {name for name in SENT if isinstance(getattr(prompts, name), str)} | UNSENT | ZERO_SHOT
    )


def test_what_was_paid_for_before_versions_counted_everything_is_not_asked_again():
    """As they stand in every judgement and build."""
    assert versions() == {
        "TEACHER_HASH": "3ff9a6962dc5", "STAGED_HASH": "7c10fa801df2", "DIRECT_HASH": "410f0eb4bfe2",
        "DIRECT_STUDENT_HASH": "c4e2d72b6325", "PAIR_HASH": "935d9eb23659", "student": "437d94a66de1",
        "personalised": "40d6fa238319", "answers first": prompts.student_hash(False, True),
    }  # fmt: skip


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
