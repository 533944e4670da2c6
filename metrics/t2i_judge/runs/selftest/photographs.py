"""Photographs that come with installed packages, with prompts: for a selftest without images of one's own.

Nothing is copied or downloaded. Photographs of packages that are not installed are left out.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ...inputs.images import ImageError, load_image
from .battery import Sample

_SIDE = 512  # pixels of the longer side: enough to see what is there, and cheap to send
# Package, path inside it, and our own words for what the picture shows.
SHIPPED = (
    ("skimage", "data/astronaut.png", "a smiling astronaut in an orange suit"),
    ("skimage", "data/chelsea.png", "the face of a tabby cat"),
    ("skimage", "data/coffee.png", "a cup of coffee on a wooden table"),
    ("skimage", "data/coins.png", "rows of ancient coins"),
    ("skimage", "data/camera.png", "a man with a camera on a tripod"),
    ("skimage", "data/motorcycle_left.png", "a motorcycle in a garage"),
    ("skimage", "data/rocket.jpg", "a rocket on its launch pad"),
    ("skimage", "data/hubble_deep_field.jpg", "galaxies in deep space"),
    ("skimage", "data/brick.png", "a brick wall"),
    ("skimage", "data/grass.png", "blades of grass seen from near"),
    ("skimage", "data/gravel.png", "gravel on the ground"),
    ("skimage", "data/moon.png", "craters on the surface of the moon"),
    ("skimage", "data/retina.jpg", "the retina of an eye"),
    ("sklearn", "datasets/images/china.jpg", "a temple in China"),
    ("sklearn", "datasets/images/flower.jpg", "a red flower in a garden"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "an officer in uniform"),
    ("gradio", "media_assets/images/cheetah1.jpg", "a cheetah"),
    ("gradio", "media_assets/images/lion.jpg", "a lion"),
    ("gradio", "media_assets/images/tower.jpg", "a tower in the evening"),
)


def photographs() -> list[Sample]:
    """The photographs on this machine, scaled down."""
    samples = []
    for package, path, prompt in SHIPPED:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            try:
                image = load_image(Path(folder, path))
            except ImageError:
                continue
            image.thumbnail((_SIDE, _SIDE))
            samples.append(Sample(image, prompt))
    return samples
