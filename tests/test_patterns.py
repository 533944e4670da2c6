"""No text freezes a command: the time of every pattern of the product grows as the text does.

A stranger writes prompts, replies, cards and cells. Each pattern runs as its module runs it, over texts made of its own
words and classes, repeated: once and again, four times as long. Time that grows with the square is sixteen times as
much then, and a pattern with two repeats side by side that take the same sign shows itself so.
"""

from __future__ import annotations

import ast
import importlib
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PARSER: Any = importlib.import_module("re._parser")
SOURCES = {"t2i_judge": ROOT / "metrics", "recipes": ROOT, "space": ROOT / "space"}
RUNS = {"search": "finditer", "match": "match", "fullmatch": "fullmatch", "finditer": "finditer", "findall": "finditer",
        "sub": "finditer", "split": "finditer"}  # fmt: skip
SHORT, LONG = 1000, 4000  # characters
FLOOR, MOST = 0.003, 0.5  # seconds of this thread: what is too short to compare, and what is surely too long
GROWTH = 8.0  # between 4, in proportion, and 16, with the square
SIGNS = "a0 \n-_"  # tried in every pattern, beside its own
ENDS = ("", "\n\0")


def files() -> Iterator[tuple[str, Path]]:
    """(module, file) of the product's sources that use patterns. The Space's modules import each other flat."""
    for top, base in SOURCES.items():
        for path in sorted((base if top == "space" else base / top).rglob("*.py")):
            if not path.is_relative_to(ROOT / "space" / "scenes") and path.name != "__main__.py":  # a link
                name = ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")
                if "re." in (text := path.read_text(encoding="utf-8")) and "import re\n" in text:
                    yield name, path


def calls(tree: ast.AST) -> Iterator[tuple[ast.expr, str, list[ast.expr]]]:
    """(on what, method, arguments) of every call in a source that a pattern may take."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in RUNS:
            yield node.func.value, node.func.attr, node.args


def held(value: Any) -> Iterator[re.Pattern[Any]]:
    """The patterns in a module's variable."""
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        yield from held(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from held(part)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from held([getattr(value, field.name) for field in fields(value)])


def patterns() -> dict[str, tuple[re.Pattern[Any], set[str]]]:
    """Where -> (pattern, how it is run), of the variables of modules and of patterns written where they are used."""
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in files()}
    used: dict[tuple[str, str], set[str]] = {}
    for module, tree in trees.items():
        for on, method, _ in calls(tree):
            name = on.id if isinstance(on, ast.Name) else on.attr if isinstance(on, ast.Attribute) else ""
            used.setdefault((module, name), set()).add(RUNS[method])
    found: dict[str, tuple[re.Pattern[Any], set[str]]] = {}
    for module, tree in trees.items():
        own = {RUNS[method] for _, method, _ in calls(tree)}
        for name, value in vars(importlib.import_module(module)).items():
            for place, pattern in enumerate(held(value)):
                found[f"{module}.{name}[{place}]"] = (
                    pattern,
                    used.get((module, name)) or own or {"finditer", "fullmatch"},
                )
        for on, method, arguments in calls(tree):
            if isinstance(on, ast.Name) and on.id == "re" and isinstance(arguments[0], ast.Constant):
                written, flags = arguments[0].value, 0
                for part in (part for argument in arguments[1:] for part in ast.walk(argument)):
                    if isinstance(part, ast.Attribute) and isinstance(flag := getattr(re, part.attr, 0), re.RegexFlag):
                        flags |= flag
                found[f"{module}: {written!r}"] = re.compile(written, flags), {RUNS[method]}
    return found


def sign(items: Iterable[tuple[Any, Any]]) -> str:
    """A sign that a class of signs takes."""
    items = [(str(kind), value) for kind, value in items]
    inside = [chr(value if kind == "LITERAL" else value[0]) for kind, value in items if kind in ("LITERAL", "RANGE")]
    inside += [_OF[str(value)] for kind, value in items if kind == "CATEGORY"]
    if items[0][0] == "NEGATE":
        return next((char for char in "a0 -\n#~" if char not in inside), "\0")
    return inside[0]


_OF = {"CATEGORY_DIGIT": "0", "CATEGORY_NOT_DIGIT": "a", "CATEGORY_SPACE": " ", "CATEGORY_NOT_SPACE": "a",
       "CATEGORY_WORD": "a", "CATEGORY_NOT_WORD": "-"}  # fmt: skip


def example(parts: Any) -> str:
    """A short text that a pattern takes, or nearly: looks ahead and behind are left out."""
    text = ""
    for kind, value in parts:
        match str(kind):
            case "LITERAL":
                text += chr(value)
            case "NOT_LITERAL":
                text += "a" if value != ord("a") else "b"
            case "ANY":
                text += "a"
            case "IN":
                text += sign(value)
            case "BRANCH":
                text += example(value[1][0])
            case "SUBPATTERN":
                text += example(value[-1])
            case "ATOMIC_GROUP":
                text += example(value)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                text += example(value[2]) * min(value[0], 64)
    return text


def inner(kind: str, value: Any) -> list[Any]:
    """The patterns within one part of a pattern."""
    match kind:
        case "BRANCH":
            return list(value[1])
        case "SUBPATTERN" | "ASSERT" | "ASSERT_NOT":
            return [value[-1]]
        case "ATOMIC_GROUP":
            return [value]
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return [value[2]]
    return []


