"""What would run code out of a repository while a model or a dataset is loaded from it, or a template of it is used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipes.safety.contents import TRUST, Contents, Leaf
from recipes.safety.templates import template_code

# The modules that transformers and diffusers import from a repository are called so, and so is the module of a dataset.
_MODULES = re.compile(
    r"(?:modeling|modelling|configuration|processing|image_processing|video_processing|feature_extraction|tokenization|pipeline|"
    r"modular|generation|custom_generate)_\w+\.py"
)
# Names in a configuration that lead to code: transformers' classes and pipelines, peft's import of a library by name.
_KEYS = ("auto_map", "custom_pipelines", "custom_generate")
_TRUSTED = re.compile(rf"{TRUST}[\"'\]]{{0,2}}\s*(?:[=:]|=>)\s*[\"']?(?!(?i:false|0|none|null|no|off)\b)[\w\"'(]")
_NO = ("false", "0", "no", "off", "none", "null")
_KERNELS = re.compile(r"[\w.-]+/[\w.-]+(?:@[\w.-]+)?(?::\w+)?")  # compiled code from the Hub: OWNER/NAME
_FIX = "use classes that transformers or t2i_judge know"
_REWORD = "reword that row, or leave it out"


def remote_code(name: str, piece: Contents) -> Iterator[tuple[str, str]]:
    """(what is wrong, fix) of a piece of a file with that name."""
    if _MODULES.fullmatch(Path(name).name):
        yield f"a module that a model could be loaded with ({Path(name).name})", _FIX
    for used in dict.fromkeys(_used(name, piece)):
        yield f"uses {used}", _FIX
    for leaf in piece.leaves if not piece.code and not piece.vocabulary else ():
        for used in dict.fromkeys(_used_in(leaf)):
            yield (f"{leaf.place}: uses {used}", _REWORD) if leaf.place else (f"uses {used}", _FIX)


def _used(name: str, piece: Contents) -> Iterator[str]:
    if piece.code:
        yield from _in_python(piece.text)
        return
    yield from template_code(name, piece)
    if _TRUSTED.search(piece.text):
        yield TRUST
    yield from (key for key in _KEYS if re.search(rf"[\"']?\b{key}\b[\"']?\s*:", piece.text))


def _used_in(leaf: Leaf) -> Iterator[str]:
    yield from (key for key in _KEYS if key in leaf.keys or leaf.text == key)
    if _TRUSTED.search(leaf.text):
        yield TRUST
    last = leaf.keys[-1] if leaf.keys else ""
    if last == TRUST and leaf.text.lower() not in _NO:
        yield TRUST
    if any("implementation" in key for key in leaf.keys) and _KERNELS.fullmatch(leaf.text):
        yield f"a kernel from the Hub ({leaf.text})"
    if last == "parent_library" and leaf.text.split(".")[0] not in ("transformers", "t2i_judge", "torch", "peft"):
        yield f"a library by its name ({leaf.text[:40]})"


def _in_python(source: str) -> Iterator[str]:
    """Source that trusts: an argument, a key or a variable of that name that is not plainly false."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.keyword(arg=name, value=value) if name == TRUST and not _is_false(value):
                yield TRUST
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values):
                    word = key.value if isinstance(key, ast.Constant) else None
                    if word == TRUST and not _is_false(value):
                        yield TRUST
                    elif word in _KEYS:
                        yield str(word)
            case ast.Assign(targets=targets, value=value):
                if any(_name(target) == TRUST for target in targets) and not _is_false(value):
                    yield TRUST
            case ast.Constant(value=str(text)) if _TRUSTED.search(text):
                yield TRUST


def _is_false(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and not value.value


def _name(target: ast.expr) -> Any:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=name)):
            return name
    return None
