"""Images in: every kind of source, every kind of damage, and the bytes that leave for a server."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import struct
import sys
import time
import tracemalloc
import zlib
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from t2i_judge.inputs.images import ImageError, ImageLimits, encode_image, image_size, load_image, scaled_down


def _bytes(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_every_source_gives_the_same_pixels(picture, tmp_path):
    png = _bytes(picture)
    path = tmp_path / "a.png"
    path.write_bytes(png)
    sources = [picture, png, bytearray(png), path, str(path), np.asarray(picture)]
    sources += [{"bytes": png, "path": None}, {"bytes": None, "path": str(path)}]
    written, text = io.BytesIO(), base64.b64encode(png).decode()
    written.write(png)  # and not rewound
    sources += [written, path.open("rb"), text, base64.urlsafe_b64encode(png).decode().rstrip("="), f" {text}\n"]
    sources += [f"data:image/png;base64,{text}", {"image_url": {"url": f"data:image/png;base64,{text}"}}]
    sources += [[picture], [str(path)], str([str(path)]), json.dumps([text]), str({"bytes": png, "path": None})]
    pixels = torch.from_numpy(np.asarray(picture).copy())
    first = pixels.permute(2, 0, 1)
    sources += [pixels, first, first[None], np.asarray(first), np.asarray(picture).astype(np.int64)]
    sources += [np.asarray(picture).astype(np.uint16) << 8, np.asarray(picture) / 255]
    sources += [(first / 255).requires_grad_()]
    sources += [lambda: picture, lambda: str(path)]
    for source in sources:
        image = load_image(source)
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), np.asarray(picture))


@pytest.mark.parametrize("tail", ["", "!", "=!", "\xa0"])
def test_spaces_in_base64_cost_no_more_than_the_text(tail):
    """A space after every two letters, or millions at the end before a letter that is none."""
    for text in ("AA " * 2_000_000 + tail, "A" * 64 + " " * 3_000_000 + tail):
        tracemalloc.start()
        begun = time.process_time()
        with pytest.raises(ImageError):
            load_image(text)
        assert time.process_time() - begun < 10
        assert tracemalloc.get_traced_memory()[1] < 6 * len(text)
        tracemalloc.stop()


def _bomb() -> bytes:
    """A PNG of 30,000 x 30,000 pixels in a few hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _animation(kind: str) -> bytes:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    return _bytes(frames[0], kind, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "no image"),
        ({"bytes": None, "path": None}, "no image"),
        (b"", "empty"),
        (b"just some text", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
        (_bomb(), "pixels"),
        (_animation("GIF"), "animated"),
        (_animation("PNG"), "animated"),
        (_animation("WEBP"), "animated"),
        (_animation("TIFF"), "animated"),
        (3.5, "float"),
        (["a.png"], "cannot read a.png"),
        (["a.png", "b.png"], "2 images in one cell"),
        ([], "no image"),
        ({"url": "https://example.org/a.png"}, "URL"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "web page"),
        (io.StringIO("text"), "binary mode"),
        ("https://example.org/a.png", "URL"),
        ("S3://bucket/a.png", "URL"),
        ("data:image/png;base64,AAAA", "not an image"),
        ("data:image/png;base64,A!", "base64 is broken"),
        ("does/not/exist.png", "exist.png"),
        ("nul\0l.png", "cannot read"),
        (np.zeros((5, 4, 5), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (np.full((4, 4, 3), 2.0), r"\[0, 1\]"),
        (np.full((4, 4), np.nan), r"\[0, 1\]"),
        (np.full((4, 4, 3), 256), "int64 from 256 to 256"),
        (np.zeros((4, 4, 3), complex), "complex"),
        (Image.new("F", (4, 4)), "floating"),
    ],
)
def test_what_cannot_be_judged_says_why_in_one_line(source, reason):
    for read in (load_image, encode_image):
        with pytest.raises(ImageError, match=reason) as caught:
            read(source)
        assert "\n" not in caught.value.reason


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated_files_are_refused(picture, kind, share):
    data = _bytes(picture, kind)
    with pytest.raises(ImageError, match=r"truncated|not an image"):
        load_image(data[: int(len(data) * share)])


def test_bytes_flipped_anywhere_give_an_image_or_an_image_error(picture):
    data, random = bytearray(_bytes(picture, "JPEG")), np.random.default_rng(1)
    for _ in range(200):
        broken = bytearray(data)
        broken[random.integers(2, len(data))] ^= int(random.integers(1, 256))
        try:
            assert load_image(bytes(broken)).mode == "RGB"
        except ImageError as error:
            assert error.reason


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"no TIFF header", b"II", b"MM\0*\0\0"])
def test_a_broken_exif_block_is_that_images_error(picture, kind, exif):
    data = _bytes(picture, kind, exif=b"Exif\0\0" + exif)
    for read in (load_image, encode_image):
        for source in (data, Image.open(io.BytesIO(data))):
            with pytest.raises(ImageError, match="EXIF"):
                read(source)


