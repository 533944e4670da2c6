"""No compiled code from the Hub: not by transformers, not by bitsandbytes, whatever else is installed.

Where the package `kernels` is installed, transformers takes kernels for attention and layers from the Hub as a model is
loaded, and bitsandbytes one for four bits on a CPU with AVX512-BF16 as it is imported: machine code that nobody here
has pinned or read. transformers' own switch, the environment's `USE_HUB_KERNELS`, forbids a part of it (its attention
asks for kernels without it), and bitsandbytes has none; so `kernels` is hidden from both.
"""

from __future__ import annotations

import os
import sys
from typing import Any

SWITCH = "USE_HUB_KERNELS"
_PACKAGE = "kernels"


def forbid() -> None:
    """Hide `kernels` from whatever this process imports from now on.

    To use it all the same, set USE_HUB_KERNELS=YES in the environment, or import `kernels` before.
    """
    modules: dict[str, Any] = sys.modules
    if os.environ.setdefault(SWITCH, "NO").upper() in ("0", "NO", "OFF", "FALSE"):
        modules.setdefault(_PACKAGE, None)  # to Python, and to who asks for its specification: not installed
