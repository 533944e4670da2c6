"""What people read is sentences: every error begins with a capital or a name, and rates say "per"."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from t2i_judge.errors import UserError

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("metrics", "recipes", "space", "model_card", "dataset_card")
    for path in (ROOT / folder).rglob("*.py")
)
ERRORS = {"UserError", "Undecided", "BudgetExceeded", "NotOffered", "UnknownColumn"}
RATES = re.compile(
    r"\b(?:line|row|column|label|token|form|score|prompt|question|step|images?|rows|steps|tokens|bits|ms|s|one)"
    r" an? (?:item|image|row|line|prompt|question|step|pair|person|digit|channel|annotator|rater|recipe|request|hour)\b"
)
ODD = re.compile(r"\b(?:mend|anew|besides|defect of the program|doors? (?:opened|open|did))\b")


def _beginnings(node: ast.expr) -> Iterator[tuple[int, str]]:
    """(line, text) of each literal that a part of a message can begin with."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    elif isinstance(node, ast.JoinedStr) and node.values and isinstance(node.values[0], ast.Constant):
        yield node.lineno, node.values[0].value
    elif isinstance(node, ast.IfExp):
        yield from _beginnings(node.body)
        yield from _beginnings(node.orelse)
    elif isinstance(node, ast.BinOp):
        yield from _beginnings(node.left)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _beginnings(value)


def _assigned(function: ast.AST) -> dict[str, list[ast.expr]]:
    """Values of the names that a function (or module) assigns, alone or in tuples."""
    values: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=False))
                for name, value in pairs:
                    if isinstance(name, ast.Name):
                        values.setdefault(name.id, []).append(value)
    return values


def _parts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, beginning) of every fact, reason and fix, also where a name in the same function holds it."""
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for scope in (tree, *functions):
        names = _assigned(scope)
        for node in ast.walk(scope):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
                for part in node.args:
                    yield from _beginnings(part)
                    for value in names.get(part.id, []) if isinstance(part, ast.Name) and scope is not tree else []:
                        yield from _beginnings(value)


def test_every_part_of_an_error_begins_with_a_capital_or_a_name() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}"
        for path in FILES
        for line, text in sorted(set(_parts(ast.parse(path.read_text(encoding="utf-8")))))
        if text[:1].islower()
    ]
    assert not wrong, "\n".join(wrong)


def test_an_error_is_sentences_that_end() -> None:
    error = UserError("There are 2 human_scores for 3 images", "", "Give one score per image; use None for gaps.")
    assert str(error) == "There are 2 human_scores for 3 images. Give one score per image; use None for gaps."
    assert str(UserError("a.csv has no column 'modle'", "Did you mean 'model'?")).endswith("Did you mean 'model'?")


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of every string but docstrings and those that a model or a pattern reads."""
    hidden = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in hidden:
            yield node.lineno, node.value


MODELS_READ = ("prompts.py", "dreambench.py", "graded_prompts.py", "corpus.py", "exercises.py", "annotators.py")


@pytest.mark.parametrize("pattern", [RATES, ODD], ids=["rates", "odd words"])
def test_no_message_has_a_rate_without_per_or_an_odd_word(pattern: re.Pattern[str]) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {text[:120]!r}"
        for path in FILES
        if path.name not in MODELS_READ
        for line, text in _texts(ast.parse(path.read_text(encoding="utf-8")))
        if pattern.search(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_docstring_has_a_rate_without_per() -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    trees = {path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
    docstrings = [
        (path, ast.get_docstring(node) or "")
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, documented)
    ]
    wrong = [f"{path}: {found.group()!r}" for path, text in docstrings for found in RATES.finditer(text)]
    assert not wrong, "\n".join(wrong)
