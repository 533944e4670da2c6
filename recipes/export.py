"""Exports a judge: an adapter merged into its base, or renamed for vLLM. Also says what vLLM lacks.

    python -m recipes.export --adapter build/minicpm-v-2.6/adapter --merge --output merged
    python -m recipes.export --adapter build/minicpm-v-2.6/adapter --vllm-adapter --output adapter-vllm
    python -m recipes.export --check-vllm merged

judge.json goes with both, so that a merged judge scores, declines and is named as its adapter. If the adapter was
trained on a 4-bit base, it is merged into those 4-bit values. MiniCPM-V-2.6 is written in upstream's own layout: its
tensor names, its config.json, no remote code.
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
from recipes.recipe.own_folders import begin_folder, discard, finish_folder
from recipes.training.checks import check_base, check_hub_version, read_object, tensor_shapes
from recipes.training.merging import INDEX, merge_shards
from recipes.training.model_files import copy_file, drop_remote_code
from recipes.training.vllm_folder import UPSTREAM, report
from t2i_judge.errors import UserError, quoted
from t2i_judge.files import write_atomic
from t2i_judge.local.fetching import is_hub_id
from t2i_judge.local.intact import FILES
from t2i_judge.local.patterns import check_patterns
from t2i_judge.local.precision import FourBit, Precision
from t2i_judge.local.processors import load_processor
from t2i_judge.local.weights import CARD as JUDGE_CARD
from t2i_judge.local.weights import digest
from t2i_judge.running import command
from t2i_judge.terminal import Parser, say

CONFIG_LEFT_OUT = {"auto_map", "_name_or_path", "quantization_config", "transformers_version"}
OURS = "base_model.model.model.language_model."

CARD = """---
{base_model}library_name: transformers
pipeline_tag: image-text-to-text
tags:
- text-to-image-evaluation
---
# {name}

{base} with the adapter `{adapter}` merged in, {dtype}{rounded}. Licence and limits are those of the base.

As a judge, by the library that it was made with:

```python
from t2i_judge import load_judge

judge = load_judge("hf:{name}")
```

What vLLM needs to serve it: `python -m recipes.export --check-vllm {name}`.
"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(prog="recipes.export", description="Merge an adapter, or rename it for vLLM.")
    parser.add_argument("--adapter", type=Path, help="folder with adapter_model.safetensors, or of a judge")
    parser.add_argument("--output", type=Path, help="folder to write; must not exist")
    parser.add_argument("--base", help="folder or Hub id (default: the one that the adapter names)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--merge", action="store_true", help="write base and adapter as one model")
    what.add_argument("--vllm-adapter", action="store_true", help="write the adapter under upstream's module names")
    what.add_argument(
        "--check-vllm", type=Path, metavar="FOLDER", help="list what vLLM needs and an exported folder does not have"
    )
    arguments = parser.parse_args(argv)
    if arguments.check_vllm is None and not (arguments.adapter and arguments.output):
        parser.error("--merge and --vllm-adapter need --adapter and --output")
    return arguments


@command("export")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code, 1 if vLLM lacks something."""
    arguments = parse(argv)
    if arguments.check_vllm:
        text, complete = report(arguments.check_vllm)
        say(text)
        return 0 if complete else 1
    adapter = arguments.adapter
    if not (adapter / "adapter_config.json").is_file() and (adapter / "adapter" / "adapter_config.json").is_file():
        adapter = adapter / "adapter"
    if arguments.merge:
        merge(adapter, arguments.output, arguments.base)
    else:
        rename_for_vllm(adapter, arguments.output)
    say(f"Wrote {arguments.output}")
    say(report(arguments.output)[0])
    return 0


def read_adapter_config(adapter: Path) -> dict[str, Any]:
    """adapter_config.json of a LoRA whose weights are there as whole safetensors. Raises `UserError`."""
    config = read_object(adapter / "adapter_config.json")
    weights = adapter / "adapter_model.safetensors"
    if not weights.is_file():
        raise UserError(f"{adapter} has no {weights.name}", "Pickled adapters are not loaded", "Save it as safetensors")
    check_patterns(adapter)
    tensor_shapes(weights)
    return config


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A folder to fill. It becomes `output` once everything is in it, and is removed if that fails.

    Raises `UserError` if `output` exists, or OUTPUT.partial, unless a killed export left it.
    """
    if output.exists():
        raise UserError(f"{output} exists", "Nothing is overwritten", "Use a new --output, or remove this one first")
    partial = output.with_name(output.name + ".partial")
    begin_folder(partial)
    try:
        yield partial
        finish_folder(partial, output)
    except BaseException:
        discard(partial)
        raise


