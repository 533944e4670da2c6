"""MiniCPM-V-2.6 at its real size on a CPU, once, by hand: `python -m recipes.measure --full-size-cpu`.

    base      the 8.1B configuration with random weights, written shard by shard in the Hub's layout
    train     loaded in NF4, two steps of QLoRA by SFTTrainer: one row, two segments; the adapter saved
    merge     adapter and base merged shard by shard
    open      the merged folder opened on the meta device: no key may be missing

Each stage is a process of its own, so that its memory is its own, and is not done again once its line stands in
full_size.jsonl. Random weights say nothing about quality: this is what memory, time and disk a real base takes.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from recipes.recipe.config import ROOT, Recipe, load_recipe
from t2i_judge.errors import UserError
from t2i_judge.files import append_jsonl, read_jsonl, write_atomic
from t2i_judge.progress import Progress
from t2i_judge.terminal import say
from t2i_judge.wording import counted

FOLDER = ROOT / "build" / "full-size"
DISK_BYTES = 40e9
SHARD = "5GB"
STEPS, SEGMENTS, SIDE = 2, 2, 1344  # a picture of nine slices and its thumbnail
_PROCESSOR = ROOT / "metrics" / "t2i_judge" / "weights" / "tiny" / "base"  # real parts, a small vocabulary
_TOKENIZER_FILES = ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json")
_STD = 0.02


@dataclass(frozen=True)
class Stage:
    """What a stage took: wall-clock seconds, the most resident memory of its process, bytes of what it wrote."""

    stage: str
    seconds: float
    peak_gib: float
    written_gib: float
    detail: str


def configuration(**changes: Any) -> Any:
    """The published model's configuration, with the special tokens of the small tokenizer."""
    from t2i_judge.local.minicpmv.configuration import MiniCPMVConfig

    small = json.loads((_PROCESSOR / "config.json").read_text(encoding="utf-8"))
    special = {name: small[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return MiniCPMVConfig(**special | changes)


def write_base(folder: Path, config: Any) -> str:
    """Random weights under upstream's names, in bfloat16, one shard in memory at a time; returns what there is."""
    import torch
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors.torch import save_file
    from transformers import AutoModelForImageTextToText

    from recipes.training.merging import INDEX
    from t2i_judge.local.minicpmv.modeling import upstream_name
    from t2i_judge.local.minicpmv.processing import MiniCPMVImageProcessor
    from t2i_judge.local.minicpmv.registration import register

    register()
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    shapes = {upstream_name(name): tensor for name, tensor in model.state_dict().items()}
    split = split_torch_state_dict_into_shards(shapes, max_shard_size=SHARD)
    random = torch.Generator().manual_seed(0)
    for shard, names in Progress(split.filename_to_tensors.items(), desc="base", unit="shard"):
        tensors = {name: _random_weight(name, shapes[name].shape, random) for name in names}
        save_file(tensors, folder / shard, metadata={"format": "pt"})
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        write_atomic(folder / INDEX, json.dumps(index, indent=2) + "\n")
    config.save_pretrained(folder)
    MiniCPMVImageProcessor().save_pretrained(folder)
    for name in _TOKENIZER_FILES:
        shutil.copy(_PROCESSOR / name, folder)
    parameters = sum(tensor.numel() for tensor in shapes.values())
    return f"{parameters / 1e9:.2f}B parameters in {counted(len(split.filename_to_tensors), 'shard')}"


def _random_weight(name: str, shape: Sequence[int], random: Any) -> Any:
    """Normal matrices; norms that change nothing, biases of zero."""
    import torch

    if len(shape) > 1:
        return torch.empty(*shape, dtype=torch.bfloat16).normal_(std=_STD, generator=random)
    return (torch.zeros if name.endswith("bias") else torch.ones)(*shape, dtype=torch.bfloat16)


def train(base: Path, adapter: Path, recipe: Recipe) -> str:
    """Two steps on a made-up picture by the very functions that train a judge; returns what was trained."""
    import torch
    from datasets import Dataset
    from PIL import Image

    from recipes.distillation.sft_data import Sample, training_dataset
    from recipes.training.fine_tuning import fine_tune

    picture = Image.effect_noise((SIDE, SIDE), 60).convert("RGB")
    data = Dataset.from_dict({"image": [picture], "reference_image": [None]})
    samples = [Sample(0, "answer", f"q{n}", None, f"Is there thing {n}?\nAnswer:", "yes") for n in range(SEGMENTS)]
    rows = training_dataset(data, [samples] * STEPS, "shared_prefix")
    log = fine_tune(_small_steps(recipe, base), rows, adapter, max_steps=STEPS)
    losses = [entry["loss"] for entry in log["log_history"] if "loss" in entry]
    return (
        f"{log['trainable_parameters'] / 1e6:.0f}M trained parameters, {STEPS} steps in {log['seconds']:.0f} s, "
        f"loss {' '.join(f'{loss:.2f}' for loss in map(float, losses))}, {counted(torch.get_num_threads(), 'thread')}"
    )


def _small_steps(recipe: Recipe, base: Path) -> Recipe:
    """The recipe on this base: a row per step, everything else as it stands."""
    return replace(
        recipe,
        base=replace(recipe.base, model=str(base), revision=None),
        training=replace(
            recipe.training,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=1,
            dataloader_num_workers=0,
            logging_steps=1,
        ),
    )


def open_merged(merged: Path) -> str:
    """The merged folder on the meta device. Raises `UserError` for keys that are missing or too many."""
    import torch
    from transformers import AutoModelForImageTextToText

    from t2i_judge.local.minicpmv.registration import register

    register()
    opened: Any = AutoModelForImageTextToText.from_pretrained(
        merged, device_map="meta", dtype=torch.bfloat16, output_loading_info=True
    )
    model, info = opened
    counts = {kind: len(info[kind]) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(counts.values()):
        raise UserError("The merged folder does not match the model", str(counts), "This is a bug in t2i-judge")
    return f"{len(model.state_dict())} tensors, 0 missing keys"


def run_stage(stage: str, folder: Path, recipe: Recipe, config: Any) -> Stage:
    """Carry out one stage in this process, into `folder`/STAGE."""
    from recipes.training.merging import merge_shards

    base, adapter, merged = folder / "base", folder / "train", folder / "merge"
    work: dict[str, Callable[[], str]] = {
        "base": lambda: write_base(base, config),
        "train": lambda: train(base, adapter, recipe),
        "merge": lambda: _merge(base, adapter, merged, merge_shards),
        "open": lambda: open_merged(merged),
    }
    (folder / stage).mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    detail = work[stage]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    written = sum(path.stat().st_size for path in (folder / stage).rglob("*") if path.is_file()) / 2**30
    return Stage(stage, round(time.monotonic() - start, 1), round(peak, 2), round(written, 2), detail)


def _merge(base: Path, adapter: Path, merged: Path, merge: Callable[[Path, Path, Path], None]) -> str:
    merge(base, adapter, merged)
    shutil.copy(base / "config.json", merged)
    return counted(len(list(merged.glob("*.safetensors"))), "shard")


STAGES = ("base", "train", "merge", "open")


def measure_full_size(folder: Path = FOLDER) -> list[Stage]:
    """Every stage that has no line yet, each in a process of its own; all lines.

    Raises:
        UserError: too little disk, or a stage that failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "full_size.jsonl"
    done = [row["stage"] for row in read_jsonl(log)] if log.is_file() else []
    free = shutil.disk_usage(folder).free + sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    say(f"This writes about {DISK_BYTES / 1e9:.0f} GB into {folder} and takes hours on a CPU.", flush=True)
    if free < DISK_BYTES:
        raise UserError(
            f"{free / 1e9:.0f} GB of disk are free",
            "About 40 GB are needed",
            "Free some space, then run the command again",
        )
    for stage in STAGES:
        if stage in done:
            continue
        say(f"[{stage}]", flush=True)
        command = [sys.executable, "-m", "recipes.training.full_size", stage, str(folder)]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            raise UserError(f"The stage {stage} failed", "", "See its message above; run the command again to continue")
    return [Stage(**row) for row in read_jsonl(log)]


def table(stages: Sequence[Stage]) -> str:
    """The figures as a Markdown table."""
    lines = ["| stage | seconds | peak GiB | written GiB | what |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {s.stage} | {s.seconds:,.0f} | {s.peak_gib:.2f} | {s.written_gib:.2f} | {s.detail} |" for s in stages]
    return "\n".join(lines)


def main(stage: str, folder: str) -> None:
    """One stage, and its line."""
    result = run_stage(stage, Path(folder), load_recipe("minicpm-v-2.6"), configuration())
    append_jsonl(Path(folder) / "full_size.jsonl", [asdict(result)])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
