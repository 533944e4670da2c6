"""Pictures to begin with: rendered at start-up from the embedded world, so that they always fit the embedded judge."""

from __future__ import annotations

import random
import tempfile
from functools import cache
from pathlib import Path

from PIL import Image

from composer import EXAMPLES, draw, faithful, with_choice
from scenes.render import render
from scenes.world import GENERATORS, simulate

SINGLE_LABELS = ("as asked", "wrong count and colour", "out of focus", "not a scene: declined")


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Goes when the process ends."""
    return tempfile.TemporaryDirectory(prefix="t2i-judge-examples-")


def _save(image: Image.Image, name: str) -> str:
    path = Path(_folder().name, f"{name}.png")
    image.save(path)
    return str(path)


def single_examples() -> list[list[str]]:
    """Picture and prompt: as asked, with a wrong count, out of focus, and a picture the embedded judge declines."""
    pair, squares = (faithful(prompt, seed=3) for prompt in EXAMPLES[:2])
    return [
        [_save(draw(pair), "as-asked"), pair.prompt.text],
        [_save(draw(with_choice(pair, 1, count=4, color="red")), "wrong-circles"), pair.prompt.text],
        [_save(draw(with_choice(squares, 0, severity=0.8)), "out-of-focus"), squares.prompt.text],
        [_save(Image.linear_gradient("L").convert("RGB"), "not-a-scene"), squares.prompt.text],
    ]


def compare_examples() -> list[list[object]]:
    """Four simulated generators' pictures of one prompt."""
    prompt = EXAMPLES[0]
    pictures = []
    for name in ("masterly", "steady", "careless", "faithful-ugly"):
        assert name in GENERATORS
        rng = random.Random(f"example/{name}")
        pictures.append((_save(render(simulate(prompt, name, rng), rng), name), name))
    return [[pictures, prompt.text]]