def judge_card(adapter: Path) -> dict[str, Any]:
    """What judge.json says of an adapter, beside it or (as in the package) beside its folder; empty without one."""
    for folder in (adapter, *([adapter.parent] if adapter.name == "adapter" else [])):
        if (folder / JUDGE_CARD).is_file():
            return read_object(folder / JUDGE_CARD)
    return {}


def merge(adapter: Path, output: Path, base: str | None = None) -> Path:
    """Merge a LoRA into its base, never into 4-bit weights, and write model, processor, judge and card.

    The type is the one of the training, which judge.json names; without judge.json it is bfloat16.

    Args:
        adapter: folder of the adapter. The processor is taken from there if it has one.
        output: a new folder.
        base: folder or Hub id to use instead of the base that the adapter names.

    Returns:
        `output`.

    Raises:
        UserError: the adapter or the base does not exist, or they do not fit together.
    """
    config, card = read_adapter_config(adapter), judge_card(adapter)
    name = base or config.get("base_model_name_or_path")
    if not name:
        raise UserError(
            f"{adapter} does not say what it was trained on", "Its base is unknown", "Name the base with --base"
        )
    source = base_folder(name, None if base else config.get("revision"), adapter)
    trained_on, dtype = _trained_on(card), card.get("dtype") or "bfloat16"
    with new_folder(output) as folder:
        merge_shards(source, adapter, folder, trained_on, dtype)
        _write_configurations(source, adapter, folder, dtype)
        if card:
            own = {"revision": digest(folder), "quantization": None, "merged": {"adapter": card.get("revision")}}
            write_atomic(folder / JUDGE_CARD, json.dumps({**card, **own}, indent=1) + "\n")
        known = (card.get("base") or {}).get("model") or (None if Path(name).is_absolute() else name)
        write_atomic(folder / "README.md", _card(output.name, known, source, adapter.name, dtype, trained_on))
    return output


def _trained_on(card: dict[str, Any]) -> Precision | None:
    """The 4-bit weights that an adapter was trained on; None for others, and where they stand rounded in its base."""
    settings = card.get("quantization")
    if not settings or settings.get("rounded"):
        return None
    return Precision(card.get("dtype") or "bfloat16", FourBit.from_card(settings))


