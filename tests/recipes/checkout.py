"""A user's own clone, with nothing built in it: commands run there as people type them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.caches import new_home

ROOT = Path(__file__).parents[2]
_FOLDERS = ("dataset_card", "metrics", "model_card", "recipes", "space")
_FILES = ("pyproject.toml", "constraints.txt", "requirements.lock", "README.md", "LICENSE", "Makefile")


class Checkout:
    """A copy of this checkout at `folder`, whose commands meet one Hub and an empty cache of their own."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        for name in _FOLDERS:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in _FILES:
            shutil.copy(ROOT / name, folder)
        self.folder = folder
        passed = {name: text for name, text in os.environ.items() if not name.startswith(("HF_", "OPENAI_"))}
        self.environment = {
            **passed,
            "PYTHONPATH": str(folder / "metrics"),
            "HF_HOME": new_home(folder / "home"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
            **environment,
        }

    def run(self, module: str, *arguments: str, seconds: float = 900, **environment: str) -> tuple[int, str]:
        """`python -m MODULE ARGUMENTS` in the clone: its exit code, and what it printed."""
        process = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder, env={**self.environment, **environment}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=seconds, check=False,
        )  # fmt: skip
        return process.returncode, process.stdout

    def done(self, module: str, *arguments: str, **environment: str) -> str:
        """What a command printed that has to end well."""
        code, output = self.run(module, *arguments, **environment)
        assert code == 0 and "Traceback" not in output, output[-6000:]
        return output
