"""Reads the prompt that AUTOMATIC1111, its forks or ComfyUI wrote into a PNG.

AUTOMATIC1111 writes one text, "parameters": the prompt, then "Negative prompt: ..." and "Steps: ...". ComfyUI writes
the graph that made the image, "prompt": node -> {class_type, inputs}; an input is a value or [node, output].
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .cells import LIMITS, ImageError, read_cell
from .images import open_image

_PARAMETERS, _GRAPH = "parameters", "prompt"  # keywords of a PNG's text
_END = re.compile(r"^(?:Negative prompt:|Steps: \d)", re.MULTILINE)
_TEXTS = ("text", "text_g", "prompt", "string", "value", "populated_text", "wildcard_text", "string_a")  # of a node
_POSITIVE = ("positive", "conditioning", "cond", "guider")
_MOST_NODES = 200  # on the way from a sampler to its text


def prompt_in(path: Path) -> str | None:
    """The prompt in an image file; None if there is none that can be read, or it is not an image."""
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
    samplers = [node for node in nodes.values() if "ampler" in str(node.get("class_type")) and _inputs(node)]
    for node in samplers:
        for name in _POSITIVE:
            if written := _followed(_inputs(node).get(name), nodes, set()):
                return written
    return None


def _inputs(node: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _followed(link: Any, nodes: Mapping[str, Mapping[str, Any]], seen: set[str]) -> str | None:
    """The text at the end of a link; it may lead over nodes that combine, guide or join. None where there is none.

    `seen`: names of the nodes that were looked at, each once; a graph of a stranger may turn in circles.
    """
    if isinstance(link, str):
        return " ".join(link.split()) or None
    if not isinstance(link, list) or not link or str(link[0]) in seen or len(seen) > _MOST_NODES:
        return None
    seen.add(str(link[0]))
    inputs = _inputs(nodes.get(str(link[0]), {}))
    for name in (*_TEXTS, *_POSITIVE, *(name for name in inputs if name.startswith("conditioning_"))):
        if written := _followed(inputs.get(name), nodes, seen):
            return written
    return None
