"""A teacher for photographs behind the OpenAI chat protocol: `python -m tests.recipes.photo_teacher`.

It stands where GPT-4o would: it has never seen the pictures, reads prompt, questions and pixels from the request alone,
and finds a picture the better the sharper it is. Of two pictures a model called "first" prefers whichever comes first.
`GET /v1/stats` tells how often it was asked what.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from recipes.loopback.http import Response, serve
from recipes.scenes.server import _between
from t2i_judge.records import OVERALL, question_from_json
from t2i_judge.scoring import aspects_of

INPUT_TOKENS, OUTPUT_TOKENS = 1000, 200  # of every call, so that money can be reckoned by hand


def decompose(prompt: str) -> list[dict[str, Any]]:
    """Is there such a thing, does it look right, and does it do what the prompt says?"""
    entity = prompt.split(" in ")[0].split(" on ")[0]
    return [
        _question("q1", "intrinsic", entity, f"Is there {entity}?", "yes", []),
        _question("q2", "appearance", entity, f"Does {entity} look real?", None, ["q1"]),
        _question("q3", "relationship", entity, "Is everything where the prompt says?", "yes", ["q1"]),
    ]


def _question(identity: str, aspect: str, entity: str, text: str, expected: str | None, parents: list[str]) -> dict:
    return {
        "id": identity, "aspect": aspect, "entities": [entity], "text": text, "expected": expected,
        "depends_on": parents,
    }  # fmt: skip


def sharpness(image: Image.Image) -> float:
    """Score in [0, 10] from the mean difference of neighbouring pixels: blurred pictures get little."""
    grey = np.asarray(image.convert("L").resize((128, 128)), dtype=np.float64)
    steps = np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()
    return float(min(10.0, round(steps / 3, 1)))


def judge(text: str, image: Image.Image) -> dict[str, Any]:
    """Answers and summaries for the questions in a request, all by the picture's sharpness."""
    questions = [question_from_json(record) for record in json.loads(_between(text, "questions") or "[]")]
    score = sharpness(image)
    answers = [
        {
            "question_id": question.id,
            "answer": "yes" if question.expected else "sharp" if score > 5 else "soft",
            "matches": True if question.expected else None,
            "explanation": "It can be made out well." if score > 5 else "It is soft.",
            "score": score,
        }
        for question in questions
    ]
    summary = {"explanation": "Sharp." if score > 5 else "Soft.", "score": score}
    return {"answers": answers, "summaries": dict.fromkeys((*aspects_of(questions), OVERALL), summary)}


def compare(first: float, second: float, model: str) -> dict[str, Any]:
    """Which of two pictures is better, by sharpness or, for one model, by place."""
    if model == "first":
        return {"explanation": "It comes first.", "winner": "first"}
    winner = "tie" if abs(first - second) < 0.2 else "first" if first > second else "second"
    return {"explanation": "By their sharpness.", "winner": winner}


class Service:
    """The teacher over HTTP, with a count of what it was asked."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()

    async def handle(self, method: str, path: str, body: bytes) -> Response:
        """One HTTP request."""
        if path.endswith("/stats"):
            return Response({"calls": sum(self.kinds.values()), "kinds": dict(self.kinds)})
        if not path.endswith("/chat/completions"):
            return Response({"object": "list", "data": [{"id": "photo-teacher", "object": "model"}]})
        kind, reply = _reply(json.loads(body))
        self.kinds[kind] += 1
        message = {"role": "assistant", "content": json.dumps(reply), "refusal": None}
        usage = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS}
        return Response(
            {
                "id": "chatcmpl-photo", "object": "chat.completion", "created": 0, "model": "photo-teacher-1",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
                "usage": {**usage, "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS},
            }
        )  # fmt: skip


def _reply(request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    parts = request["messages"][-1]["content"]
    parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
    text = "".join(part["text"] for part in parts if part["type"] == "text")
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    if not urls:
        return "decompose", {"questions": decompose(_between(text, "prompt") or "")}
    images = [Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))) for url in urls]
    image = images[0]
    if len(images) == 2 and not _between(text, "questions"):
        return "compare", compare(*map(sharpness, images), str(request["model"]))
    if _between(text, "questions"):
        return "judge", judge(text, image)
    score = sharpness(image)
    if _between(text, "prompt"):
        return "direct", {"explanation": "By its sharpness.", "score": score}
    return "direct", {"explanation": "By its sharpness.", "naturalness": score, "artifacts": score}


if __name__ == "__main__":
    serve(Service().handle)
