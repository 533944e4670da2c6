"""Typed data + Jinja template -> Markdown card. Shared by the model card and the dataset cards."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from jinja2 import Environment

_PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
NOTHING = "–"
_MARKUP = re.compile(r"[\\|\[\]!]")  # inside a word, an underscore is one


def render(template: Path, metadata: Mapping[str, Any], **values: Any) -> str:
    """The card: metadata as YAML front matter, then the template filled with `values`.

    Raises:
        jinja2.UndefinedError: the template names a value that it was not given.
    """
    body = _environment(template.parent).get_template(template.name).render(**values)
    text = re.sub(r"\n{3,}", "\n\n", body).strip()
    return f"---\n{front_matter(metadata)}---\n\n{text}\n"


@cache
def _environment(folder: Path) -> Environment:
    """For the templates of a folder, each of which takes 20 ms to compile."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, and every value is our own or escaped by `cell`
    )
    environment.filters.update(number=number, interval=interval, cell=cell, listed=listed, sentence=sentence)
    environment.filters.update(licence=licence)
    return environment


def front_matter(metadata: Mapping[str, Any]) -> str:
    """Metadata as YAML, empty values left out."""
    filled = {key: value for key, value in metadata.items() if value not in (None, [], {})}
    return yaml.safe_dump(filled, sort_keys=False, allow_unicode=True, width=120)


def number(value: float | None, digits: int = 3) -> str:
    """A coefficient or a score with three decimals, a whole number as it is, a dash for None."""
    if value is None:
        return NOTHING
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


def interval(bounds: Sequence[float] | None) -> str:
    """`[low, high]`, or a dash."""
    return NOTHING if bounds is None or None in bounds else f"[{number(bounds[0])}, {number(bounds[1])}]"


def cell(value: Any) -> str:
    """A value inside a Markdown table: on one line, no bar, no tag, no link and no picture."""
    text = NOTHING if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split())).replace("<", "&lt;")


def sentence(text: str) -> str:
    """A recipe's words as a sentence, with a capital at the start and a full stop at the end."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def listed(counts: Mapping[str, Any]) -> str:
    """`a (3), b (4)`: a mapping in a sentence; a dash when it is empty."""
    return ", ".join(f"{cell(name)} ({cell(value)})" for name, value in counts.items()) or NOTHING


def licence(release: Mapping[str, Any], key: str) -> str:
    """A licence of a release's terms in a sentence; one that the Hub has no name for by its own name, linked."""
    if release[key] == "other" and release.get("license_name") and release.get("license_link"):
        return f"[{cell(release['license_name'])}]({cell(release['license_link'])})"
    return str(release[key] or "not stated")


def licence_metadata(release: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The front matter of a licence: `license`, and for `other` the Hub's `license_name` and `license_link`."""
    stated: dict[str, Any] = {"license": release[key] or "unknown"}
    if release[key] == "other" and release.get("license_name") and release.get("license_link"):
        stated["license_name"] = "-".join(re.findall(r"[\w.]+", release["license_name"].lower()))
        stated["license_link"] = release["license_link"]
    return stated


def python_blocks(card: str) -> list[str]:
    """The Python code blocks of a card, in order: what its reader will paste."""
    return _PYTHON_BLOCK.findall(card)


def metadata_of(card: str) -> dict[str, Any]:
    """The front matter of a card as a mapping; empty when it has none. Raises yaml.YAMLError."""
    match = re.match(r"---\n(.*?)\n---\n", card, re.S)
    return (yaml.safe_load(match[1]) or {}) if match else {}
