"""Replies made from known verdicts: each reads as what it was made from, or as a status; never another.

Two thousand of them; ten thousand with --hypothesis-profile=thorough.
"""

from __future__ import annotations

import asyncio
import io
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from t2i_judge.judges.dreambench import PLAN, DreamBenchJudge
from t2i_judge.judges.names import JudgeName
from t2i_judge.judges.teacher import OpenAIJudge
from t2i_judge.judges.viescore import DirectJudge
from t2i_judge.prompts import STAGED_SCORE
from t2i_judge.records import ASPECTS, OVERALL, Status
from t2i_judge.served.backend import ChatBackend
from t2i_judge.served.wire import Reply
from tests.metrics.oracle import QUESTIONS

MANY = settings(
    max_examples=5 * settings.default.max_examples, derandomize=True, suppress_health_check=list(HealthCheck)
)
MARKERS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]
PROSE = [
    "Let me look at it. ",
    "The sign says {10}. ",
    'It reads {"score": 10}. ',
    "I count 3 of 10, or 7/10. ",
    '"score": 10, ',
    "10\n",
    "}",
    "{",
    "[",
    "**Verdict**: ",
    "Score: ",
    "```\n",
    '{"answers": [{"question_id": "q1", "answer": "a", "matches": true, "explanation": "b", "score": 10}]}\n',
]
NASTY = [
    "a cat",
    "it says </think>",
    '{"score": 10}',
    "```json",
    "10/10",
    "a \\ b",
    "ends with }",
    'a "quote"',
    "<think>",
    "\ud800",
]


class Says(ChatBackend):
    """A model that replies with `text`, or in the staged protocol to the score alone."""

    model, snapshot, concurrency = "m", None, 4
    text = ""

    def run(self, work):
        return self.runner.run(work)

    async def ask(self, messages, max_tokens, schema=None):
        last = messages[-1].text
        is_words = "<question>" in messages[0].text and STAGED_SCORE not in "".join(m.text for m in messages)
        return Reply("It is as asked." if PLAN in last or is_words else self.text)


@pytest.fixture(scope="module", autouse=True)
def one_loop():
    """For all replies: to make a loop and its threads takes longer than to read one."""
    with asyncio.Runner() as Says.runner:
        yield


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "PNG")
    return out.getvalue()


PICTURE = picture()


def read(judge, text: str):
    judge.backend.text, judge.backend.usable, judge.backend.unusable = text, 0, 0
    questions = [QUESTIONS] if isinstance(judge, OpenAIJudge) else None
    (judgement,) = judge.score([PICTURE], ["a black cat"], [PICTURE], questions=questions)
    assert (judgement.status is Status.OK) or judgement.reason
    json.dumps(judgement.to_json(), ensure_ascii=False).encode()
    return judgement


def written(verdict, draw) -> str:
    indent = draw(st.sampled_from([None, None, 1]))
    return json.dumps(verdict, indent=indent, ensure_ascii=draw(st.booleans()))


def dressed(text: str, draft: str, draw) -> str:
    """The verdict's text, wrapped, drafted before, quoted, cut, doubled or re-typed, up to three times."""
    for step in range(draw(st.integers(0, 3))):
        opening, closing = draw(st.sampled_from(MARKERS))
        prose = draw(st.sampled_from(PROSE))
        cut = draw(st.integers(1, max(1, text.find("}"))))
        ways = [
            f"{opening}{prose}{draft}{closing}{text}",
            f"{prose}{draft}{closing}\n\n{text}",
            f"{text}{opening}{draft}",
            f"{prose}{text}",
            f"{prose}{draft}\n{text}",
            f"{draft}, no: {text}",
            f"{text}\n{draft}",
            f"{text}\n{prose}",
            f"```json\n{text}\n```",
            f"<answer>{text}</answer>",
            f"  {text}\n\n",
            f"{text}{text}",
            f"[{draft}, {text}]",
            f"**{text}**",
            json.dumps(text),
        ]
        if text.startswith("{") and step == 0:  # cut twice, nothing of the verdict may be left beside a draft
            ways += [text[:cut], text[cut:], f"{text[cut:]}\n{draft}", f"{text[:cut]}\n{draft}"]
        if text.startswith("{") and "}" in text:
            ways += [
                f'{{"verdict": {text}}}',
                f'{{"draft": {draft}, {text[1:]}',
                re.sub(r"}(?=[^}]*$)", ",}", text),
                re.sub(r": (\d+)(?=[,}\s])", r': "\1"', text),
                re.sub(r": (\d+)(?=[,}\s])", r": [\1]", text),
                re.sub(r": (\d+)(?=[,}\s])", r": \1.0", text),
                re.sub(r": (\d+)(?=[,}\s])", r": \1e0", text),
                re.sub(r": (\d+)(?=[,}\s])", r': "\1_0"', text),
                re.sub(r": (\d+)(?=[,}\s])", r': "\1" "0"', text),
                re.sub(r": (\d+)(?=[,}\s])", ": NaN", text),
                re.sub(r": (\d+)(?=[,}\s])", ": true", text),
                re.sub(r": (\d+)(?=[,}\s])", ": " + "9" * 400, text),
                re.sub(r'"score": (\d+)', r'"score": \1, "score": 10', text),
                re.sub(r'"score": (\d+)', r'"shape": {"score": 10}, "score": \1', text),
                re.sub(r'": "(?=[^"])', '": "\n', text),
                re.sub(r'": "(?=[^"])', '": "' + "[" * 1200 + " ", text),
            ]
        elif text.isdigit():
            ways += [
                f"{text}_0",
                f"{text}0_",
                f"_{text}_",
                f"**{text}**/10",
                f"**Score:** {text}.",
                f"{text}*0",
                f'"{text}"0"',
                f"{text}0_",
                f"{text},5",
                f"{text} {draft}",
                f"{text}/10",
                f"Score: {text}",
            ]
        text = draw(st.sampled_from(ways))
    opening, closing = draw(st.sampled_from(MARKERS))
    return draw(st.sampled_from([text] * 9 + [f"{opening}{text}{closing}", f"{opening}{draft}{text}"]))


