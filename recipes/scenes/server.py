"""The rule-based teacher behind the OpenAI chat protocol: `python -m recipes.scenes.server FOLDER`.

It knows a scene only by the SHA-256 of the picture's bytes that it receives (FOLDER/scenes.jsonl, written with the
pictures), and reads prompts, questions and earlier turns from the request's text, as a model would. `GET /v1/stats`
tells how often it was called. Address: see `recipes.loopback.http`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import inspect
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from recipes.loopback.http import Response, serve
from t2i_judge.files import read_jsonl
from t2i_judge.prompts import STAGED_EXPLAIN, STAGED_SCORE
from t2i_judge.records import ASPECTS, OVERALL, Answer, Question, Summary, question_from_json
from t2i_judge.scoring import aspects_of

from . import personalised_rules, rules, two_axes
from .world import Entity, Group, Scene

SCENES = "scenes.jsonl"
SNAPSHOT = hashlib.sha256(
    ("".join(map(inspect.getsource, (rules, personalised_rules, two_axes)))).encode()
).hexdigest()[:12]
_EXPLAIN = re.compile(re.escape(STAGED_EXPLAIN).replace(r"\{expected\}", "(.*)"), re.DOTALL)
_RESPECT = re.compile(r"in this respect: (\w+)")


class Puzzled(ValueError):
    """A request the teacher cannot answer; it says so as a model would, by a refusal."""


@dataclass(frozen=True)
class Request:
    """A conversation as the teacher reads it: texts of the turns by role, and the scenes of its pictures."""

    users: tuple[str, ...]
    assistants: tuple[str, ...]
    pictures: tuple[str, ...]  # SHA-256 of the bytes, in order
    seed: int = 0

    @property
    def last(self) -> str:
        """The text that wants an answer."""
        return self.users[-1]


def scene_to_json(scene: Scene) -> dict[str, Any]:
    """A scene for the index."""
    return asdict(scene)


def scene_from_json(record: Mapping[str, Any]) -> Scene:
    """Inverse of `scene_to_json`."""
    return Scene(tuple(Group(**{**g, "center": tuple(g["center"]), "copies": _pairs(g)}) for g in record["groups"]))


def _pairs(group: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    return tuple((x, y) for x, y in group["copies"])


def read_request(body: Mapping[str, Any]) -> Request:
    """The texts and pictures of a chat request. Raises ValueError, KeyError or TypeError when it is none."""
    texts: dict[str, list[str]] = {"user": [], "assistant": [], "system": []}
    pictures = []
    for message in body["messages"]:
        parts = message["content"]
        parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
        texts[message["role"]].append("".join(part["text"] for part in parts if part["type"] == "text"))
        for part in parts:
            if part["type"] == "image_url":
                encoded = part["image_url"]["url"].split(",", 1)[1]
                pictures.append(hashlib.sha256(base64.b64decode(encoded, validate=True)).hexdigest())
    if not texts["user"]:
        raise ValueError("no user turn")
    return Request(tuple(texts["user"]), tuple(texts["assistant"]), tuple(pictures), int(body.get("seed") or 0))


class Teacher:
    """Answers requests about known scenes; `references` are the entities that reference pictures show."""

    def __init__(self, scenes: Mapping[str, Scene], references: Mapping[str, Entity] | None = None) -> None:
        self.scenes, self.references = scenes, references or {}

    def reply(self, request: Request) -> tuple[str, str]:
        """What kind of request it is, and the reply's text. Raises `Puzzled`."""
        last = request.last
        if (aspect := two_axes.axis_of(request.users[0])) is not None:
            return "rate", self._rate(request, aspect)
        if _between(last, "questions"):
            return "judge", json.dumps(self._judge(request))
        if _between(last, "results"):
            return "summarise", json.dumps(_summarise(last))
        if _between(request.users[0], "question"):
            return self._staged(request)
        if not request.pictures and (prompt := _between(last, "prompt")):
            known = personalised_rules if personalised_rules.mentions_subject(prompt) else rules
            return "decompose", json.dumps({"questions": [asdict(q) for q in _puzzled(known.decompose, prompt)]})
        if request.pictures:
            return "direct", json.dumps(self._direct(request))
        raise Puzzled("I do not understand what is asked.")

    def _scene(self, request: Request) -> Scene:
        scene = self.scenes.get(request.pictures[0]) if request.pictures else None
        if scene is None:
            raise Puzzled("I cannot make out this picture.")
        return scene

    def _rate(self, request: Request, aspect: str) -> str:
        """DreamBench++'s protocol: a plan while there is no picture, then one axis scored from 0 to 4."""
        if not request.pictures:
            return two_axes.PLANNED
        scene, prompt = self.scenes.get(request.pictures[-1]), _between(request.last, "prompt") or ""
        reference = self.references.get(request.pictures[0])
        if scene is None or (aspect == personalised_rules.CONCEPT_PRESERVATION and reference is None):
            raise Puzzled("I cannot make out these pictures.")
        return json.dumps(_puzzled(two_axes.rate, aspect, scene, reference, prompt, request.seed))

    def _judge(self, request: Request) -> dict[str, Any]:
        questions = [question_from_json(record) for record in json.loads(_between(request.last, "questions") or "[]")]
        answers = [self._answer(request, question) for question in questions]
        summaries = _rules_for(questions).summarise(questions, answers)
        return {
            "answers": [
                {
                    "question_id": answer.question_id,
                    "answer": answer.text,
                    "matches": answer.matches,
                    "explanation": answer.explanation,
                    "score": answer.score,
                }
                for answer in answers
            ],
            "summaries": {aspect: _summary(summaries.get(aspect)) for aspect in (*aspects_of(questions), OVERALL)},
        }

    def _answer(self, request: Request, question: Question) -> Answer:
        """About the first picture; beside a reference picture, as the personalised teacher sees it."""
        scene = self._scene(request)
        if len(request.pictures) < 2:
            return _puzzled(rules.answer, scene, question)
        if (reference := self.references.get(request.pictures[1])) is None:
            raise Puzzled("I cannot make out the reference picture.")
        return _puzzled(personalised_rules.answer, scene, reference, question)

    def _staged(self, request: Request) -> tuple[str, str]:
        """One question over several turns: answer, explanation, score. What is expected is told with the second."""
        text = _between(request.users[0], "question") or ""
        expected = next((match[1] for turn in request.users if (match := _EXPLAIN.fullmatch(turn))), None)
        answer = self._answer(request, Question("q1", "", (), text, expected))
        if request.last == STAGED_SCORE:
            return "score", f"{answer.score:g}"
        if _EXPLAIN.fullmatch(request.last):
            return "explain", str(answer.explanation)
        return "answer", str(answer.text)

    def _direct(self, request: Request) -> dict[str, Any]:
        """One look: consistency with a prompt where there is one, else how the picture looks."""
        scene, prompt = self._scene(request), _between(request.last, "prompt")
        if prompt is None:
            worst = max((group.severity for group in scene.groups), default=1.0)
            return {"explanation": "By its worst part.", "naturalness": 10.0, "artifacts": round(10 * (1 - worst))}
        questions = _puzzled(rules.decompose, prompt)
        asked = [rules.answer(scene, question) for question in questions if question.expected is not None]
        share = sum(bool(answer.matches) for answer in asked) / len(asked)
        return {"explanation": f"{share:.0%} of what is asked for is there.", "score": round(10 * share)}