def test_whatever_pillow_raises_is_that_images_error(picture, monkeypatch):
    """In the pixels, beside them, or on the way out."""
    turned = Image.Exif()
    turned[0x0112] = 6
    data = _bytes(picture, "JPEG", exif=turned)
    for name in ("load", "getexif", "transpose", "save"):
        with monkeypatch.context() as broken:
            broken.setattr(Image.Image, name, lambda *_, **__: struct.unpack(">I", b""))
            with pytest.raises(ImageError):
                encode_image(data)


def test_a_folder_and_a_device_are_not_files(tmp_path):
    for source in (tmp_path, "/dev/zero"):
        with pytest.raises(ImageError, match="not a file"):
            load_image(source)


def test_limits_on_bytes_pixels_and_sides(picture, tmp_path):
    data = _bytes(picture)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for limits in (ImageLimits(bytes=100), ImageLimits(pixels=100), ImageLimits(side=50)):
        for source in (data, path):
            with pytest.raises(ImageError, match="allowed"):
                load_image(source, limits)


def test_modes_become_upright_rgb_over_white():
    red = Image.new("RGB", (4, 4), (200, 10, 10))
    assert load_image(_bytes(red.convert("CMYK"), "JPEG")).mode == "RGB"
    clear = Image.new("RGBA", (4, 4), (200, 10, 10, 0))
    assert load_image(_bytes(clear)).getpixel((0, 0)) == (255, 255, 255)
    palette = red.convert("P", palette=Image.Palette.ADAPTIVE)
    assert load_image(_bytes(palette)).getpixel((1, 1)) == (200, 10, 10)
    assert load_image(_bytes(palette, transparency=palette.getpixel((0, 0)))).getpixel((1, 1)) == (255, 255, 255)
    assert load_image(_bytes(red.convert("L"))).mode == "RGB"
    assert load_image(_bytes(red.convert("1"))).mode == "RGB"
    deep = Image.fromarray(np.full((4, 4), 0x8000, np.uint16))
    assert load_image(_bytes(deep)).getpixel((0, 0)) == (128, 128, 128)
    for shallow in (Image.new("I", (4, 4), 200), Image.fromarray(np.full((4, 4), 200, np.uint16))):
        assert load_image(shallow).getpixel((0, 0)) == (200, 200, 200)
        assert load_image(_bytes(shallow, "TIFF")).getpixel((0, 0)) == (200, 200, 200)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I;16"]
)
def test_every_mode_of_pillow_shows_its_picture(mode):
    white = Image.new("RGB", (4, 4), (255, 255, 255))
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(white, *profiles, outputMode="LAB")
    else:
        picture = _as(white, mode)
    pixel = load_image(picture).getpixel((2, 2))
    assert min(pixel) >= 254, pixel


def _as(picture: Image.Image, mode: str) -> Image.Image:
    """Pillow goes some of its ways in two steps only."""
    steps = {"La": ("LA",), "RGBa": ("RGBA",), "PA": ("P",), "I;16": ("L",)}
    for step in (*steps.get(mode, ()), mode):
        picture = picture.convert(step)
    return picture


@pytest.mark.parametrize(("kind", "heic"), [("AVIF", False), ("HEIF", True)])
def test_what_phones_and_browsers_write_is_read_and_sent_as_jpeg(picture, kind, heic):
    smooth = picture.resize((8, 8)).resize((60, 40))
    if heic:
        pillow_heif = pytest.importorskip("pillow_heif", reason="the extra [heic]")
        out = io.BytesIO()
        pillow_heif.from_pillow(smooth).save(out, quality=95)
        data = out.getvalue()
    else:
        data = _bytes(smooth, kind, quality=95)
    loaded, sent = load_image(data), encode_image(data)
    assert image_size(data) == loaded.size == (60, 40) and sent.mime == "image/jpeg"
    for read in (loaded, load_image(sent.data)):
        assert np.abs(np.asarray(read, float) - np.asarray(smooth)).mean() < 4
    with pytest.raises(ImageError):
        load_image(data[: len(data) // 2])
    assert "HEIF" not in Image.registered_extensions().values()  # nothing is changed for the caller's own Pillow


def test_avif_is_held_as_its_exif_says_and_an_animation_is_refused(picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "taken at home"
    data = _bytes(picture, "AVIF", exif=exif)
    assert load_image(data).size == (40, 60) and encode_image(data).width == 40
    assert b"taken at home" in data and b"taken at home" not in encode_image(data).data
    with pytest.raises(ImageError, match="animated"):
        load_image(_animation("AVIF"))


def test_heic_without_its_decoder_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif.as_plugin", None)
    with pytest.raises(ImageError, match=r"pip install 't2i-judge\[heic\]'"):
        load_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))


def test_a_large_picture_as_python_writes_its_bytes_and_a_long_list_of_numbers():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8))
    data = _bytes(noise)
    for text in (str({"bytes": data, "path": None}), str(data), str([data])):
        assert len(text) > 300_000 and np.array_equal(np.asarray(load_image(text)), np.asarray(noise))
    start = time.process_time()
    with pytest.raises(ImageError):
        load_image(f"({'1,' * 500_000})".replace("(", "[").replace(")", ",]"))
    assert time.process_time() - start < 10


