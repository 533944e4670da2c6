"""One LoRA fine-tuning with trl's SFTTrainer: a recipe's base, adapter and quantisation. Resumable.

Checkpoints hold the optimizer's state and stay on this machine. The results are safetensors.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from functools import partial
from importlib import metadata
from multiprocessing import parent_process
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

from recipes.recipe.config import Recipe
from recipes.training.checks import check_base, check_conversations, check_hub_version, check_processor
from recipes.training.model_files import drop_remote_code
from recipes.training.quantization import four_bit_config, prepare_four_bit
from recipes.training.shortcuts import keep_unpacked, multiply_once, walk_once
from t2i_judge.errors import UserError, quoted
from t2i_judge.local.minicpmv.registration import register
from t2i_judge.local.patterns import refuse_own_adapter
from t2i_judge.local.whole import check_loaded
from t2i_judge.wording import counted

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

_SOCKETS = 70  # bytes of that folder's path; a socket's has 103 at most (macOS), multiprocessing adds 30
PACKAGES = (
    "t2i-judge", "torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets", "evaluate",
    "huggingface-hub", "gradio", "numpy", "scipy", "pillow", "safetensors", "pyarrow",
)  # fmt: skip


def load_processor(recipe: Recipe) -> Any:
    """The base's processor, with the recipe's limit on slices and a template that says what is learnt.

    Raises:
        UserError: it is not available, does not cut slices although the recipe limits them, or has an unknown template
            that does not mark what is learnt.
    """
    from t2i_judge.local.processors import load_processor

    base = recipe.base
    try:
        if base.folder is None:
            check_hub_version(base.source, base.revision)
        processor = load_processor(base.source, base.revision, base.max_slice_nums)
    except (OSError, ValueError, ImportError) as error:
        raise unloadable(recipe, error) from error
    mark_answers(processor)
    return processor


def mark_answers(processor: Any) -> None:
    """Give a processor whose template does not mark what the assistant says the template that does, if trl knows it."""
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers

    if not has_generation_markers(processor.chat_template or ""):
        try:
            processor.chat_template = get_training_chat_template(processor)
        except ValueError as error:
            raise UserError(
                "The base's chat template does not mark what the assistant says",
                "The marker {% generation %} says what to learn, and trl has no version of this template with it",
                "Add the markers to chat_template.jinja in a copy of the base, and set base.model to it",
            ) from error


def load_base(recipe: Recipe) -> Any:
    """The base, ready for `LoraConfig`; in 4 bits if the recipe says so. Raises `UserError` if it is not available."""
    import torch
    from transformers import AutoModelForImageTextToText

    register()
    options: dict[str, Any] = {"dtype": torch.bfloat16 if recipe.training.bf16 else torch.float32}
    options |= {"use_safetensors": True, "trust_remote_code": False}
    if recipe.quantization:
        options["quantization_config"] = four_bit_config(recipe.quantization)
    if torch.cuda.is_available():
        options["device_map"] = {"": int(os.environ.get("LOCAL_RANK", 0))}
    try:
        refuse_own_adapter(recipe.base.source, recipe.base.revision or "main")
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            recipe.base.source, revision=recipe.base.revision or "main", output_loading_info=True, **options
        )
        check_loaded(*loaded)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise unloadable(recipe, error) from error
    return prepare_four_bit(loaded[0], recipe.quantization) if recipe.quantization else loaded[0]


def unloadable(recipe: Recipe, error: Exception) -> UserError:
    """One line for a base that transformers cannot load."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(f"Cannot load the base {quoted(recipe.base.model)}", reason, "Check base.model and base.revision")


def lora_config(recipe: Recipe) -> LoraConfig:
    """peft's configuration of the recipe's adapter."""
    from peft import LoraConfig

    targets = recipe.adapter.target_modules
    return LoraConfig(
        r=recipe.adapter.r,
        lora_alpha=recipe.adapter.alpha,
        lora_dropout=recipe.adapter.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )


def sft_config(
    recipe: Recipe, checkpoints: Path, max_steps: int | None = None, push_to: str | None = None
) -> SFTConfig:
    """trl's configuration of the recipe's training.

    Args:
        recipe: its `training`, `seeds` and `packing` are used.
        checkpoints: folder for checkpoints.
        max_steps: instead of the recipe's.
        push_to: Hub repository that every checkpoint is pushed to.
    """
    import torch
    from trl import SFTConfig

    options = recipe.training
    packed = recipe.packing == "shared_prefix"
    on_cpu = not torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(checkpoints),
        max_steps=options.max_steps if max_steps is None else max_steps,
        num_train_epochs=options.num_train_epochs,
        per_device_train_batch_size=options.per_device_train_batch_size,
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        learning_rate=options.learning_rate,
        lr_scheduler_type=options.lr_scheduler_type,
        warmup_steps=options.warmup_steps,
        weight_decay=options.weight_decay,
        adam_beta2=options.adam_beta2,
        max_grad_norm=options.max_grad_norm,
        activation_checkpointing=options.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if options.gradient_checkpointing else None,
        bf16=options.bf16,
        max_length=None if packed else options.max_length,
        logging_steps=options.logging_steps,
        logging_first_step=True,
        save_steps=options.save_steps,
        save_total_limit=options.save_total_limit,
        dataloader_num_workers=_workers(options.dataloader_num_workers),
        dataloader_pin_memory=not on_cpu,
        seed=recipe.seeds.training,
        data_seed=recipe.seeds.training,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and "WORLD_SIZE" in os.environ else None,
        assistant_only_loss=not packed,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        report_to="none",
        push_to_hub=push_to is not None,
        hub_model_id=push_to,
        hub_strategy="checkpoint",
        hub_private_repo=True if push_to else None,
    )


