"""Asks a backend for words, a score, or JSON of a schema, and asks again in other words if the reply is unusable.

After an unusable reply, the model is asked a second time. It is asked a third time only if four of five of its replies
so far were usable, because then two bad replies are bad luck. After a refusal to look at an image, or a lost call, it
is not asked again. The usable reply is kept as the reply to the first request, so that the next run finds it; unusable
replies are forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from ..prompts import RE_ASK_JSON, RE_ASK_SCORE
from ..records import Status, Usage
from .backend import ChatBackend, Schema
from .refusals import refuses
from .replies import parse_score, parse_words
from .thinking import bare, spoken
from .verdicts import ReplyError, read_object
from .wire import Message, Reply
from .words import shorten

T = TypeVar("T")
Reader = Callable[[dict[str, Any]], tuple[T, str | None]]
_ASKED, _ASKED_OF_A_GOOD_ONE = 2, 3  # times at most, the first included
_GOOD = 4  # usable replies for each that is not
_GARBLED = (Status.UNPARSABLE, Status.OUT_OF_RANGE)
_SCORE_TOKENS = 32
_SHOWN = 20_000  # characters of an unusable reply that the model is shown again


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """The outcome: a value, or a status with its reason; the usage; and the model that the server names.

    If the reply had to be repaired, the value has a reason that says how.
    """

    value: T | None
    status: Status = Status.OK
    reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    model: str | None = None


async def ask_json(
    backend: ChatBackend,
    messages: Sequence[Message],
    schema: Schema,
    read: Reader[T],
    tokens: int,
    most_tokens: int,
    by_parts: bool = False,
) -> Outcome[T]:
    """The value that `read` finds in the JSON object of the reply to `messages`.

    Args:
        schema: (name, JSON schema) of the reply, also shown to the model when it has to be asked again.
        read: object -> (value, what is wrong with it or None); raises ValueError when there is no value. A value with
            something wrong is asked for again, and taken as it is when nothing better comes.
        tokens, most_tokens: length limit, and the one for later tries.
        by_parts: the object need not fit the schema as a whole; `read` looks at its parts.
    """

    def read_text(text: str) -> _Verdict[T]:
        record, repair = read_object(text, None if by_parts else schema[1])
        if _repeats(text, messages):
            raise ReplyError(Status.UNPARSABLE, "the reply repeats an object that stands in the request")
        if words := next((words for words in record.values() if isinstance(words, str) and refuses(words)), None):
            raise ReplyError(Status.REFUSED, f"refused: {shorten(words, 200)}")
        value, problem = read(record)
        return _Verdict(value, problem, repair=f"repaired: {repair}" if repair else None)

    def demand(problem: str) -> str:
        return RE_ASK_JSON.format(problem=problem, schema=json.dumps(schema[1], ensure_ascii=False))

    return await _ask(backend, messages, read_text, demand, tokens, most_tokens, schema)


def _repeats(text: str, messages: Sequence[Message]) -> bool:
    """Whether the object at the end of a reply stands in the request, white space apart: a prompt may carry one."""
    objects = {bare(words).partition("{")[2] for words in (text, spoken(text))} - {"", "}"}
    echoes = {"".join(f"{{{rest}".split()) for rest in objects}  # whole: a summary may end as an answer does
    asked = ["".join(message.text.split()) for message in messages if message.role == "user"]
    return any(echo in text for text in asked for echo in echoes)


async def ask_score(backend: ChatBackend, messages: Sequence[Message]) -> Outcome[float]:
    """The score in [0, 10] that the reply consists of (`replies.parse_score`)."""

    def demand(problem: str) -> str:
        return RE_ASK_SCORE.format(problem=problem)

    def read(text: str) -> _Verdict[float]:
        return _Verdict(parse_score(text))

    return await _ask(backend, messages, read, demand, _SCORE_TOKENS, _SCORE_TOKENS)


async def ask_words(backend: ChatBackend, messages: Sequence[Message], tokens: int) -> Outcome[str]:
    """The words of the reply (`replies.parse_words`); none at all are asked for again."""
    return await _ask(backend, messages, lambda text: _Verdict(parse_words(text)), None, tokens, tokens)


@dataclass(frozen=True)
class _Verdict(Generic[T]):
    """What one reply held; a value may have a problem (something is wrong with a part of it)."""

    value: T | None
    problem: str | None = None
    status: Status = Status.UNPARSABLE  # of a problem
    repair: str | None = None

    def may_pass(self, pictures: bool) -> bool:
        """Whether asking again may bring something better; a refusal may pass where no picture was to be seen."""
        return self.status in _GARBLED or (self.status is Status.REFUSED and not pictures)


async def _ask(
    backend: ChatBackend,
    messages: Sequence[Message],
    read: Callable[[str], _Verdict[T]],
    demand: Callable[[str], str] | None,
    tokens: int,
    most_tokens: int,
    schema: Schema | None = None,
) -> Outcome[T]:
    """Ask until a reply can be used, or asking again is pointless."""
    conversation, limit, replies = list(messages), tokens, list[Reply]()
    best: _Verdict[T] = _Verdict(None)
    while True:
        reply = await backend.ask(conversation, limit, schema)
        replies.append(reply)
        verdict = _read(reply, read)
        if verdict.value is not None or best.value is None:
            best = verdict
        if verdict.problem is None:
            backend.count(usable=True)
            break
        if verdict.status in _GARBLED and not reply.cut_off:
            backend.count(usable=False)
        backend.forget(reply)
        room = max(most_tokens, backend.room)
        may_pass = verdict.may_pass(any(message.images for message in messages))
        if not may_pass or not _another(backend, len(replies)) or (reply.cut_off and limit >= room):
            break
        limit = room if reply.cut_off else most_tokens
        if demand and (words := spoken(reply.text or "").strip()):
            problem = str(verdict.problem).rstrip(".")
            conversation += [Message("assistant", words[:_SHOWN]), Message("user", demand(problem))]
    return _outcome(backend, best, replies)


def _another(backend: ChatBackend, asked: int) -> bool:
    """Whether an unusable reply is worth one more request; a third is not worth the wait for one more batch."""
    good = backend.usable >= _GOOD * backend.unusable and not backend.in_batches
    return asked < (_ASKED_OF_A_GOOD_ONE if good else _ASKED)


def _read(reply: Reply, read: Callable[[str], _Verdict[T]]) -> _Verdict[T]:
    if reply.text is None:
        return _Verdict(None, reply.reason or "no reply", reply.status)
    try:
        return read(reply.text)
    except ReplyError as error:
        return _Verdict(None, error.reason, error.status)
    except ValueError as error:
        return _Verdict(None, " ".join(str(error).split()) or "unusable")


def _outcome(backend: ChatBackend, best: _Verdict[T], replies: Sequence[Reply]) -> Outcome[T]:
    usage = sum((reply.usage for reply in replies), Usage())
    model = next((reply.model for reply in reversed(replies) if reply.model), None)
    if best.value is None:
        return Outcome(None, best.status, best.problem, usage, model)
    if best.problem is None and len(replies) > 1:
        backend.keep(replies[0].key, replace(replies[-1], usage=usage))
    return Outcome(best.value, reason=best.repair, usage=usage, model=model)
