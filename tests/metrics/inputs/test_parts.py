"""What an image file holds beside its pixels is seen, wherever it lies; what pixels need is no more than that."""

from __future__ import annotations

import io
import os
import socket

import numpy as np
import pytest
from PIL import Image

from t2i_judge.inputs.images import ImageError, load_image
from t2i_judge.inputs.parts import private_metadata

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (70, 55, 3), dtype=np.uint8))
FILES = [
    ("PNG", {}), ("JPEG", {}), ("GIF", {}), ("WEBP", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"big_tiff": True}),
    ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "tiff_adobe_deflate"}),
]  # fmt: skip


def encoded(kind: str, options: dict, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    NOISE.convert(mode).save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize(("kind", "options"), FILES, ids=str)
def test_bytes_after_the_end_are_seen(kind, options):
    for mode in ("RGB", "L", "1") if kind in ("BMP", "TIFF") else ("RGB",):
        whole = encoded(kind, options, mode)
        assert private_metadata(whole) is None
        assert private_metadata(whole + b"what nobody looks at may hold anything") == "bytes after its end"


def test_a_bmp_whose_size_is_that_of_what_was_added_has_an_end_all_the_same():
    whole = bytearray(encoded("BMP", {}) + b"x" * 40)
    whole[2:6] = len(whole).to_bytes(4, "little")
    assert private_metadata(bytes(whole)) == "bytes after its end"


def test_bytes_between_the_parts_of_a_tiff_are_seen():
    whole = encoded("TIFF", {})
    [start] = np.frombuffer(whole, "<u4", 1, 4)
    moved = whole[:4] + (int(start) + len(whole)).to_bytes(4, "little") + whole[8:]
    assert private_metadata(moved + b"\0" * int(start) + whole[int(start) :]) == "bytes between its parts"


def test_what_is_no_plain_file_is_an_image_error_at_once(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as door:
        door.bind("socket.png")
        for path in (tmp_path / "pipe.png", tmp_path / "socket.png", "/dev/zero", tmp_path):
            with pytest.raises(ImageError, match=r"is not a file|cannot read socket"):
                load_image(path)
