"""`python -m space` in a checkout: the same as `python space/app.py`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
runpy.run_module("app", run_name="__main__")
