"""Out of the workshop: an adapter merged into its bf16 base, or renamed so that vLLM mounts it.

    python -m recipes.export --adapter build/minicpm-v-2.6/adapter --merge --output merged
    python -m recipes.export --adapter build/minicpm-v-2.6/adapter --vllm-adapter --output adapter-vllm

MiniCPM-V-2.6 is written in upstream's own layout: its tensor names, its config.json, no remote code.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recipes.recipe.config import resolve
from recipes.training.checks import check_base, check_hub_version, read_object, tensor_shapes
from t2i_judge.errors import UserError
from t2i_judge.running import command

# vLLM has its own MiniCPM-V processor (its pull request 44282); 0.27.0 (August 2026) came after pull request 48413,
# which made that processor work under transformers 5.
VLLM_VERSION = "0.27.0"
CONFIG_LEFT_OUT = {"auto_map", "_name_or_path", "quantization_config", "transformers_version"}
OURS, UPSTREAM = "base_model.model.model.language_model.", "base_model.model.llm.model."

CARD = """---
{base_model}library_name: transformers
pipeline_tag: image-text-to-text
tags:
- text-to-image-evaluation
---
# {name}

{base} with the adapter `{adapter}` merged in, bfloat16. Licence and limits are those of the base.
{usage}"""

MINICPMV_USAGE = """
In Python, without remote code (`pip install t2i-judge`):

```python
import t2i_judge
from transformers import AutoModelForImageTextToText, AutoProcessor

t2i_judge.register()
model = AutoModelForImageTextToText.from_pretrained("{name}", dtype="bfloat16")
processor = AutoProcessor.from_pretrained("{name}")
```

With vLLM {vllm} or newer, which has its own processor for MiniCPM-V (this folder was not run there):

```bash
vllm serve {name} --max-model-len 4096
```

Should it ask to run upstream's remote code for the configuration, it is too old: update it rather than allow that.
"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="recipes.export", description="Merge an adapter, or rename it for vLLM.")
    parser.add_argument("--adapter", type=Path, required=True, help="folder with adapter_model.safetensors")
    parser.add_argument("--output", type=Path, required=True, help="folder to write; must not exist")
    parser.add_argument("--base", help="folder or Hub id (default: the one that the adapter names)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--merge", action="store_true", help="write base and adapter as one model")
    what.add_argument("--vllm-adapter", action="store_true", help="write the adapter under upstream's module names")
    return parser.parse_args(argv)


@command("export")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = parse(argv)
    if arguments.merge:
        merge(arguments.adapter, arguments.output, arguments.base)
    else:
        rename_for_vllm(arguments.adapter, arguments.output)
    print(f"wrote {arguments.output}")
    return 0


def read_adapter_config(adapter: Path) -> dict[str, Any]:
    """adapter_config.json of a LoRA whose weights are there as whole safetensors. Raises `UserError`."""
    config = read_object(adapter / "adapter_config.json")
    weights = adapter / "adapter_model.safetensors"
    if not weights.is_file():
        raise UserError(f"{adapter} has no {weights.name}", "pickled adapters are not loaded", "save it as safetensors")
    tensor_shapes(weights)
    return config


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A folder to fill that becomes `output` once everything is in it, and goes where that fails.

    Raises `UserError` where `output` exists.
    """
    if output.exists():
        raise UserError(f"{output} exists", "nothing is overwritten", "give a new --output, or remove it first")
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def merge(adapter: Path, output: Path, base: str | None = None) -> Path:
    """Merge a LoRA into its base in bfloat16, never into 4-bit weights, and write model, processor and card.

    Args:
        adapter: its folder; the processor is taken from there if it has one.
        output: a new folder.
        base: folder or Hub id instead of the one that the adapter names.

    Returns:
        `output`.

    Raises:
        UserError: no such adapter or base, or one that does not fit the other.
    """
    config = read_adapter_config(adapter)
    name = base or config.get("base_model_name_or_path")
    if not name:
        raise UserError(f"{adapter} does not say what it was trained on", "its base is unknown", "give it as --base")
    source = str(resolve(name)) if resolve(name).is_dir() else name
    revision = None if base else config.get("revision")
    with new_folder(output) as folder:
        model, processor = _merged(source, revision, adapter)
        model.save_pretrained(folder, max_shard_size="5GB")
        processor.save_pretrained(folder)
        if model.config.model_type == "minicpmv":
            _restore_config(folder / "config.json", source, revision)
        (folder / "README.md").write_text(_card(output.name, name, adapter.name, model.config.model_type))
    return output


def _merged(source: str, revision: str | None, adapter: Path) -> tuple[Any, Any]:
    """The base in bfloat16 with the adapter added to its weights, and its processor."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    from t2i_judge.local.minicpmv.registration import register

    register()
    try:
        if Path(source).is_dir():
            check_base(Path(source))
        else:
            check_hub_version(source, revision)
        processor = _load_processor(adapter, source, revision)
        model = AutoModelForImageTextToText.from_pretrained(
            source, revision=revision, dtype=torch.bfloat16, use_safetensors=True, trust_remote_code=False
        )
        merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"cannot merge {adapter} into {source}", reason, "give the base it was trained on") from error
    pad = merged.generation_config.pad_token_id or merged.generation_config.eos_token_id
    merged.generation_config.eos_token_id = _stops(merged.config.get_text_config().eos_token_id, pad)
    return merged, processor


