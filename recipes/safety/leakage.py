"""Train and benchmark may share no image and no prompt.

Images: the same bytes (SHA-256), or a 256-bit perceptual hash (`imagehash.phash`) that is near, confirmed by comparing
pixels: a resized or re-encoded copy is caught, a scene that merely looks alike is not. What was mirrored, turned, cut,
framed or written on is found by its corners (`recipes.distillation.local_features`). Prompts: equal once case,
Unicode encoding, punctuation and white space are normalised. With a reference image, a task is the prompt and that
very image: "two large subjects" may be asked of a held-out subject, too.
"""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recipes.distillation.copies import SAME, Overlap, bits_of, near_pairs, pixel_difference, pixels_of
from recipes.distillation.local_features import Sketch, shared_pictures, sketch
from recipes.recipe.items import normalise, task_of
from t2i_judge.inputs.images import ImageError, load_image


@dataclass(frozen=True)
class Prints:
    """What images are compared by: id, SHA-256, 256 bits, and 32 x 32 RGB pixels of each; None where it is broken."""

    ids: list[str]
    digests: list[str]
    bits: NDArray[np.uint64]
    pixels: list[NDArray[np.float32] | None]
    sketches: list[Sketch | None]

    @property
    def broken(self) -> list[str]:
        """Ids of the images that cannot be decoded."""
        return [identity for identity, pixels in zip(self.ids, self.pixels) if pixels is None]


def fingerprints(images: Iterable[tuple[str, bytes]]) -> Prints:
    """Prints of (id, file bytes) pairs. Images that cannot be decoded keep their SHA-256 and are near to none."""
    ids: list[str] = []
    digests: list[str] = []
    bits: list[NDArray[np.uint64]] = []
    pixels: list[NDArray[np.float32] | None] = []
    sketches: list[Sketch | None] = []
    for identity, data in images:
        ids.append(identity)
        digests.append(hashlib.sha256(data).hexdigest())
        try:
            picture = load_image(data)
        except ImageError:
            bits.append(np.zeros(4, np.uint64))
            pixels.append(None)
            sketches.append(None)
        else:
            bits.append(bits_of(picture))
            pixels.append(pixels_of(picture))
            sketches.append(sketch(picture))
    return Prints(ids, digests, np.array(bits, np.uint64), pixels, sketches)


def image_overlaps(train: Prints, bench: Prints) -> Iterator[Overlap]:
    """Every pair of images that is one image, exact copies named as such, then altered ones by their corners."""
    known = set()
    for theirs, mine in near_pairs(train.bits, bench.bits):
        a, b = train.pixels[theirs], bench.pixels[mine]
        same = train.digests[theirs] == bench.digests[mine]
        if same or (a is not None and b is not None and pixel_difference(a, b) <= SAME):
            known.add((theirs, mine))
            yield Overlap("bytes" if same else "image", train.ids[theirs], bench.ids[mine])
    for theirs, mine in shared_pictures(train.sketches, bench.sketches):
        if (theirs, mine) not in known:
            yield Overlap("part", train.ids[theirs], bench.ids[mine])


def prompt_overlaps(train: Mapping[str, str], bench: Mapping[str, str]) -> Iterator[Overlap]:
    """Prompts on both sides. Both mappings are id -> prompt; one overlap a benchmark prompt."""
    known = {normalise(prompt): prompt for prompt in train.values()}
    for prompt in dict.fromkeys(bench.values()):
        if (twin := known.get(normalise(prompt))) is not None:
            yield Overlap("prompt", twin, prompt)


def dataset_overlaps(train: Path, bench: Path) -> list[Overlap]:
    """Overlaps between two dataset folders (`recipes.distillation.parquet` says in which layout)."""
    train_images, train_prompts = _read(train)
    bench_images, bench_prompts = _read(bench)
    learnt, measured = fingerprints(train_images), fingerprints(bench_images)
    broken = [Overlap("broken", one, "") for one in learnt.broken] + [
        Overlap("broken", "", one) for one in measured.broken
    ]
    return [*image_overlaps(learnt, measured), *broken, *prompt_overlaps(train_prompts, bench_prompts)]


