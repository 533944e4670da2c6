"""YAML into pydantic dataclasses, strictly: an unknown key, a wrong type or range is one line with the fix."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from t2i_judge.errors import UserError, nearest, quoted
from t2i_judge.files import read_yaml as load_yaml

T = TypeVar("T")
RECIPES = Path(__file__).parents[1]  # those of the checkout, which any other may extend


def _number(value: Any) -> Any:
    """YAML reads `1e-4` as a string: it is a number where a number is expected."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; `extends: NAME` first reads the recipe of that name, and merges; it takes all
    but the recipe's own name from there.

    A name means NAME.yaml or NAME/recipe.yaml beside the file, beside its folder, or in recipes/.

    Raises:
        UserError: the file is missing, is not YAML, holds something other than a mapping, or extends without a name.
    """
    return _read(path, ())


def _read(path: Path, trail: tuple[Path, ...]) -> dict[str, Any]:
    if path in trail:
        raise UserError(f"{path} extends itself", "An `extends` chain must end", "Remove one `extends`")
    content = load_yaml(path, "give the path of a recipe's YAML file")
    if not isinstance(content, dict):
        raise UserError(f"{path} is {_name(content)}", "A recipe is a mapping", "Write `name: ...` and the other keys")
    if (parent := content.pop("extends", None)) is None:
        return content
    if "name" not in content:
        reason = "With its parent's name it would write over its builds and its repositories"
        raise UserError(f"{path} extends {quoted(str(parent))} and has no name", reason, "Write `name: ...` in it")
    return merge(_read(_parent(path, str(parent)), (*trail, path)), content)


def _parent(path: Path, name: str) -> Path:
    """The file that an `extends` means. Raises `UserError` where there is none."""
    for folder in (path.parent, path.parent.parent, RECIPES):
        for place in (folder / f"{name}.yaml", folder / name / "recipe.yaml"):
            if place.is_file() and place.resolve() != path.resolve():
                return place
    known = [place.parent.name for place in RECIPES.glob("*/recipe.yaml")]
    raise UserError(f"{path} extends {quoted(name)}", nearest(name, known), "Use a recipe of recipes/")


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mapping by mapping; any other value replaces the old one.

    Data of another `source` replaces the old one, too: what was said about scenes says nothing about a table.
    """
    if changes.get("source", base.get("source")) != base.get("source"):
        return dict(changes)
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def build(cls: type[T], mapping: object, where: str) -> T:
    """A `cls` from plain YAML values. `where` names the place in error messages (`recipe.yaml: training`).

    Raises:
        UserError: unknown key (the nearest is suggested), missing key, or a value of another type or out of range.
    """
    if not isinstance(mapping, Mapping):
        raise UserError(f"{where} is {_name(mapping)}", "It must be a mapping", "Indent its keys below it")
    try:
        plain = json.dumps(mapping)
    except (TypeError, ValueError) as error:  # a date, a list as a key
        raise UserError(
            f"{where} has a value that is not text, a number, a list or a mapping", str(error), "Quote it"
        ) from error
    try:
        # by way of JSON, where pydantic is strict about values and still takes mappings and lists for what they are
        return TypeAdapter(cls).validate_json(plain, strict=True)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        # of a union the member that fits deepest
        first = min(problems, key=lambda p: (_FIRST.get(p["type"], len(_FIRST)), -len(p["loc"])))
        raise _user_error(cls, first, where) from None


_FIRST = {"unexpected_keyword_argument": 0, "missing": 1}  # a key that is misspelt is missing, too
_KINDS: dict[type, str] = {
    str: "text",
    int: "an integer",
    bool: "true or false",
    float: "a number",
    list: "a list",
    dict: "a mapping",
    type(None): "empty",
}
_EXPECTED = {
    "string_type": "text",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "bool_type": "true or false",
    "float_type": "a number",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "dataclass_type": "a mapping",
    "dict_type": "a mapping",
}
_RANGES = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}


def _user_error(cls: type, problem: Mapping[str, Any], where: str) -> UserError:
    """One of pydantic's errors as fact, reason and fix."""
    path = list(_path(cls, problem["loc"]))
    place, kind, value = ".".join((where, *(str(part) for part, _ in path))), problem["type"], problem["input"]
    context: Mapping[str, Any] = problem.get("ctx", {})
    if kind == "unexpected_keyword_argument":
        section = path[-1][1] if path else cls
        key = problem["loc"][-1]
        return UserError(f"{place}: unknown key {quoted(key)}", nearest(key, _names(section)), "Correct or remove it")
    if kind == "missing":
        place = place.rpartition(".")[0]
        return UserError(f"{place}: {quoted(path[-1][0])} is missing", "It has no default", "Add it")
    if kind == "literal_error":
        known = [choice.strip("'") for choice in context["expected"].replace(" or ", ", ").split(", ")]
        return UserError(f"{place} is {quoted(value)}", nearest(value, known), "Use a known value")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = context.get("tag", value.get("source") if isinstance(value, dict) else value)
        known = [get_args(get_type_hints(option)["source"])[0] for option in _options(path[-1][1])]
        return UserError(f"{place}.source is {quoted(tag)}", nearest(tag, known), "Use a known value")
    if kind in _RANGES:
        (bound,) = context.values()
        return UserError(f"{place} is {quoted(value)}", f"It must be {_RANGES[kind]} {bound:g}", "Correct the recipe")
    expected = _EXPECTED.get(kind, problem["msg"].removeprefix("Input should be "))
    return UserError(f"{place} is {quoted(value)} ({_name(value)})", f"It must be {expected}", "Correct it")


def _path(cls: Any, location: Sequence[int | str]) -> Iterator[tuple[int | str, Any]]:
    """(key, its type) along a location; without pydantic's own words for members of unions, and the key at fault."""
    for part in location:
        if isinstance(part, int):
            yield part, cls
            continue
        section = next((option for option in _options(cls) if is_dataclass(option) and part in _names(option)), None)
        if section is not None:
            cls = get_type_hints(section)[str(part)]
            yield part, cls
        else:
            cls = next((o for o in _options(cls) if getattr(o, "source", None) == part), cls)


def _options(cls: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    return tuple(inner for option in get_args(cls) for inner in _options(option)) or (cls,)


def _names(cls: Any) -> list[str]:
    return [name for option in _options(cls) if is_dataclass(option) for name in (f.name for f in fields(option))]


def _name(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)
