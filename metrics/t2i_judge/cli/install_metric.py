"""`t2i-judge install-metric`: make the bare name `evaluate.load("t2i_judge")` resolve everywhere on this machine.

A bare name leads evaluate to a folder in the working directory, to the `evaluate-metric` organisation on the Hub, or to
its own module cache. This command fills the cache with the whole library, weights included, so that the copy works
offline and without the package. evaluate takes the newest copy, in a folder named by 64 hexadecimal digits.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
from pathlib import Path

SCRIPT = "t2i_judge.py"
INSTALLED = Path("evaluate_modules", "metrics", "evaluate-metric--t2i_judge")


def install(library: Path, modules_cache: Path) -> Path:
    """Copy the library into evaluate's module cache; returns the copy's folder.

    The folder appears complete or not at all. Calling it again makes the copy the newest.
    """
    from ..t2i_judge import tree_hash

    place = modules_cache / INSTALLED
    place.mkdir(parents=True, exist_ok=True)
    for folder in (place, *place.parents[:2]):
        (folder / "__init__.py").touch()
    content = tree_hash(library).encode() + (library / SCRIPT).read_bytes()
    target = place / hashlib.sha256(content).hexdigest()
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=place) as temporary:
            copy = Path(temporary) / "copy"
            shutil.copytree(library, copy, ignore=shutil.ignore_patterns("__pycache__"))
            copy.rename(target)
    (target / SCRIPT).touch()
    return target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--modules-cache", type=Path, help="evaluate's module cache (default: where evaluate looks)")


def run(args: argparse.Namespace) -> int:
    """Install and say where."""
    cache = args.modules_cache
    if cache is None:
        from evaluate.config import HF_MODULES_CACHE

        cache = Path(HF_MODULES_CACHE)
    print(f'evaluate.load("t2i_judge") now finds {install(Path(__file__).parents[1], cache)}')
    return 0