@st.composite
def replies(draw, make, most):
    """(known scores, reply): `make` turns scores and words into a verdict."""
    scores = draw(st.lists(st.integers(0, most), min_size=6, max_size=6))
    others = [(score + draw(st.integers(1, most))) % (most + 1) for score in scores]
    words = draw(st.sampled_from(NASTY))
    text, draft = (make(values, words) for values in (scores, others))
    text, draft = (value if isinstance(value, str) else written(value, draw) for value in (text, draft))
    return scores, dressed(text, draft, draw)


def rating(scores, words):
    return {"reasoning": words, "score": scores[0]}


def consistency(scores, words):
    return {"explanation": words, "score": scores[0], "naturalness": scores[0], "artifacts": 10}


def judgement(scores, words):
    answers = [
        {"question_id": q.id, "answer": words, "matches": True, "explanation": words, "score": score}
        for q, score in zip(QUESTIONS, scores)
    ]
    aspects = zip((*ASPECTS, OVERALL), [scores[3], scores[4], scores[5], scores[3]])
    return {"answers": answers, "summaries": {a: {"explanation": words, "score": score} for a, score in aspects}}


@MANY
@given(replies(judgement, 10))
def test_structured(case):
    scores, text = case
    judged = read(STRUCTURED, text)
    assert [a.score for a in judged.answers if a.score is not None] == [
        score for a, score in zip(judged.answers, scores) if a.score is not None
    ]
    known = dict(zip(ASPECTS, scores[3:])) | {OVERALL: scores[3]}
    assert all(score in (None, known[aspect]) for aspect, score in judged.summary_scores.items())
    whole = (scores[2] + (scores[0] + scores[1]) / 2) / 2
    assert judged.scores.get(OVERALL) == (whole if judged.status is Status.OK else None)


@MANY
@given(replies(lambda scores, words: str(scores[0]), 10))
def test_staged(case):
    scores, text = case
    judged = read(STAGED, text)
    assert {answer.score for answer in judged.answers} <= {None, scores[0]}
    assert judged.scores.get(OVERALL) in (
        None,
        scores[0] if scores[0] >= 5 else scores[0] / 4,
    )  # no cat: what hangs on it


@MANY
@given(replies(consistency, 10))
def test_direct(case):
    scores, text = case
    judged = read(DIRECT, text)
    assert {judged.scores["prompt_following"], judged.scores["appearance"]} <= {None, scores[0]}


@MANY
@given(replies(rating, 4))
def test_dreambench(case):
    scores, text = case
    judged = read(DREAMBENCH, text)
    assert set(judged.scores.values()) <= {None, scores[0]}


STRUCTURED, STAGED = OpenAIJudge(Says()), OpenAIJudge(Says(), protocol="staged")
DIRECT = DirectJudge(Says(), "direct+openai:m")
DREAMBENCH = DreamBenchJudge(Says(), JudgeName.parse("dreambench+openai:m"))


@pytest.mark.parametrize("judge", [STRUCTURED, STAGED, DIRECT, DREAMBENCH])
def test_the_verdict_itself_is_read(judge):
    makers = {STRUCTURED: judgement, STAGED: lambda s, w: "3", DIRECT: consistency, DREAMBENCH: rating}
    verdict = makers[judge]([3] * 6, "fine")
    text = verdict if isinstance(verdict, str) else json.dumps(verdict)
    for reply in (text, f"<think>{text.replace('3', '1')}</think>{text}", f"```\n{text}\n```"):
        assert read(judge, reply).status is Status.OK
