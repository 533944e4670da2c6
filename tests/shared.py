"""What others published lies beside the checkout, in ../shared, or not at all: never in the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


def shared(path: str) -> Path:
    """A file or folder of ../shared; the test is skipped, with the reason, where it is not there."""
    if not (SHARED / path).exists():
        pytest.skip(f"../shared/{path} is not beside this checkout: others' data, which the repository does not hold")
    return SHARED / path
