"""What an image file holds beside its pixels is seen, wherever it lies; what pixels need is no more than that."""

from __future__ import annotations

import io
import os
import socket
import zlib

import numpy as np
import pytest
from PIL import Image

from recipes.distillation.image_metadata import without_metadata
from t2i_judge.inputs.images import ImageError, load_image
from t2i_judge.inputs.parts import PNG, png_chunks, private_metadata

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


def with_data(png: bytes, more: bytes, behind: bool) -> bytes:
    """A PNG with bytes at the end of its last compressed data, or compressed with its pixels."""
    chunks = [[kind, body] for kind, body in png_chunks(png)]
    data = [chunk for chunk in chunks if chunk[0] in ("IDAT", "fdAT")][-1]
    count = data[1][:4] if data[0] == "fdAT" else b""
    pixels = data[1][len(count) :]
    data[1] = count + (pixels + more if behind else zlib.compress(zlib.decompress(pixels) + more))
    return PNG + b"".join(
        len(body).to_bytes(4, "big") + (named := kind.encode() + body) + zlib.crc32(named).to_bytes(4, "big")
        for kind, body in chunks
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P", "I;16"])
def test_bytes_behind_the_pixels_of_a_png_are_seen(mode):
    still = encoded("PNG", {}, mode)
    frames = encoded("PNG", {"save_all": True, "append_images": [Image.new(mode, NOISE.size)]}, mode)
    for whole in (still, frames) if mode != "I;16" else (still,):
        assert private_metadata(whole) is None
        for behind in (False, True):
            hiding = with_data(whole, b"what nobody looks at may hold anything", behind)
            assert whole is frames or load_image(hiding).size == NOISE.size
            assert private_metadata(hiding) == "bytes behind its pixels"
            assert private_metadata(without_metadata(hiding)) is None


def test_an_interlaced_png_has_the_rows_of_seven_passes():
    """Pillow writes none: the pixels of each pass, one after the other, without a filter."""
    for width, height in ((1, 1), (3, 2), (8, 8), (13, 5), (70, 55)):
        pixels = np.asarray(NOISE.crop((0, 0, width, height)))
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
        parts = [pixels[y::down, x::across] for x, y, across, down in passes]
        rows = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
        sides = width.to_bytes(4, "big") + height.to_bytes(4, "big")
        chunks = {b"IHDR": sides + b"\x08\x02\0\0\1", b"IDAT": zlib.compress(rows), b"IEND": b""}
        whole = PNG + b"".join(
            len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
            for kind, body in chunks.items()
        )
        assert np.array_equal(np.asarray(load_image(whole)), pixels)
        assert private_metadata(whole) is None
        assert private_metadata(with_data(whole, b"more", False)) == "bytes behind its pixels"


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
