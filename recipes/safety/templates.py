"""Chat templates that reach for more than a message: whoever loads the tokenizer runs them, not always in a sandbox.

Read as Jinja's lexer reads them, so that its escapes are gone, and tags that only some libraries know do not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recipes.safety.contents import Contents

TEMPLATE = "chat_template"
_SUFFIXES = (".jinja", ".jinja2", ".j2")
_ROOTS = ("cycler", "joiner", "lipsum", "self")  # objects from which Python's own can be reached
_TAGS = ("import", "include", "extends", "from")  # other templates
_OWN = {".": "_", "|": "attr"}  # before a name -> how a name begins that is no variable of the template's
_JOINING = ("~", "+", "*", "%")


def template_code(name: str, piece: Contents) -> Iterator[str]:
    """What in the templates of a piece of a file reaches for Python's objects."""
    if Path(name).suffix.lower() in _SUFFIXES:
        yield from _in_template(piece.text)
    for leaf in piece.leaves:
        if not leaf.a_name and any(TEMPLATE in key for key in leaf.keys):
            yield from _in_template(leaf.text)


def _in_template(source: str) -> Iterator[str]:
    from jinja2 import Environment, TemplateSyntaxError

    try:
        tokens = [(kind, text) for _, kind, text in Environment().lex(source) if kind not in ("whitespace", "data")]
    except TemplateSyntaxError as error:
        yield f"a template that cannot be read ({error.message})"
        return
    before = ("", "")
    for place, (kind, text) in enumerate(tokens):
        after = tokens[place + 1] if place + 1 < len(tokens) else ("", "")
        match kind:
            case "name" if text in _ROOTS or text.startswith(_OWN.get(before[1], "__")):
                yield f"`{text}` in a template"
            case "name" if text in _TAGS and before[0] == "block_begin":
                yield f"`{text}` in a template"
            case "string" if wrong := _wrong_string(text, {before[1], after[1]}):
                yield f"{wrong} in a template"
        before = (kind, text)


def _wrong_string(text: str, beside: set[str]) -> str | None:
    """A string that is the name of a Python object's own part, or a piece of one that is put together."""
    value = text[1:-1].encode("ascii", "backslashreplace").decode("unicode-escape", errors="replace")
    if "__" in value:
        return "a name between underscores"
    if (value.startswith("_") or value.endswith("_")) and beside & set(_JOINING):
        return "a name that is put together"
    return None
