"""Small files that keep Pillow busy are refused by their structure, pictures are not, and nothing goes round this."""

from __future__ import annotations

import ast
import io
import time

import numpy as np
import pytest
from PIL import Image, ImageOps, TiffImagePlugin

from t2i_judge.inputs.images import ImageError, image_size, load_image, open_image
from t2i_judge.inputs.structure import SCANS, check
from tests.slow_pictures import ATTACKS, progressive


@pytest.mark.parametrize("name", ATTACKS)
def test_a_file_that_would_take_long_is_refused_at_once(name):
    data = ATTACKS[name]()
    assert len(data) < 30_000_000
    for opens in (load_image, open_image, image_size):
        start = time.process_time()
        try:
            opens(data)
            assert opens is image_size and "EXIF" in name, "its size is known without the EXIF block"
        except ImageError as error:
            assert "no picture needs" in error.reason or "more than the file" in error.reason
        assert time.process_time() - start < 2


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))
SAVED = [
    ("JPEG", {"progressive": True, "quality": 95}),
    ("JPEG", {"quality": 90, "comment": b"x" * 10_000}),
    ("JPEG", {"quality": 75, "restart_marker_blocks": 8}),
    ("PNG", {"compress_level": 0}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"quality": 80}),
    ("GIF", {"comment": b"x" * 60_000}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "jpeg"}),
    ("TIFF", {"compression": "tiff_deflate", "tiffinfo": {278: 1}}),
    ("TIFF", {"big_tiff": True}),
]


@pytest.mark.parametrize(("kind", "options"), SAVED)
@pytest.mark.parametrize("exif", [False, True])
def test_pictures_open_as_before(kind, options, exif):
    out, block = io.BytesIO(), Image.Exif()
    block[0x010F], block[0x0112] = "a camera", 1
    block.get_ifd(0x8769)[0x9286] = "a long comment" * 1000
    more = {"exif": block} if exif and kind in ("JPEG", "PNG", "WEBP") else {}
    NOISE.save(out, kind, **options, **more)
    check(out.getvalue())
    plain = Image.open(io.BytesIO(out.getvalue())).convert("RGB")
    assert np.array_equal(np.asarray(load_image(out.getvalue())), np.asarray(plain))


def test_a_tiled_tiff_opens(tmp_path):
    """Written by libtiff through Pillow, whose encoder takes the tile's tags."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[322], info[323] = 256, 256
    try:
        NOISE.save(tmp_path / "tiled.tif", tiffinfo=info, compression="tiff_deflate")
    except Exception as error:  # an encoder that writes no tiles
        pytest.skip(str(error))
    assert load_image(tmp_path / "tiled.tif").size == NOISE.size


def test_the_most_scans_that_pass_are_quick():
    data = progressive(scans=SCANS - 12)
    start = time.process_time()
    assert load_image(data).size == (6000, 4000)
    assert time.process_time() - start < 10


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_is_turned_upright_as_pillow_does_and_only_once(orientation, kind):
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    NOISE.save(out, kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(out.getvalue()))).convert("RGB")
    found = load_image(out.getvalue())
    assert np.array_equal(np.asarray(found), np.asarray(expected))
    assert np.array_equal(np.asarray(load_image(found)), np.asarray(expected))
    again = io.BytesIO()
    found.save(again, "PNG")
    assert load_image(again.getvalue()).size == expected.size


def test_nothing_opens_a_file_but_by_these_checks(root):
    """`Image.open` stands in one module: formats that are not named would be opened by any other."""
    opened = []
    for folder in ("metrics/t2i_judge", "recipes", "space", "model_card", "dataset_card"):  # not in a user's program
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and node.attr == "open" and isinstance(node.value, ast.Name):
                    opened += [path.relative_to(root).as_posix()] if node.value.id in ("Image", "PILImage") else []
    assert opened == ["metrics/t2i_judge/inputs/images.py"]


def test_a_bmp_in_runs_is_a_picture():
    data = bytearray(ATTACKS["lines of a BMP that end at once"]())
    data[18:26] = (40).to_bytes(4, "little") + (2_500).to_bytes(4, "little")
    assert load_image(bytes(data)).size == (40, 2_500)
