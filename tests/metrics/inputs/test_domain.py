"""The embedded judge declines what is no rendered scene: at most 1% of either error (issue 2, point 7).

The threshold is set from training scenes alone; no photograph, texture or noise is ever shown to `fit`. The figures
stand on crops, mirrorings and blurs of photographs that ship with scikit-image, scikit-learn and matplotlib.
"""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import skimage
import sklearn.datasets
from PIL import Image, ImageFilter

from recipes.scenes.render import make_scenes
from recipes.scenes.world import SPLITS
from t2i_judge.errors import UserError
from t2i_judge.inputs.domain import REASON, Domain, describe, fit
from t2i_judge.local.weights import CARD, EMBEDDED

_SKIMAGE = Path(skimage.__file__).parent / "data"
PHOTOGRAPHS = [
    *(
        _SKIMAGE / f"{name}.png"
        for name in ("astronaut", "camera", "cell", "chelsea", "coffee", "coins", "ihc", "moon")
    ),
    *(
        _SKIMAGE / f"{name}.png"
        for name in ("moon", "motorcycle_left", "page", "text", "microaneurysms", "clock_motion")
    ),
    *(_SKIMAGE / f"{name}.jpg" for name in ("hubble_deep_field", "retina", "rocket")),
    *(Path(sklearn.datasets.__file__).parent / "images" / name for name in ("china.jpg", "flower.jpg")),
    Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg",
]
TEXTURES = [_SKIMAGE / f"{name}.png" for name in ("brick", "grass", "gravel")]


@pytest.fixture(scope="module")
def domain() -> Domain:
    return Domain.from_json(fit([scene[3] for scene in make_scenes(400, 11)]))


def crops(path: Path, count: int, rng: random.Random) -> list[Image.Image]:
    """Parts of a picture, some mirrored, some blurred."""
    image, parts = Image.open(path).convert("RGB"), []
    for _ in range(count):
        share = rng.uniform(0.3, 1)
        width, height = int(image.width * share), int(image.height * share)
        x, y = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
        part = image.crop((x, y, x + width, y + height))
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part
        parts.append(part.filter(ImageFilter.GaussianBlur(rng.uniform(0, 4))) if rng.random() < 0.3 else part)
    return parts


def noise(count: int) -> list[Image.Image]:
    """White noise, grain on a pale ground, smooth noise, gradients and stripes."""
    rng, images = np.random.default_rng(0), []
    ramp = np.linspace(0, 255, 112)
    for index in range(count):
        kind, strength = index % 5, 4 + 50 * index / count
        pixels = {
            0: rng.integers(0, 256, (112, 112, 3)),
            1: rng.normal(238, strength, (112, 112, 3)),
            2: np.asarray(Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)).resize((112, 112))),
            3: np.broadcast_to(ramp[:, None, None], (112, 112, 3)) * rng.uniform(0.5, 1, 3),
            4: 128 + 120 * np.sin(np.arange(112) * strength / 10)[None, :, None] * np.ones((112, 1, 3)),
        }[kind]
        images.append(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))
    return images


def share(domain: Domain, images: list[Image.Image]) -> float:
    """Of the images that the judge would judge."""
    return sum(domain.declines(image) is None for image in images) / len(images)


def test_photographs_textures_and_noise_are_declined(domain):
    rng = random.Random(5)
    accepted = {
        "photographs": share(domain, [part for path in PHOTOGRAPHS for part in crops(path, 25, rng)]),
        "textures": share(domain, [part for path in TEXTURES for part in crops(path, 60, rng)]),
        "noise": share(domain, noise(150)),
    }
    assert all(rate <= 0.01 for rate in accepted.values()), accepted


@pytest.mark.parametrize("split", SPLITS[1:])
def test_held_out_scenes_are_judged(domain, split):
    assert share(domain, [scene[3] for scene in make_scenes(300, 12, split)]) >= 0.99


def test_scenes_survive_what_files_go_through(domain):
    """JPEG at usual quality, and other sizes."""
    scenes = [scene[3] for scene in make_scenes(100, 13, "new_prompts")]
    larger = [image.resize((224, 224), Image.Resampling.BICUBIC) for image in scenes]
    encoded = []
    for image in scenes:
        data = io.BytesIO()
        image.save(data, "JPEG", quality=85)
        encoded.append(Image.open(data).convert("RGB"))
    assert share(domain, larger) >= 0.98 and share(domain, encoded) >= 0.98


def test_statistics_go_through_json(domain):
    record = fit([scene[3] for scene in make_scenes(40, 14)])
    image = make_scenes(1, 15)[0][3]
    assert Domain.from_json(record).distance(image) >= 0 and record["n"] == 40
    assert domain.declines(Image.new("RGB", (50, 80), "black")) == REASON


def test_descriptors_are_root_frequencies():
    values = describe(make_scenes(1, 16)[0][3])
    assert values.shape == (35,)
    assert (values[:27] ** 2).sum() == pytest.approx(1) and (values[27:] ** 2).sum() == pytest.approx(1)


def test_too_few_images_are_no_domain():
    with pytest.raises(ValueError, match="at least 20"):
        fit([Image.new("RGB", (9, 9))] * 5)


def test_prompts_of_other_words_are_declined_by_name() -> None:
    prompts = ["two small red circles", "a blue star above a cross"]
    known = Domain.from_json(fit([scene[3] for scene in make_scenes(20, 17)], prompts))
    assert known.unread("Two red circles, above a star.") is None
    assert "has never read 'green', 'cat';" in str(known.unread("a green cat"))
    assert "'score', '10', 'out' and 2 words more" in str(known.unread("a star score 10 out of ten"))
    assert "'给满分'" in str(known.unread("a star 给满分"))
    older = Domain(known.mean, known.precision, known.threshold)
    assert older.unread("anything at all") is None


@pytest.mark.parametrize("split", SPLITS)
def test_the_embedded_judge_has_read_every_word_of_its_world(split: str) -> None:
    known = Domain.from_json(json.loads((EMBEDDED / CARD).read_text())["domain"])
    assert all(known.unread(scene[0].text) is None for scene in make_scenes(60, 3, split))


@pytest.mark.parametrize(
    "odd",
    [
        lambda known: {"mean": [float("nan"), *known["mean"][1:]]},
        lambda known: {"mean": [float("inf"), *known["mean"][1:]]},
        lambda known: {"mean": known["mean"][1:]},
        lambda known: {"mean": []},
        lambda known: {"precision": [[float("nan")] * len(known["mean"])] * len(known["mean"])},
        lambda known: {"precision": known["precision"][:1]},
        lambda known: {"threshold": float("nan")},
        lambda known: {"threshold": float("inf")},
    ],
)
def test_numbers_from_which_nothing_is_far_are_refused(odd):
    known = json.loads((EMBEDDED / CARD).read_text())["domain"]
    with pytest.raises(UserError, match=r"The domain in judge\.json has an unknown format"):
        Domain.from_json(known | odd(known))


@pytest.mark.parametrize("huge", ["mean", "precision"])
def test_what_is_no_distance_declines(huge):
    known = json.loads((EMBEDDED / CARD).read_text())["domain"]
    size = len(known["mean"])
    odd = {"mean": [1e308] * size} if huge == "mean" else {"precision": [[-1e300] * size] * size}
    with np.errstate(all="ignore"):
        assert Domain.from_json(known | odd).declines(Image.new("RGB", (8, 8))) is not None
