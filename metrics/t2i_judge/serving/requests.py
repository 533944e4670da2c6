"""What a request says: JSON or a form, in our own shape or in that of UniRL's reward service.

A malformed request is `Malformed` (HTTP 422). One whose picture is broken is well formed: that is the item's status.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..inputs.cells import from_base64
from ..inputs.images import ImageError
from ..records import Question
from ..served.words import clean

_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_ANY_URL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"  # a red one
Text = Annotated[str, Field(max_length=20_000)]
MOST_QUESTIONS = 100  # of an item
MOST_EXPLAINED = 32  # where words are wanted, too: a large model may write for five seconds about each question
# What JSON says may take thirty times its size and half a minute, and each mistake in it a kilobyte: so its values are
# counted before, by the signs that stand between them, and of a list no more than the first mistake is told.
_SIGNS, _PER_ITEM = (b"[", b"{", b":", b","), 2_000  # so many of a body for each item, those in prompts among them
_LONGEST, _KEYS = 100, 50  # of a list (of items, as many as are allowed), and of an object


class Malformed(Exception):
    """A request that cannot be understood; `problems` as FastAPI tells them, without what was sent."""

    def __init__(self, problems: Sequence[Mapping[str, Any]]) -> None:
        self.problems = list(problems)
        super().__init__(str(self.problems))


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AskedQuestion(_Closed):
    """A question to ask about the image, instead of those that the judge would make of the prompt."""

    id: Text
    aspect: Text
    text: Text
    entities: list[Text] = Field([], fail_fast=True)
    expected: Text | None = None
    depends_on: list[Text] = Field([], fail_fast=True)

    def question(self) -> Question:
        """As judges take it."""
        return Question(self.id, self.aspect, tuple(self.entities), self.text, self.expected, tuple(self.depends_on))


class AskedItem(_Closed):
    """One image to judge."""

    image: str = Field(description="base64, or a data URL; no other URL is fetched and no path is read")
    prompt: Text
    reference_image: str | None = None
    questions: Annotated[list[AskedQuestion], Field(fail_fast=True, max_length=MOST_QUESTIONS)] | None = None
    id: Text | None = Field(None, description="your name for it; without one, the SHA-256 of the image's bytes")


class ScoreRequest(_Closed):
    """Images to judge, by one judge."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"items": [{"image": PIXEL, "prompt": "a red square"}]}}
    )
    items: list[AskedItem] = Field(fail_fast=True)
    judge: Text | None = Field(None, description="one of GET /judges; the first without one")
    explain: bool = Field(False, description="also answers, with explanations where the judge writes them")

    @model_validator(mode="after")
    def _has_time(self) -> ScoreRequest:
        if self.explain and any(len(item.questions or ()) > MOST_EXPLAINED for item in self.items):
            raise ValueError(f"with explain, an item has at most {MOST_EXPLAINED} questions")
        return self


class _Turn(BaseModel):
    text: Text
    image_b64: str


class _UniRLItem(BaseModel):
    history: list[_Turn] = Field(min_length=1, fail_fast=True)
    required_rewards: list[Text] = Field(min_length=1, fail_fast=True)


class _UniRLRequest(BaseModel):
    requests: list[_UniRLItem] = Field(fail_fast=True)


@dataclass(frozen=True)
class Wanted:
    """One image to judge as it was sent: text in base64, or bytes of a form."""

    image: str | bytes
    prompt: str
    judge: str | None = None
    reference: str | bytes | None = None
    questions: tuple[Question, ...] | None = None
    id: str | None = None


@dataclass(frozen=True)
class Asked:
    """A request.

    Attributes:
        items: to judge.
        judge: that is asked for, None for the first.
        explain: whether answers are wanted.
        rewards: of UniRL's shape: for each of its requests, the judges that it wants; an item stands for each.
    """

    items: tuple[Wanted, ...]
    judge: str | None = None
    explain: bool = False
    rewards: tuple[tuple[str, ...], ...] | None = None


