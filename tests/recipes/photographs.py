"""A user's own data: photographs that the test packages ship, pictures that generators could have made of them, people.

Twelve prompts; for each the photograph itself, a soft rendering and a noisy one, in the odd shapes that pictures come
in (a transparent PNG, 16-bit grey, a JPEG that is turned by its EXIF).
"""

from __future__ import annotations

import csv
from pathlib import Path

import gradio
import matplotlib
import numpy as np
import skimage
import sklearn.datasets
from PIL import Image, ImageFilter

_SKIMAGE = Path(skimage.__file__).parent / "data"
_SKLEARN = Path(sklearn.datasets.__file__).parent / "images"
_GRADIO = Path(gradio.__file__).parent / "media_assets" / "images"
PHOTOGRAPHS = {
    "an astronaut in an orange suit": _SKIMAGE / "astronaut.png",
    "a tabby cat on a sofa": _SKIMAGE / "chelsea.png",
    "a cup of coffee on a table": _SKIMAGE / "coffee.png",
    "coins on dark cloth": _SKIMAGE / "coins.png",
    "a man with a camera in a field": _SKIMAGE / "camera.png",
    "a motorcycle in a garage": _SKIMAGE / "motorcycle_left.png",
    "a rocket on its launch pad": _SKIMAGE / "rocket.jpg",
    "galaxies in deep space": _SKIMAGE / "hubble_deep_field.jpg",
    "a temple roof in China": _SKLEARN / "china.jpg",
    "a red flower in a garden": _SKLEARN / "flower.jpg",
    "an officer in uniform": Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg",
    "a tower in the evening": _GRADIO / "tower.jpg",
}
GENERATORS = ("camera", "soft", "noisy")
HELD_OUT = tuple(PHOTOGRAPHS)[8:]
_SIDE = 160  # pixels: the tests train on two cores


def write_photographs(folder: Path) -> Path:
    """Write pictures/GENERATOR/NAME.* and items.csv (prompt, image, generator, split); returns the table."""
    rows = []
    for number, (prompt, source) in enumerate(PHOTOGRAPHS.items()):
        photograph = Image.open(source).convert("RGB")
        photograph.thumbnail((_SIDE, _SIDE))
        for generator in GENERATORS:
            path = _write(_rendered(photograph, generator, number), folder / "pictures" / generator, number)
            split = "new_prompts" if prompt in HELD_OUT else "train"
            rows.append((prompt, path.relative_to(folder / "pictures").as_posix(), generator, split))
    return _table(folder / "items.csv", ("prompt", "image", "generator", "split"), rows)


def _rendered(photograph: Image.Image, generator: str, seed: int) -> Image.Image:
    if generator == "soft":
        return photograph.filter(ImageFilter.GaussianBlur(3))
    if generator == "noisy":
        noise = np.random.default_rng(seed).normal(0, 25, (photograph.height, photograph.width, 3))
        return Image.fromarray((np.asarray(photograph) + noise).clip(0, 255).astype(np.uint8))
    return photograph


def _write(image: Image.Image, folder: Path, number: int) -> Path:
    """One picture as a JPEG, every fourth in another shape that pictures come in."""
    folder.mkdir(parents=True, exist_ok=True)
    if number % 4 == 1:
        clear = image.copy()
        clear.putalpha(Image.linear_gradient("L").resize(image.size))
        clear.save(folder / f"{number:02d}.png")
        return folder / f"{number:02d}.png"
    if number % 4 == 2:
        grey = np.asarray(image.convert("L"), dtype=np.uint16) * 257
        Image.fromarray(grey).save(folder / f"{number:02d}.png")
        return folder / f"{number:02d}.png"
    image.save(folder / f"{number:02d}.jpg", quality=92)
    return folder / f"{number:02d}.jpg"


def write_ratings(folder: Path, shift: float = 0.0) -> Path:
    """people.csv: two people's ratings of the held-out pictures (image, annotator, aspect, score), best first."""
    best = {"camera": 9.0, "noisy": 6.0, "soft": 3.0}
    rows = [
        (f"{generator}/{path.name}", annotator, "overall", best[generator] + shift - (annotator == "bo"))
        for generator in GENERATORS
        for path in sorted((folder / "pictures" / generator).iterdir())[8:]
        for annotator in ("ann", "bo")
    ]
    return _table(folder / "people.csv", ("image", "annotator", "aspect", "score"), rows)


def _table(path: Path, columns: tuple[str, ...], rows: list[tuple]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path