def _stops(*ids: int | list[int] | None) -> list[int]:
    """Every id once: a turn ends with the tokenizer's eos, a text with upstream's generation eos."""
    flat = [i for entry in ids for i in (entry if isinstance(entry, list) else [entry]) if i is not None]
    return list(dict.fromkeys(flat))


def _load_processor(adapter: Path, source: str, revision: str | None) -> Any:
    from transformers import AutoProcessor

    if (adapter / "processor_config.json").is_file():
        return AutoProcessor.from_pretrained(adapter, trust_remote_code=False)
    return AutoProcessor.from_pretrained(source, revision=revision, trust_remote_code=False)


def _restore_config(path: Path, source: str, revision: str | None) -> None:
    """Put the base's own fields back where transformers changed or renamed them; remote code is not mentioned."""
    from transformers.utils import cached_file

    upstream = read_object(Path(str(cached_file(source, "config.json", revision=revision))))
    kept = {key: value for key, value in upstream.items() if key not in CONFIG_LEFT_OUT}
    fields = read_object(path) | kept | {"torch_dtype": "bfloat16", "dtype": "bfloat16"}
    path.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")


def _card(name: str, base: str, adapter: str, model_type: str) -> str:
    """The folder's README.md; a base that is a folder of this machine is named, not located."""
    local = resolve(base).is_dir()
    usage = MINICPMV_USAGE.format(name=name, vllm=VLLM_VERSION) if model_type == "minicpmv" else ""
    return CARD.format(
        name=name,
        base=resolve(base).name if local else base,
        base_model="" if local else f"base_model: {base}\n",
        adapter=adapter,
        usage=usage,
    )


def rename_for_vllm(adapter: Path, output: Path) -> Path:
    """Write a LoRA on the port's language model under upstream's module names, as vLLM's class tree has them.

    Args:
        adapter: its folder.
        output: a new folder.

    Returns:
        `output`.

    Raises:
        UserError: the adapter trains more than the language model's linear layers, or another architecture.
    """
    from safetensors.torch import load_file, save_file

    config = read_adapter_config(adapter)
    if config.get("modules_to_save"):
        raise UserError(
            f"{adapter} replaces {config['modules_to_save']}", "vLLM mounts LoRA matrices only", "use --merge instead"
        )
    tensors = load_file(adapter / "adapter_model.safetensors")
    if foreign := sorted(name for name in tensors if not name.startswith(OURS)):
        raise UserError(
            f"{adapter} adapts {foreign[0]}",
            "only MiniCPM-V-2.6's language model has other names in vLLM",
            "mount the adapter as it is, or use --merge",
        )
    with new_folder(output) as folder:
        renamed = {UPSTREAM + name.removeprefix(OURS): tensor.contiguous() for name, tensor in tensors.items()}
        save_file(renamed, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        (folder / "adapter_config.json").write_text(json.dumps(_renamed_config(config, renamed), indent=2) + "\n")
    return output


def _renamed_config(config: dict[str, Any], tensors: dict[str, Any]) -> dict[str, Any]:
    """Targets as a regex that ends in the layers' names, which is how vLLM looks for them; patterns renamed."""
    layers = sorted({name.split(".lora_")[0].rpartition(".")[2] for name in tensors})
    patterns = {
        key: {name.replace("model.language_model.", "llm.model."): value for name, value in config[key].items()}
        for key in ("rank_pattern", "alpha_pattern")
        if config.get(key)
    }
    targets = rf"llm\.model\.layers\.\d+\..*\.({'|'.join(layers)})$"
    return config | patterns | {"target_modules": targets, "auto_mapping": None}


if __name__ == "__main__":
    sys.exit(main())