def _workers(wanted: int) -> int:
    """How many processes prepare rows; that changes no row. None in a second process, which has one core.

    None, too, where the path of the folder for temporary files leaves no room for that of a socket: a worker could not
    send what it has made, says so to nobody, and the training would wait for ever.
    """
    return wanted if parent_process() is None and len(os.fsencode(gettempdir())) <= _SOCKETS else 0


def make_trainer(recipe: Recipe, data: Dataset, settings: SFTConfig) -> SFTTrainer:
    """TRL's SFTTrainer over rows of `sft_data.training_dataset`; unmodified but for `length_normalization`.

    Raises:
        UserError: base, processor or rows do not fit together, or `max_length` would cut image tokens or an answer.
    """
    from trl import SFTTrainer

    from recipes.training.answer_length import AnswerTrainer
    from recipes.training.collator import SharedPrefixCollator, enable_shared_prefix

    if recipe.base.folder:
        check_base(recipe.base.folder)
    processor = load_processor(recipe)
    if recipe.packing == "none" and recipe.training.max_length is not None:
        check_conversations(data, processor, recipe.training.max_length)
    model = load_base(recipe)
    check_processor(model.config, processor)
    collator = None
    if recipe.packing == "shared_prefix":
        enable_shared_prefix(model)
        collator = SharedPrefixCollator(processor, recipe.training.max_length)
    normalization = recipe.training.length_normalization
    trainer_class = partial(AnswerTrainer, normalization=normalization) if normalization else SFTTrainer
    trainer = trainer_class(
        model,
        args=settings,
        train_dataset=data,
        data_collator=collator,
        processing_class=processor,
        peft_config=lora_config(recipe),
    )
    adapted: Any = trainer.model
    if not recipe.training.bf16:  # trl keeps the adapter of a 4-bit base in bf16; this recipe asked for full precision
        for parameter in filter(lambda weight: weight.requires_grad, adapted.parameters()):
            parameter.data = parameter.data.float()
    if recipe.quantization:
        keep_unpacked(adapted)
        multiply_once(adapted)
    if trainer.accelerator.distributed_type.value == "NO":
        walk_once(adapted)
    return trainer


def fine_tune(
    recipe: Recipe, data: Dataset, folder: Path, max_steps: int | None = None, push_to: str | None = None
) -> dict[str, Any]:
    """Train an adapter into `folder`, continuing from the last checkpoint in `folder/checkpoints` if there is one.

    Args:
        recipe: what to train and how.
        data: rows from `sft_data.training_dataset`.
        folder: gets adapter_config.json, adapter_model.safetensors and the processor's files.
        max_steps: instead of the recipe's.
        push_to: Hub repository for checkpoints, on rented machines.

    Returns:
        The training log: steps, seconds by the clock and of this process's CPU, loss curve, trained parameters,
        distributed type, machine.
    """
    from recipes.training.progress import show_progress

    checkpoints = folder / "checkpoints"
    trainer = make_trainer(recipe, data, sft_config(recipe, checkpoints, max_steps, push_to))
    show_progress(trainer, f"train {folder.name}")
    trainer.accelerator.wait_for_everyone()
    last = last_checkpoint(checkpoints)
    start, worked = time.perf_counter(), time.process_time()
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - worked
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.is_world_process_zero():
        save_adapter(recipe, model, trainer.processing_class, folder)
    trainer.accelerator.wait_for_everyone()
    return {
        "steps": trainer.state.global_step,
        "rows": len(data),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "resumed_from": last.name if last else None,
        "trainable_parameters": model.num_parameters(only_trainable=True),
        "log_history": trainer.state.log_history,
        "distributed": str(trainer.accelerator.distributed_type.value),
        "processes": trainer.accelerator.num_processes,
        "hardware": hardware(),
    }


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; one that a kill has torn lacks trainer_state.json, which is written last."""
    checkpoints = {int(path.name.rpartition("-")[2]): path for path in folder.glob("checkpoint-*") if _whole(path)}
    return checkpoints[max(checkpoints)] if checkpoints else None


def _whole(checkpoint: Path) -> bool:
    try:
        return bool(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def save_adapter(recipe: Recipe, model: Any, processor: Any, folder: Path) -> None:
    """Adapter (safetensors), which names its base, and processor. Checkpoints are removed."""
    model.peft_config["default"].base_model_name_or_path = recipe.base.source
    model.peft_config["default"].revision = recipe.base.revision
    model.save_pretrained(folder, safe_serialization=True)
    processor.save_pretrained(folder)
    drop_remote_code(folder)
    (folder / "README.md").unlink(missing_ok=True)  # peft's card has no facts in it; the release writes its own
    (folder / "adapter_model.safetensors").chmod(0o644)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def hardware() -> str:
    """The machine in words: device names, or the processor and the threads used."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return f"{platform.machine()} CPU, {counted(torch.get_num_threads(), 'thread')}, {sys.platform}"


def versions() -> dict[str, str]:
    """Version of Python and of every package that has a say in the results."""
    names = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            names[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return names
