"""Folders of local judges for tests: the embedded base with an adapter whose weights are random but not zero."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

LIBRARY = Path(__file__).parents[1] / "metrics" / "t2i_judge"
BASE = LIBRARY / "weights" / "tiny" / "base"


def make_adapter(folder: Path, base: Path = BASE, seed: int = 0) -> Path:
    """Write a LoRA adapter of the base's language model to `folder`; it changes the model, unlike a fresh one."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    from t2i_judge.local.minicpmv.registration import register

    register()
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(seed)
    model = get_peft_model(model, LoraConfig(r=4, target_modules=r".*language_model\..*(q|v)_proj"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.05)
    model.save_pretrained(folder)
    return folder


def make_judge(folder: Path, card: dict | None = None) -> Path:
    """A released judge's folder: adapter at the root, base inside, judge.json."""
    make_adapter(folder)
    shutil.copytree(BASE, folder / "base")
    (folder / "judge.json").write_text(json.dumps(card or {}))
    return folder


def library_with_judge(folder: Path) -> Path:
    """A copy of the library's files whose embedded judge is complete, whatever has been trained so far."""
    shutil.copytree(LIBRARY, folder, ignore=shutil.ignore_patterns("__pycache__"))
    if not (folder / "weights" / "tiny" / "adapter").is_dir():
        make_adapter(folder / "weights" / "tiny" / "adapter")
    return folder
