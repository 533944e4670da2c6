"""Answers become scores by rules that can be written on a napkin; what failed is never filled in."""

from t2i_judge.records import Answer, Question, Status
from t2i_judge.scoring import aspect_scores, dependency_scores, question_scores

EXISTS = Question("q1", "intrinsic", ("cat",), "Is there a cat?", "yes")
COLOUR = Question("q2", "intrinsic", ("cat",), "What colour is the cat?", "black", ("q1",))
LOOKS = Question("q3", "appearance", ("cat",), "Does the cat look real?", None, ("q1",))
QUESTIONS = (EXISTS, COLOUR, LOOKS)


def test_dependency_rule_looks_at_raw_parents():
    matches = {"a": False, "b": True, "c": True}
    assert dependency_scores(matches, {"b": ["a"], "c": ["b"]}) == {"a": 0.0, "b": 0.0, "c": 1.0}
    assert dependency_scores(matches, {"c": ["gone"]}) == {"a": 0.0, "b": 1.0, "c": 1.0}


def test_overall_is_the_mean_of_the_asked_aspects():
    answers = [Answer("q1", matches=True, score=10.0), Answer("q2", matches=False, score=2.0), Answer("q3", score=4.0)]
    assert aspect_scores(QUESTIONS, answers) == {
        "appearance": 4.0,
        "intrinsic": 6.0,
        "relationship": None,
        "overall": 5.0,
    }


def test_an_absent_entity_scores_zero_everywhere():
    answers = [Answer("q1", matches=False, score=0.0), Answer("q2", matches=True, score=9.0), Answer("q3", score=8.0)]
    assert question_scores(QUESTIONS, answers) == {"q1": 0.0, "q2": 0.0, "q3": 0.0}


def test_a_failed_or_missing_answer_leaves_its_aspect_and_the_whole_without_a_score():
    failed = Answer("q2", status=Status.UNPARSABLE, reason="no number")
    answers = [Answer("q1", matches=True, score=10.0), failed, Answer("q3", score=4.0)]
    for given in (answers, [answers[0], answers[2]]):
        scores = aspect_scores(QUESTIONS, given)
        assert (scores["appearance"], scores["intrinsic"], scores["overall"]) == (4.0, None, None)


def test_a_failed_parent_does_not_count_against_its_children():
    answers = [Answer("q1", status=Status.REFUSED, reason="declined"), Answer("q2", matches=True, score=9.0)]
    assert question_scores([EXISTS, COLOUR], answers) == {"q1": None, "q2": 9.0}