def base_folder(name: str, revision: str | None, adapter: Path) -> Path:
    """The base's files on this machine, checked: a folder (as the adapter or the checkout knows it), or from the Hub.

    Raises:
        UserError: there is no such base, or it is not whole.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    beside = [adapter.parent / "base", adapter / "base"]
    beside += [] if is_hub_id(name) else [adapter / name, resolve(name)]
    for folder in beside[0 if adapter.name == "adapter" else 1 :]:
        if folder.is_dir():
            check_base(folder)
            return folder.resolve()
    if is_hub_id(name) and resolve(name).is_dir():
        raise UserError(
            f"The base {quoted(name)} is a model on the Hub, and a folder here has that name",
            "Nothing says which of the two is the base",
            f"Name the folder with --base ./{name}, or move it",
        )
    try:
        check_hub_version(name, revision)
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"Cannot get the base {name}", reason, "Name the base that it was trained on with --base"
        ) from error
    check_base(folder)
    return folder


def _write_configurations(source: Path, adapter: Path, folder: Path, dtype: str) -> None:
    """config.json as the base has it, the processor, and where generation stops; no remote code, nothing in the way."""
    from transformers import AutoConfig, GenerationConfig

    upstream = read_object(source / "config.json")
    kept = {key: value for key, value in upstream.items() if key not in CONFIG_LEFT_OUT}
    fields = kept | {"torch_dtype": dtype, "dtype": dtype}
    write_atomic(folder / "config.json", json.dumps(fields, indent=2, sort_keys=True) + "\n")
    if upstream.get("model_type") == "minicpmv":
        own = any((adapter / name).is_file() for name in ("processor_config.json", "preprocessor_config.json"))
        load_processor(str(adapter if own else source)).save_pretrained(folder)
        # vLLM would read it before preprocessor_config.json, where the image processor's class is looked for
        (folder / "processor_config.json").unlink(missing_ok=True)
    else:  # as the base has it, the video processor too, which others ask for
        for path in (path for form in FILES for path in source.glob(form)):
            if path.suffix != ".safetensors" and path.name not in ("config.json", INDEX):
                copy_file(path, source, folder / path.name)
        if (template := adapter / "chat_template.jinja").is_file():
            shutil.copyfile(template, folder / template.name)
    there = (source / "generation_config.json").is_file()
    generation = GenerationConfig.from_pretrained(source) if there else GenerationConfig()
    pad = generation.pad_token_id or generation.eos_token_id
    generation.eos_token_id = _stops(AutoConfig.from_pretrained(source).get_text_config().eos_token_id, pad)
    generation.save_pretrained(folder)
    drop_remote_code(folder)


def _stops(*ids: int | list[int] | None) -> list[int]:
    """Every id once: a turn ends with the tokenizer's eos, a text with upstream's generation eos."""
    flat = [i for entry in ids for i in (entry if isinstance(entry, list) else [entry]) if i is not None]
    return list(dict.fromkeys(flat))


def _card(name: str, known: str | None, source: Path, adapter: str, dtype: str, trained_on: Precision | None) -> str:
    """The folder's README.md; a base that is a folder of this machine is named, not located."""
    rounding = trained_on.four_bit.quant_type if trained_on and trained_on.four_bit else None
    local = known is None or (not is_hub_id(known) and resolve(known).is_dir())
    return CARD.format(
        name=name,
        base=source.name if local else known,
        base_model="" if local else f"base_model: {known}\n",
        adapter=adapter,
        dtype=dtype,
        rounded=f" (over weights rounded to {rounding}, as it was trained)" if rounding else "",
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
            f"{adapter} replaces {config['modules_to_save']}",
            "Only LoRA matrices can be loaded by vLLM",
            "Use --merge instead",
        )
    tensors = load_file(adapter / "adapter_model.safetensors")
    if foreign := sorted(name for name in tensors if not name.startswith(OURS)):
        raise UserError(
            f"{adapter} adapts {foreign[0]}",
            "Only the language model of MiniCPM-V-2.6 has other names in vLLM",
            "Load the adapter in vLLM as it is, or use --merge",
        )
    with new_folder(output) as folder:
        renamed = {UPSTREAM + name.removeprefix(OURS): tensor.contiguous() for name, tensor in tensors.items()}
        save_file(renamed, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        card = judge_card(adapter)
        known = card.get("base") or {"model": config.get("base_model_name_or_path"), "revision": config.get("revision")}
        named = config | {"base_model_name_or_path": known["model"], "revision": known["revision"]}
        write_atomic(folder / "adapter_config.json", json.dumps(_renamed_config(named, renamed), indent=2) + "\n")
        if card:
            write_atomic(folder / JUDGE_CARD, json.dumps(card, indent=1) + "\n")
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
