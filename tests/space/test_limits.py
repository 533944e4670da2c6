"""What a public Space refuses: each bad upload with its own line, links everywhere, too much text, too much time."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from PIL import Image

import limits
import uploads
from limits import GuardedBlocks, clean_image, clean_prompt, timed
from t2i_judge.errors import UserError
from tests.space.bad_uploads import BAD, encoded
from uploads import accept_image, accept_images


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Uploads are deleted without delay."""
    monkeypatch.setattr(uploads, "GRACE_SECONDS", 0.0)


def gone(path) -> bool:
    """Is the file deleted within a second?"""
    return any(not path.exists() or time.sleep(0.05) for _ in range(20))


@pytest.mark.parametrize("name", BAD)
def test_every_bad_upload_gets_its_line_and_is_deleted(tmp_path, name):
    data, reason = BAD[name]
    path = tmp_path / name
    path.write_bytes(data)
    image, told = accept_image(str(path))
    assert image is None
    assert name in told
    assert reason in told
    assert "\n" not in told
    assert gone(path)


def test_an_accepted_upload_is_bare_pixels_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera with a serial number"
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (40, 20), "red").save(path, exif=exif, comment=b"secret")
    image, told = accept_image(str(path))
    assert told == ""
    assert image.size == (20, 40)
    assert not image.getexif()
    assert not image.info
    assert gone(path)


def test_a_gallery_keeps_the_good_ones_and_names_the_others(tmp_path):
    names = ["good.png", "text.png", *(f"{n}.png" for n in range(8))]
    for name in names:
        data = BAD["text.png"][0] if name == "text.png" else encoded(Image.new("RGB", (8, 8)))
        (tmp_path / name).write_bytes(data)
    kept, told = accept_images([(str(tmp_path / name), None) for name in names])
    assert [name for _, name in kept] == ["good", *"0123456"]
    assert "text.png" in told
    assert "7.png is left out" in told


def test_only_what_has_just_come_is_deleted(tmp_path):
    """A client may name an example's file in place of an upload; it stays for the others."""
    path = tmp_path / "example.png"
    path.write_bytes(encoded(Image.new("RGB", (8, 8))))
    os.utime(path, (time.time() - 3600,) * 2)
    assert accept_image(str(path))[0] is not None
    time.sleep(0.3)
    assert path.exists()


@pytest.mark.parametrize("mode", ["CMYK", "L", "LA", "P", "1", "RGBA"])
def test_every_kind_of_pixels_becomes_plain_colours(tmp_path, mode):
    path = tmp_path / "picture.tif"
    Image.new("RGB", (8, 6), "white").convert(mode).save(path)
    image = clean_image(str(path))
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (8, 6), (255, 255, 255))


def test_no_file_outside_is_read():
    with pytest.raises(UserError, match="URLs are not fetched"):
        clean_image("http://127.0.0.1:9/x.png")


def test_prompts_are_cleaned_and_bounded():
    assert clean_prompt(" a\x00 cat\x1b ") == "a cat"
    for bad in ("", "  \x00", None, "x" * (limits.MAX_PROMPT + 1)):
        with pytest.raises(UserError):
            clean_prompt(bad)


def test_a_slow_judge_is_left_behind(monkeypatch):
    monkeypatch.setitem(limits.SECONDS, "local", 0.1)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"No answer in 0\.1 seconds"):
        asyncio.run(timed("local", time.sleep, 0.5))
    assert time.monotonic() - start < 0.4


LINK = {"path": "http://127.0.0.1:9/x.png", "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize("sent", [[LINK], [[{"image": LINK, "caption": None}]], [{"deep": {"er": [LINK]}}]])
def test_links_in_place_of_uploads_are_refused_in_any_component(sent):
    with pytest.raises(Exception, match="Links are not fetched"):
        asyncio.run(GuardedBlocks().preprocess_data(None, sent, None))
