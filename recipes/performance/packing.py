"""Benchmarks of shared-prefix packing: TRL's own collator against ours, generated levels against one pass.

Workload: MiniCPM-V-2.6's classes at toy width, a 9-slice picture (P near 680 tokens) or an uncut one (P near 85), N
questions of S tokens each; frozen vision tower, LoRA on the language model, float32, CPU. TRL's collator gets batches
of at most 1,000 tokens: larger ones run slower on a CPU and would flatter us. Wall time, the best of the rounds.
The limit counts the language model's tokens, N(P+S) / (P+NS), from the P and S that the tokenizer really makes. Two
things are outside it: packed rows mask attention densely (some 18% of the language model's arithmetic here, 4% at 8B),
and the picture is encoded only once (the vision tower takes some 15% of a forward pass here, 44% at 8B).
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from recipes.recipe.config import ROOT
from recipes.training.collator import SharedPrefixCollator, enable_shared_prefix
from t2i_judge.local.chats import Chats, encode
from t2i_judge.local.model import Asked, LocalModel, Turn

Line = dict[str, Any]
SHARE = 0.85  # of the limit: the goal in training
JUDGE_GOAL, JUDGE_QUESTIONS = 8, 12
SEGMENT = 50
_TRAIN = "train_shared_prefix_speedup_"
ROUNDS = 4
TOKENIZER = ROOT / "metrics" / "t2i_judge" / "weights" / "tiny" / "base"
_BATCH = {"sliced": 1, "unsliced": 7}
_PIXELS = {"sliced": (336, 336), "unsliced": (112, 112)}  # at 112 pixels a slice: nine slices, and none


def limit(prefix: float, segment: float, questions: int) -> float:
    """How many times fewer tokens a shared prefix takes: N(P+S) / (P+NS)."""
    return questions * (prefix + segment) / (prefix + questions * segment)


def bench() -> list[Line]:
    """All of this module's lines; a few minutes on two cores."""
    lines = [train_speedup(questions, picture) for picture in ("sliced", "unsliced") for questions in (4, 8, 16)]
    return [*lines, judge_speedup()]


def train_speedup(questions: int, picture: str = "sliced") -> Line:
    """One training step (collate, forward, backward) on N rows of one question over the same on one row of N.

    Both are TRL's SFTTrainer; rounds alternate.
    """
    steps, bound = _workload(questions, picture)
    suffix = "" if picture == "sliced" else f"_{picture}"
    name = f"{_TRAIN}{questions}{suffix}"
    return {"name": name, "value": ratio(*steps), "unit": "x", "goal": SHARE * bound, "limit": bound, "n": ROUNDS}


def _workload(questions: int, picture: str) -> tuple[tuple[_Step, _Step], float]:
    """The step by TRL's collator and the packed one on the same conversations, and the limit that their tokens set."""
    _quiet()
    image, (_, processor) = _picture(picture), _toy()
    turns = [_conversation(processor, index) for index in range(questions)]
    (group,), _ = encode(processor, [Chats([image], turns)])
    bound = limit(len(group.prefix), statistics.mean(map(len, group.segments)), questions)
    plain = _step([{"images": [image], "messages": turn} for turn in turns], _BATCH[picture])
    return (plain, _step([{"images": [image], "segments": turns}])), bound


def profile(name: str) -> str:
    """Where the time of a training figure goes: milliseconds of each part of a step, plain and packed."""
    if not name.startswith(_TRAIN):
        return ""
    questions, _, picture = name.removeprefix(_TRAIN).partition("_")
    (plain, packed), bound = _workload(int(questions), picture or "sliced")
    slow, fast = plain.parts(), packed.parts()
    parts = [
        f"{part} {1e3 * slow[part]:.0f} -> {1e3 * fast[part]:.0f} ms ({slow[part] / fast[part]:.2f}x)" for part in fast
    ]
    return f"tokens allow {bound:.2f}x; TRL's collator -> packed: {', '.join(parts)}"


def judge_speedup(questions: int = JUDGE_QUESTIONS) -> Line:
    """Every question by its own `generate` of one level, over one forward pass for all, on the sliced picture."""
    import torch

    _quiet()
    image, (model, processor) = _picture("sliced"), _toy()
    enable_shared_prefix(model)
    local = LocalModel(model, processor)
    text = "Is there a large red circle {}?\nExpected: yes\nScore 0-9:"
    asked = Asked([image], [Turn("score", f"q{n}", text.format(n % 10)) for n in range(questions)])
    chats = asked.chats()

    def one_by_one() -> None:
        for chat in chats.conversations:
            text = processor.apply_chat_template(chat, add_generation_prompt=True)
            inputs = processor(text=[text], images=[[image]], return_tensors="pt")
            with torch.inference_mode():
                model.generate(**inputs, max_new_tokens=1, do_sample=False)

    value = ratio(one_by_one, lambda: local.read([asked]))
    (group,), _ = encode(processor, [chats], add_generation_prompt=True)
    bound = limit(len(group.prefix), statistics.mean(map(len, group.segments)), questions)
    return {
        "name": "judge_one_forward_speedup",
        "value": value,
        "unit": "x",
        "goal": JUDGE_GOAL,
        "limit": bound,
        "n": ROUNDS,
    }


