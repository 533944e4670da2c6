"""A served judge whose scores are known, and what servers and models do to such replies before they arrive."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from recipes.loopback.http import Response
from t2i_judge.judges.dreambench import PLAN
from t2i_judge.prompts import STAGED_SCORE
from t2i_judge.records import ASPECTS, OVERALL, Question
from tests.metrics.conftest import completion, failure

Respond = Callable[[dict[str, Any], int], Any]
QUESTIONS = [
    Question("q1", "intrinsic", ("cat",), "Is there a cat?", "yes"),
    Question("q2", "intrinsic", ("cat",), "What colour is the cat?", "black", ("q1",)),
    Question("q3", "appearance", ("cat",), "Is the cat clean?", None, ("q1",)),
]
REFUSALS = (
    "I'm sorry, but I can't assist with that request.",
    "I can't help with that.",
    "I'm unable to evaluate this image.",
    "抱歉，我无法协助处理这个请求。",
)


def known(*topic: str, most: int = 10) -> int:
    """The score that the oracle gives: any whole number up to `most`, always the same for the same topic."""
    return hashlib.sha256("\0".join(topic).encode()).digest()[0] % (most + 1)


def reply_of(request: Mapping[str, Any]) -> str:
    """The oracle's reply to a request of any protocol."""
    texts, pictures = [], []
    for message in request["messages"]:
        parts = message["content"] if isinstance(message["content"], list) else [{"text": message["content"]}]
        texts += [part["text"] for part in parts if "text" in part and message["role"] == "user"]
        pictures += [part["image_url"]["url"] for part in parts if "image_url" in part]
    picture, everything = "".join(pictures), "\n".join(texts)
    if not pictures:
        return "I will compare them point by point." if PLAN in everything else decomposition()
    if "# Score" in everything:
        return json.dumps({"reasoning": "the ears differ", "score": known(picture, "rating", most=4)})
    if "<questions>" in everything:
        return json.dumps(judgement(picture))
    if "<results>" in everything:
        return json.dumps({"explanation": "so so", "score": known(picture, "summary")})
    if "<question>" in everything:
        is_score = STAGED_SCORE in everything
        return str(known(picture, everything.split("<question>")[1][:40])) if is_score else "It is as asked."
    if "naturalness" in everything:
        sub_scores = {name: known(picture, name) for name in ("naturalness", "artifacts")}
        return json.dumps({"explanation": "odd hand", **sub_scores})
    return json.dumps({"explanation": "as asked", "score": known(picture, "consistency")})


def decomposition() -> str:
    """`QUESTIONS` as a teacher gives them."""
    return json.dumps({"questions": [{**vars(q), "depends_on": list(q.depends_on)} for q in QUESTIONS]})


def judgement(picture: str) -> dict[str, Any]:
    """The oracle's structured verdict on a picture."""
    answers = [
        {
            "question_id": question.id,
            "answer": "as asked",
            "matches": score >= 8 or known(picture, question.id, "matches") % 4 > 0,
            "explanation": "it is there",
            "score": score,
        }
        for question in QUESTIONS
        for score in [known(picture, question.id)]
    ]
    summaries = {aspect: {"explanation": "fine", "score": known(picture, aspect)} for aspect in (*ASPECTS, OVERALL)}
    return {"answers": answers, "summaries": summaries}


def other_numbers(text: str, rng: random.Random) -> str:
    """The same text with other numbers in it: a draft."""
    return re.sub(r"\d+", lambda number: str((int(number[0]) + rng.randint(1, 4)) % 5), text)


def garbled(text: str, rng: random.Random) -> str:
    """A reply with the same verdict in other clothes, or with none that can be read: never with another one."""
    draft = other_numbers(text, rng)
    cut = rng.randint(1, max(1, len(text) - 1))
    return rng.choice(
        [
            f"<think>{draft}</think>{text}",
            f"{draft} Hmm, no.</think>\n{text}",
            f"<think>First I thought {draft}",
            f"The picture says {draft}. My verdict: {text}",
            f"{draft}\n{text}",
            f"{text}\n{draft}",
            f"{text} I am quite sure of that.",
            f"```json\n{text}\n```",
            "",
            " \n",
            "{",
            text[:cut] if text.startswith("{") else f"{text} or {draft}",
            re.sub(r"(\d+)", r"\1_0", text),
            re.sub(r": (\d+)", r': "\1"', text),
            re.sub(r": (\d+)", r": [\1]", text),
            re.sub(r": \d+", ": NaN", text),
            re.sub(r'"score": (\d+)', r'"score": \1, "score": 3.25', text),
            text.replace("}", ",}", 1) if text.startswith("{") else f"~{text}~",
            json.dumps(text),
        ]
    )


def broken_answers(text: str) -> list[Response]:
    """What is no reply at all, or one that only a model of a certain family gives."""
    whole = completion(text).body
    message = whole["choices"][0]["message"]
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "3"}]}, {"type": "text", "text": text}]

    def with_message(**changes: Any) -> Response:
        return Response({**whole, "choices": [{**whole["choices"][0], "message": {**message, **changes}}]})

    return [
        Response({"error": {"message": "upstream is busy", "code": 502}}),
        Response({**whole, "choices": []}),
        with_message(content=None, tool_calls=[{"id": "1", "type": "function", "function": {"name": "judge"}}]),
        with_message(content=None, reasoning_content=text),
        with_message(content=parts),
        Response({**whole, "usage": None}),
        completion(text, finish="length"),
    ]


class Faulty:
    """The oracle over a bad line: shares of malformed replies, of HTTP 500 and of refusals; the rest is true.

    What happens to a request hangs on the seed, on the request, and on how often it came: not on the order of calls.
    """

    def __init__(self, seed: int, malformed: float = 0.1, errors: float = 0.05, refusals: float = 0.02) -> None:
        self.seed, self.shares = seed, (malformed, errors, refusals)
        self.seen: Counter[str] = Counter()

    def __call__(self, request: dict[str, Any], n: int) -> Response:
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        self.seen[digest] += 1
        rng = random.Random(f"{self.seed} {digest} {self.seen[digest]}")
        text, malformed, errors, refusals = reply_of(request), *self.shares
        chance = rng.random()
        if chance < malformed:
            return rng.choice([completion(garbled(text, rng))] * 4 + broken_answers(text))
        if chance < malformed + errors:
            return failure(500)
        if chance < malformed + errors + refusals:
            return completion(rng.choice(REFUSALS))
        return completion(text)
