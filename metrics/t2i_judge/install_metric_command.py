"""`t2i-judge install-metric`: make the bare name `evaluate.load("t2i_judge")` resolve everywhere on this machine.

A bare name leads evaluate to a folder in the working directory, to the `evaluate-metric` organisation on the Hub, or to
its own module cache. This command fills the cache, weights included, so that the copy works offline and without the
package. evaluate takes the newest copy, in a folder named by 64 hexadecimal digits.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
from pathlib import Path

SCRIPT = "t2i_judge.py"
INSTALLED = Path("evaluate_modules", "metrics", "evaluate-metric--t2i_judge")
_NOT_HELPERS = ("__init__", "cli", "t2i_judge")  # of the package, not of the metric; nor are commands


def helpers(library: Path) -> list[Path]:
    """The library's modules that the metric is made of, in order of name."""
    modules = sorted(library.glob("*.py"))
    return [path for path in modules if path.stem not in _NOT_HELPERS and not path.stem.endswith("_command")]


def content_hash(library: Path) -> str:
    """SHA-256 over names and contents of the metric's modules; line endings do not count."""
    whole = hashlib.sha256()
    for path in helpers(library):
        whole.update(path.name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return whole.hexdigest()


def install(library: Path, modules_cache: Path) -> Path:
    """Copy the metric, weights included, into evaluate's module cache; returns the copy's folder.

    The folder appears complete or not at all. Calling it again makes the copy the newest.
    """
    place = modules_cache / INSTALLED
    place.mkdir(parents=True, exist_ok=True)
    for folder in (place, *place.parents[:2]):
        (folder / "__init__.py").touch()
    target = place / content_hash(library)
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=place) as temporary:
            copy = Path(temporary) / "copy"
            copy.mkdir()
            for path in (library / SCRIPT, *helpers(library)):
                shutil.copyfile(path, copy / path.name)
            if (library / "weights").is_dir():
                shutil.copytree(library / "weights", copy / "weights")
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
    print(f'evaluate.load("t2i_judge") now finds {install(Path(__file__).parent, cache)}')
    return 0
