"""Slicing, packing, image tokens and chat template of MiniCPM-V-2.6, at the published scale and at the tiny one."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

from t2i_judge.local.minicpmv.processing import (
    IMAGE_MARKER,
    MiniCPMVImageProcessor,
    MiniCPMVProcessor,
    choose_grid,
    fit_size,
    slice_image,
)
from t2i_judge.local.minicpmv.registration import register
from t2i_judge.local.minicpmv.vision import position_buckets, sincos_positions
from tests.shared import shared

GOLDEN = Path(__file__).parents[3] / "data" / "minicpmv"
TINY = GOLDEN / "tiny_hub_layout"
HELLO = "<|im_start|>user\nhello<|im_end|>\n"


def table(name: str):
    return json.loads((GOLDEN / f"{name}.json").read_text())


def sha256(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).astype("<f4").tobytes()).hexdigest()


@pytest.fixture(scope="module")
def processor():
    register()
    return AutoProcessor.from_pretrained(TINY)


@pytest.fixture(scope="module")
def published_processor(tmp_path_factory):
    """Processor over the published vocabulary, where it lies in ../shared."""
    source, folder = shared("minicpm_v/tokenizer"), tmp_path_factory.mktemp("tokenizer")
    register()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "config.json").write_text('{"model_type": "minicpmv", "version": 2.6}')
    return MiniCPMVProcessor(MiniCPMVImageProcessor(), AutoTokenizer.from_pretrained(folder))


def picture(width: int, height: int) -> Image.Image:
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    return Image.fromarray(((7 * x + 13 * y + 29 * c + x * y // 5) % 256).astype(np.uint8))


@pytest.mark.parametrize("row", table("slicing_table_448")["rows"], ids=lambda r: f"{r['width']}x{r['height']}")
def test_slicing_at_full_scale(row, processor):
    size, limit = (row["width"], row["height"]), row["max_slice_nums"]
    grid = choose_grid(*size, 448, limit)
    assert grid == (tuple(row["grid_cols_rows"]) if row["grid_cols_rows"] else None)
    assert fit_size(*size, 448, 14, enlarge=grid is None) == tuple(row["overview_wh"])
    if grid:
        first = slice_image(Image.new("RGB", size), 448, 14, limit)[0][1]
        assert first.size == tuple(row["slice_wh"])
    full_scale = MiniCPMVProcessor(MiniCPMVImageProcessor(), processor.tokenizer)
    tokens = full_scale._image_tokens(grid).replace("<unk>" * 64, "{64}")
    assert f"<image_id>0</image_id>{tokens}" == row["placeholder_compact"]


@pytest.mark.parametrize("item", table("pixel_hashes_448")["items"], ids=lambda i: f"{i['width']}x{i['height']}")
def test_pixels_at_full_scale(item):
    output = MiniCPMVImageProcessor()(picture(item["width"], item["height"]))
    assert output["target_sizes"].tolist() == item["tgt_sizes"]
    ends = np.cumsum([height * width * 14 for height, width in item["tgt_sizes"]])[:-1]
    assert [sha256(part) for part in np.split(output["pixel_values"][0], ends, axis=-1)] == item["sha256_f32le"]


def test_position_buckets_at_full_scale():
    reference = table("position_buckets_70")["buckets"]
    assert {n: list(position_buckets(int(n), 70)) for n in reference} == reference


def test_position_buckets_do_not_depend_on_the_default_precision():
    expected = table("position_buckets_70")["buckets"]["55"]
    position_buckets.cache_clear()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert list(position_buckets(55, 70)) == expected
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("dim", [256, 3584])
def test_resampler_positions_at_full_scale(dim):
    """Not to the bit: powers and sines in float32 differ in their last bits from one kind of processor to another."""
    positions = sincos_positions(dim, 70, 70, torch.device("cpu")).numpy()
    for sample in table("resampler_sincos_samples"):
        if sample["dim"] == dim and "value" in sample:
            assert positions[sample["row"], sample["col"], sample["index"]] == pytest.approx(sample["value"], abs=1e-5)
        elif sample["dim"] == dim:
            assert positions.sum(dtype=np.float64) == pytest.approx(sample["sum"], rel=1e-7)
    angles = np.arange(70)[:, None] / 10000 ** (np.arange(dim // 4) / (dim / 4))
    side = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    exact = np.concatenate(np.broadcast_arrays(side[None, :], side[:, None]), axis=-1)
    np.testing.assert_allclose(positions, exact, atol=1e-5)


def run_lengths(ids: list[int], token: int) -> list[int | list[int]]:
    """Ids with each run of `token` as [token, length]."""
    packed: list[int | list[int]] = []
    for i in ids:
        if i == token and packed and isinstance(packed[-1], list):
            packed[-1][1] += 1
        else:
            packed.append([token, 1] if i == token else i)
    return packed


@pytest.mark.parametrize("case", table("real_tokenizer_cases")["prompts"], ids=lambda c: c["messages"][-1]["content"])
def test_prompts_over_the_published_vocabulary(case, published_processor):
    images = [[Image.new("RGB", size) for size in case["image_wh"]]]
    messages, asks = case["messages"], case["prompt"].endswith("<|im_start|>assistant\n")
    assert published_processor.apply_chat_template(messages, add_generation_prompt=asks) == case["prompt"]
    ids = published_processor(images=images, text=[case["prompt"]])["input_ids"][0]
    assert (run_lengths(ids, 128244), len(ids)) == (case["ids_rle_unk"], case["length"])


def test_texts_and_special_tokens_of_the_published_vocabulary(published_processor):
    reference, tokenizer = table("real_tokenizer_cases"), published_processor.tokenizer
    assert [tokenizer(case["text"])["input_ids"] for case in reference["texts"]] == [
        c["ids"] for c in reference["texts"]
    ]
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in reference["special"]} == reference["special"]
    assert len(tokenizer) == reference["len"]


def literal_slices(image: Image.Image, resolution: int, limit: int, patch: int = 14) -> list[Image.Image]:
    """The reference's slicing, spelled out step by step: overview first, then the cells row by row."""

    def divisible(length, by):
        return max(round(length / by) * by, by)

    def fitted(width, height, enlarge):
        if width * height > resolution * resolution or enlarge:
            ratio = width / height
            height = int(resolution / math.sqrt(ratio))
            width = int(height * ratio)
        return divisible(width, patch), divisible(height, patch)

    (width, height), best = image.size, None
    wanted = min(math.ceil(width * height / resolution**2), limit)
    for count in (wanted - 1, wanted, wanted + 1) if wanted > 1 else ():
        for columns in range(1, count + 1):
            if count == 1 or count > limit or count % columns:
                continue
            error = abs(math.log(width / height) - math.log(columns / (count // columns)))
            if best is None or error < best[0]:
                best = error, columns, count // columns
    parts = [image.resize(fitted(width, height, best is None), Image.Resampling.BICUBIC)]
    if best:
        _, columns, rows = best
        w, h = fitted(divisible(width, columns) / columns, divisible(height, rows) / rows, True)
        refined = image.resize((w * columns, h * rows), Image.Resampling.BICUBIC)
        for row in range(rows):
            for column in range(columns):
                parts.append(refined.crop((column * w, row * h, (column + 1) * w, (row + 1) * h)))
    return parts


def literal_strip(image: Image.Image, patch: int = 14) -> np.ndarray:
    """A slice's patches one by one, side by side: (3, patch, patches * patch)."""
    pixels = (np.asarray(image).astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    columns, rows = image.width // patch, image.height // patch
    corners = [(row * patch, column * patch) for row in range(rows) for column in range(columns)]
    patches = [pixels[y : y + patch, x : x + patch] for y, x in corners]
    return np.concatenate(patches, axis=1).transpose(2, 0, 1)


@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from([1, 2, 3, 4, 6, 9, 16, 25]), st.integers(0, 9))
@settings(max_examples=80)
def test_any_size_and_limit_is_cut_as_the_reference_says(width, height, limit, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    output = MiniCPMVImageProcessor(scale_resolution=112)(image, max_slice_nums=limit)
    expected = literal_slices(image, 112, limit)
    assert len(expected) <= limit + 1
    assert output["target_sizes"].tolist() == [[part.height // 14, part.width // 14] for part in expected]
    assert np.array_equal(output["pixel_values"][0], np.concatenate([literal_strip(p) for p in expected], axis=2))


@pytest.mark.parametrize("limit", [1, 4, 9, 25])
@pytest.mark.parametrize("numbered", [True, False])
def test_a_sample_s_tokens_are_spelled_out(limit, numbered, processor):
    """Twelve images in one sample (ids of two digits), of odd shapes, behind a system turn."""
    sizes = [(30, 500), (500, 30), (90, 70), (301, 199), (400, 400), (33, 333)] * 2
    images = [picture(*size) for size in sizes]
    parts = [{"type": "image"}] * len(images) + [{"type": "text", "text": "which <unk> is best?"}]
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    text = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
    for index, (width, height) in enumerate(sizes):
        grid = choose_grid(width, height, 112, limit)
        text += f"<image_id>{index}</image_id>" if numbered else ""
        text += f"<image>{'<unk>' * 8}</image>"
        text += "\n".join([f"<slice>{'<unk>' * 8}</slice>" * grid[0]] * grid[1]) if grid else ""
        text += "\n"
    text += "which <unk> is best?<|im_end|>\n<|im_start|>assistant\n"
    prompt = processor.apply_chat_template(turns, add_generation_prompt=True)
    batch = processor(images=[images], text=[prompt], max_slice_nums=limit, use_image_id=numbered)
    assert batch["input_ids"][0] == processor.tokenizer(text)["input_ids"]


def test_typed_parts_render_upstream_s_prompt(processor):
    parts = [
        {"type": "image"},
        {"type": "text", "text": "first"},
        {"type": "image"},
        {"type": "text", "text": "second"},
    ]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": [{"type": "text", "text": "ok"}]},
    ]
    assert processor.apply_chat_template(messages) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        f"<|im_start|>user\n{IMAGE_MARKER}\nfirst\n{IMAGE_MARKER}\nsecond<|im_end|>\n"
        "<|im_start|>assistant\nok<|im_end|>\n"
    )


def test_assistant_mask_covers_answers_behind_expanded_images(processor):
    image = Image.new("RGB", (300, 200))
    turns = [
        {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "what"}]},
        {"role": "assistant", "content": "a cat"},
        {"role": "user", "content": "and now"},
        {"role": "assistant", "content": "a dog"},
    ]
    batch = processor.apply_chat_template(
        [turns, turns[2:]], tokenize=True, return_dict=True, return_assistant_tokens_mask=True, return_tensors="pt",
        processor_kwargs={"padding": True},
    )  # fmt: skip
    learnt = [ids[mask.bool()] for ids, mask in zip(batch["input_ids"], batch["assistant_masks"], strict=True)]
    assert [processor.tokenizer.decode(ids) for ids in learnt] == ["a cat<|im_end|>a dog<|im_end|>", "a dog<|im_end|>"]


def test_image_ids_count_within_a_sample_and_text_only_rows_have_no_image(processor):
    images = [[Image.new("RGB", (50, 50))] * 2, [], [Image.new("RGB", (50, 50))]]
    texts = [f"{IMAGE_MARKER}{IMAGE_MARKER}x", "x", f"{IMAGE_MARKER}x"]
    batch = processor(images=images, text=texts, padding=True, padding_side="left", return_tensors="pt")
    assert sorted(batch) == ["attention_mask", "input_ids", "pixel_values", "target_sizes"]
    decoded = processor.tokenizer.batch_decode(batch["input_ids"])
    assert [re.findall(r"<image_id>(\d)</image_id>", text) for text in decoded] == [["0", "1"], [], ["0"]]
    assert batch["target_sizes"].tolist() == [[8, 8]] * 3
    assert batch["attention_mask"][1].tolist()[-1] == 1 and batch["attention_mask"][1].tolist()[0] == 0


def test_per_call_overrides(processor):
    image, text = [[Image.new("RGB", (400, 400))]], [IMAGE_MARKER]
    for limit, slices in ((1, 1), (3, 3), (9, 10), (20, 13), (12, 13)):
        batch = processor(images=image, text=text, max_slice_nums=limit, return_tensors="pt")
        assert len(batch["target_sizes"]) == slices
    ids = processor(images=image, text=text, max_slice_nums=1, use_image_id=False)["input_ids"][0]
    assert processor.tokenizer.decode(ids) == "<image>" + "<unk>" * 8 + "</image>"
    assert processor.image_processor.max_slice_nums == 9 and processor.image_processor.use_image_id


def test_images_may_come_flat_alone_or_as_arrays(processor):
    image, text = picture(60, 40), f"{IMAGE_MARKER}\nx"
    nested = processor(images=[[image], [image]], text=[text, text], return_tensors="pt")
    for images in ([image, image], [np.asarray(image)] * 2):
        flat = processor(images=images, text=[text, text], return_tensors="pt")
        assert all(torch.equal(flat[key], nested[key]) for key in nested)
    for single in (image, np.asarray(image)):
        ids = processor(images=single, text=text, return_tensors="pt")["input_ids"]
        assert torch.equal(ids, nested["input_ids"][:1])


def test_a_literal_unk_stays_text_and_the_image_token_may_stand_for_an_image(processor):
    image = Image.new("RGB", (50, 50))
    literal = processor(images=[[image]], text=[f"{IMAGE_MARKER} <unk>"])["input_ids"][0]
    assert literal.count(processor.image_token_id) == 8 + 1
    assert processor(text=["a <unk>"])["input_ids"][0].count(processor.image_token_id) == 1
    for none in ([[]], [], None):
        assert processor(images=none, text=["a <unk>"])["input_ids"] == processor(text=["a <unk>"])["input_ids"]
    by_token = processor(images=[[image]], text=[f"{processor.image_token}\nx"])["input_ids"]
    assert by_token == processor(images=[[image]], text=[f"{IMAGE_MARKER}\nx"])["input_ids"]


@pytest.mark.parametrize(
    ("images", "texts"),
    [
        ([[1], []], [HELLO, IMAGE_MARKER]),  # the marker is in another sample
        ([[1, 1]], [IMAGE_MARKER]),
        (None, [IMAGE_MARKER]),
        ([[1]], [HELLO]),
    ],
)
def test_images_without_their_own_marker_are_refused(images, texts, processor):
    pictures = images and [[Image.new("RGB", (50, 50)) for _ in row] for row in images]
    with pytest.raises(ValueError, match="image placeholders"):
        processor(images=pictures, text=texts, padding=True)


def test_truncation_that_cuts_image_tokens_is_refused(processor):
    with pytest.raises(ValueError, match="Mismatch in `image` token count"):
        processor(images=[[Image.new("RGB", (50, 50))]], text=[IMAGE_MARKER], truncation=True, max_length=6)


def test_a_saved_processor_reloads_by_every_door_and_names_no_remote_code(processor, tmp_path):
    processor.tokenizer("cut this", truncation=True, max_length=2)  # must not be remembered
    processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(again, MiniCPMVProcessor) and again.chat_template == processor.chat_template
    assert isinstance(AutoImageProcessor.from_pretrained(tmp_path), MiniCPMVImageProcessor)
    inputs = {"images": [[picture(300, 200)]], "text": [f"{IMAGE_MARKER}\nwow!"], "return_tensors": "pt"}
    first, second = processor(**inputs), again(**inputs)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not any("auto_map" in file.read_text() for file in tmp_path.glob("*.json"))
    upstream = json.loads((tmp_path / "preprocessor_config.json").read_text())
    original = json.loads((TINY / "preprocessor_config.json").read_text())
    assert {key: upstream.get(key) for key in original if key not in ("auto_map", "processor_class")} == {
        key: value for key, value in original.items() if key not in ("auto_map", "processor_class")
    }


def test_score_levels_are_single_tokens_of_the_published_vocabulary(published_processor):
    """A judge reads the distribution over 0-9 off one position; "10" would be two tokens."""
    from t2i_judge.local.model import _level_ids

    assert len(set(_level_ids(published_processor))) == 10
    assert len(published_processor.tokenizer("10", add_special_tokens=False)["input_ids"]) == 2
