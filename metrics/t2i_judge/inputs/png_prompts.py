"""Reads the prompt that AUTOMATIC1111, its forks or ComfyUI wrote into a PNG.

AUTOMATIC1111 writes one text, "parameters": the prompt, then "Negative prompt: ..." and "Steps: ...". ComfyUI writes
the graph that made the image, "prompt": node -> {class_type, inputs}; an input is a value or [node, output]. The graph
may draw several images, or join texts: where its samplers are led to more than one text, none is the prompt.
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
_END = re.compile(r"^(?:Negative prompt:|Steps: \d+\s*(?:,|$))", re.MULTILINE)
_SAMPLED = ("positive", "conditioning", "cond", "guider")
_LEADS = re.compile(  # inputs of a node that are a prompt, or lead to one
    rf"(?:text|string)(?:_[a-z])?|prompt|value|populated_text|wildcard_text|clip_l|t5xxl|conditioning_.*|{'|'.join(_SAMPLED)}"
)


def prompt_in(path: Path) -> str | None:
    """The prompt in an image file; None if there is none that can be read, or it is not an image."""
    try:
        now = path.stat()
    except (OSError, ValueError):
        return None
    return _read_once(path, now.st_ino, now.st_size, now.st_mtime_ns)


def prompt_of(parameters: str) -> str | None:
    """The prompt of AUTOMATIC1111's text, in one line: what stands before the settings. None if that is nothing."""
    return " ".join(_END.split(parameters, maxsplit=1)[0].split()) or None


@lru_cache(maxsize=100_000)  # the rows of a folder are counted, checked and judged, each time from the start
def _read_once(path: Path, *_state: int) -> str | None:
    try:
        data = read_cell(path, LIMITS)
        texts: Mapping[Any, Any] = open_image(data).info if isinstance(data, bytes) else {}
    except ImageError:
        return None
    if isinstance(parameters := texts.get(_PARAMETERS), str):
        return prompt_of(parameters)
    graph = texts.get(_GRAPH)
    return _from_graph(graph) if isinstance(graph, str) else None


def _from_graph(text: str) -> str | None:
    """What all samplers of a graph are told to draw; None if that is not one text."""
    try:
        graph = json.loads(text)
    except (ValueError, RecursionError):
        return None
    nodes = (
        {str(name): node for name, node in graph.items() if isinstance(node, dict)} if isinstance(graph, dict) else {}
    )
    samplers = [node for node in nodes.values() if "ampler" in str(node.get("class_type"))]
    return _only_text([_inputs(node).get(name) for node in samplers for name in _SAMPLED], nodes)


def _inputs(node: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _only_text(links: Sequence[Any], nodes: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The text at the end of all links, which may lead over nodes that combine, guide or join.

    None if there are several, or if a node makes its text in another way. Each node is looked at once, whoever leads to
    it: a graph of a stranger may turn in circles, or lead thousands of samplers along one long way.
    """
    waiting, seen, texts = list(links), set(), set()
    while waiting:
        link = waiting.pop()
        if isinstance(link, str):
            texts.add(" ".join(link.split()))
        elif isinstance(link, list) and link and isinstance(link[0], str | int) and str(link[0]) not in seen:
            seen.add(str(link[0]))
            inputs = _inputs(nodes.get(str(link[0]), {}))
            ready = {"wildcard_text"} if "populated_text" in inputs else set()  # which is what was made of the other
            further = [inputs[name] for name in inputs.keys() - ready if _LEADS.fullmatch(name)]
            if not any(isinstance(value, str | list) for value in further):
                return None
            waiting += further
    texts.discard("")
    return texts.pop() if len(texts) == 1 else None
