"""The strings and comments of Python source, without its escapes, and the names that they are given to."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator

_LISTS = (ast.List, ast.Tuple, ast.Set)
_GIVING = (ast.Assign, ast.AnnAssign, ast.keyword, ast.Dict, ast.arguments)
_KINDS = (ast.Constant, *_LISTS, *_GIVING)


def python_strings(source: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """(names, text) of every string and comment; names of the variable, argument and keys that it stands under, if any.

    Raises:
        SyntaxError, ValueError, RecursionError, tokenize.TokenError: no Python.
    """
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, _KINDS)]
    named: dict[int, tuple[str, ...]] = {}
    for node in nodes:  # what holds others comes before them
        held = named.get(id(node), ())
        for value in getattr(node, "elts", ()):
            named[id(value)] = held
        for name, value in _given(node):
            if value is not None:
                named[id(value)] = (*held, name)
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            text = node.value if isinstance(node.value, str) else node.value.decode(errors="replace")
            yield named.get(id(node), ()), text
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield (), token.string


def _given(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """Names and the expressions that a node gives to them."""
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from ((name, value) for target in targets if (name := _name(target)))
        case ast.AnnAssign(target=target, value=value) if name := _name(target):
            yield name, value
        case ast.keyword(arg=str(name), value=value):
            yield name, value
        case ast.Dict(keys=keys, values=values):
            yield from ((key.value, value) for key, value in zip(keys, values) if _is_name(key))  # type: ignore[union-attr]
        case ast.arguments(args=args, defaults=defaults, kwonlyargs=more, kw_defaults=rest) if defaults or rest:
            yield from zip((arg.arg for arg in args[len(args) - len(defaults) :]), defaults)
            yield from zip((arg.arg for arg in more), rest)


def _name(target: ast.expr) -> str | None:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
    return None


def _is_name(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and isinstance(key.value, str)
