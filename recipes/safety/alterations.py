"""How much of what people do to a picture the leakage check sees through: measured on photographs, as a table.

Rates on rendered scenes are told beside, and promise nothing: a flipped scene may be another scene that is as good.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from recipes.distillation.copies import Prints, fingerprints, image_overlaps
from t2i_judge.inputs.images import load_image

Alteration = Callable[[Image.Image], Image.Image]
# Photographs that come with packages which are installed for development.
_PHOTOGRAPHS = {
    "skimage": "data/astronaut.png data/chelsea.png data/coffee.png data/camera.png data/motorcycle_left.png "
    "data/rocket.jpg data/hubble_deep_field.jpg data/coins.png",
    "sklearn": "datasets/images/china.jpg datasets/images/flower.jpg",
    "matplotlib": "mpl-data/sample_data/grace_hopper.jpg",
    "gradio": "media_assets/images/tower.jpg media_assets/images/cheetah.jpg media_assets/images/groot.jpeg",
}
TILE, TILES = 80, 800  # pixels per side of tiles, no two of which share a pixel, and how many are compared
SIZE = 1000  # images of each of two sets, for which the cost is told


def _cut(share: float) -> Alteration:
    """A part with this share of the area, from the middle."""

    def cut(picture: Image.Image) -> Image.Image:
        width, height = (round(side * share**0.5) for side in picture.size)
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        return picture.crop((left, top, left + width, top + height))

    return cut


def _written_on(picture: Image.Image) -> Image.Image:
    copy = picture.copy()
    place, size = (copy.width // 10, copy.height // 3), copy.width // 8
    ImageDraw.Draw(copy).text(place, "SAMPLE TEXT", fill="white", font_size=size, stroke_width=3, stroke_fill="black")
    return copy


def _half(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width // 2, picture.height // 2))


ALTERATIONS: Mapping[str, Alteration] = {
    "JPEG, quality 50": lambda picture: picture,
    "half the size": _half,
    "mirrored": ImageOps.mirror,
    "upside down, mirrored": ImageOps.flip,
    "turned by 90 degrees": lambda picture: picture.rotate(90, expand=True),
    "turned by 180 degrees": lambda picture: picture.rotate(180),
    "cut to 98% of the area": _cut(0.98),
    "cut to 90% of the area": _cut(0.9),
    "cut to 50% of the area": _cut(0.5),
    "cut to 25% of the area": _cut(0.25),
    "cut to 10% of the area": _cut(0.1),
    "brightness 0.7": lambda picture: ImageEnhance.Brightness(picture).enhance(0.7),
    "border of a tenth": lambda picture: ImageOps.expand(picture, picture.width // 10, "white"),
    "text over it": _written_on,
}


def photographs(folder: Path | None = None) -> list[Image.Image]:
    """The photographs in a folder, or those of packages that are installed here."""
    if folder is not None:
        paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")]
    else:
        paths = list(_installed())
    return [load_image(path) for path in paths]


def _installed() -> Iterator[Path]:
    for package, names in _PHOTOGRAPHS.items():
        if (found := find_spec(package)) is not None and found.origin is not None:
            yield from (path for name in names.split() if (path := Path(found.origin).parent / name).is_file())


def caught(pictures: Sequence[Image.Image]) -> dict[str, float]:
    """Alteration -> share of its copies (saved as JPEG) that the check finds among the originals."""
    originals = _prints(pictures)
    rates = {}
    for name, alter in ALTERATIONS.items():
        copies = fingerprints((str(n), _jpeg(alter(picture))) for n, picture in enumerate(pictures))
        seen = {overlap.train for overlap in image_overlaps(originals, copies) if overlap.train == overlap.bench}
        rates[name] = len(seen) / len(pictures)
    return rates


@dataclass(frozen=True)
class Alarms:
    """How many of some pairs of different pictures are taken for one; `seconds` of one core to compare them."""

    count: int
    pairs: int
    pictures: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.count} of {self.pairs:,} pairs"


def tiles(pictures: Sequence[Image.Image], most: int = TILES) -> list[Image.Image]:
    """Tiles of photographs, drawn among all, no two of which have a common pixel."""
    cut = [tile for picture in pictures for tile in _tiles(picture)]
    return random.Random(0).sample(cut, min(most, len(cut)))


def false_alarms(pictures: Sequence[Image.Image]) -> Alarms:
    """What the check says of every two of some pictures, all of which are different.

    Two tiles of one flat white are the same file and no false alarm.
    """
    prints = _prints(pictures)
    start = time.process_time()
    found = [one for one in image_overlaps(prints, prints) if one.kind != "bytes"]
    count = sum(int(one.train) < int(one.bench) for one in found)
    return Alarms(count, len(pictures) * (len(pictures) - 1) // 2, len(pictures), time.process_time() - start)


def cost(pictures: Sequence[Image.Image], compared: Alarms) -> str:
    """Seconds of one core for two sets of 1,000 images, from those that these took."""
    start = time.process_time()
    _prints(pictures)
    each = (time.process_time() - start) / len(pictures)
    comparing = compared.seconds * SIZE / compared.pictures
    return (
        f"{SIZE:,} x {SIZE:,} images: about {2 * SIZE * each + comparing:.0f} seconds of one core, shared by all cores "
        f"({1000 * each:.0f} ms per image, {comparing:.0f} s to compare)"
    )


def _tiles(picture: Image.Image) -> Iterator[Image.Image]:
    for top in range(0, picture.height - TILE + 1, TILE):
        for left in range(0, picture.width - TILE + 1, TILE):
            yield picture.crop((left, top, left + TILE, top + TILE))


def _prints(pictures: Sequence[Image.Image]) -> Prints:
    return fingerprints((str(n), _jpeg(picture, 95)) for n, picture in enumerate(pictures))


def _jpeg(picture: Image.Image, quality: int = 50) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def table(
    on_photographs: Mapping[str, float], on_scenes: Mapping[str, float], count: int, alarms: tuple[Alarms, Alarms]
) -> str:
    """The rates in Markdown, as they stand on the card of a dataset; `alarms` on tiles, then on scenes."""
    lines = [
        f"| alteration of the image | found, of {count} photographs | found, of scenes |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {name} | {rate:.0%} | {on_scenes[name]:.0%} |" for name, rate in on_photographs.items()]
    false = f"False alarms: {alarms[0]} of tiles of photographs, {alarms[1]} of scenes."
    return "\n".join([*lines, "", false])
