"""No compiled code is fetched from the Hub, with `kernels` installed: a stub of it writes down who asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ASK = """
import t2i_judge
import transformers
from transformers.utils.import_utils import is_flash_attn_kernel_fallback_available, is_kernels_available
print("available", is_kernels_available())
is_flash_attn_kernel_fallback_available(2)
from transformers.integrations import hub_kernels
try:
    hub_kernels.load_and_register_attn_kernel("kernels-community/flash-attn")
except Exception as error:
    print("refused", type(error).__name__)
hub_kernels.lazy_load_kernel("causal-conv1d")
import bitsandbytes
try:
    from kernels import get_kernel
    get_kernel("kernels-community/quantization-bitsandbytes", version=1)
except ImportError:
    print("hidden")
except OSError:
    print("asked")
"""


def asked(folder: Path, **environment: str) -> tuple[str, list[str]]:
    """What the script prints, and what it asked the stub for."""
    log = folder / "asked"
    stub = folder / "site" / "kernels"
    information = folder / "site" / "kernels-0.18.2.dist-info"
    for made in (stub, information):
        made.mkdir(parents=True, exist_ok=True)
    stub.joinpath("__init__.py").write_text(
        f"def get_kernel(name, *a, **k):\n    open({str(log)!r}, 'a').write(name + chr(10))\n    raise OSError(name)\n"
        "def __getattr__(name):\n    return type(name, (), {'__init__': lambda self, *a, **k: None})\n"
    )
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: kernels\nVersion: 0.18.2\n")
    (information / "RECORD").write_text("kernels/__init__.py,,\n")
    (information / "top_level.txt").write_text("kernels\n")
    inherited = {key: value for key, value in os.environ.items() if key != "USE_HUB_KERNELS"}
    done = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, check=False,
        env={**inherited, "PYTHONPATH": str(folder / "site"), "HF_HUB_OFFLINE": "1", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, log.read_text().split() if log.exists() else []


def test_nothing_is_fetched_with_kernels_installed(tmp_path: Path) -> None:
    printed, names = asked(tmp_path)
    assert "available False" in printed and "hidden" in printed and "refused" in printed and names == []


def test_who_wants_it_says_so(tmp_path: Path) -> None:
    printed, names = asked(tmp_path, USE_HUB_KERNELS="YES")
    assert "available True" in printed and "hidden" not in printed and names
