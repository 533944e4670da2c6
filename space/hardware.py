"""Compares what a local judge needs, known from the sizes of its files before any download, with this hardware."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2i_judge.judges.names import JudgeName
from t2i_judge.local.precision import choose

GIGA = 1e9
_NF4 = 0.85  # bytes a parameter: four bits, their scales, and what stays in 16 bits (MiniCPM-V-2.6: 6.5 GB of 8.1e9)
_WORKING = 2.0  # GB besides: activations of one picture, libraries
# Above it a forward of some 1,500 tokens takes two cores longer than a visitor is kept waiting (limits.SECONDS).
_MOST_ON_A_CPU = 1e9  # parameters
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # version 2, version 1
_ADAPTER, _CARD, _CONFIG = "adapter_config.json", "judge.json", "config.json"
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Hardware:
    """Memory in GB: of the largest GPU (0 without one), and what this process may take."""

    gpu: float
    memory: float

    def __str__(self) -> str:
        return f"a GPU of {self.gpu:.0f} GB" if self.gpu else f"no GPU, and {self.memory:.0f} GB of memory"


@dataclass(frozen=True)
class Need:
    """What a judge needs.

    Attributes:
        base: the base's Hub id or folder.
        parameters: of base and adapter.
        four_bit: are the weights rounded to four bits?
        stored: bytes of the base's files.
    """

    base: str
    parameters: float
    four_bit: bool
    stored: int

    def __str__(self) -> str:
        return f"a GPU of about {self.on_a_gpu:.0f} GB for its {self.parameters / GIGA:.1f} billion parameters"

    @property
    def on_a_gpu(self) -> float:
        """GB."""
        return self.parameters * (_NF4 if self.four_bit else 2) / GIGA + _WORKING

    def fits(self, here: Hardware) -> bool:
        """Whether it runs here fast enough for a visitor."""
        if here.gpu:
            return self.on_a_gpu <= here.gpu
        on_a_cpu = self.parameters * 4 / GIGA + _WORKING  # float32
        return self.parameters <= _MOST_ON_A_CPU and on_a_cpu <= here.memory


def hardware() -> Hardware:
    """The hardware of this machine."""
    import torch

    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    gpu = max((torch.cuda.get_device_properties(index).total_memory for index in devices), default=0)
    return Hardware(gpu / GIGA, _memory() / GIGA)


def _memory() -> float:
    """Bytes: the machine's, or what its container may take of them."""
    whole = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in map(Path, _CGROUPS):
        text = path.read_text(encoding="ascii").strip() if path.is_file() else ""
        if text.isdigit():
            return min(whole, float(text))
    return whole


def need_of(judge: JudgeName) -> Need:
    """What a judge of the kind `hf:` needs. Raises what huggingface_hub raises if that is unknown."""
    own = _Files(str(judge.model), judge.revision)
    base = own
    if adapter := own.json(_ADAPTER):
        inside = own.folder is not None and (own.folder / "base").is_dir()
        name = str(own.folder / "base") if inside and own.folder else adapter["base_model_name_or_path"]
        base = _Files(name, adapter.get("revision"))
    precision = choose(own.json(_CARD), None, None, "cuda", 0)  # as it will be loaded
    config = base.json(_CONFIG)
    each = _BYTES.get(str(config.get("dtype") or config.get("torch_dtype")), 2)
    parameters = base.stored / each + (own.stored / _BYTES["float32"] if base is not own else 0)
    return Need(base.name, parameters, precision.four_bit is not None, base.stored)


class _Files:
    """The files of a folder, or of a Hub repository at a revision."""

    def __init__(self, name: str, revision: str | None) -> None:
        self.name, self._revision = name, revision
        path = Path(name)
        self.folder = path if path.is_dir() else None

    @property
    def stored(self) -> int:
        """Bytes of the safetensors files."""
        if self.folder is not None:
            return sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))
        from huggingface_hub import HfApi

        info = HfApi().model_info(self.name, revision=self._revision, files_metadata=True)
        weights = (file for file in info.siblings or () if file.rfilename.endswith(".safetensors"))
        return sum(file.size or 0 for file in weights if "/" not in file.rfilename)

    def json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file, an empty one where there is no such file."""
        if self.folder is not None:
            path = self.folder / name
        else:
            from huggingface_hub import hf_hub_download
            from huggingface_hub.errors import EntryNotFoundError

            try:
                path = Path(hf_hub_download(self.name, name, revision=self._revision))
            except EntryNotFoundError:
                return {}
        if not path.is_file():
            return {}
        value = json.loads(path.read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}


def arrived(need: Need) -> str:
    """How much of a base has come from the Hub so far, in words; empty where it is a folder or has come whole."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    blobs = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=need.base, repo_type="model"), "blobs")
    if Path(need.base).is_dir():
        return ""
    here = sum(path.stat().st_size for path in blobs.glob("*")) if blobs.is_dir() else 0
    return f"{here / GIGA:.1f} of {need.stored / GIGA:.1f} GB are here" if here < need.stored else ""
