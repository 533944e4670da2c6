"""A recipe's scenes on disk: pictures, what the teacher's server knows, latent quality, simulated people's ratings."""

from __future__ import annotations

import hashlib
import io
import random
from pathlib import Path

from t2i_judge.records import write_atomic

from ..config import ScenesData
from ..items import Item, to_jsonl, write_items
from .annotators import ANNOTATORS, rate
from .latent import quality
from .server import SCENES, scene_to_json
from .world import make_scenes

SOURCE = "rendered scene (simulated)"


def write_scenes(folder: Path, data: ScenesData, seed: int) -> None:
    """Render every split into FOLDER/images and write items, scenes, latent and humans (.jsonl) beside it.

    The same data and seed give the same bytes. items.jsonl comes last.
    """
    items, scenes, latent, humans = [], [], [], []
    sizes = {
        "train": data.train_images,
        "new_prompts": data.new_prompts_images,
        "new_pairs": data.new_pairs_images,
    }
    for split, number in sizes.items():
        for index, (prompt, generator, scene, picture) in enumerate(make_scenes(number, seed, split)):
            name, out = f"{split}-{index:05d}", io.BytesIO()
            picture.save(out, "PNG")
            png = out.getvalue()
            write_atomic(folder / "images" / f"{name}.png", png)
            items.append(Item(name, prompt.text, f"images/{name}.png", generator, split, SOURCE))
            scenes.append({"id": name, "sha256": hashlib.sha256(png).hexdigest(), "scene": scene_to_json(scene)})
            latent.append({"id": name, **quality(prompt, scene)})
            humans += [
                {"id": name, "annotator": person, "question_id": None, **rating}
                for person in ANNOTATORS
                for rating in rate(prompt, scene, person, random.Random(f"{seed}/{name}/{person}"))
            ]
    for file, rows in ((SCENES, scenes), ("latent.jsonl", latent), ("humans.jsonl", humans)):
        write_atomic(folder / file, to_jsonl(rows))
    write_items(folder, items)
