"""What an image file holds beside its pixels is seen, wherever it lies; what pixels need is no more than that."""

from __future__ import annotations

import io
import os
import socket
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

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


WORDS = b"home of Jane Doe, 52.5200 N 13.4050 E"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def gif_and(*blocks: bytes) -> bytes:
    whole = encoded("GIF", {})
    at = 13 + 3 * 2 ** ((whole[10] & 7) + 1)
    return whole[:at] + b"".join(blocks) + whole[at:]


def extension(label: int, *parts: bytes) -> bytes:
    return bytes([0x21, label]) + b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


LOOPS = extension(0xFF, b"NETSCAPE2.0", b"\1\0\0")


def webp_of(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return b"RIFF" + (4 + len(body)).to_bytes(4, "little") + b"WEBP" + body


def extended_webp(flags: int, *more: tuple[bytes, bytes]) -> bytes:
    picture = encoded("WEBP", {"lossless": True})[20:]
    sides = (NOISE.width - 1).to_bytes(3, "little") + (NOISE.height - 1).to_bytes(3, "little")
    return webp_of((b"VP8X", bytes([flags, 0, 0, 0]) + sides), (b"VP8L", picture), *more)


def avif_and(more: bytes) -> bytes:
    return encoded("AVIF", {}) + more


def box(kind: bytes, body: bytes) -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def bmp_with_a_gap(mode: str = "RGB") -> bytes:
    whole = encoded("BMP", {}, mode)
    start = int.from_bytes(whole[10:14], "little")
    return whole[:10] + (start + len(WORDS)).to_bytes(4, "little") + whole[14:start] + WORDS + whole[start:]


def patched(data: bytes, at: int, more: bytes) -> bytes:
    return data[:at] + more + data[at + len(more) :]


def tiff_with(tag: int, kind: int, value: bytes, count: int = 0, palette: bool = False) -> bytes:
    """A TIFF without compression, with one more tag, or another value of one that it has."""
    pixels = np.asarray(NOISE)[:, :, :1].tobytes() if palette else NOISE.tobytes()
    samples = 1 if palette else 3
    numbers = {256: 55, 257: 70, 259: 1, 262: 3 if palette else 2, 273: 8, 277: samples, 278: 70, 279: len(pixels)}
    tags = {number: (4, 1, each.to_bytes(4, "little")) for number, each in numbers.items()}
    tags[258] = (3, samples, b"\x08\0" * samples)
    if palette:
        tags[320] = (3, 768, bytes(1536))
    tags[tag] = (kind, count or len(value), value)
    held, directory = pixels + b"\0" * (len(pixels) % 2), len(tags).to_bytes(2, "little")
    for number, (of, many, each) in sorted(tags.items()):
        place = (8 + len(held)).to_bytes(4, "little") if len(each) > 4 else each.ljust(4, b"\0")
        held += each + b"\0" * (len(each) % 2) if len(each) > 4 else b""
        head = number.to_bytes(2, "little") + of.to_bytes(2, "little") + many.to_bytes(4, "little")
        directory += head + place
    return b"II*\0" + (8 + len(held)).to_bytes(4, "little") + held + directory + bytes(4)


def jpeg_and(marker: int, body: bytes) -> bytes:
    whole = encoded("JPEG", {})
    return whole[:20] + bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body + whole[20:]


HIDING = {
    "GIF, a label of no kind": gif_and(extension(0x02, WORDS)),
    "GIF, loops with more": gif_and(extension(0xFF, b"NETSCAPE2.0", WORDS)),
    "GIF, loops twice": gif_and(LOOPS, LOOPS),
    "GIF, a long graphic control": gif_and(extension(0xF9, bytes(4), WORDS)),
    "GIF, graphic controls one after the other": gif_and(*(extension(0xF9, WORDS[at : at + 4]) for at in (0, 4, 8))),
    "WebP, a profile without its flag": extended_webp(0, (b"ICCP", WORDS)),
    "WebP, two profiles": extended_webp(0x20, (b"ICCP", PROFILE), (b"ICCP", PROFILE)),
    "AVIF, a film without one": avif_and(box(b"moov", box(b"udta", WORDS))),
    "AVIF, more data": avif_and(box(b"mdat", WORDS)),
    "AVIF, a brand": encoded("AVIF", {}).replace(b"MA1B", b"Jane"),
    "AVIF, an item's name": encoded("AVIF", {}).replace(b"Color", b"Jane2"),
    "AVIF, a property": encoded("AVIF", {}).replace(b"pixi", b"Jane"),
    "AVIF, a film with more": encoded("AVIF", {"save_all": True, "append_images": [NOISE.rotate(90)]}).replace(
        b"AOM Coding", b"Jane Doe 5"
    ),
    "BMP, a gap": bmp_with_a_gap(),
    "BMP, a gap behind the palette": bmp_with_a_gap("P"),
    "BMP, what no colour has": patched(encoded("BMP", {}, "P"), 54, b"\0\0\0J\0\0\0a\0\0\0n\0\0\0e"),
    "BMP, reserved": patched(encoded("BMP", {}), 6, b"Jane"),
    "BMP, resolutions": patched(encoded("BMP", {}), 38, b"Jane Doe"),
    **{f"TIFF, {tag} in words": tiff_with(tag, kind, WORDS) for tag, kind in (
        (254, 2), (283, 2), (301, 7), (320, 2), (341, 2), (347, 7), (532, 2), (296, 2),
    )},
    "TIFF, a type of no kind": tiff_with(296, 99, WORDS),
    "TIFF, a palette without its use": tiff_with(320, 3, bytes(1536), 768),
    "TIFF, a long curve": tiff_with(301, 3, bytes(2048), 1024),
    "TIFF, a curve that is none": tiff_with(301, 3, (WORDS * 14)[:512], 256),
    "TIFF, a large fraction": tiff_with(282, 5, b"Jane Doe", 1),
    "TIFF, a large choice": tiff_with(254, 4, b"Jane", 1),
    "TIFF, bytes behind a value": tiff_with(266, 3, b"\1\0JD", 1),
    "TIFF, a strip with more": tiff_with(279, 4, (70 * 55 * 3 + 40).to_bytes(4, "little"), 1),
    "JPEG, codes that none uses": jpeg_and(0xC4, b"\x13" + bytes(7) + b"\6" + bytes(8) + b"JaneDo"),
    "JPEG, codes twice": jpeg_and(0xC4, b"\x10" + bytes(7) + b"\6" + bytes(8) + b"JaneDo"),
    "JPEG, a divisor that none uses": jpeg_and(0xDB, b"\3" + (WORDS * 2)[:64]),
    "JPEG, codes with more": jpeg_and(0xC4, b"\x00" + bytes(16) + WORDS),
    "JPEG, restarts with more": jpeg_and(0xDD, b"\0\0" + WORDS),
    "JPEG, restarts twice": jpeg_and(0xDD, b"\0\0").replace(b"\xff\xdd\0\4\0\0", 2 * b"\xff\xdd\0\4\0\0"),
}  # fmt: skip
UNREADABLE = ("JPEG, codes with more", "JPEG, restarts with more", "JPEG, codes twice")  # by what decodes them


@pytest.mark.parametrize("name", HIDING)
def test_a_part_that_pixels_need_is_no_larger_than_its_kind(name):
    hiding = HIDING[name]
    found = private_metadata(hiding)
    assert found == "bytes behind its pixels" if "a strip" in name else found and not found.startswith("bytes after")
    if name in UNREADABLE:
        return
    clean = without_metadata(hiding)
    assert private_metadata(clean) is None
    if not name.startswith(("JPEG", "AVIF")):  # these are encoded anew
        assert np.array_equal(np.asarray(load_image(clean)), np.asarray(load_image(hiding)))


def film(kind: str, **options) -> bytes:
    return encoded(kind, {"save_all": True, "append_images": [NOISE.rotate(90), NOISE.rotate(45)], **options})


def test_what_programs_write_passes():
    grey = encoded("JPEG", {}, "L")
    tables = [bytes([0xFF, 0xC4]) + encoded("JPEG", {}).split(b"\xff\xc4")[number] for number in (3, 4)]
    end = tables[1].index(b"\xff\xda")
    plain = [
        gif_and(LOOPS, extension(0xF9, bytes(4))), film("GIF", loop=0, duration=100), film("GIF", disposal=2),
        extended_webp(0x20, (b"ICCP", PROFILE)), film("WEBP"), encoded("WEBP", {}, "RGBA"), film("AVIF"),
        encoded("AVIF", {"icc_profile": PROFILE}), encoded("AVIF", {}, "RGBA"),
        *(encoded("BMP", {"dpi": (300, 300)}, mode) for mode in ("1", "L", "P", "RGB", "RGBA")),
        *(encoded("TIFF", {"dpi": (72.009, 300.1)}, mode) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "F")),
        *(encoded("TIFF", {"compression": kind}) for kind in ("jpeg", "packbits")),
        tiff_with(259, 3, b"\1\0", 1), tiff_with(259, 3, b"\1\0", 1, True),
        tiff_with(301, 3, np.arange(256, dtype="<u2").tobytes(), 256),
        *(encoded("JPEG", {option: 1}) for option in ("progressive", "optimize", "restart_marker_rows")),
        grey[:20] + tables[0] + tables[1][:end] + grey[20:],
    ]  # fmt: skip
    assert [private_metadata(each) for each in plain] == [None] * len(plain)
