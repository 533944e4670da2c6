"""Nothing that a visitor, a model or a dataset wrote reaches the page as HTML; failures are shown as failures."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from PIL import Image

from comparison import Contestant, comparison, rank
from plots import Axis, Estimate, Point, estimate_text, intervals, scatter
from t2i_judge.inputs.domain import REASON as OUT_OF_DOMAIN
from t2i_judge.records import Answer, JudgeInfo, Judgement, Question, ScoreInterval, Status, failed
from views import bar, judgement, level, notice, picture, to_csv

INFO = JudgeInfo("tiny", "double", "pixels", "0123456789abcdef0123")
HOSTILE = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>&${value}{{value}}"


def test_a_score_beyond_its_range_lies_at_its_end():
    assert [level(score) for score in (-1.0, 0.0, 5.0, 10.0, 12.0)] == ["bad", "bad", "mid", "good", "good"]
    assert "width:0.0%" in bar(-1.0) and "width:100.0%" in bar(12.0)


class Tags(HTMLParser):
    """The tags and attributes that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}


def example(text: str = "Is there a cat?") -> Judgement:
    """Two questions, the second below the first, which does not match."""
    questions = (
        Question("q1", "intrinsic", ("cat",), text, text, ()),
        Question("q2", "intrinsic", ("cat",), "What colour is it?", "red", ("q1",)),
    )
    answers = (
        Answer("q1", text, False, 1.0, text, {"0": 0.2, "9": 0.8}),
        Answer("q2", "red", True, 9.0, None),
    )
    scores = {"intrinsic": 0.5, "overall": 0.5}
    return Judgement("image", text, INFO, scores=scores, questions=questions, answers=answers, rationale=text)


@given(st.text(min_size=1, max_size=60) | st.just(HOSTILE))
def test_no_text_becomes_a_tag_or_an_attribute(text):
    plain, hostile = Tags(str(judgement(example()))), Tags(str(judgement(example(text), title=text)))
    assert hostile.seen - plain.seen <= {"h3"}
    assert hostile.attributes == plain.attributes


def test_hostile_labels_stay_text_in_comparisons_and_plots():
    contestants = [Contestant(HOSTILE, picture(Image.new("RGB", (8, 8)), HOSTILE), example(HOSTILE)) for _ in range(2)]
    shown = str(comparison(contestants)) + str(
        scatter([Point(1, 2, HOSTILE, HOSTILE)], Axis(HOSTILE, 0, 10), Axis("y", 0, 10))
    )
    shown += str(intervals([Estimate(HOSTILE, 1, 0, 2)], Axis(HOSTILE, 0, 10))) + str(notice(HOSTILE))
    assert not {"script"} & Tags(shown).seen
    assert "onerror" not in Tags(shown).attributes


def test_an_interval_names_its_target_and_for_what_it_holds():
    held = ScoreInterval(4.25, 7.75, 0.9, "human_mean", 240)
    shown = str(judgement(Judgement("i", "p", INFO, scores={"overall": 6.0}, interval=held)))
    plain = re.sub("<[^>]*>", "", shown)
    assert "In 90% of cases people&#39;s mean rating is between 4.2 and 7.8 (calibrated on 240 images" in plain
    assert "tj-interval" not in str(judgement(Judgement("i", "p", INFO, scores={"overall": 6.0})))


def test_a_failure_is_shown_as_a_failure():
    shown = str(judgement(failed("image", "a cat", INFO, Status.SKIPPED, OUT_OF_DOMAIN)))
    assert "No score: skipped. out of domain: the picture is unlike" in shown
    assert "tj-overall" not in shown


def test_a_failed_answer_has_no_score_and_its_reason():
    result = example()
    lost = Answer("q2", status=Status.REFUSED, reason="will not say")
    shown = str(
        judgement(replace(result, answers=(result.answers[0], lost), scores={"intrinsic": None, "overall": None}))
    )
    assert "refused: will not say" in shown
    assert "tj-bar tj-none" in shown


def test_the_dependency_rule_is_named_where_it_changed_a_score():
    result = example()
    assert "Counts as 0.0, not 9.0" in str(judgement(result))
    same = tuple(replace(answer, score=0.004) if answer.score == 9.0 else answer for answer in result.answers)
    assert "Counts as" not in str(judgement(replace(result, answers=same))), "it would read: 0.0, not 0.0"


def test_confidence_is_shown_where_the_judge_told_it():
    """Levels where there are levels; in mode likelihood the expected answer's probability is the score itself."""
    levels = {str(level): 0.01 for level in range(9)} | {"9": 0.91}
    question, answer = Question("q1", "appearance", (), "Is it clean?"), Answer("q1", score=9.4, probabilities=levels)
    plain = replace(example(), questions=(question,), answers=(answer,))
    assert "91% sure" in str(judgement(plain))
    asked, said = replace(question, expected="yes"), replace(answer, score=0.3, probabilities=None)
    told = replace(plain, questions=(asked,), answers=(said,))
    likelihood = replace(told, judge=replace(INFO, backend="local, likelihood score"))
    assert "97% sure" in str(judgement(likelihood))
    assert "% sure" not in str(judgement(told)), "another backend's score is no probability"
    assert "% sure" not in str(judgement(replace(likelihood, questions=(question,)))), "nothing was expected"


def test_downloads_hold_the_whole_judgement():
    shown = str(judgement(example(HOSTILE)))
    data = dict(re.findall(r'download="judgement\.(\w+)" href="data:[^;]+;base64,([^"]+)"', shown))
    assert Judgement.from_json(json.loads(base64.b64decode(data["json"]))) == example(HOSTILE)
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(data["csv"]).decode())))
    assert [row["question_id"] for row in rows] == ["", "q1", "q2"]
    assert rows[2]["score"] == "9.0"
    assert rows[2]["counted_score"] == "0.0"


def test_csv_of_a_failure_has_its_status():
    [row] = csv.DictReader(io.StringIO(to_csv([failed("image", "a cat", INFO, Status.TRANSPORT, "gone")])))
    assert (row["status"], row["reason"], row["score"]) == ("transport", "gone", "")


def test_ranking_shares_ranks_and_puts_failures_last_without_one():
    results = [
        failed("a", "p", INFO, Status.SKIPPED, "no"),
        *(replace(example(), scores={"overall": s}) for s in (3, 7, 7)),
    ]
    ranking = rank([Contestant(str(n), Markup(), result) for n, result in enumerate(results)])
    assert [(place, each.label) for place, each in ranking] == [(1, "2"), (1, "3"), (3, "1"), (None, "0")]


def test_an_undefined_estimate_is_a_dash():
    assert estimate_text(Estimate("a", None, None, None, "n=0")) == "– n=0"
    assert estimate_text(Estimate("a", 7.123, 6.5, 7.5), 2) == "7.12 [6.50, 7.50]"
