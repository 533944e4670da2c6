"""Marks tests that need the embedded judge: its adapter comes from a finished `make release` (recipes.embed)."""

from __future__ import annotations

from pathlib import Path

import pytest

ADAPTER = Path(__file__).parents[1] / "metrics" / "t2i_judge" / "weights" / "tiny" / "adapter"
NO_JUDGE = "this checkout embeds no judge: its adapter has not reached the recipe's goals yet (python -m recipes.embed)"
needs_embedded_judge = pytest.mark.skipif(not ADAPTER.is_dir(), reason=NO_JUDGE)
