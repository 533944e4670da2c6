"""A recipe's scenes on disk: pictures, what the teacher's server knows, latent quality, simulated people's ratings."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.items import Item, to_jsonl, write_items
from recipes.recipe.sections import ScenesData
from t2i_judge.files import write_atomic

from . import personalised
from .annotators import ANNOTATORS, SceneRating, rate, rate_personalised
from .latent import quality
from .render import make_scenes
from .server import SCENES, scene_to_json
from .world import Scene

if TYPE_CHECKING:
    from PIL.Image import Image

SOURCE = "rendered scene (simulated)"


@dataclass(frozen=True)
class _Picture:
    """A rendered sample, whatever world it is from; `reference` is (picture, entity as JSON)."""

    prompt: str
    generator: str
    scene: Scene
    image: Image
    quality: Mapping[str, float | None]
    ratings: Mapping[str, Sequence[SceneRating]]
    reference: tuple[Image, dict[str, Any]] | None = None
    attributes: Mapping[str, str] | None = None


def write_scenes(folder: Path, data: ScenesData, seed: int, is_personalised: bool = False) -> None:
    """Render every split into FOLDER/images and write items, scenes, latent and humans (.jsonl) beside it.

    The same data and seed give the same bytes. items.jsonl comes last.
    """
    items, scenes, latent, humans = [], [], [], []
    sizes = {
        "train": data.train_images,
        "new_prompts": data.new_prompts_images,
        "new_pairs": data.new_pairs_images,
    }
    samples = _personalised if is_personalised else _plain
    for split, number in sizes.items():
        for index, picture in enumerate(samples(number, seed, split)):
            name = f"{split}-{index:05d}"
            image, digest = _save(folder, name, picture.image)
            scenes.append({"id": name, "sha256": digest, "scene": scene_to_json(picture.scene)})
            reference = reference_digest = None
            if picture.reference:
                reference, reference_digest = _save(folder, f"{name}-reference", picture.reference[0])
                scenes.append({"id": f"{name}-reference", "sha256": reference_digest, "entity": picture.reference[1]})
            known = (picture.generator, split, SOURCE, reference, picture.attributes, digest, reference_digest)
            items.append(Item(name, picture.prompt, image, *known))
            latent.append({"id": name, **picture.quality})
            humans += [
                {"id": name, "annotator": person, "question_id": None, **rating}
                for person, ratings in picture.ratings.items()
                for rating in ratings
            ]
    build = BuildFolder(folder)
    for file, rows in ((folder / SCENES, scenes), (build.latent, latent), (build.humans, humans)):
        write_atomic(file, to_jsonl(rows))
    write_items(folder, items)


def _save(folder: Path, name: str, image: Image) -> tuple[str, str]:
    """Path relative to the folder, and SHA-256 of the PNG."""
    out = io.BytesIO()
    image.save(out, "PNG")
    write_atomic(folder / "images" / f"{name}.png", out.getvalue())
    return f"images/{name}.png", hashlib.sha256(out.getvalue()).hexdigest()


def _plain(number: int, seed: int, split: str) -> Iterator[_Picture]:
    for index, (prompt, generator, scene, image) in enumerate(make_scenes(number, seed, split)):
        ratings = {
            person: rate(prompt, scene, person, random.Random(f"{seed}/{split}-{index:05d}/{person}"))
            for person in ANNOTATORS
        }
        yield _Picture(prompt.text, generator, scene, image, quality(prompt, scene), ratings)


def _personalised(number: int, seed: int, split: str) -> Iterator[_Picture]:
    for index, sample in enumerate(personalised.make_samples(number, seed, split)):
        task = sample.task
        truth = personalised.quality(task, sample.scene)
        ratings = {
            person: rate_personalised(truth, person, random.Random(f"{seed}/{split}-{index:05d}/{person}"))
            for person in ANNOTATORS
        }
        attributes = {
            "family": personalised.METHODS[sample.method].family,
            "category": task.category,
            "difficulty": task.difficulty,
        }
        reference = (sample.reference_image, asdict(task.reference))
        yield _Picture(task.text, sample.method, sample.scene, sample.image, truth, ratings, reference, attributes)