def repeats(parts: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """(what leads there, what is repeated) of every repeat of a pattern."""
    for kind, value in parts:
        if str(kind).endswith("_REPEAT") and value[1] > 1:
            yield before, example(value[2])
        for part in inner(str(kind), value):
            yield from repeats(part, before)
        before += example([(kind, value)])


def words(parts: Any) -> Iterator[str]:
    """The literal texts and the classes of a pattern, each class as one of its signs."""
    run = ""
    for kind, value in parts:
        if str(kind) == "LITERAL":
            run += chr(value)
            continue
        yield run
        run = ""
        if str(kind) == "IN":
            yield sign(value)
            yield from (chr(part) for of, part in value if str(of) == "LITERAL")
        for part in inner(str(kind), value):
            yield from words(part)
    yield run


def seeds(pattern: re.Pattern[Any]) -> list[tuple[str, str]]:
    """(beginning, what is repeated after it) of texts that try a pattern."""
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    parts = PARSER.parse(text, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags)
    own = [word for word in dict.fromkeys(words(parts)) if word]
    signs = list(dict.fromkeys([*SIGNS, *(word for word in own if len(word) == 1)]))[:12]
    long = [word for word in own if len(word) > 1][:10]
    whole = example(parts)
    found = [("", whole), *(("", whole + char) for char in signs)]
    found += [("", word + char) for word in long for char in ("", " ", "-", "a", "0")]
    found += [("", first + second) for first in signs[:6] for second in signs[:6] if first != second]
    for before, body in dict.fromkeys(repeats(parts)):
        for char in [body, *signs]:
            found += [(before, char), ("", before + char)]
    return [seed for seed in dict.fromkeys(found) if seed[1]]


def stop(*_: Any) -> None:
    raise TimeoutError


def seconds(run: Callable[[Any], Any], text: Any) -> float:
    """Of this thread alone, whatever else the machine does; `MOST` for what was stopped."""
    started = time.thread_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST)
    try:
        found = run(text)
        if hasattr(found, "__next__"):
            sum(1 for _ in found)
    except TimeoutError:
        return MOST
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return time.thread_time() - started


def grows_too_fast(pattern: re.Pattern[Any], way: str, seed: tuple[str, str], end: str) -> bool:
    """Whether a text of four times the length takes far more than four times as long, however often it is tried."""

    def taken(length: int) -> float:
        text = seed[0] + seed[1] * (length // len(seed[1])) + end
        return seconds(
            getattr(pattern, way), text if isinstance(pattern.pattern, str) else text.encode("latin-1", "replace")
        )

    first = taken(LONG)
    if first < FLOOR or (first < MOST and first <= GROWTH * taken(SHORT)):
        return False
    return first >= MOST or all(min(taken(LONG) for _ in range(2)) > GROWTH * taken(SHORT) for _ in range(3))


def first_slow(pattern: re.Pattern[Any], ways: Iterable[str]) -> tuple[str, tuple[str, str], str] | None:
    """(how it was run, seed, end) of a text that a pattern takes too long for."""
    tried = ((way, seed, end) for way in sorted(ways) for seed in seeds(pattern) for end in ENDS)
    return next((case for case in tried if grows_too_fast(pattern, *case)), None)


@pytest.fixture(autouse=True)
def _stopped() -> Iterator[None]:
    before = signal.signal(signal.SIGVTALRM, stop)
    yield
    signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize(
    "pattern, way",
    [(r"\s*[|;]\s*", "finditer"), (rb"[a-z]+[a-z0-9]*={0,2}", "fullmatch"), (r"(?:```|`)*x", "match"),
     (r"(?<![a-z])hf_(?=[\w-]*\d)[\w-]{20,}", "finditer"), (r"---[\r\n]+(.*?)[\r\n]+---", "match"),
     (r"\[\[(.*?)\]\]", "finditer"), (r"^\s*from \.(\w+)", "finditer")],
)  # fmt: skip
def test_a_pattern_that_takes_too_long_is_found(pattern: Any, way: str) -> None:
    assert first_slow(re.compile(pattern, re.MULTILINE), [way])


@pytest.mark.parametrize(
    "pattern, way",
    [(r"[|;]", "finditer"), (rb"[a-z]++[0-9]*+={0,2}", "fullmatch"), (r"`*+x", "match"),
     (r"(?<![a-z])hf_(?=[\w-]{0,200}\d)[\w-]{20,}", "finditer"), (r"---[\r\n](.*?)[\r\n]---", "match")],
)  # fmt: skip
def test_one_that_does_not_is_not(pattern: Any, way: str) -> None:
    assert first_slow(re.compile(pattern), [way]) is None


@pytest.mark.slow
def test_no_pattern_of_the_product_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "space"))
    found = patterns()
    assert len(found) > 200
    tried = {(pattern, tuple(sorted(ways))): name for name, (pattern, ways) in found.items()}
    slow = {name: case for (pattern, ways), name in tried.items() if (case := first_slow(pattern, ways))}
    assert not slow, f"add possessive repeats (*+, ++), or bound them: {slow}"
