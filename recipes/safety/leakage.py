"""Train and benchmark may share no image and no prompt.

Images: the same bytes (SHA-256), or a 256-bit perceptual hash (`imagehash.phash`) that is near, confirmed by comparing
pixels: a resized or re-encoded copy is caught, a scene that merely looks alike is not. Prompts: equal once case,
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

from recipes.recipe.items import normalise

HASH_SIDE = 16  # 16 x 16 = 256 bits, kept as four words of 64
_WORDS = HASH_SIDE**2 // 64
NEAR = 30  # bits that may differ for a pair to be looked at (altered copies of 400 scenes: at most 28)
SAME = 0.9  # difference of pixels, as a share of the pictures' own contrast, up to which two are one
_PIXELS = 32
_PAIRS = 20_000_000  # pairs compared at a time: bounds memory, whatever the sizes of the two sets


@dataclass(frozen=True)
class Overlap:
    """Something that train and benchmark share: `kind` is `bytes`, `image` or `prompt`."""

    kind: str
    train: str
    bench: str

    def __str__(self) -> str:
        what = {"bytes": "the same image file", "image": "a copy of the same image", "prompt": "the same prompt"}
        return f"{what[self.kind]}: train {self.train!r}, benchmark {self.bench!r}"


@dataclass(frozen=True)
class Prints:
    """What images are compared by: id, SHA-256, 256 bits, and 32 x 32 RGB pixels of each."""

    ids: list[str]
    digests: list[str]
    bits: NDArray[np.uint64]
    pixels: NDArray[np.float32]


def fingerprints(images: Iterable[tuple[str, bytes]]) -> Prints:
    """Prints of (id, file bytes) pairs. Images that cannot be decoded keep their SHA-256 and are near to none."""
    ids, digests, bits, pixels = [], [], [], []
    for identity, data in images:
        ids.append(identity)
        digests.append(hashlib.sha256(data).hexdigest())
        picture = _open(data)
        bits.append(_bits(picture) if picture else np.zeros(_WORDS, np.uint64))
        pixels.append(_small(picture) if picture else np.full((_PIXELS, _PIXELS, 3), np.nan, np.float32))
    return Prints(ids, digests, np.array(bits, np.uint64), np.array(pixels, np.float32))


def _open(data: bytes) -> Image.Image | None:
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except Exception:  # decoders raise whatever a broken file makes them trip over
        return None


def _bits(picture: Image.Image) -> NDArray[np.uint64]:
    from imagehash import phash

    return np.packbits(phash(picture, hash_size=HASH_SIDE).hash.ravel()).view(np.uint64)


def _small(picture: Image.Image) -> NDArray[np.float32]:
    shrink = min(picture.size) >= _PIXELS
    method = Image.Resampling.BOX if shrink else Image.Resampling.BICUBIC
    return np.asarray(picture.resize((_PIXELS, _PIXELS), method), np.float32)


def image_overlaps(train: Prints, bench: Prints) -> Iterator[Overlap]:
    """Every pair of images that is one image, exact copies first named as such."""
    if not train.ids or not bench.ids:
        return
    step = max(1, _PAIRS // len(train.ids))
    for start in range(0, len(bench.ids), step):
        chunk = bench.bits[start : start + step]
        differing = sum(np.bitwise_count(chunk[:, None, word] ^ train.bits[None, :, word]) for word in range(_WORDS))
        for row, column in np.argwhere(differing <= NEAR):
            mine = start + int(row)
            if train.digests[column] == bench.digests[mine]:
                yield Overlap("bytes", train.ids[column], bench.ids[mine])
            elif pixel_difference(train.pixels[column], bench.pixels[mine]) <= SAME:
                yield Overlap("image", train.ids[column], bench.ids[mine])


def pixel_difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Mean absolute difference of two pictures as a share of their contrast: 0 equal, about 1 and more unrelated.

    Plain differences would call all pictures with much empty ground alike.
    """
    contrast = (np.abs(a - a.mean((0, 1))).mean() + np.abs(b - b.mean((0, 1))).mean()) / 2
    return float(np.abs(a - b).mean() / max(float(contrast), 1e-6))


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
    images = image_overlaps(fingerprints(train_images), fingerprints(bench_images))
    return [*images, *prompt_overlaps(train_prompts, bench_prompts)]


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
    if row["reference_image"] is None:
        return row["prompt"]
    return f"{row['prompt']} [reference {hashlib.sha256(row['reference_image']['bytes']).hexdigest()}]"


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
