"""What every judge shares: items side by side, in order, and one word for an option that nobody knows."""

from __future__ import annotations

import random
import time

import pytest

from t2i_judge import load_judge
from t2i_judge.errors import UserError, nearest, quoted
from t2i_judge.judges.base import Candidate, Judge, check_options
from t2i_judge.judges.fake import FakeJudge
from t2i_judge.records import JudgeInfo, Judgement, Status


class Echo(Judge):
    """Fails every item, and says what it was given."""

    score_range = (0.0, 4.0)

    def __init__(self) -> None:
        super().__init__(JudgeInfo("echo", "test", "none"))

    def _score(self, items: list[Candidate], explain: bool, progress: bool) -> list[Judgement]:
        return [self._failed(item, Status.SKIPPED, f"{item.image} {item.reference} {explain}") for item in items]


def test_items_keep_their_order_and_what_is_not_given_is_none():
    judged = Echo().score(["a", "b"], ["p", "q"], [None, "r"], image_ids=["1", "2"], explain=True)
    assert [(j.image_id, j.prompt, j.reason) for j in judged] == [("1", "p", "a None True"), ("2", "q", "b r True")]
    assert [j.reason for j in Echo().score(["a"], ["p"])] == ["a None False"]
    assert {j.score_range for j in judged} == {(0.0, 4.0)}
    assert Echo().score([], []) == []


@pytest.mark.parametrize(
    "columns", [{"prompts": ["p"]}, {"reference_images": ["r"]}, {"image_ids": ["1"]}, {"questions": [None]}]
)
def test_columns_of_different_lengths_are_one_line(columns):
    given = {"images": ["a", "b"], "prompts": ["p", "q"], **columns}
    with pytest.raises(UserError, match="Lengths differ"):
        FakeJudge().score(**given)


def test_a_judge_has_to_say_how_it_scores():
    with pytest.raises(TypeError, match="_score"):
        Judge()


def test_the_nearest_of_long_names_is_found_in_no_time():
    """Two names of 60,000 letters, both a stranger's, took 18 seconds."""
    rng = random.Random(0)
    one, other = ("".join(chr(0x4E00 + rng.randrange(300)) for _ in range(60_000)) for _ in range(2))
    begun = time.process_time()
    assert nearest(one, [other, one[:-1]]) == f"The nearest is {quoted(one[:-1])}"
    assert time.process_time() - begun < 5


def test_an_unknown_option_names_the_nearest():
    check_options("j", ["mode"], ["mode"])
    with pytest.raises(UserError, match=r"j has no option 'mod'\. The nearest is 'mode'"):
        check_options("j", ["mod"], ["mode", "device"])
    with pytest.raises(UserError, match="It takes no options"):
        load_judge("fake", mode="greedy")
