"""Loading, saving and running the port: precisions, names, padding, many slices, caches and four-dimensional masks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig

from t2i_judge.local.minicpmv.configuration import MiniCPMVConfig
from t2i_judge.local.minicpmv.modeling import CHECKPOINT_RENAMINGS, MiniCPMVForConditionalGeneration
from t2i_judge.local.minicpmv.processing import IMAGE_MARKER
from t2i_judge.local.minicpmv.registration import register

GOLDEN = Path(__file__).parents[3] / "data" / "minicpmv"
TINY = GOLDEN / "tiny_hub_layout"
NF4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.bfloat16,
    llm_int8_skip_modules=["lm_head", "model.vision_tower", "model.resampler"],
)


def load(**options):
    register()
    return AutoModelForImageTextToText.from_pretrained(TINY, **options)


@pytest.fixture(scope="module")
def model():
    return load(dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def processor():
    register()
    return AutoProcessor.from_pretrained(TINY)


def picture(name: str) -> Image.Image:
    return Image.open(GOLDEN / "images" / f"{name}.png")


@pytest.mark.parametrize("options", [{"dtype": torch.float32}, {"dtype": torch.bfloat16}, {"quantization_config": NF4}])
def test_hub_layout_loads_without_missing_or_unexpected_keys(options):
    model, info = load(output_loading_info=True, **options)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    four_bit = {name for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"}
    linears = 7 * model.config.num_hidden_layers if "quantization_config" in options else 0
    assert len(four_bit) == linears and all(name.startswith("model.language_model.layers.") for name in four_bit)
    assert model.lm_head.weight.dtype == options.get("dtype", torch.bfloat16)


def test_bfloat16_is_near_float32(model, processor):
    batch = processor(images=[[picture("b_slices_300x200")]], text=[IMAGE_MARKER + "\nwhat"], return_tensors="pt")
    with torch.no_grad():
        difference = (load(dtype=torch.bfloat16).eval()(**batch).logits - model(**batch).logits).abs()
    assert difference.max() < 0.1 and difference.mean() < 0.02


def test_published_checkpoint_s_keys_and_shapes_on_the_meta_device():
    with torch.device("meta"):
        model = MiniCPMVForConditionalGeneration(MiniCPMVConfig())
    expected = {
        name.replace("{i}", str(i)): entry["shape"]
        for name, entry in json.loads((GOLDEN / "real_checkpoint_keys.json").read_text()).items()
        for i in range(entry["count"])
    }
    ours = {name: list(parameter.shape) for name, parameter in model.state_dict().items()}
    for upstream, port in CHECKPOINT_RENAMINGS.items():
        upstream = upstream.removeprefix("^")
        ours = {upstream + n.removeprefix(port) if n.startswith(port) else n: shape for n, shape in ours.items()}
    assert len(expected) == 789 and ours == expected
    assert sum(parameter.numel() for parameter in model.parameters()) == 8_099_175_152


def test_saving_writes_upstream_s_names_and_configuration(model, tmp_path):
    model.save_pretrained(tmp_path)
    original, saved = load_file(TINY / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert saved.keys() == original.keys()
    assert all(torch.equal(saved[name], original[name].float()) for name in original)
    config, upstream = (json.loads((folder / "config.json").read_text()) for folder in (tmp_path, TINY))
    ignored = {"_name_or_path", "auto_map", "torch_dtype", "transformers_version", "sliding_window", "vision_config"}
    assert {k: config.get(k) for k in upstream if k not in ignored} == {
        k: v for k, v in upstream.items() if k not in ignored
    }
    assert upstream["vision_config"].items() <= config["vision_config"].items()
    assert "auto_map" not in config and "image_start_id" not in config
    again, info = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert torch.equal(again.model.resampler.query, model.model.resampler.query)


def test_a_configuration_of_another_version_is_named(tmp_path):
    register()
    fields = json.loads((TINY / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(fields | {"version": 2.5}))
    with pytest.raises(ValueError, match=r"MiniCPM-V version 2\.5; this port is of version 2\.6"):
        AutoConfig.from_pretrained(tmp_path)


def test_the_configuration_is_its_own_text_configuration():
    config = AutoConfig.from_pretrained(TINY)
    assert config.get_text_config() is config
    assert config.rope_parameters["rope_theta"] == 1e6 and not config.tie_word_embeddings


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("limit", [1, 4, 25])
@torch.no_grad()
def test_padded_batch_with_text_only_rows_equals_its_rows_alone(side, limit, model, processor):
    system = "<|im_start|>system\nRate from 0 to 9.<|im_end|>\n"
    texts = [
        f"{IMAGE_MARKER}\nwhat",
        "hello <unk>!",
        f"{system}{IMAGE_MARKER}{IMAGE_MARKER} which",
        f"{IMAGE_MARKER} strip",
    ]
    images = [[picture("e_big_400x400").resize((600, 600))], [], [picture("a_small_90x70"), picture("c_tall_60x240")]]
    images.append([picture("d_strip_99x10")])
    options = {"padding": True, "padding_side": side, "max_slice_nums": limit, "return_tensors": "pt"}
    batch = processor(images=images, text=texts, **options)
    slices = {1: 4, 4: 11, 25: 32}[limit]  # at 25 one image alone has more than go through the vision tower at once
    assert len(batch["target_sizes"]) == slices and model.config.vision_batch_size == 16
    together = model(**batch).logits
    for row, (text, pictures) in enumerate(zip(texts, images, strict=True)):
        alone = model(**processor(images=[pictures], text=[text], **options)).logits[0]
        own = together[row, -len(alone) :] if side == "left" else together[row, : len(alone)]
        assert (own - alone).abs().max() < 1e-5


@torch.no_grad()
def test_generation_of_a_left_padded_batch_equals_its_rows_alone(model, processor):
    texts, images = [f"{IMAGE_MARKER}\nwhat", "hello there"], [[picture("a_small_90x70")], []]
    batch = processor(images=images, text=texts, padding=True, padding_side="left", return_tensors="pt")
    together = model.generate(**batch, max_new_tokens=6, min_new_tokens=6, do_sample=False)[:, -6:]
    for row, (text, pictures) in enumerate(zip(texts, images, strict=True)):
        one = processor(images=[pictures] if pictures else None, text=[text], return_tensors="pt")
        alone = model.generate(**one, max_new_tokens=6, min_new_tokens=6, do_sample=False)
        assert torch.equal(alone[0, -6:], together[row])


@torch.no_grad()
def test_beams_and_several_answers_see_their_own_row_s_images(model, processor):
    texts, images = [f"{IMAGE_MARKER}\nwhat", f"{IMAGE_MARKER}\nwhat"], [["b_slices_300x200"], ["a_small_90x70"]]
    pictures = [[picture(name) for name in row] for row in images]
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "num_beams": 3, "num_return_sequences": 2}
    batch = processor(images=pictures, text=texts, padding=True, padding_side="left", return_tensors="pt")
    together = model.generate(**batch, **options)[:, -5:]
    for row in range(2):
        one = processor(images=[pictures[row]], text=[texts[row]], return_tensors="pt")
        assert torch.equal(model.generate(**one, **options)[:, -5:], together[2 * row : 2 * row + 2])


@torch.no_grad()
def test_vision_batch_size_changes_no_feature(model, processor, monkeypatch):
    image_processor = processor.image_processor
    packed = image_processor(picture("f_wide_500x180"), max_slice_nums=20, return_tensors="pt")
    inputs = packed["pixel_values"], packed["target_sizes"]
    whole = model.get_image_features(*inputs)
    monkeypatch.setattr(model.config, "vision_batch_size", 2)
    assert (model.get_image_features(*inputs) - whole).abs().max() < 1e-5


def test_attention_backends_agree(model, processor):
    batch = processor(images=[[picture("c_tall_60x240")]], text=[IMAGE_MARKER], return_tensors="pt")
    eager = load(dtype=torch.float32, attn_implementation="eager").eval()
    assert eager.config.vision_config._attn_implementation == "eager"
    with torch.no_grad():
        assert (eager(**batch).logits - model(**batch).logits).abs().max() < 1e-5


@pytest.fixture
def long_batch(processor):
    text = f"{IMAGE_MARKER}\nwhat is this image and what colour has it"
    return dict(processor(images=[[picture("b_slices_300x200")]], text=[text], return_tensors="pt"))


@torch.no_grad()
def test_cached_prefix_gives_the_same_logits(model, long_batch):
    ids, split = long_batch["input_ids"], 84
    whole = model(**long_batch).logits
    prefix = model(**long_batch | {"input_ids": ids[:, :split], "attention_mask": None}, use_cache=True)
    rest = model(
        input_ids=ids[:, split:],
        past_key_values=prefix.past_key_values,
        cache_position=torch.arange(split, ids.shape[1]),
        logits_to_keep=2,
    )
    assert rest.logits.shape[1] == 2 and (rest.logits - whole[:, -2:]).abs().max() < 1e-5


@torch.no_grad()
def test_four_dimensional_mask_and_positions_reach_the_language_model(model, long_batch):
    """Two questions behind one image in one row, each blind to the other, score as two rows would."""
    ids, split, middle = long_batch["input_ids"], 84, 90
    length = ids.shape[1]
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    mask[middle:, split:middle] = False
    positions = torch.cat([torch.arange(middle), torch.arange(split, split + length - middle)])[None]
    packed = model(**long_batch | {"attention_mask": mask[None, None]}, position_ids=positions).logits
    alone = torch.cat([ids[:, :split], ids[:, middle:]], dim=1)
    expected = model(**long_batch | {"input_ids": alone, "attention_mask": None}).logits
    assert (packed[:, middle:] - expected[:, split:]).abs().max() < 1e-5


def test_missing_image_tokens_are_an_error(model, long_batch):
    with pytest.raises(ValueError, match="Image features and image tokens do not match"):
        model(**long_batch | {"input_ids": long_batch["input_ids"][:, :40], "attention_mask": None})


def test_checkpointed_gradients_equal_plain_ones_and_reach_every_tensor(processor, long_batch):
    model = load(dtype=torch.float32).train()
    batch = long_batch | {"labels": long_batch["input_ids"]}
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        model.zero_grad()
        model(**batch).loss.backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    assert all(gradient.abs().sum() > 0 or "k_proj.bias" in name for name, gradient in gradients[0].items())
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-6) for name in gradients[0])


def test_frozen_vision_builds_no_graph(processor, long_batch):
    model = load(dtype=torch.float32)
    model.model.vision_tower.requires_grad_(False)
    model.model.resampler.requires_grad_(False)
    model.enable_input_require_grads()
    pixels = long_batch["pixel_values"], long_batch["target_sizes"]
    assert not model.get_image_features(*pixels).requires_grad
    model.model.resampler.requires_grad_(True)
    assert model.get_image_features(*pixels).requires_grad


def test_new_weights_are_finite_and_scaled():
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(TINY)
    model = AutoModelForImageTextToText.from_config(config)
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all() and parameter.abs().max() < 10, name
    assert 0.01 < model.model.resampler.query.std() < 0.03
