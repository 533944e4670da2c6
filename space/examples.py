"""Pictures to begin with: scenes of the embedded world for the embedded judge, the benchmark's own for any other."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from benchmark import BenchItem, Benchmark
from composer import EXAMPLES, draw, faithful, with_choice
from scenes.render import render
from scenes.world import GENERATORS, simulate
from t2i_judge.records import Judgement

_SHOWN, _LABEL = 4, 60  # examples of a kind, and characters of a label


@dataclass(frozen=True)
class Examples:
    """Pictures to begin with.

    Attributes:
        single: [picture, prompt] each, and `labels` for them.
        several: at most one [[(picture, name), ...], prompt], and `label` for it.
        judgements: of `single`, by the release's own run; None where there is none.
    """

    single: list[list[Any]]
    labels: Sequence[str]
    several: list[list[Any]]
    label: str
    judgements: Sequence[Judgement | None] = ()


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Goes when the process ends."""
    return tempfile.TemporaryDirectory(prefix="t2i-judge-examples-")


def _save(image: Image.Image, name: str) -> str:
    path = Path(_folder().name, f"{name}.png")
    image.save(path)
    return str(path)


def of_scenes() -> Examples:
    """As asked, with a wrong count, out of focus, a picture the embedded judge declines; four generators' pictures."""
    pair, squares = (faithful(prompt, seed=3) for prompt in EXAMPLES[:2])
    single: list[list[Any]] = [
        [_save(draw(pair), "as-asked"), pair.prompt.text],
        [_save(draw(with_choice(pair, 1, count=4, color="red")), "wrong-circles"), pair.prompt.text],
        [_save(draw(with_choice(squares, 0, severity=0.8)), "out-of-focus"), squares.prompt.text],
        [_save(Image.linear_gradient("L").convert("RGB"), "not-a-scene"), squares.prompt.text],
    ]
    labels = ("as asked", "wrong count and colour", "out of focus", "not a scene: declined")
    return Examples(single, labels, _generators(), "four generators, one prompt")


def _generators() -> list[list[Any]]:
    """Four simulated generators' pictures of one prompt."""
    prompt = EXAMPLES[0]
    pictures = []
    for name in ("masterly", "steady", "careless", "faithful-ugly"):
        assert name in GENERATORS
        rng = random.Random(f"example/{name}")
        pictures.append((_save(render(simulate(prompt, name, rng), rng), name), name))
    return [[pictures, prompt.text]]


def of_benchmark(benchmark: Benchmark) -> Examples:
    """Its pictures, each of another prompt, those first that the release's run judged; and several of one prompt."""
    items: dict[str, list[BenchItem]] = {}
    for item in benchmark.items:
        items.setdefault(item.prompt, []).append(item)
    judged = [next((item for item in of if benchmark.judgement(item)), of[0]) for of in items.values()]
    judged.sort(key=lambda item: benchmark.judgement(item) is None)
    found = ((item, path) for item in judged if (path := _saved(benchmark, item)))
    shown = list(islice(found, _SHOWN))
    single: list[list[Any]] = [[path, item.prompt] for item, path in shown]
    labels = [label if len(label) <= _LABEL else f"{label[:_LABEL]}…" for _, label in single]
    several = next(filter(None, (_several(benchmark, of) for of in items.values() if len(of) > 1)), [])
    kept = [benchmark.judgement(item) for item, _ in shown]
    return Examples(single, labels, several, "several pictures, one prompt", kept)


def _several(benchmark: Benchmark, items: Sequence[BenchItem]) -> list[list[Any]]:
    """Pictures of one prompt with their generators; nothing where fewer than two can be shown."""
    pictures = [(path, item.generator) for item in items[:_SHOWN] if (path := _saved(benchmark, item))]
    return [[pictures, items[0].prompt]] if len(pictures) > 1 else []


def _saved(benchmark: Benchmark, item: BenchItem) -> str | None:
    image = None if item.has_reference else benchmark.picture(item)
    return _save(image, f"bench-{item.split}-{item.row}") if image is not None else None
