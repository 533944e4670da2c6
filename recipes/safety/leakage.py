"""Train and benchmark may share no image and no prompt.

Images: no copy of one another (`recipes.distillation.copies`). Prompts: equal once case, Unicode encoding, punctuation
and white space are normalised. With a reference image, a task is the prompt and that very image: "two large subjects"
may be asked of a held-out subject, too.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from recipes.distillation.copies import FINDER, Overlap, Prints, fingerprints, image_overlaps
from recipes.recipe.config import ROOT
from recipes.recipe.items import normalise, task_of
from recipes.recipe.markers import Marker, file_table, fingerprint

MEASURED = Marker(Path(__file__).with_name("error_rates.json"))  # python -m recipes.leakage --measure --write
_SCENES = ROOT / "recipes" / "scenes"
_FEW = 20  # scenes, where a release has to measure


def prompt_overlaps(train: Mapping[str, str], bench: Mapping[str, str]) -> Iterator[Overlap]:
    """Prompts on both sides. Both mappings are id -> prompt; one overlap per benchmark prompt."""
    known = {normalise(prompt): prompt for prompt in train.values()}
    for prompt in dict.fromkeys(bench.values()):
        if (twin := known.get(normalise(prompt))) is not None:
            yield Overlap("prompt", twin, prompt)


Images = Callable[[], Iterable[tuple[str, bytes]]]


def dataset_overlaps(train: Path, bench: Path, known: Marker | None = None) -> list[Overlap]:
    """Overlaps between two dataset folders (`recipes.distillation.parquet` says in which layout).

    `known`: see `overlaps_between`.
    """
    images = overlaps_between(partial(dataset_images, train), partial(dataset_images, bench), known)
    return [*images, *prompt_overlaps(_tasks(train), _tasks(bench))]


def overlaps_between(train: Images, bench: Images, known: Marker | None = None) -> list[Overlap]:
    """Overlaps of images, and those that cannot be opened; each file is looked at once, under however many ids.

    Args:
        train, bench: give (id, file bytes) pairs, as often as they are called.
        known: remembers what was found among these very files, by this finder; it is not sought again.
    """
    ids = [_ids_by_content(images()) for images in (train, bench)]
    content = fingerprint({}, FINDER, *(json.dumps(sorted(one)) for one in ids))
    if known and known.done(content):
        found = [Overlap(*one) for one in known.read()["found"]]
    else:
        found = _found(*(fingerprints(_once(images())) for images in (train, bench)))
        if known:
            known.write(content, {"found": [[one.kind, one.train, one.bench] for one in found]})
    theirs, mine = ids
    return [
        Overlap(one.kind, learnt, measured)
        for one in found
        for learnt in theirs.get(one.train, [""])
        for measured in mine.get(one.bench, [""])
    ]


def _found(learnt: Prints, measured: Prints) -> list[Overlap]:
    broken = [Overlap("broken", one, "") for one in learnt.broken]
    broken += [Overlap("broken", "", one) for one in measured.broken]
    return [*image_overlaps(learnt, measured), *broken]


def _ids_by_content(images: Iterable[tuple[str, bytes]]) -> dict[str, list[str]]:
    """SHA-256 -> the ids of the images that are this file."""
    ids: dict[str, list[str]] = {}
    for identity, data in images:
        ids.setdefault(hashlib.sha256(data).hexdigest(), []).append(identity)
    return ids


def _once(images: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """(SHA-256, file bytes) of each file."""
    seen = set()
    for _, data in images:
        if (content := hashlib.sha256(data).hexdigest()) not in seen:
            seen.add(content)
            yield content, data


def _shards(folder: Path) -> list[Path]:
    """The files of a dataset's default config."""
    from recipes.distillation.parquet import DEFAULT_CONFIG, splits

    return [path for shards in splits(folder).get(DEFAULT_CONFIG, {}).values() for path in shards]


def dataset_images(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(id, image bytes) pairs of a dataset folder, read batch by batch."""
    from pyarrow import parquet

    for path in _shards(folder):
        for batch in parquet.ParquetFile(path).iter_batches(256, columns=["id", "image"]):
            yield from ((row["id"], row["image"]["bytes"]) for row in batch.to_pylist() if row["image"])


def _tasks(folder: Path) -> dict[str, str]:
    """Id -> what is asked for."""
    from pyarrow import parquet

    tables = (parquet.read_table(path, columns=["id", "prompt", "reference_image"]) for path in _shards(folder))
    return {row["id"]: _task(row) for table in tables for row in table.to_pylist()}


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
        alarms = f"different scenes taken for copies: {self.alarms} of {self.pairs:,} pairs"
        return f"copies missed: {listed} (worst {worst:.1%}); {alarms}"


def known_rates(known: Marker) -> ErrorRates:
    """What was measured of this finder before (`MEASURED`); of another, what few scenes tell, kept in `known`."""
    if MEASURED.done(_inputs()):
        return ErrorRates(**MEASURED.read()["rates"])
    return error_rates(_FEW, known=known)


def _inputs(scenes: int = 200, seed: int = 0) -> str:
    return fingerprint(file_table(_SCENES, _SCENES.glob("*.py")), FINDER, f"scenes={scenes} seed={seed}")


def error_rates(scenes: int = 200, seed: int = 0, known: Marker | None = None) -> ErrorRates:
    """Both errors on the embedded world: altered copies of scenes, and pairs of different scenes.

    `known`: remembers what was measured by this finder on these scenes; it is not measured again.
    """
    inputs = _inputs(scenes, seed)
    if known and known.done(inputs):
        return ErrorRates(**known.read()["rates"])
    rates = _measured(scenes, seed)
    if known:
        known.write(inputs, {"rates": asdict(rates)})
    return rates


def _measured(scenes: int, seed: int) -> ErrorRates:
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