def _read(folder: Path) -> tuple[Iterator[tuple[str, bytes]], dict[str, str]]:
    """(id, image bytes) pairs, read batch by batch, and id -> task of a dataset's default config."""
    from pyarrow import parquet

    from recipes.distillation.parquet import DEFAULT_CONFIG, splits

    paths = [path for shards in splits(folder).get(DEFAULT_CONFIG, {}).values() for path in shards]

    def images() -> Iterator[tuple[str, bytes]]:
        for path in paths:
            for batch in parquet.ParquetFile(path).iter_batches(256, columns=["id", "image"]):
                yield from ((row["id"], row["image"]["bytes"]) for row in batch.to_pylist() if row["image"])

    tables = (parquet.read_table(path, columns=["id", "prompt", "reference_image"]) for path in paths)
    return images(), {row["id"]: _task(row) for table in tables for row in table.to_pylist()}


def _task(row: Mapping[str, Any]) -> str:
    """What is asked for: the prompt, and which reference image it is asked of."""
    reference = row["reference_image"]
    return task_of(row["prompt"], hashlib.sha256(reference["bytes"]).hexdigest() if reference else None)


def _encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "half size": lambda p: _encoded(p.resize((p.width // 2, p.height // 2), Image.Resampling.BICUBIC), "PNG"),
    "four times the size": lambda p: _encoded(p.resize((p.width * 4, p.height * 4), Image.Resampling.BICUBIC), "PNG"),
    "JPEG quality 90": lambda p: _encoded(p, "JPEG", quality=90),
    "JPEG quality 30": lambda p: _encoded(p, "JPEG", quality=30),
    "WebP quality 50": lambda p: _encoded(p, "WEBP", quality=50),
    "half size, JPEG quality 50": lambda p: _encoded(
        p.resize((p.width // 2, p.height // 2), Image.Resampling.BICUBIC), "JPEG", quality=50
    ),
    "GIF palette": lambda p: _encoded(p.quantize(64), "GIF"),
}


@dataclass(frozen=True)
class ErrorRates:
    """How often the image check errs: `missed` is kind of copy -> share not caught; `alarms` of `pairs` were false."""

    missed: dict[str, float]
    alarms: int
    pairs: int

    @property
    def summary(self) -> str:
        """Both rates in half a line."""
        return f"misses at most {max(self.missed.values()):.1%} of copies, {self.alarms} false of {self.pairs:,}"

    def __str__(self) -> str:
        worst = max(self.missed.values())
        listed = ", ".join(f"{kind} {share:.1%}" for kind, share in self.missed.items())
        alarms = f"different scenes taken for one: {self.alarms} of {self.pairs:,} pairs"
        return f"copies missed: {listed} (worst {worst:.1%}); {alarms}"


def error_rates(scenes: int = 200, seed: int = 0) -> ErrorRates:
    """Measure both errors on the embedded world: altered copies of scenes, and pairs of different scenes."""
    from recipes.scenes.render import make_scenes

    pictures = [sample[3] for sample in make_scenes(scenes, seed, "train")]
    others = [sample[3] for sample in make_scenes(scenes, random.Random(seed).getrandbits(31), "new_prompts")]
    originals = fingerprints((str(n), _encoded(picture, "PNG")) for n, picture in enumerate(pictures))
    missed = {}
    for kind, alter in COPIES.items():
        copies = fingerprints((str(n), alter(picture)) for n, picture in enumerate(pictures))
        caught = {overlap.train for overlap in image_overlaps(originals, copies) if overlap.train == overlap.bench}
        missed[kind] = 1 - len(caught) / scenes
    strangers = fingerprints((str(n), _encoded(picture, "PNG")) for n, picture in enumerate(others))
    return ErrorRates(missed, sum(1 for _ in image_overlaps(originals, strangers)), scenes * scenes)
