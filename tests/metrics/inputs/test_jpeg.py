"""Metadata cut out of JPEG files: every pixel stays, nothing else does, and no bytes make it fail."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from t2i_judge.inputs.jpeg import without_metadata

SECRETS = {
    "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0",
    "comment": b"a secret comment",
    "icc_profile": b"secret" * 100,
    "xmp": b"<x>secret</x>",
}


def jpeg(mode: str = "RGB", **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"quality": 95, "subsampling": 0}, {"restart_marker_rows": 1}]
)
def test_pixels_stay_and_everything_else_goes(mode, options):
    plain, whole = jpeg(mode, **options), jpeg(mode, **options, **SECRETS) + b"trailing secret"
    stripped = without_metadata(whole)
    assert stripped == without_metadata(plain)
    assert len(stripped) <= len(plain)
    assert b"secret" not in stripped
    with Image.open(io.BytesIO(stripped)) as image, Image.open(io.BytesIO(plain)) as original:
        assert image.mode == original.mode
        assert image.tobytes() == original.tobytes()
    assert without_metadata(stripped) == stripped


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", jpeg()[:200], jpeg()[:-2], b"\xff\xd8\xff\xe1\0\0"]
)
def test_what_is_no_whole_jpeg_is_none(data):
    assert without_metadata(data) is None


@given(st.lists(st.tuples(st.integers(2, 5_000), st.integers(0, 255)), max_size=8))
def test_whatever_the_bytes_it_ends(flips):
    data = bytearray(jpeg(**SECRETS))
    for place, value in flips:
        data[place % len(data)] = value
    stripped = without_metadata(bytes(data))
    assert stripped is None or len(stripped) <= len(data)