def ratio(slow: Callable[[], Any], fast: Callable[[], Any]) -> float:
    """Seconds of one over those of the other, the best of alternating rounds after one to warm up."""
    seconds: dict[Callable[[], Any], list[float]] = {slow: [], fast: []}
    for call in seconds:
        call()
    for _ in range(ROUNDS):
        for call, taken in seconds.items():
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return min(seconds[slow]) / min(seconds[fast])


@dataclass(frozen=True, eq=False)  # hashed as itself: `ratio` keeps times by call
class _Step:
    """One optimisation step's work of an SFTTrainer on rows, from images to gradients, summed over its batches."""

    trainer: Any
    rows: list[dict[str, Any]]
    batch_size: int

    def __call__(self) -> dict[str, float]:
        """Do it; seconds of each part."""
        seconds = dict.fromkeys(("collate", "forward", "backward"), 0.0)
        for start in range(0, len(self.rows), self.batch_size):
            times = [time.perf_counter()]
            batch = self.trainer.data_collator([dict(row) for row in self.rows[start : start + self.batch_size]])
            times.append(time.perf_counter())
            loss = self.trainer.compute_loss(self.trainer.model, batch)
            times.append(time.perf_counter())
            loss.backward()
            times.append(time.perf_counter())
            for part, begun, ended in zip(seconds, times, times[1:]):
                seconds[part] += ended - begun
        self.trainer.model.zero_grad()
        return seconds

    def parts(self) -> dict[str, float]:
        """Seconds of each part, the best of the rounds after one to warm up."""
        self()
        rounds = [self() for _ in range(ROUNDS)]
        return {part: min(seconds[part] for seconds in rounds) for part in rounds[0]}


def _step(rows: list[dict[str, Any]], batch_size: int | None = None) -> _Step:
    """The step on these rows: by TRL's own collator in batches of a size, packed into one without."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    model, processor = _toy()
    packed = batch_size is None
    if packed:
        enable_shared_prefix(model)
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=False,
            max_length=None,
            report_to="none",
            activation_checkpointing=False,
            remove_unused_columns=False,
            assistant_only_loss=not packed,
            dataset_kwargs={"skip_prepare_dataset": True},
            disable_tqdm=True,
        )
        trainer = SFTTrainer(
            model,
            args=arguments,
            train_dataset=Dataset.from_list(rows[:1]),
            data_collator=SharedPrefixCollator(processor) if packed else None,
            processing_class=processor,
            peft_config=LoraConfig(r=8, target_modules=r".*language_model\.layers.*_proj", task_type="CAUSAL_LM"),
        )
    learner: Any = trainer.model
    learner.train()
    return _Step(trainer, rows, batch_size or len(rows))


def _picture(kind: str) -> Image.Image:
    width, height = _PIXELS[kind]
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def _conversation(processor: Any, index: int) -> list[dict[str, Any]]:
    """A question about a picture and its answer, `SEGMENT` tokens behind the picture."""

    def turns(filler: int) -> list[dict[str, Any]]:
        text = f"{index} is there" + " a" * filler
        return [{"role": "user", "content": text}, {"role": "assistant", "content": str(index % 10)}]

    (group,), _ = encode(processor, [Chats([_picture("unsliced")], [turns(0)])])
    return turns(SEGMENT - len(group.segments[0]))


def _toy() -> tuple[Any, Any]:
    """Model (always the same) and processor."""
    import torch
    from transformers import AutoTokenizer, SiglipVisionConfig

    from t2i_judge.local.minicpmv.configuration import MiniCPMVConfig
    from t2i_judge.local.minicpmv.modeling import MiniCPMVForConditionalGeneration
    from t2i_judge.local.minicpmv.processing import MiniCPMVImageProcessor, MiniCPMVProcessor
    from t2i_judge.local.minicpmv.registration import register

    register()
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    torch.manual_seed(0)
    vision = SiglipVisionConfig(
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=3,
        num_attention_heads=3,
        image_size=112,
        patch_size=14,
        vision_use_head=False,
    )
    config = MiniCPMVConfig(
        vision_config=vision,
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=4096,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        query_num=64,
        image_size=112,
    )
    images = MiniCPMVImageProcessor(max_slice_nums=9, scale_resolution=112, patch_size=14, image_feature_size=64)
    return MiniCPMVForConditionalGeneration(config), MiniCPMVProcessor(images, tokenizer)


def _quiet() -> None:
    """The set-up of sixteen trainers would print a page of the same warnings."""
    warnings.simplefilter("ignore")
