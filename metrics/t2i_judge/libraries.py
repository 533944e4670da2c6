"""Decides what libraries may print while a command runs: only errors, unless `-v` asks for more.

Each library has its own switches: the level of its logger, a variable that it reads when it is imported, and a function
for when it has been imported. Only named categories of warnings from named modules are ignored. Errors and this
package's own messages are never touched, nor are variables that the user has set.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = (
    "accelerate", "bitsandbytes", "datasets", "evaluate", "filelock", "fsspec", "httpx", "httpx2", "huggingface_hub",
    "matplotlib", "openai", "peft", "PIL", "RapidOCR", "ray", "torch", "transformers", "trl", "urllib3",
)  # fmt: skip
SWITCHES = {
    "DATASETS_VERBOSITY": "error",
    "EVALUATE_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # transformers' bars, too: "Loading weights"
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
BARS = {  # module that may be imported already -> its function that switches its bars off, and what it obeys instead
    "datasets.utils": ("disable_progress_bars", "HF_DATASETS_DISABLE_PROGRESS_BARS"),
    "huggingface_hub.utils": ("disable_progress_bars", "HF_HUB_DISABLE_PROGRESS_BARS"),
    "transformers.utils.logging": ("disable_progress_bar", "HF_HUB_DISABLE_PROGRESS_BARS"),
}
WARNINGS: tuple[tuple[type[Warning], str], ...] = (
    (FutureWarning, r"transformers\."),  # renames that concern trl and peft
)


def hush() -> None:
    """Let the libraries print only errors, in this process and in those that it starts."""
    for variable, value in SWITCHES.items():
        os.environ.setdefault(variable, value)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    for module, (function, variable) in BARS.items():
        if module in sys.modules and os.environ[variable] == SWITCHES[variable]:
            getattr(sys.modules[module], function)()
    for category, place in WARNINGS:
        warnings.filterwarnings("ignore", category=category, module=place)


@contextmanager
def restored() -> Iterator[None]:
    """Restore variables, levels and filters at the end, since a program that goes on may have called the command."""
    variables = {name: os.environ.get(name) for name in SWITCHES}
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    with warnings.catch_warnings():
        try:
            yield
        finally:
            for name, value in variables.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
