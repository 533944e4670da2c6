"""YAML into frozen dataclasses, strictly: an unknown key, a wrong type or a missing value is one line with the fix."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from t2i_judge.errors import UserError, nearest

T = TypeVar("T")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; `extends: NAME` first reads NAME.yaml beside it, or NAME/recipe.yaml, and merges.

    Raises:
        UserError: the file is missing, is not YAML, or holds something other than a mapping.
    """
    return _read(path, ())


def _read(path: Path, trail: tuple[Path, ...]) -> dict[str, Any]:
    if path in trail:
        raise UserError(f"{path} extends itself", "an `extends` chain must end", "remove one `extends`")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}", str(error), "give the path of a recipe's YAML file") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML", " ".join(str(error).split()), "mend that line") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds {_name(content)}", "a recipe is a mapping", "write `name: ...` and so on")
    if (parent := content.pop("extends", None)) is None:
        return content
    beside, folder = path.with_name(f"{parent}.yaml"), path.parent.parent / str(parent) / "recipe.yaml"
    return merge(_read(beside if beside.is_file() else folder, (*trail, path)), content)


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mapping by mapping; any other value replaces the old one."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def build(cls: type[T], mapping: object, where: str) -> T:
    """A `cls` from plain YAML values. `where` names the place in error messages (`recipe.yaml: training`).

    Raises:
        UserError: unknown key (the nearest is suggested), missing key, or a value of another type (both are named).
    """
    if not isinstance(mapping, Mapping):
        raise UserError(f"{where} is {_name(mapping)}", "a mapping was expected", "indent its keys below it")
    known = {f.name: f for f in fields(cls) if f.init}  # type: ignore[arg-type]
    for key in mapping:
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}", nearest(key, known), "correct or remove it")
    hints = get_type_hints(cls)
    required = [name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    missing = [name for name in required if name not in mapping]
    if missing:
        raise UserError(f"{where}: {missing[0]!r} is missing", "it has no default", "add it")
    return cls(**{key: _value(hints[key], value, f"{where}.{key}") for key, value in mapping.items()})


def _value(expected: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(expected), get_args(expected)
    if origin in (Union, types.UnionType):
        return _member(arguments, value, where)
    if origin is Literal:
        if value not in arguments:
            raise UserError(f"{where} is {value!r}", nearest(value, map(str, arguments)), "use one of those")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(where, "a list", value)
        return tuple(_value(arguments[0], item, f"{where}[{n}]") for n, item in enumerate(value))
    if isinstance(expected, type) and is_dataclass(expected):
        return build(expected, value, where)
    return _scalar(expected, value, where)


def _scalar(expected: type, value: Any, where: str) -> Any:
    """YAML reads `1e-4` as a string and `3` as an integer: both are numbers where a number is expected."""
    if expected is float and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise _wrong(where, "a number", value) from None
        if not math.isfinite(number):
            raise _wrong(where, "a finite number", value)
        return number
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise _wrong(where, _KINDS.get(expected, expected.__name__), value)
    return value


def _member(options: tuple[Any, ...], value: Any, where: str) -> Any:
    """The one member of a union that fits: null, a dataclass (told apart by its `source` key), a list or a scalar."""
    if value is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    sources: dict[str, type] = {option.source: option for option in options if hasattr(option, "source")}
    if sources and isinstance(value, Mapping):
        if (source := str(value.get("source"))) not in sources:
            raise UserError(f"{where}.source is {source!r}", nearest(source, sources), "use one of those")
        return build(sources[source], value, where)
    if len(options) > 1:
        listed = [option for option in options if get_origin(option) is tuple]
        options = tuple(listed) if isinstance(value, list) and listed else tuple(o for o in options if o not in listed)
    return _value(options[0], value, where)


_KINDS: dict[type, str] = {
    str: "text",
    int: "an integer",
    bool: "true or false",
    float: "a number",
    list: "a list",
    dict: "a mapping",
    type(None): "empty",
}


def _name(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _wrong(where: str, expected: str, value: object) -> UserError:
    return UserError(f"{where} is {value!r} ({_name(value)})", f"{expected} was expected", "correct it")
