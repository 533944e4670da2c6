"""What vLLM needs to serve an exported folder, and what it lacks: `python -m recipes.export --check-vllm FOLDER`.

As read in vLLM 0.32.0 (model_executor/models/minicpmv.py): its class for MiniCPM-V-2.6 takes upstream's tensor names.
It has no configuration of its own for it, finds the image processor by `auto_map` in preprocessor_config.json alone,
and asks the tokenizer for `im_start_id`, which only upstream's has. Those are upstream's code: its licence and the
decision to run it are the user's, so nothing here downloads or runs it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.training.checks import V26, check_weights, read_object, tensor_shapes
from recipes.training.merging import meta_model
from t2i_judge.errors import UserError

VLLM_VERSION = "0.32.0"
UPSTREAM = "base_model.model.llm.model."  # where vLLM has the layers of MiniCPM-V-2.6's language model
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that --max-lora-rank takes
_CODE = {
    "config.json": "AutoConfig",
    "preprocessor_config.json": "AutoImageProcessor",
    "tokenizer_config.json": "AutoTokenizer",
}
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_IMPORT = re.compile(r"^[ \t]*from \.(\w+) import", re.MULTILINE)


@dataclass(frozen=True)
class Need:
    """Something that vLLM needs, whether it is there, and what gives it; `upstream`: only the base's own repository."""

    what: str
    there: bool
    fix: str = ""
    upstream: bool = False

    def __str__(self) -> str:
        return f"  {'ok     ' if self.there else 'MISSING'}  {self.what}" + ("" if self.there else f": {self.fix}")


def needs(folder: Path) -> list[Need]:
    """What vLLM needs of a merged model or of an adapter, in order. Raises `UserError` where the folder is neither."""
    if (folder / "adapter_config.json").is_file():
        return list(_of_adapter(folder))
    if (folder / "config.json").is_file():
        return list(_of_model(folder))
    raise UserError(
        f"{folder} is neither a model nor an adapter", "It has no config.json and no adapter_config.json",
        "Name a folder that --merge or --vllm-adapter wrote",
    )  # fmt: skip


def report(folder: Path) -> tuple[str, bool]:
    """The needs as text, with the commands for those that are missing; and whether none is."""
    found = needs(folder)
    lines = [str(need) for need in found]
    base, revision, slices = _base_of(folder)
    if any(need.upstream and not need.there for need in found):
        lines += [
            f"The missing files are code of {base}. Read it and its licence. To let your server run it, download it:",
            f"  hf download {base}{f' --revision {revision}' if revision else ''} --local-dir {folder}"
            f" --include '*.py'{''.join(f' --include {name}' for name in _CODE)}",
        ]
    if (folder / "adapter_config.json").is_file():
        lines += ["Then, without a merged model:", f"  {serve_adapter(folder, base, revision, slices)}"]
    else:
        remote = any(need.upstream for need in found)
        lines += [
            "Then:",
            f"  vllm serve {folder}{' --trust-remote-code' if remote else ''} --max-model-len 4096{_mm(slices)}",
        ]
    return "\n".join(lines), all(need.there for need in found)


def serve_adapter(folder: Path, base: str, revision: str | None, slices: int | None) -> str:
    """The command that mounts an adapter on its base."""
    rank = read_object(folder / "adapter_config.json")["r"]
    least = next((size for size in RANKS if size >= rank), rank)
    pinned = f" --revision {revision}" if revision else ""
    return (
        f"vllm serve {base}{pinned} --trust-remote-code --max-model-len 4096 --enable-lora --max-lora-rank {least}"
        f" --lora-modules judge={folder}{_mm(slices)}"
    )


def _mm(slices: int | None) -> str:
    """The limit on slices, which upstream's own preprocessor_config.json does not know."""
    return f""" --mm-processor-kwargs '{json.dumps({"max_slice_nums": slices})}'""" if slices else ""


def _base_of(folder: Path) -> tuple[str, str | None, int | None]:
    """Hub id and commit of the base, and the recipe's limit on slices, by judge.json and adapter_config.json."""
    card, adapter = (
        read_object(folder / name) if (folder / name).is_file() else {}
        for name in ("judge.json", "adapter_config.json")
    )
    known = card.get("base") or {"model": adapter.get("base_model_name_or_path"), "revision": adapter.get("revision")}
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", known.get("model") or ""):  # a folder: its architecture is this one's
        known = {"model": V26}
    return known["model"], known.get("revision"), card.get("max_slice_nums")


