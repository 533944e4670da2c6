"""Uploads that must be refused: name -> bytes, and words of the line that says why."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

from limits import UPLOAD


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing: a decompression bomb."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


BAD = {
    "text.png": (b"not a picture at all", "not an image"),
    "empty.png": (b"", "empty"),
    "bomb.png": (png_header(30_000, 30_000), "pixels"),
    "wide.png": (png_header(20_000, 10), "pixels"),
    "torn.png": (encoded(Image.effect_noise((64, 64), 50))[:200], "broken or truncated"),
    "big.png": (b"\x89PNG" + bytes(UPLOAD.bytes), "bytes"),
    "moving.webp": (
        encoded(Image.new("RGB", (8, 8)), "WEBP", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")]),
        "animated",
    ),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "not pixels"),
    "moving.gif": (
        encoded(Image.new("RGB", (8, 8)), "GIF", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")]),
        "animated",
    ),
}