def _between(text: str, marker: str) -> str | None:
    """What stands between <marker> and </marker>, None without them."""
    match = re.search(rf"<{marker}>\n(.*)\n</{marker}>", text, re.DOTALL)
    return match[1] if match else None


def _puzzled(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except ValueError as error:
        raise Puzzled(str(error)) from error


def _summarise(text: str) -> dict[str, Any]:
    """The summary of the results in a request, for the aspect it names."""
    records = json.loads(_between(text, "results") or "[]")
    questions = [
        Question(r["question_id"], r["aspect"], (), r["question"], r["expected"], tuple(r["depends_on"]))
        for r in records
    ]
    answers = [Answer(r["question_id"], r["answer"], r["matches"], r["score"], r["explanation"]) for r in records]
    match = _RESPECT.search(text)
    return _summary(_rules_for(questions).summarise(questions, answers).get(match[1]) if match else None)


def _rules_for(questions: Sequence[Question]) -> ModuleType:
    """The rules that know the aspects of these questions."""
    return rules if aspects_of(questions) == ASPECTS else personalised_rules


def _summary(summary: Summary | None) -> dict[str, Any]:
    return {"explanation": summary.explanation if summary else "", "score": summary.score if summary else None}


class Service:
    """The teacher over HTTP, with a count of what it was asked."""

    def __init__(self, teacher: Teacher, delay: float = 0.0) -> None:
        self.teacher, self.delay = teacher, delay
        self.kinds: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()  # of each very request

    async def handle(self, method: str, path: str, body: bytes) -> Response:
        """One HTTP request."""
        if path.endswith("/stats"):
            repeated = sum(count - 1 for count in self.seen.values())
            return Response({"calls": sum(self.kinds.values()), "repeated": repeated, "kinds": dict(self.kinds)})
        if path.endswith("/models"):
            return Response({"object": "list", "data": [{"id": "scene-teacher", "object": "model"}]})
        if not path.endswith("/chat/completions") or method != "POST":
            return Response({"error": {"message": f"no {method} {path}"}}, 404)
        try:
            record = json.loads(body)
            request = read_request(record)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            return Response({"error": {"message": f"not a chat request: {error!r}"}}, 400)
        self.seen[hashlib.sha256(body).hexdigest()] += 1
        await asyncio.sleep(self.delay)
        try:
            kind, text = self.teacher.reply(request)
            refusal = None
        except Puzzled as error:
            kind, text, refusal = "refused", None, str(error)
        self.kinds[kind] += 1
        return Response(_completion(record, request, text, refusal))


def _completion(record: Mapping[str, Any], request: Request, text: str | None, refusal: str | None) -> dict[str, Any]:
    into = sum(len(turn) for turn in (*request.users, *request.assistants)) // 4 + 255 * len(request.pictures)
    out = len(text or refusal or "") // 4
    message = {"role": "assistant", "content": text, "refusal": refusal}
    return {
        "id": "chatcmpl-scene",
        "object": "chat.completion",
        "created": 0,
        "model": f"{record.get('model')}-{SNAPSHOT}",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out},
    }


def read_scenes(folder: Path) -> dict[str, Scene]:
    """SHA-256 of a picture's bytes -> its scene, from FOLDER/scenes.jsonl."""
    return {r["sha256"]: scene_from_json(r["scene"]) for r in read_jsonl(folder / SCENES) if "scene" in r}


def read_references(folder: Path) -> dict[str, Entity]:
    """SHA-256 of a reference picture's bytes -> the entity it shows."""
    return {r["sha256"]: Entity(**r["entity"]) for r in read_jsonl(folder / SCENES) if "entity" in r}


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the scenes of a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="the folder that holds scenes.jsonl")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before every reply, like a real model's")
    options = parser.parse_args(arguments)
    teacher = Teacher(read_scenes(options.folder), read_references(options.folder))
    serve(Service(teacher, options.delay).handle, options.port)


if __name__ == "__main__":
    main()
