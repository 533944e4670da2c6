"""`make reference`: write the command reference and the API reference into metrics/README.md, from the code.

Commands come from their argument parsers, the API from signatures and docstrings. A test checks that the guide has
exactly what this command would write.
"""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import pairwise
from typing import Any

import t2i_judge
import t2i_judge.rewards
from recipes.recipe.config import ROOT
from t2i_judge.cli import COMMANDS, command_line
from t2i_judge.errors import UserError
from t2i_judge.files import write_atomic
from t2i_judge.judges.base import Judge
from t2i_judge.metric import INPUTS
from t2i_judge.running import command
from t2i_judge.terminal import Parser, step

GUIDE = ROOT / "metrics" / "README.md"
SECTIONS = ("commands", "api")
_EVERYWHERE = ("--help", "--verbose", "--quiet")  # explained once, in the guide
_WIDTH = 100  # characters of a signature in a line
_TITLE = re.compile(r"(Args|Attributes|Raises|Returns|Yields|Example):")


def commands() -> str:
    """A table of each command's arguments. One that an earlier command explains in the same words is only named."""
    parser = command_line(COMMANDS)
    choices = next(a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    explained: dict[tuple[str, str], str] = {}
    return "\n".join(_command(name, choices[name], explained) for name in COMMANDS)


def _command(name: str, parser: argparse.ArgumentParser, explained: dict[tuple[str, str], str]) -> str:
    rows, known = [], dict[str, list[str]]()
    for action in parser._actions:
        if _flag(action) in _EVERYWHERE:
            continue
        call, words = _call(action), parser._get_formatter()._expand_help(action) if action.help else ""
        if (call, words) in explained:
            known.setdefault(explained[call, words], []).append(f"`{_flag(action)}`")
            continue
        explained[call, words] = name
        required = " (required)" if action.required and action.option_strings else ""
        rows.append(f"| `{_cell(call)}`{required} | {_cell(words)} |")
    lines = [f"### `t2i-judge {name}`", "", f"{_sentence(COMMANDS[name][1])}", ""]
    lines += ["| argument | meaning |", "| --- | --- |", *rows, ""] if rows else []
    lines += [line for other, flags in known.items() for line in (f"As for `{other}`: {', '.join(flags)}.", "")]
    return "\n".join(lines)


def _flag(action: argparse.Action) -> str:
    return action.option_strings[-1] if action.option_strings else _value(action)


def _call(action: argparse.Action) -> str:
    """An argument as it is typed."""
    if not action.option_strings:
        return _value(action)
    return " ".join(filter(None, (", ".join(action.option_strings), _value(action))))


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else None
    name = str(action.metavar or choices or action.dest.upper())
    return {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} ..."}.get(str(action.nargs), name)


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def api() -> str:
    """Every public name: its signature and what its docstring says."""
    public = {name: getattr(t2i_judge, name) for name in t2i_judge.__all__ if not name.startswith("__")}
    rewards = {f"rewards.{name}": getattr(t2i_judge.rewards, name) for name in t2i_judge.rewards.__all__}
    parts = [_entry(name, found) for name, found in {**public, "Judge": Judge, **rewards}.items()]
    metric = f'### `evaluate.load("t2i_judge")`\n\n```text\n{INPUTS.strip()}\n```\n'
    return "\n".join([*parts, metric])


def _entry(name: str, found: Any) -> str:
    if not inspect.isclass(found):
        return f"### `{name}`\n\n{_signature(name.split('.')[-1], found)}\n\n{prose(inspect.getdoc(found) or '')}\n"
    lines = [f"### `{name}`", ""]
    if issubclass(found, Enum):
        lines += [f"One of {', '.join(f'`{member.value}`' for member in found)}.", ""]
    elif "__init__" in vars(found) and not inspect.isabstract(found) and "__dataclass_fields__" not in vars(found):
        lines += [_signature(name.split(".")[-1], found), ""]
    lines += [prose(inspect.getdoc(found) or ""), ""]
    for method, body in vars(found).items():
        function = getattr(body, "__func__", body)  # of a class method
        if not method.startswith("_") and inspect.isfunction(function):
            described = prose(inspect.getdoc(function) or "")
            lines += [f"#### `{name}.{method}`", "", _signature(method, function), "", described, ""]
    return "\n".join(lines)


def _signature(name: str, function: Any) -> str:
    """A call as code, with types and defaults; one parameter per line if it is long."""
    parameters = []
    starred = False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parameters.append("*")
        starred |= parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        parameters.append(_parameter(parameter))
    returns = inspect.signature(function).return_annotation
    end = ")" if inspect.isclass(function) or returns is inspect.Signature.empty else f") -> {_type(returns)}"
    line = f"{name}({', '.join(parameters)}{end}"
    if len(line) > _WIDTH:
        line = "\n".join([f"{name}(", *(f"    {parameter}," for parameter in parameters), end])
    return f"```python\n{line}\n```"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = "*" * ((parameter.kind is parameter.VAR_POSITIONAL) + 2 * (parameter.kind is parameter.VAR_KEYWORD))
    kind = "" if parameter.annotation is parameter.empty else f": {_type(parameter.annotation)}"
    if parameter.default is parameter.empty:
        return f"{stars}{parameter.name}{kind}"
    return f"{parameter.name}{kind} = {parameter.default!r}"


def _type(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def prose(docstring: str) -> str:
    """A docstring as Markdown: its sections ("Args:" ...) become lists, an example becomes code."""
    lines = docstring.splitlines()
    cuts = [*(number for number, line in enumerate(lines) if _TITLE.fullmatch(line)), len(lines)]
    parts = ["\n".join(lines[: cuts[0]]).strip()]
    for start, end in pairwise(cuts):
        title, body = lines[start].rstrip(":"), textwrap.dedent("\n".join(lines[start + 1 : end])).strip("\n")
        if title == "Example":
            parts.append(f"```python\n{body}\n```")
        else:
            parts.append("\n".join([f"**{title}**", "", *_items(body)]))
    return "\n\n".join(filter(None, parts))


def _items(body: str) -> Iterator[str]:
    """The entries of a section: `name: text`, indented lines going on with the one above."""
    for entry in re.split(r"\n(?=\S)", body):
        text = " ".join(entry.split())
        name, colon, rest = text.partition(": ")
        yield f"- `{name}`: {rest}" if colon else f"- {text}"


def with_reference(guide: str) -> str:
    """The guide with both references replaced. Raises `UserError` if the marks are missing."""
    for section, text in zip(SECTIONS, (commands(), api())):
        begin, end = f"<!-- {section}: written by make reference -->", f"<!-- end of {section} -->"
        before, begun, rest = guide.partition(begin)
        _, ended, after = rest.partition(end)
        if not (begun and ended):
            raise UserError(f"{GUIDE.name} has no place for {section}", f"It is between {begin} and {end}", "Add both")
        guide = f"{before}{begin}\n\n{text}\n{end}{after}"
    return guide


@command("reference")
def main(argv: Sequence[str] | None = None) -> int:
    """Write both; 0."""
    parser = Parser(prog="recipes.reference", description="Write the references in metrics/README.md.")
    parser.parse_args(argv)
    write_atomic(GUIDE, with_reference(GUIDE.read_text(encoding="utf-8")))
    step(f"written: {GUIDE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
