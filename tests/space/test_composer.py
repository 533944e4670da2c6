"""The composer's truth is the world's own, and every way to break a picture shows in it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import gradio as gr
import pytest
from gradio.state_holder import SessionState
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from composer import EXAMPLES, changed, draw, faithful, new_composition, true_answers, truth, with_choice
from composer_tab import _show, build_composer
from judging import JudgeDesk
from scenes import rules
from scenes.world import split_of
from t2i_judge.errors import UserError
from t2i_judge.judges.loading import load_judge
from t2i_judge.records import Status
from tests.embedded import needs_embedded_judge
from tests.space.test_judging import Recorder
from visitors import NOBODY, Visitor

SEEDS = st.integers(0, 10_000)


@settings(max_examples=40)
@given(SEEDS)
def test_what_is_drawn_as_asked_is_perfect(seed):
    composition = new_composition(seed)
    known = truth(composition)
    assert [known[aspect] for aspect in ("overall", "intrinsic", "appearance")] == [10, 10, 10]
    assert known["relationship"] is None or known["relationship"] > 9  # places are jittered
    questions = rules.decompose(composition.prompt.text)
    answers = true_answers(composition, questions)
    assert all(answers[q.id].matches for q in questions if q.expected)
    assert draw(composition).tobytes() == draw(composition).tobytes()


@settings(max_examples=40)
@given(SEEDS, st.sampled_from([{"count": 4}, {"count": 0}, {"severity": 0.9}, {"defect": "noise", "severity": 0.5}]))
def test_every_break_lowers_the_truth(seed, change):
    composition = new_composition(seed)
    broken = changed(composition, False, [change])
    if len(composition.choices) == 1 and change == {"count": 0}:
        with pytest.raises(UserError, match="Nothing is left"):
            truth(broken)
        return
    assert truth(broken)["overall"] < truth(composition)["overall"]


def test_swapping_breaks_the_first_relation_alone():
    composition = faithful(EXAMPLES[0], 3)
    swapped = changed(composition, True, [])
    assert truth(swapped)["relationship"] < 1
    assert truth(swapped)["intrinsic"] == truth(composition)["intrinsic"]


@pytest.mark.parametrize(
    "change", [{"color": "mauve"}, {"count": 9}, {"severity": 2}, {"shape": "cat"}, {"severity": "x"}, "count"]
)
def test_impossible_changes_are_named(change):
    with pytest.raises(UserError, match="is not possible"):
        changed(new_composition(1), False, [change])


def test_more_changes_than_things_are_refused():
    with pytest.raises(UserError, match="Give one change for each"):
        changed(new_composition(1), False, [{}] * 4)


@pytest.mark.parametrize(
    "changes",
    [5, "ab", {"count": 0}, [5], [None], [{5: 1}], *([{name: value}] for name in ("color", "count", "size", "texture",
     "defect", "severity", "x") for value in ([], {}, None, 1.5, float("nan"), "", -1))],
    ids=str,
)  # fmt: skip
def test_changes_of_odd_types_are_one_line(changes):
    with pytest.raises(UserError):
        changed(new_composition(7), False, changes)


@pytest.mark.parametrize("value", [True, 1.0])
def test_a_count_is_a_whole_number(value):
    with pytest.raises(UserError, match="not possible"):
        changed(new_composition(7), False, [{"count": value}])


def test_one_choice_changes_one_thing():
    composition = faithful(EXAMPLES[0], 3)
    changed_one = with_choice(composition, 1, color="red")
    assert changed_one.choices[0] == composition.choices[0]
    assert changed_one.choices[1].color == "red"


def test_the_judges_questions_stay_while_the_picture_changes():
    judge = Recorder()
    desk = JudgeDesk(["tiny"], lambda name: judge)
    composition, _ = asyncio.run(_show(desk, faithful(EXAMPLES[0], 3), NOBODY))
    asyncio.run(_show(desk, with_choice(composition, 1, count=4), NOBODY))
    assert judge.given == [None, composition.questions]
    assert len(composition.questions) > 5


def test_every_judgement_in_compose_counts_for_its_visitor():
    asked = []

    class Desk(JudgeDesk):
        async def judge(self, *args, visitor, **options):
            asked.append(visitor)
            raise UserError("enough")

    with gr.Blocks() as demo, gr.Tab() as tab:
        build_composer(tab, Desk(["tiny"], lambda name: None))
    state = SessionState(demo)
    visitor = Visitor(session="s", address="8.8.8.8")
    scope = {"type": "http", "client": ("8.8.8.8", 80), "headers": []}
    request = gr.Request(Request(scope), session_hash="s")

    async def call_all() -> None:
        for event in demo.fns.values():
            values = [getattr(each, "value", None) for each in event.inputs]
            with suppress(gr.Error):
                await demo.process_api(event, values, state, request)

    asyncio.run(call_all())
    assert len(asked) == len(demo.fns) > 20 and set(asked) == {visitor}


@pytest.mark.parametrize("prompt", EXAMPLES, ids=lambda prompt: prompt.text)
def test_examples_are_prompts_of_the_embedded_world(prompt):
    assert split_of(prompt) == "train"
    assert truth(faithful(prompt, 7))["overall"] > 9
    questions = rules.decompose(prompt.text)
    assert {entity for q in questions for entity in q.entities} == {entity.shape for entity in prompt.entities}


@needs_embedded_judge
@pytest.mark.parametrize("prompt", EXAMPLES, ids=lambda prompt: prompt.text)
def test_the_embedded_judge_takes_every_example(prompt):
    [found] = load_judge("tiny").score([draw(faithful(prompt, 7))], [prompt.text])
    assert (found.status, found.reason) == (Status.OK, None)
    assert {entity for q in found.questions for entity in q.entities} == {each.shape for each in prompt.entities}
