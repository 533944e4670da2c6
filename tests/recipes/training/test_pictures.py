"""Training reads pictures as judging does: transparency over white, 16-bit grey by its high byte, EXIF turned."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image

from recipes.distillation.distillation import distillation_features
from recipes.distillation.parquet import write_split
from recipes.distillation.sft_data import Sample, load_distillation, training_dataset
from recipes.training.collator import SharedPrefixCollator
from t2i_judge.inputs.images import load_image
from t2i_judge.local.model import Asked, LocalModel, Turn
from tests.families import FAMILIES, family, picture

SIZE = (64, 48)


def transparent() -> bytes:
    image = Image.new("RGBA", SIZE, (255, 0, 0, 0))  # red where nothing is to be seen
    image.paste((0, 0, 255, 255), (8, 8, 24, 24))
    return encoded(image, "PNG")


def sixteen_bits() -> bytes:
    return encoded(Image.fromarray(np.linspace(256, 60000, 64 * 48).reshape(48, 64).astype(np.uint16)), "PNG")


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture(*SIZE), "JPEG", exif=exif.tobytes(), quality=95)


def palette() -> bytes:
    image = picture(*SIZE).quantize(8)
    return encoded(image, "PNG", transparency=0)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


ODD = [transparent, sixteen_bits, turned, palette]


def learnt_from(data: bytes, folder: Path, packing: str) -> dict[str, Any]:
    """The training row that shows a picture, by way of the distillation data."""
    row = {
        "id": "a", "prompt": "p", "image": data, "reference_image": None, "generator": None, "teacher": None,
        "samples": [{"task": "answer", "question": "what?", "answer": "this"}],
    }  # fmt: skip
    write_split([row], distillation_features(), folder, "data", "train")
    samples = [[Sample(0, "answer", "what?", None, "what?", "this")]]
    dataset: Dataset = training_dataset(load_distillation(folder), samples, packing)
    return dataset[0]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("made", ODD, ids=[made.__name__ for made in ODD])
def test_a_judge_is_trained_on_the_pixels_that_it_judges(name: str, made: Callable[[], bytes], tmp_path: Path) -> None:
    model, processor = family(name)
    judge = LocalModel(model, processor)
    _, judged = judge.encode([Asked([load_image(made())], [Turn("answer", "q1", "what?")])])
    packed = SharedPrefixCollator(processor)([learnt_from(made(), tmp_path / "a", "shared_prefix")])
    assert torch.equal(packed["pixel_values"], judged["pixel_values"])
    (plain,) = learnt_from(made(), tmp_path / "b", "none")["images"]
    assert plain.mode == "RGB" and plain.tobytes() == load_image(made()).tobytes()


@pytest.mark.parametrize("made", ODD, ids=[made.__name__ for made in ODD])
def test_the_collator_reads_rows_of_other_datasets_so_too(made: Callable[[], bytes]) -> None:
    _, processor = family("minicpmv")
    turns = [{"role": "user", "content": "what?"}, {"role": "assistant", "content": "this"}]
    raw, loaded = (
        SharedPrefixCollator(processor)([{"images": [image], "messages": turns}])["pixel_values"]
        for image in (Image.open(io.BytesIO(made())), load_image(made()))
    )
    assert torch.equal(raw, loaded)


def test_what_others_drop_is_over_white(tmp_path: Path) -> None:
    """The very values of the fault: red in training, white to the judge; (1, 1, 1) against white."""
    (clear,) = learnt_from(transparent(), tmp_path / "clear", "none")["images"]
    (grey,) = learnt_from(sixteen_bits(), tmp_path / "grey", "none")["images"]
    assert clear.getpixel((0, 0)) == (255, 255, 255) and clear.getpixel((10, 10)) == (0, 0, 255)
    assert grey.getpixel((0, 0)) == (1, 1, 1) and grey.getpixel((63, 47)) == (234, 234, 234)
    (upright,) = learnt_from(turned(), tmp_path / "turned", "none")["images"]
    assert upright.size == (48, 64)
