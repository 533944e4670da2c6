"""The one JSON object that a reply says, whole and of the schema that was asked for; or none.

A reply's verdict is one whole object, or text that ends in its only object. Text before it may hold no brace: where it
does, nobody can say which of two objects is meant, or whether the last one is part of a broken one. It may neither
quote the object nor rate otherwise (`lead_ins`). So text around a verdict may make a reply unparsable, and never
another verdict. Time and memory are linear in the reply's length.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ..records import Status
from .lead_ins import quotes, ratings
from .refusals import refuses
from .thinking import bare, spoken
from .words import clean, shorten

PLAIN_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_INSIDE = re.compile(r"(?:\[|[\"\]}]\s{0,9}[:,])\s{0,9}$")  # what stands before a value in a list or an object
_SURROGATE = re.compile(r"\\ud[89a-f]", re.IGNORECASE)  # half a character, maybe without its other half
_MOST_DIGITS = 300  # of a number in text
_LINE_BREAK = "a raw line break or tab in a text"
_COMMA = "a comma too many"


class ReplyError(ValueError):
    """A reply that cannot be used: `status` is UNPARSABLE, OUT_OF_RANGE or REFUSED, `reason` says what is wrong."""

    def __init__(self, status: Status, reason: str) -> None:
        self.status, self.reason = status, " ".join(reason.split())
        super().__init__(self.reason)


def read_object(text: str, schema: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], str | None]:
    """The object that a reply says, and how it was repaired, None where it needed none.

    A repair changes no value: a raw line break inside a text, or one trailing comma in an object that is otherwise
    whole. Keys that the schema does not name may stand beside those that it does.

    Raises:
        ReplyError: UNPARSABLE when there is no such object, REFUSED when the model declines in words.
    """
    words = text
    try:
        record, repair = _load(bare(text))  # a marker inside a text of a whole object is data
    except ValueError:
        words = spoken(text)
        record, repair = _at_the_end(bare(words))
    if refuses(words):
        raise ReplyError(Status.REFUSED, f"refused: {shorten(words, 200)}")
    if schema is not None and (problem := misfit(record, schema)):
        raise ReplyError(Status.UNPARSABLE, problem)
    return record, repair


def _at_the_end(text: str) -> tuple[dict[str, Any], str | None]:
    """The only object of a text, which ends with it."""
    start = text.find("{")
    try:
        if start < 0:
            raise ValueError("it holds none")
        if "}" in text[:start] or _INSIDE.search(text[max(0, start - 50) : start]):
            raise ValueError("it is part of a broken one")
        record, repair = _load(text[start:])
        if quotes(text[:start]):
            raise ValueError("the words before it quote it")
        if (rated := ratings(text[:start])) and rated - set(_numbers(record)):
            raise ValueError("the words before it rate otherwise")
        return record, repair
    except ValueError as error:
        if refuses(text):
            raise ReplyError(Status.REFUSED, f"refused: {shorten(text, 200)}") from error
        why = str(error).split(":")[0]
        raise ReplyError(
            Status.UNPARSABLE,
            f"no JSON object is the whole reply, or its end and its only one ({why}): {shorten(text)!r}",
        ) from error


def _load(text: str) -> tuple[dict[str, Any], str | None]:
    """A text that is one whole object. Raises ValueError."""
    try:
        return _object(text, strict=True), None
    except json.JSONDecodeError as error:
        broken = error
    try:
        return _object(text, strict=False), _LINE_BREAK
    except json.JSONDecodeError as error:
        broken = error
    if (comma := _trailing_comma(text, broken.pos)) is None:
        raise broken
    without = text[:comma] + text[comma + 1 :]
    try:
        return _object(without, strict=True), _COMMA
    except json.JSONDecodeError:
        return _object(without, strict=False), f"{_COMMA}, {_LINE_BREAK}"


def _object(text: str, strict: bool) -> dict[str, Any]:
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError("it is not an object")
    try:
        record: dict[str, Any] = json.loads(
            text, strict=strict, object_pairs_hook=_once, parse_int=_whole, parse_constant=_no_constant
        )
        if _SURROGATE.search(text):
            record = json.loads(clean(json.dumps(record, ensure_ascii=False)))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return record


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"{shorten(twice)!r} stands twice in it")
    return record


def _whole(digits: str) -> int | float:
    """A JSON integer; one of hundreds of digits is out of any range, and infinite will do for it."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _trailing_comma(text: str, position: int) -> int | None:
    """Where the comma stands that made the decoder stumble at `position`, if it was a trailing one."""
    comma = position
    if text[position : position + 1] in ("}", "]"):  # Python up to 3.12 stumbles behind the comma, later ones on it
        comma = len(text[:position].rstrip()) - 1
    before, behind = text[:comma].rstrip()[-1:], text[comma + 1 :].lstrip()[:1]
    is_trailing = text[comma : comma + 1] == "," and behind in ("}", "]") and before not in ("", "{", "[", ",", ":")
    return comma if is_trailing else None


def misfit(value: object, schema: Mapping[str, Any], name: str = "the reply") -> str | None:
    """What keeps a JSON value from fitting a schema of `prompts`, None when it fits.

    A number may stand as a text that is one plain number.
    """
    kinds = schema.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    if not any(_is(kind, value) for kind in kinds):
        return f"{name} is {shorten(as_json(value))}, not of type {' or '.join(kinds)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{name} is {shorten(as_json(value))}, none of {', '.join(schema['enum'])}"
    parts: list[tuple[str, object, Mapping[str, Any]]] = []
    if isinstance(value, dict):
        if missing := [key for key in schema.get("required", ()) if key not in value]:
            return f"{name} has no {missing[0]!r}"
        parts = [(key, value[key], part) for key, part in schema.get("properties", {}).items() if key in value]
    elif isinstance(value, list) and "items" in schema:
        parts = [(f"entry {number} of {name}", entry, schema["items"]) for number, entry in enumerate(value, 1)]
    return next((problem for key, part, rule in parts if (problem := misfit(part, rule, key))), None)


def _is(kind: str, value: object) -> bool:
    """Whether a JSON value is of a type of JSON Schema."""
    if kind in ("number", "integer"):
        number = plain_number(value)
        return number is not None and (kind == "number" or math.isinf(number) or number == int(number))
    types: dict[str, type | tuple[type, ...]] = {
        "string": str, "boolean": bool, "object": dict, "array": list, "null": type(None)
    }  # fmt: skip
    return isinstance(value, types[kind])


def plain_number(value: object) -> int | float | None:
    """A JSON number, or the one plain number that a text is; None for anything else, true and false included."""
    if isinstance(value, str):
        text = value.strip()
        return float(text) if len(text) <= _MOST_DIGITS and PLAIN_NUMBER.fullmatch(text) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    return value


def _numbers(value: object) -> Iterator[float]:
    """All numbers of a JSON value, those in texts that are one plain number too."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict | list):
            todo.extend(item.values() if isinstance(item, dict) else item)
        elif (number := plain_number(item)) is not None:
            yield float(number)


def as_json(value: object) -> str:
    """A JSON value as text, as far as a person wants to read it."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (RecursionError, ValueError):
        return type(value).__name__
