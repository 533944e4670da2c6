"""`register()`: idempotent, light to import, and the same from a copy of the library under another name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import t2i_judge
from t2i_judge.local.minicpmv.registration import register

LIBRARY = Path(t2i_judge.__file__).parent
TINY = Path(__file__).parents[3] / "data" / "minicpmv" / "tiny_hub_layout"
LOAD = f"""
from {{package}}.local.minicpmv.registration import register
register(); register()
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
model = AutoModelForImageTextToText.from_pretrained({str(TINY)!r})
processor = AutoProcessor.from_pretrained({str(TINY)!r})
assert type(model).__module__.split(".")[0] == type(processor).__module__.split(".")[0] == {{package!r}}
model.generate(**processor(text=["hello"], return_tensors="pt"), max_new_tokens=2)
"""


def run(code: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_registration_loads_nothing_heavy(tmp_path):
    code = "import sys, t2i_judge; t2i_judge.register; assert not {'torch', 'transformers'} & set(sys.modules)"
    run(code, tmp_path)


def test_registering_twice_changes_nothing():
    from transformers import AutoConfig

    register()
    first = type(AutoConfig.from_pretrained(TINY))
    register()
    assert type(AutoConfig.from_pretrained(TINY)) is first


def test_installed_package_loads_the_hub_layout(tmp_path):
    run(LOAD.format(package="t2i_judge"), tmp_path)


def test_a_copy_under_another_name_loads_the_hub_layout(tmp_path):
    shutil.copytree(LIBRARY, tmp_path / "cached_metric", ignore=shutil.ignore_patterns("__pycache__", "weights"))
    run(LOAD.format(package="cached_metric"), tmp_path)
