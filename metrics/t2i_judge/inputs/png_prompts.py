"""Reads the prompt that AUTOMATIC1111, its forks or ComfyUI wrote into a PNG.

AUTOMATIC1111 writes one text, "parameters": the prompt, then "Negative prompt: ..." and "Steps: ...". ComfyUI writes
the graph that made the image, "prompt": node -> {class_type, inputs}; an input is a value or [node, output].
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from .cells import LIMITS, ImageError, read_cell
from .images import open_image

_PARAMETERS, _GRAPH = "parameters", "prompt"  # keywords of a PNG's text
_END = re.compile(r"^(?:Negative prompt:|Steps: \d)", re.MULTILINE)
_TEXTS = ("text", "text_g", "prompt", "string", "value", "populated_text", "wildcard_text", "string_a")  # of a node
_POSITIVE = ("positive", "conditioning", "cond", "guider")


def prompt_in(path: Path) -> str | None:
    """The prompt in an image file; None if there is none that can be read, or it is not an image."""
    try:
        now = path.stat()
    except (OSError, ValueError):
        return None
    return _read_once(path, now.st_ino, now.st_size, now.st_mtime_ns)


@lru_cache(maxsize=100_000)  # the rows of a folder are counted, checked and judged, each time from the start
def _read_once(path: Path, *_state: int) -> str | None:
    try:
        data = read_cell(path, LIMITS)
        texts: Mapping[Any, Any] = open_image(data).info if isinstance(data, bytes) else {}
    except ImageError:
        return None
    if isinstance(parameters := texts.get(_PARAMETERS), str):
        return " ".join(_END.split(parameters, maxsplit=1)[0].split()) or None
    graph = texts.get(_GRAPH)
    return _from_graph(graph) if isinstance(graph, str) else None


def _from_graph(text: str) -> str | None:
    """What the first sampler of a graph is told to draw."""
    try:
        graph = json.loads(text)
    except (ValueError, RecursionError):
        return None
    nodes = (
        {str(name): node for name, node in graph.items() if isinstance(node, dict)} if isinstance(graph, dict) else {}
    )
    samplers = [node for node in nodes.values() if "ampler" in str(node.get("class_type"))]
    return _first_text([_inputs(node).get(name) for node in samplers for name in _POSITIVE], nodes)


def _inputs(node: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _first_text(links: Sequence[Any], nodes: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The first text at the end of a link, which may lead over nodes that combine, guide or join; None without one.

    Each node is looked at once, whoever leads to it: what was left had no text behind it. A graph of a stranger may
    turn in circles, or lead thousands of samplers along one long way.
    """
    waiting, seen = list(reversed(links)), set()
    while waiting:
        link = waiting.pop()
        if isinstance(link, str) and link.strip():
            return " ".join(link.split())
        if isinstance(link, list) and link and isinstance(link[0], str | int) and str(link[0]) not in seen:
            seen.add(str(link[0]))
            inputs = _inputs(nodes.get(str(link[0]), {}))
            further = (*_TEXTS, *_POSITIVE, *(name for name in inputs if name.startswith("conditioning_")))
            waiting += [inputs.get(name) for name in reversed(further)]
    return None