def read_json(body: bytes, most: int) -> Asked:
    """A request in JSON, for at most so many items. Raises `Malformed`."""
    most = max(most, _LONGEST)
    if sum(map(body.count, _SIGNS)) > _PER_ITEM * most:
        message = f"more values than {most} items need; a form (multipart/form-data) has no such limit"
        raise Malformed([{"type": "json_invalid", "loc": ["body"], "msg": message}])
    try:
        record = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed([{"type": "json_invalid", "loc": ["body"], "msg": f"not JSON: {error}"}]) from error
    _check_lengths(record, most)
    try:
        if isinstance(record, dict) and "requests" in record and "items" not in record:
            return _of_unirl(_UniRLRequest.model_validate(record))
        return _of_request(ScoreRequest.model_validate(record))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise Malformed([{**problem, "loc": ["body", *problem["loc"]]} for problem in problems]) from error


def _check_lengths(record: Any, most: int) -> None:
    """Raise `Malformed` for a list or an object that no request needs."""
    left = [record]
    while left:
        part = left.pop()
        if isinstance(part, dict | list):
            if len(part) > (allowed := _KEYS if isinstance(part, dict) else most):
                what = "keys of an object" if isinstance(part, dict) else "items of a list"
                message = f"{len(part)} {what} are more than the {allowed} allowed in a request"
                raise Malformed([{"type": "too_long", "loc": ["body"], "msg": message}])
            left += part.values() if isinstance(part, dict) else part


def _of_request(request: ScoreRequest) -> Asked:
    items = [
        Wanted(
            each.image,
            each.prompt,
            request.judge,
            each.reference_image,
            None if each.questions is None else tuple(question.question() for question in each.questions),
            each.id,
        )
        for each in request.items
    ]
    return Asked(tuple(items), request.judge, request.explain)


def _of_unirl(request: _UniRLRequest) -> Asked:
    """Each reward of each request, for the last turn of its history, as that service does."""
    rewards = tuple(tuple(each.required_rewards) for each in request.requests)
    items = [
        Wanted(each.history[-1].image_b64, each.history[-1].text, judge)
        for each in request.requests
        for judge in each.required_rewards
    ]
    return Asked(tuple(items), rewards=rewards)


def read_form(fields: Mapping[str, Sequence[str | bytes]]) -> Asked:
    """A form: as many of `image` as of `prompt` (and of `reference_image` and `id`, if any). Raises `Malformed`."""
    for name in ("image", "prompt"):
        if not fields.get(name):
            raise Malformed([_problem(name, "missing", "Field required")])
    for name in fields:
        if name not in ("image", "prompt", "reference_image", "id", "judge", "explain"):
            raise Malformed([_problem(name, "extra_forbidden", "Extra inputs are not permitted")])
    number = len(fields["image"])
    columns: dict[str, list[Any]] = {}
    for name in ("image", "prompt", "reference_image", "id"):
        values: list[Any] = list(fields.get(name) or ()) or [None] * number
        if len(values) != number:
            raise Malformed([_problem(name, "value_error", f"{len(values)} of {name}, {number} of image")])
        columns[name] = values
    for name in ("prompt", "id", "judge", "explain"):
        if any(isinstance(value, bytes) for value in fields.get(name, ())):
            raise Malformed([_problem(name, "string_type", "Input should be text, not a file")])
        if any(clean(str(value)) != value for value in fields.get(name, ())):
            raise Malformed([_problem(name, "string_unicode", "Input should be text, whole surrogate pairs")])
    judge = str(fields["judge"][0]) if fields.get("judge") else None
    explain = str(fields.get("explain", ["false"])[0]).lower() in ("1", "true", "yes", "on")
    items = [
        Wanted(image, str(prompt), judge, reference, None, name)
        for image, prompt, reference, name in zip(*columns.values(), strict=True)
    ]
    return Asked(tuple(items), judge, explain)


def _problem(name: str, kind: str, message: str) -> dict[str, Any]:
    return {"type": kind, "loc": ["body", name], "msg": message}


def picture(sent: str | bytes) -> bytes:
    """The bytes of a picture that was sent; nothing is fetched, nothing is read from a disk.

    Raises:
        ImageError: it is no base64, or an address.
    """
    if isinstance(sent, bytes):
        return sent
    text, is_data = _DATA_URL.subn("", sent[:300], count=1)
    text += sent[300:]
    if not is_data and _ANY_URL.match(text):
        raise ImageError("URLs are not fetched; send the image itself, in base64")
    try:
        data = from_base64(text)
    except ValueError as error:
        raise ImageError(f"its base64 is broken: {error}") from error
    if not data:
        raise ImageError("no image")
    return data
