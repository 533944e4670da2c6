"""`register()`: idempotent, light to import, and the same from a flat copy of the modules."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import t2i_judge.registration
from t2i_judge.registration import register

LIBRARY = Path(t2i_judge.registration.__file__).parent
TINY = Path(__file__).parents[1] / "data" / "minicpmv" / "tiny_hub_layout"
LOAD = f"""
from {{package}}.registration import register
register(); register()
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
model = AutoModelForImageTextToText.from_pretrained({str(TINY)!r})
processor = AutoProcessor.from_pretrained({str(TINY)!r})
assert {{package!r}} == type(model).__module__.rpartition(".")[0] == type(processor).__module__.rpartition(".")[0]
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


def test_flat_copy_as_evaluate_makes_it_loads_the_hub_layout(tmp_path):
    copy = tmp_path / "cached_metric"
    copy.mkdir()
    for module in (*LIBRARY.glob("*_minicpmv.py"), LIBRARY / "registration.py"):
        shutil.copy(module, copy)
    run(LOAD.format(package="cached_metric"), tmp_path)
