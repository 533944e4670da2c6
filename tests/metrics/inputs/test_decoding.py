"""Decoding beside the process: the same pixels, and an end to what takes too long or too much."""

from __future__ import annotations

import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i_judge import processes
from t2i_judge.inputs import images, parts
from t2i_judge.inputs.decoding import Decoders, apart
from t2i_judge.inputs.images import ImageError, ImageLimits, encode_image, load_image
from t2i_judge.inputs.parts import private_metadata
from tests.slow_pictures import progressive

LIMITS = ImageLimits()


@pytest.fixture(scope="module")
def decoders():
    decoders = Decoders(2, seconds=0.3)
    yield decoders
    decoders.close()


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def picture() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    return encoded(Image.fromarray(pixels))


def test_the_pixels_are_those_of_load_image(decoders, picture):
    expected = np.asarray(load_image(picture))
    assert np.array_equal(np.asarray(decoders.pixels(picture, LIMITS)), expected)
    kind, bare = decoders.bare(picture, LIMITS)
    with Image.open(io.BytesIO(bare)) as png:
        assert np.array_equal(np.asarray(png), expected)
        assert (kind, png.format, png.info) == ("png", "PNG", {})


def test_what_phones_write_is_decoded_within_its_limits(decoders):
    photograph = Image.effect_noise((1200, 900), 40).convert("RGB")
    data = encoded(photograph, "AVIF")
    assert np.array_equal(np.asarray(decoders.pixels(data, LIMITS)), np.asarray(load_image(data)))
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra [heic]")
    out = io.BytesIO()
    pillow_heif.from_pillow(photograph).save(out)
    assert np.array_equal(np.asarray(decoders.pixels(out.getvalue(), LIMITS)), np.asarray(load_image(out.getvalue())))


@pytest.mark.parametrize(("data", "reason"), [(b"text", "not an image"), (b"", "empty")])
def test_a_bad_picture_has_its_reason(decoders, data, reason):
    with pytest.raises(ImageError, match=reason):
        decoders.pixels(data, LIMITS)
    with pytest.raises(ImageError, match="pixels are more than"):
        decoders.pixels(encoded(Image.new("RGB", (90, 90))), ImageLimits(pixels=100))


def test_a_slow_picture_ends_and_the_next_one_is_decoded(decoders, picture):
    slow = progressive(scans=53, size=(7000, 7000))
    assert len(slow) < 400_000
    start = time.monotonic()
    with pytest.raises(ImageError, match="too long"):
        decoders.pixels(slow, LIMITS)
    assert time.monotonic() - start < 60
    assert decoders.pixels(picture, LIMITS).size == (60, 40)


def test_a_picture_that_takes_too_much_memory_ends(picture):
    decoders = Decoders(1, memory=300_000_000)
    try:
        with pytest.raises(ImageError, match=r"memory|crashed"):
            decoders.pixels(encoded(Image.new("RGB", (9000, 9000))), ImageLimits(pixels=10**8, side=10_000))
        assert decoders.pixels(picture, LIMITS).size == (60, 40)
    finally:
        decoders.close()


def test_many_threads_share_the_processes(decoders):
    pictures = [encoded(Image.new("RGB", (8 + n, 8))) for n in range(40)]
    with ThreadPoolExecutor(16) as pool:
        sizes = [image.size for image in pool.map(lambda data: decoders.pixels(data, LIMITS), pictures)]
    assert sizes == [(8 + n, 8) for n in range(40)]


def test_the_process_has_no_key_and_ends_with_its_owner(picture, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    decoders = Decoders(1)
    decoders.pixels(picture, LIMITS)
    process = decoders._processes.idle.queue[0]
    with Path(f"/proc/{process.pid}/environ").open("rb") as environment:
        assert b"sk-secret" not in environment.read()
    decoders.close()
    assert process.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_apart_decodes_everything_elsewhere_in_one_process(picture, monkeypatch):
    started = []
    start = processes._started
    monkeypatch.setattr(processes, "_started", lambda *limits: started.append(start(*limits)) or started[-1])
    here = load_image(picture), encode_image(picture)
    monkeypatch.setattr(images, "_open", lambda *_: pytest.fail("decoded in this process"))
    with apart(count=1):
        assert [load_image(picture).tobytes() for _ in range(3)] == [here[0].tobytes()] * 3
        with ThreadPoolExecutor(1) as pool:  # threads too
            assert pool.submit(encode_image, picture).result() == here[1]
    [process] = started
    assert process.returncode is not None


def test_apart_metadata_is_read_elsewhere_too(picture, monkeypatch):
    commented = encoded(Image.new("RGB", (8, 8)), "GIF", comment=b"a folder of somebody")
    assert private_metadata(picture) is None and private_metadata(commented) == "a comment"
    monkeypatch.setattr(parts, "open_image", lambda *_: pytest.fail("opened in this process"))
    with apart(count=1):
        assert private_metadata(picture) is None and private_metadata(commented) == "a comment"
        monkeypatch.setattr(processes, "_exchange", _ended)
        assert private_metadata(picture) == "something that cannot be read (it takes too long to decode)"


def _ended(*_):
    raise processes.Ended(slow=True)


def test_apart_sends_what_need_not_be_encoded_as_it_is():
    data = encoded(Image.new("RGB", (8, 8)))
    with apart():
        sent = encode_image(data)
    assert (sent.data, sent.mime, sent.width, sent.height) == (data, "image/png", 8, 8)


def test_apart_a_slow_picture_is_a_broken_one():
    with apart(seconds=0.2), pytest.raises(ImageError, match="too long"):
        load_image(progressive(scans=53, size=(7000, 7000)))
    assert images._decoder is None