def _of_model(folder: Path) -> Iterator[Need]:
    config = read_object(folder / "config.json")
    yield Need("weights in safetensors, whole", _whole(folder), "write them again by --merge")
    yield Need(
        "no pickle beside them", not any(any(folder.glob(form)) for form in _PICKLES), "remove *.bin and the like"
    )
    if config.get("model_type") != "minicpmv":
        known = ", ".join(config.get("architectures") or ["none named"])
        processor = any((folder / f"{name}_config.json").is_file() for name in ("processor", "preprocessor"))
        own = "auto_map" not in config
        yield Need(f"an architecture of transformers' own ({known})", own, "take auto_map out of config.json")
        yield Need("a processor", processor, "copy the base's preprocessor_config.json there")
        return
    yield Need("MiniCPM-V 2.6 by config.json (MiniCPMV, version 2.6)",
               config.get("architectures") == ["MiniCPMV"] and str(config.get("version")) == "2.6",
               "write it again by --merge")  # fmt: skip
    wrong = _other_names(folder)
    yield Need("tensors by upstream's names (llm., vpm., resampler.)", not wrong,
               f"{', '.join(wrong[:3])}; write it again by --merge")  # fmt: skip
    both = all((folder / f"{name}_config.json").is_file() for name in ("processor", "preprocessor"))
    yield Need("no processor_config.json, which would shadow preprocessor_config.json", not both, "remove it")
    for name, kind in _CODE.items():
        yield Need(f"{kind} by auto_map in {name}, and its code", _has_code(folder, name, kind),
                   "only upstream can give it", upstream=True)  # fmt: skip


def _whole(folder: Path) -> bool:
    try:
        return bool(check_weights(folder))
    except UserError:
        return False


def _other_names(folder: Path) -> list[str]:
    """Tensors of another name than upstream's, and upstream's that are not there."""
    from t2i_judge.local.minicpmv.modeling import upstream_name

    stored = {name for path in sorted(folder.glob("*.safetensors")) for name in tensor_shapes(path)}
    wanted = {upstream_name(name) for name in meta_model(folder).state_dict()}
    return sorted(stored ^ wanted)


def _has_code(folder: Path, name: str, kind: str) -> bool:
    """Whether a configuration names upstream's class, and the modules of its code are there, imports included."""
    path = folder / name
    named: Any = (read_object(path).get("auto_map") or {}).get(kind) if path.is_file() else None
    reference = next((entry for entry in named if entry), None) if isinstance(named, list) else named
    if not reference:
        return False
    if "--" in reference:  # code in another repository, which the server fetches
        return True
    wanted, seen = [reference.split(".")[0]], set()
    while wanted:
        module = wanted.pop()
        if module in seen:
            continue
        seen.add(module)
        source = folder / f"{module}.py"
        if not source.is_file():
            return False
        wanted += _IMPORT.findall(source.read_text(encoding="utf-8"))
    return True


def _of_adapter(folder: Path) -> Iterator[Need]:
    config = read_object(folder / "adapter_config.json")
    weights = folder / "adapter_model.safetensors"
    names = tensor_shapes(weights) if weights.is_file() else {}
    yield Need("adapter_model.safetensors", bool(names), "train again, or export again")
    wrong = sorted(name for name in names if not name.startswith(UPSTREAM))
    yield Need("tensors by the names of vLLM's own modules (llm.model.)", not wrong,
               f"{wrong[0] if wrong else ''}; write it by --vllm-adapter")  # fmt: skip
    plain = not (config.get("modules_to_save") or config.get("use_dora") or config.get("bias", "none") != "none")
    yield Need("LoRA matrices only", plain, "use --merge instead")
    yield Need(f"a rank of at most {RANKS[-1]}", config["r"] <= RANKS[-1], "use --merge instead")
    local = Path(str(config.get("base_model_name_or_path"))).is_absolute()
    yield Need("a base by its Hub id", not local, "write it by --vllm-adapter from a released adapter")
