"""The port under TRL's SFTTrainer: what is learnt, by which weights, in full precision and in NF4."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import has_avx512bf16
from bitsandbytes.nn import Linear4bit
from datasets import Dataset, Features, Image, List, Value
from peft import LoraConfig
from PIL import Image as Pictures
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import SFTConfig, SFTTrainer

from recipes.recipe.sections import Quantization
from recipes.training.quantization import LANGUAGE_MODEL_LINEARS, four_bit_config, prepare_four_bit
from t2i_judge.errors import UserError
from t2i_judge.local.minicpmv.registration import register

TINY = Path(__file__).parents[2] / "data" / "minicpmv" / "tiny_hub_layout"
ANSWERS = ["7", "an old ship", "no", "it is red and green"]
SIZES = [[(60, 40)], [], [(300, 200), (64, 64)], [(112, 300)]]  # one image, none, several, one cut into slices


def user(images: int, text: str) -> dict:
    return {"role": "user", "content": [{"type": "image"}] * images + [{"type": "text", "text": text}]}


def assistant(text: str) -> dict:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def rows(layout: str) -> Dataset:
    """Four rows with 1, 0, 2 and 1 images, as `messages` or as `prompt` and `completion`."""
    texts = {"role": Value("string"), "content": List({"type": Value("string"), "text": Value("string")})}
    data = []
    for sizes, answer in zip(SIZES, ANSWERS, strict=True):
        turns = [user(len(sizes), "what is it"), assistant(answer)]
        columns = {"messages": turns} if layout == "messages" else {"prompt": turns[:1], "completion": turns[1:]}
        data.append({"images": [Pictures.new("RGB", size, "teal") for size in sizes], **columns})
    keys = ["messages"] if layout == "messages" else ["prompt", "completion"]
    return Dataset.from_list(data, features=Features(images=List(Image()), **{key: List(texts) for key in keys}))


def trainer(
    folder: Path, layout: str = "messages", quantize: bool = False, guard: bool = True, **options
) -> SFTTrainer:
    register()
    torch.manual_seed(0)
    loading = {"quantization_config": four_bit_config()} if quantize else {"dtype": torch.float32}
    model = AutoModelForImageTextToText.from_pretrained(TINY, **loading)
    if guard:
        prepare_four_bit(model)
    arguments = SFTConfig(
        folder,
        **{
            "use_cpu": True,
            "bf16": False,
            "max_length": None,
            "max_steps": 3,
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-2,
            "activation_checkpointing": False,
            "assistant_only_loss": layout == "messages",
            "save_strategy": "no",
            "report_to": "none",
            "logging_steps": 1,
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
        }
        | options,
    )
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=LANGUAGE_MODEL_LINEARS, task_type="CAUSAL_LM")
    return SFTTrainer(
        model,
        args=arguments,
        train_dataset=rows(layout),
        eval_dataset=rows(layout),
        processing_class=AutoProcessor.from_pretrained(TINY),
        peft_config=lora,
    )


def batch(sft: SFTTrainer) -> dict[str, torch.Tensor]:
    return sft.data_collator([sft.train_dataset[i] for i in range(len(ANSWERS))])


def gradients(sft: SFTTrainer) -> dict[str, torch.Tensor]:
    """Gradients of the trained weights on the first batch."""
    sft.model.train()
    sft.model.zero_grad()
    sft.compute_loss(sft.model, dict(batch(sft))).backward()
    return {name: p.grad.clone() for name, p in sft.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("layout", ["messages", "prompt and completion"])
def test_only_answers_are_learnt_whatever_the_layout(layout, tmp_path):
    sft = trainer(tmp_path, layout)
    inputs, tokenizer = batch(sft), sft.processing_class.tokenizer
    learnt = [tokenizer.decode(ids[ids != -100]) for ids in inputs["labels"]]
    end = "<|im_end|>"
    assert [text.rstrip("\n") for text in learnt] == [answer + end for answer in ANSWERS]
    assert len(inputs["target_sizes"]) == 1 + 0 + (7 + 1) + (1 + 3)


@pytest.mark.parametrize("layout", ["messages", "prompt and completion"])
@pytest.mark.parametrize("quantize", [False, True], ids=["float32", "nf4"])
def test_training_lowers_the_loss_and_moves_the_language_model_only(layout, quantize, tmp_path):
    sft = trainer(tmp_path, layout, quantize)
    trained = {name for name, parameter in sft.model.named_parameters() if parameter.requires_grad}
    assert len(trained) == 2 * 7 * 2 and all(".language_model.layers." in name and "lora_" in name for name in trained)
    before = {name: parameter.detach().clone() for name, parameter in sft.model.named_parameters()}
    sft.train()
    losses = [entry["loss"] for entry in sft.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    after = dict(sft.model.named_parameters())
    assert {name for name in before if not torch.equal(before[name], after[name])} <= trained
    assert all(not torch.equal(before[name], after[name]) for name in trained if "lora_B" in name)


def test_a_batch_of_text_only_rows_trains(tmp_path):
    sft = trainer(tmp_path)
    sft.train_dataset = sft.train_dataset.select([1, 1])
    inputs = sft.data_collator([sft.train_dataset[0], sft.train_dataset[1]])
    assert "pixel_values" not in inputs
    sft.train()
    assert sft.state.log_history[0]["grad_norm"] > 0


def test_checkpointing_changes_no_gradient(tmp_path):
    plain = gradients(trainer(tmp_path))
    checkpointed = gradients(trainer(tmp_path, activation_checkpointing=True))
    assert plain.keys() == checkpointed.keys()
    assert all(torch.allclose(plain[name], checkpointed[name], atol=1e-6) for name in plain)
    assert all(gradient.abs().sum() > 0 for name, gradient in plain.items() if "lora_B" in name)


@pytest.mark.parametrize("quantize", [False, True], ids=["float32", "nf4"])
def test_fused_loss_is_the_model_s_loss(quantize, tmp_path):
    sft = trainer(tmp_path, quantize=quantize)
    inputs = batch(sft)
    sft.model.eval()
    with torch.no_grad():
        fused = sft.compute_loss(sft.model, dict(inputs))
        own = sft.model(**inputs).loss
    assert abs(fused - own) < (1e-2 if quantize else 1e-5)


def test_nf4_keeps_vision_resampler_and_head_in_bfloat16(tmp_path):
    model = trainer(tmp_path, quantize=True).model.get_base_model()
    four_bit = [name for name, module in model.named_modules() if isinstance(module, Linear4bit)]
    assert len(four_bit) == 7 * 2 and all(name.startswith("model.language_model.layers.") for name in four_bit)
    layer = model.get_submodule(four_bit[0])
    assert layer.weight.quant_type == "nf4" and layer.weight.quant_state.nested
    kept = (model.lm_head, model.model.vision_tower, model.model.resampler)
    assert {p.dtype for module in kept for p in module.parameters()} == {torch.bfloat16}


def test_a_skipped_module_that_is_four_bit_all_the_same_is_refused():
    register()
    short = Quantization(skip_modules=("lm_head", "vision_tower", "resampler"))
    model = AutoModelForImageTextToText.from_pretrained(TINY, quantization_config=four_bit_config(short))
    with pytest.raises(UserError, match="although the recipe skips 'vision_tower'"):
        prepare_four_bit(model, short)


def assert_evaluation_changes_no_gradient(folder: Path, guard: bool) -> None:
    sft = trainer(folder, quantize=True, guard=guard)
    before = gradients(sft)
    sft.evaluate()
    after = gradients(sft)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_evaluation_during_training_changes_no_gradient(tmp_path):
    assert_evaluation_changes_no_gradient(tmp_path, guard=True)


@pytest.mark.skipif(not has_avx512bf16(), reason="bitsandbytes repacks 4-bit weights on CPUs with avx512_bf16 only")
def test_without_the_guard_it_does(tmp_path):
    """Wrong gradients, or an error about them in the backward pass, depending on which layers are adapted."""
    with pytest.raises((AssertionError, RuntimeError)):
        assert_evaluation_changes_no_gradient(tmp_path, guard=False)


def test_training_with_evaluations_between_ends_where_training_without_them_ends(tmp_path):
    weights = []
    for options in ({}, {"eval_strategy": "steps", "eval_steps": 1}):
        sft = trainer(tmp_path, quantize=True, **options)
        sft.train()
        weights.append({name: p.detach() for name, p in sft.model.named_parameters() if p.requires_grad})
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
