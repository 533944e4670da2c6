"""Ask a backend for something particular: JSON of a schema, or a score; at most one more time, in other words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..prompts import RE_ASK_JSON, RE_ASK_SCORE
from ..records import Status, Usage
from .backend import ChatBackend, Schema
from .replies import parse_score
from .verdicts import ReplyError
from .wire import Message, Reply

T = TypeVar("T")
Reader = Callable[[str], tuple[T, str | None]]
_SCORE_TOKENS = 32


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of asking: a value, or a status with its reason; what it took; which model the server says it was."""

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
) -> Outcome[T]:
    """A value that `read` finds in the reply to `messages`.

    Args:
        schema: (name, JSON schema) of the reply, also shown to the model when it has to be asked again.
        read: reply text -> (value, what is missing from it or None); raises ValueError when there is no value. A
            value with something missing is asked for again once, and then taken as it is.
        tokens, most_tokens: length limit, and the one for a second try when the first reply was cut off.
    """
    first = await backend.ask(messages, tokens, schema)
    verdict = _read(first, read)
    if not verdict.ask_again or (first.text is None and tokens >= most_tokens):
        return _outcome(backend, verdict, [first])
    again = list(messages)
    if first.text is not None:
        problem = str(verdict.problem).rstrip(".")
        demand = RE_ASK_JSON.format(problem=problem, schema=json.dumps(schema[1], ensure_ascii=False))
        again += [Message("assistant", first.text), Message("user", demand)]
    second = await backend.ask(again, most_tokens, schema)
    better = _read(second, read)
    if better.value is None and verdict.value is not None:
        better = verdict
    return _outcome(backend, better, [first, second])


async def ask_score(backend: ChatBackend, messages: Sequence[Message]) -> Outcome[float]:
    """The score in [0, 10] that the reply consists of (`replies.parse_score`); prose is asked again once."""

    def read(text: str) -> tuple[float, None]:
        return parse_score(text), None

    first = await backend.ask(messages, _SCORE_TOKENS)
    verdict = _read(first, read)
    if not verdict.ask_again:
        return _outcome(backend, verdict, [first])
    answered = [Message("assistant", first.text)] if first.text else []
    demand = Message("user", RE_ASK_SCORE.format(problem=str(verdict.problem).rstrip(".")))
    second = await backend.ask([*messages, *answered, demand], _SCORE_TOKENS)
    return _outcome(backend, _read(second, read), [first, second])


@dataclass(frozen=True)
class _Verdict(Generic[T]):
    """What one reply held; a value may have a problem (something is missing from it)."""

    value: T | None
    problem: str | None
    status: Status

    @property
    def ask_again(self) -> bool:
        return self.problem is not None and self.status is Status.UNPARSABLE


def _read(reply: Reply, read: Reader[T]) -> _Verdict[T]:
    if reply.text is None:
        return _Verdict(None, reply.reason, reply.status)
    try:
        value, problem = read(reply.text)
        return _Verdict(value, problem, Status.UNPARSABLE if problem else Status.OK)
    except ReplyError as error:
        return _Verdict(None, error.reason, error.status)
    except ValueError as error:
        return _Verdict(None, " ".join(str(error).split()), Status.UNPARSABLE)


def _outcome(backend: ChatBackend, verdict: _Verdict[T], replies: Sequence[Reply]) -> Outcome[T]:
    """The end of it. Replies that did not say what was asked are forgotten: the next run may have better luck."""
    if verdict.problem is not None:
        for reply in replies:
            backend.forget(reply)
    usage = sum((reply.usage for reply in replies), Usage())
    model = replies[-1].model
    if verdict.value is not None:
        return Outcome(verdict.value, usage=usage, model=model)
    return Outcome(None, verdict.status, verdict.problem or "no reply", usage, model)
