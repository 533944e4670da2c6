"""How one server wants to be asked, learned from what it refuses, and remembered for the run.

Servers that speak the OpenAI chat protocol differ in what they take. A request is written once, as OpenAI's own server
takes it; `Dialect.body` says it as this server does. What a server refuses by name, in whatever words and with whatever
status, is said another way at once; what it refuses without a name is found by trying (`variants`), but only as long as
it has never been taken: then the one request is at fault, not the dialect. Room that a long prompt leaves for a reply
is learned for that one request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .rejections import Rejection

Body = dict[str, Any]
LIMITS = ("max_completion_tokens", "max_tokens")  # two names of one thing: OpenAI's, and nearly everybody else's
SHAPES = ("json_schema", "json_object", "none")
_SHAPE = "response_format"
_SHAPE_WORDS = re.compile(
    r"response.?format|json.?(?:schema|object|mode)|structured.?output|guided|grammar|strict|schema"
    r"|additional.?properties",
    re.IGNORECASE,
)
_LIMIT_TOO_HIGH = re.compile(
    r"context.{0,20}(?:length|window|size|limit)|maximum context|n_ctx|too (?:large|big|high|many)|at most"
    r"|(?:less|greater|fewer|more) than|exceed|maximum (?:value|allowed)|max(?:imum)? (?:output|completion) tokens"
    r"|valid range",
    re.IGNORECASE,
)
_DROPPED = ("temperature", "seed")  # sent by us, unasked or to tell runs apart; a server may do without
_FEWEST = 16  # tokens; a server that takes no reply of that length has no room for the request


@dataclass(frozen=True)
class Manner:
    """One way of asking.

    Attributes:
        shape: index in `SHAPES`, how the form of a reply is asked for.
        shapes: the same for single schemas that a server takes less well than others.
        limits: names under which the length limit is sent.
        without: arguments that are not sent.
        most: tokens of the longest reply that the server gives to any request.
    """

    limits: tuple[str, ...]
    shape: int = 0
    shapes: tuple[tuple[str, int], ...] = ()
    without: frozenset[str] = frozenset()
    most: int | None = None

    def body(self, request: Mapping[str, Any]) -> Body:
        """A request (with `max_completion_tokens`, and a `json_schema` if any) as it is sent."""
        body = {name: value for name, value in request.items() if name not in (*self.without, _SHAPE, LIMITS[0])}
        tokens = request[LIMITS[0]]
        body |= dict.fromkeys(self.limits, tokens if self.most is None else min(tokens, self.most))
        if _SHAPE in request:
            shape = SHAPES[dict(self.shapes).get(schema_name(request), self.shape)]
            if shape != "none":
                body[_SHAPE] = request[_SHAPE] if shape == "json_schema" else {"type": shape}
        return body


@dataclass
class Dialect:
    """What was learned about a server.

    Attributes:
        manner: how it is asked now.
        notes: sentences about what it is asked otherwise than usual.
    """

    manner: Manner
    notes: list[str] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)  # features of requests that were answered
    _limits_refused: set[str] = field(default_factory=set)

    def body(self, request: Mapping[str, Any]) -> Body:
        """A request as this server takes it."""
        return self.manner.body(request)

    def took(self, body: Mapping[str, Any], request: Mapping[str, Any]) -> None:
        """The server answered this body."""
        self._taken |= _features(body, request)

    def has_taken(self, argument: str) -> bool:
        """Whether a request with this argument was answered: then words about it may be a prompt's."""
        return argument in self._taken

    def knows(self, body: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
        """Whether everything in this body was taken before: then a rejection is about what it says, not how."""
        return _features(body, request) <= self._taken

    def refused(self, body: Body, request: Mapping[str, Any], rejection: Rejection) -> Mapping[str, Any] | None:
        """Learn from a rejection that says what is refused.

        Returns:
            The request to make now: the same where it is said otherwise from now on, or one for a shorter reply; None
            if nothing was learned.
        """
        if self.body(request) != body:  # another call has learned that meanwhile
            return request
        if self.manner.limits and _is_about_length(rejection):
            if self._cap(body, rejection):
                return request
            room = self._room(body, rejection)
            if room >= _FEWEST:
                self._note("replies for which the server has no room are limited to fewer tokens than planned")
                return {**request, LIMITS[0]: room}
        learned = (
            self._limit_by_another_name(body, rejection)
            or self._shape(body, request, rejection)
            or self._without(body, rejection)
        )
        return request if learned else None

    def variants(self, body: Body, request: Mapping[str, Any]) -> Iterator[Manner]:
        """Other ways of asking to be tried when the rejection does not say what it is about; the gentlest first."""
        fresh = _features(body, request) - self._taken
        manner = self.manner
        ways: list[dict[str, Any]] = []
        if _SHAPE in body and any(name.startswith(_SHAPE) for name in fresh):
            ways += [{"shape": shape, "shapes": ()} for shape in range(manner.shape + 1, len(SHAPES))]
        if not ways:  # what else may be refused is refused by name
            return
        ways += [{"limits": (name,)} for name in LIMITS if (name,) != manner.limits]
        ways += [{"without": manner.without | {name}} for name in _DROPPED if name in fresh]
        everything: dict[str, Any] = {}
        for way in ways:
            everything |= {**way, "without": everything.get("without", manner.without) | way.get("without", set())}
            yield replace(manner, **way)
        if len(ways) > 1:
            yield replace(manner, **everything)

    def adopt(self, manner: Manner) -> None:
        """A variant was taken: ask like that from now on."""
        if manner.shape != self.manner.shape:
            self._note(_shape_note(manner.shape))
        if manner.limits != self.manner.limits:
            self._note(f"the length limit is sent as {' and '.join(manner.limits)}")
        for name in manner.without - self.manner.without:
            self._note(f"{name} is not sent: the server refuses it")
        self.manner = manner

    def _cap(self, body: Body, rejection: Rejection) -> bool:
        """Learn the most tokens of any reply, where the server says it."""
        most = rejection.cap(body[self.manner.limits[0]])
        if most is None or most < _FEWEST:
            return False
        self.manner = replace(self.manner, most=most)
        self._note(f"replies are limited to fewer tokens than planned: the server gives {most:,} at most")
        return True

    def _room(self, body: Body, rejection: Rejection) -> int:
        """Tokens of a reply for which there may be room beside this request's prompt."""
        asked = body[self.manner.limits[0]]
        room = rejection.room(asked)
        return int(asked // 2 if room is None or room >= asked else room)

    def _limit_by_another_name(self, body: Body, rejection: Rejection) -> bool:
        limits = self.manner.limits
        for name in sorted(limits, key=rejection.place):
            if rejection.names(name) and (name not in self._taken or rejection.param == name):
                self._limits_refused.add(name)
                left = [other for other in LIMITS if other not in self._limits_refused]
                if not left:
                    return False
                self.adopt(replace(self.manner, limits=tuple(n for n in limits if n != name) or (left[0],)))
                return True
        return False

    def _shape(self, body: Body, request: Mapping[str, Any], rejection: Rejection) -> bool:
        by_name = (rejection.param or "").startswith(_SHAPE)
        if _SHAPE not in body or not (by_name or _SHAPE_WORDS.search(rejection.text)):
            return False
        if _shape_feature(body, request) in self._taken and not by_name:
            return False
        name, kind = schema_name(request), str(body[_SHAPE]["type"])
        level = SHAPES.index(kind) + 1
        if any(
            taken.startswith(f"{_SHAPE}={kind}") for taken in self._taken
        ):  # others go through: this schema does not
            self.manner = replace(self.manner, shapes=(*(s for s in self.manner.shapes if s[0] != name), (name, level)))
            self._note(f"{_shape_note(level)} ({name})")
        else:
            self.adopt(replace(self.manner, shape=level))
        return True

    def _without(self, body: Body, rejection: Rejection) -> bool:
        for name in _DROPPED:
            if name in body and rejection.names(name) and (name not in self._taken or rejection.param == name):
                self.adopt(replace(self.manner, without=self.manner.without | {name}))
                return True
        return False

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def _is_about_length(rejection: Rejection) -> bool:
    of_tokens = re.search(r"tokens?\b|context|n_ctx|max_", rejection.text, re.IGNORECASE)
    return bool(of_tokens and _LIMIT_TOO_HIGH.search(rejection.text))


def schema_name(request: Mapping[str, Any]) -> str:
    """Name of the schema that a request's reply is to follow."""
    return str(request[_SHAPE]["json_schema"]["name"])


def _features(body: Mapping[str, Any], request: Mapping[str, Any]) -> set[str]:
    plain = {name for name in body if name not in ("model", "messages", _SHAPE)}
    return plain | ({_shape_feature(body, request)} if _SHAPE in body else set())


def _shape_feature(body: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    return f"{_SHAPE}={body[_SHAPE]['type']}:{schema_name(request)}"


def _shape_note(shape: int) -> str:
    kinds = ("by a JSON schema", "as a JSON object, without a schema", "in words only")
    return f"the form of replies is requested {kinds[shape]}: the server refuses stricter forms"