class _Spiteful:
    """Raises when it is asked for its pixels."""

    def __array__(self, *_):
        raise KeyError("no pixels today")


def test_an_object_that_raises_is_that_images_error():
    with pytest.raises(ImageError, match="no pixels today"):
        load_image(_Spiteful())


@given(st.text(max_size=300))
def test_any_text_is_an_image_or_an_image_error(text):
    with suppress(ImageError):
        load_image(text)


def test_exif_orientation_is_applied_and_exif_never_leaves(picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    exif[0x010E] = "taken at home"
    data = _bytes(picture, "JPEG", exif=exif, quality=95)
    assert load_image(data).size == (40, 60)
    encoded = encode_image(data)
    assert (encoded.width, encoded.height) == (40, 60)
    assert b"taken at home" in data
    assert b"taken at home" not in encoded.data


@pytest.mark.parametrize(("kind", "mime"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_plain_files_are_sent_as_they_are(picture, kind, mime):
    data = _bytes(picture, kind)
    encoded = encode_image(data)
    assert (encoded.data, encoded.mime) == (data, mime)
    assert encoded.sha256 == hashlib.sha256(data).hexdigest()
    head, _, body = encoded.data_url.partition(",")
    assert head == f"data:{mime};base64"
    assert base64.b64decode(body) == data
    assert encoded.data_url is encoded.data_url


def test_what_servers_do_not_take_is_sent_as_png(picture):
    for source in (_bytes(picture, "BMP"), picture.convert("CMYK"), np.asarray(picture)):
        encoded = encode_image(source)
        assert encoded.mime == "image/png"
        assert np.asarray(Image.open(io.BytesIO(encoded.data))).shape == (40, 60, 3)


def test_the_callers_image_is_left_as_it_was(picture):
    exif = picture.getexif()
    exif[0x0112] = 6
    before = picture.tobytes()
    assert load_image(picture).size == (40, 60)
    assert picture.size == (60, 40)
    assert picture.tobytes() == before


def test_sizes_are_read_from_the_header_alone(picture, tmp_path):
    data = _bytes(picture)
    path = tmp_path / "a.png"
    path.write_bytes(data[:60])
    for source in (picture, data, data[:60], path):
        assert image_size(source) == (60, 40)
    with pytest.raises(ImageError, match="not an image"):
        image_size(b"text")


def test_a_jpeg_with_exif_stays_a_jpeg_without_it(picture):
    plain = _bytes(picture, "JPEG", quality=90)
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    sent = encode_image(_bytes(picture, "JPEG", quality=90, exif=exif))
    assert sent.mime == "image/jpeg"
    assert b"taken at home" not in sent.data
    assert len(sent.data) <= len(plain)
    assert load_image(sent.data).tobytes() == load_image(plain).tobytes()
    exif[0x0112] = 6  # to be turned: encoded anew, as a JPEG
    turned = encode_image(_bytes(picture, "JPEG", quality=90, exif=exif))
    assert (turned.mime, turned.width, turned.height) == ("image/jpeg", picture.height, picture.width)
    assert b"taken at home" not in turned.data
    assert len(turned.data) < 3 * len(plain)


@pytest.mark.parametrize(("kind", "mime"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/png")])
def test_a_large_image_is_scaled_down_in_its_own_kind_of_file(picture, kind, mime):
    image = encode_image(_bytes(picture, kind))
    small = scaled_down(image, 30)
    assert (small.mime, small.width, small.height) == (mime, 30, 20)
    assert scaled_down(image, 60) is image
