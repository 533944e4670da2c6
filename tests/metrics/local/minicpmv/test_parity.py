"""The port against vectors that openbmb's own code produced (versions: tests/data/minicpmv/manifest.json)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from t2i_judge.local.minicpmv import vision as vision_minicpmv
from t2i_judge.local.minicpmv.registration import register

GOLDEN = Path(__file__).parents[3] / "data" / "minicpmv"
CASES = json.loads((GOLDEN / "manifest.json").read_text())["cases"]


@pytest.fixture(scope="module")
def processor():
    register()
    return AutoProcessor.from_pretrained(GOLDEN / "tiny_hub_layout")


@pytest.fixture(scope="module")
def model():
    register()
    return AutoModelForImageTextToText.from_pretrained(GOLDEN / "tiny_hub_layout", dtype=torch.float32).eval()


@pytest.fixture(params=CASES)
def case(request, processor):
    """Reference tensors, their description, and the port's own batch for the same input."""
    described = CASES[request.param]
    images = [[Image.open(GOLDEN / "images" / f"{name}.png") for name in sample] for sample in described["images"]]
    batch = processor(images=images, text=described["prompts"], padding=True, return_tensors="pt")
    reference = load_file(GOLDEN / f"case_{request.param}.safetensors")
    # Upstream's own mask also hides every "!" (token 0); only with it are its numbers comparable.
    return reference, described, dict(batch) | {"attention_mask": reference["attention_mask"]}


def slice_hashes(batch: dict[str, torch.Tensor]) -> list[str]:
    """sha256 of each slice's float32 patches."""
    lengths = [height * width * 14 for height, width in batch["target_sizes"].tolist()]
    slices = batch["pixel_values"][0].split(lengths, dim=-1)
    return [hashlib.sha256(part.contiguous().numpy().astype("<f4").tobytes()).hexdigest() for part in slices]


def test_ids_sizes_and_pixels_are_the_reference_s(case):
    reference, described, batch = case
    assert torch.equal(batch["input_ids"], reference["input_ids"])
    if described["tgt_sizes"]:
        assert batch["target_sizes"].tolist() == described["tgt_sizes"]
        assert slice_hashes(batch) == described["pixel_sha256_f32le"]
    else:
        assert "pixel_values" not in batch


@torch.no_grad()
def test_logits_and_features_agree_to_1e_5(case, model):
    reference, described, batch = case
    attended = reference["attention_mask"].bool()
    for positions in ({}, {"position_ids": reference["position_ids"]}):
        logits = model(**batch, **positions).logits
        assert (logits - reference["logits"])[attended].abs().max() < 1e-5
    if described["tgt_sizes"]:
        features = model.get_image_features(batch["pixel_values"], batch["target_sizes"])
        assert (features - reference["vision_hidden_states"]).abs().max() < 1e-5


def test_greedy_continuation_is_the_reference_s(case, model):
    reference, _, batch = case
    output = model.generate(**batch, max_new_tokens=8, do_sample=False)
    assert torch.equal(output[:, batch["input_ids"].shape[1] :], reference["generated"])


@torch.no_grad()
def test_loss_agrees_to_1e_6(model, processor):
    reference, described = load_file(GOLDEN / "case_B_one_image_sliced.safetensors"), CASES["B_one_image_sliced"]
    image = Image.open(GOLDEN / "images" / "b_slices_300x200.png")
    batch = processor(images=[[image]], text=described["prompts"], return_tensors="pt")
    loss = model(**batch, labels=reference["labels"]).loss
    assert abs(loss.item() - described["loss"]) < 1e-6


def test_a_wrong_port_would_be_noticed(case, model, monkeypatch):
    """The tolerance separates: positions without the resampler's table miss it by orders of magnitude."""
    reference, described, batch = case
    if not described["tgt_sizes"]:
        pytest.skip("no image in this case")
    monkeypatch.setattr(
        vision_minicpmv, "sincos_positions", lambda dim, height, width, _: torch.zeros(height, width, dim)
    )
    with torch.no_grad():
        features = model.get_image_features(batch["pixel_values"], batch["target_sizes"])
    assert (features - reference["vision_hidden_states"]).abs().max() > 1e-2
