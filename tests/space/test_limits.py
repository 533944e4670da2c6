"""What a public Space refuses: each bad upload with its own line, links everywhere, too much text, too much time."""

from __future__ import annotations

import asyncio
import io
import threading
from pathlib import Path

import pytest
from PIL import Image

import files as files_module
import limits
from annotation_store import AnnotationStore, FolderShelf
from files import Files
from limits import clean_prompt, timed
from t2i_judge.errors import UserError
from tests.space.bad_uploads import BAD, encoded
from tests.waiting import PATIENCE, eventually
from uploads import accept_image, accept_images, pixels
from visitors import Visitor

VISITOR = Visitor(session="s")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder of visitors' files that are deleted without delay."""
    monkeypatch.setattr(files_module, "GRACE", 0.0)
    return Files(tmp_path)


def upload(files: Files, name: str, data: bytes, visitor: Visitor = VISITOR):
    """The path that an upload gets."""
    with files.room(visitor, len(data)) as room:
        room.count(len(data))
        (room.folder / name).write_bytes(data)
        return room.add(room.folder / name)


def accepted(files: Files, path):
    image, told = asyncio.run(accept_image(files, VISITOR, "picture", str(path)))
    return image, told


def gone(path) -> bool:
    """Is the file deleted soon?"""
    return eventually(lambda: not path.exists())


@pytest.mark.parametrize("name", BAD)
def test_every_bad_upload_gets_its_line_and_is_deleted(files, name):
    data, reason = BAD[name]
    path = upload(files, name, data)
    image, told = accepted(files, path)
    assert image is None
    assert name in told
    assert reason in told
    assert "\n" not in told
    assert gone(path)


def test_an_accepted_upload_is_bare_pixels_upright(files):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera with a serial number"
    data = encoded(Image.new("RGB", (40, 20), "red"), "JPEG", exif=exif, comment=b"secret", icc_profile=b"a profile")
    path = upload(files, "photo.jpg", data)
    bare, told = accepted(files, path)
    assert told == ""
    with Image.open(bare) as image:
        image.load()
        assert image.size == (20, 40)
        assert not image.getexif()
        assert not image.info
    assert gone(path)


def test_a_gallery_keeps_the_good_ones_and_names_the_others(files):
    names = ["good.png", "text.png", *(f"{n}.png" for n in range(8))]
    good = encoded(Image.new("RGB", (8, 8)))
    paths = [upload(files, name, BAD["text.png"][0] if name == "text.png" else good) for name in names]
    kept, told = asyncio.run(accept_images(files, VISITOR, "pictures", [(str(path), None) for path in paths]))
    assert [name for _, name in kept] == ["good", *"0123456"]
    assert "text.png" in told
    assert "7.png is left out" in told
    assert all(gone(path) for path in paths)
    again, _ = asyncio.run(accept_images(files, VISITOR, "pictures", kept[:3]))
    assert again == kept[:3], "what was accepted stays as it is"
    assert gone(Path(kept[3][0]))
    assert Path(kept[0][0]).exists()


def test_a_jpeg_stays_as_it_is_encoded_and_loses_the_rest(files):
    noise = Image.effect_noise((200, 100), 50).convert("RGB")
    data = encoded(noise, "JPEG", comment=b"secret", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0", quality=80)
    bare, _ = accepted(files, upload(files, "photo.jpg", data + b"more secrets"))
    stripped = Path(bare).read_bytes()
    assert b"secret" not in stripped
    assert b"Exif" not in stripped
    assert len(stripped) < len(data)
    with Image.open(bare) as image, Image.open(io.BytesIO(data)) as original:
        assert image.tobytes() == original.tobytes()


@pytest.mark.parametrize("mode", ["CMYK", "L", "LA", "P", "1", "RGBA"])
def test_every_kind_of_pixels_becomes_plain_colours(tmp_path, mode):
    path = tmp_path / "picture.tif"
    Image.new("RGB", (8, 6), "white").convert(mode).save(path)
    image = asyncio.run(pixels(str(path)))
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (8, 6), (255, 255, 255))


def test_no_link_is_read():
    with pytest.raises(UserError, match="no longer here"):
        asyncio.run(pixels("http://127.0.0.1:9/x.png"))


def test_prompts_are_cleaned_and_bounded():
    assert clean_prompt(" a\x00 cat\x1b ") == "a cat"
    assert clean_prompt("\udfff red \ud83d\U0001f600") == "red \U0001f600", "half of a character is none"
    for bad in ("", "  \x00", None, "x" * (limits.MAX_PROMPT + 1)):
        with pytest.raises(UserError):
            clean_prompt(bad)


def test_a_slow_judge_is_left_behind(monkeypatch):
    monkeypatch.setitem(limits.SECONDS, "remote", 0.1)
    go, answered = threading.Event(), []
    with pytest.raises(UserError, match=r"No answer in 0\.1 seconds"):
        asyncio.run(timed("remote", lambda: answered.append(go.wait(PATIENCE))))
    assert not answered
    go.set()


def test_a_name_that_is_not_admitted_is_not_registered(tmp_path):
    def refuse():
        raise UserError("too many")

    store = AnnotationStore(FolderShelf(tmp_path))
    _, code = store.enter("ann", None)
    store.enter("ann", code, refuse)  # who comes back takes no place
    with pytest.raises(UserError, match="too many"):
        store.enter("bob", None, refuse)
    assert len(list(tmp_path.rglob("*.json"))) == 1
