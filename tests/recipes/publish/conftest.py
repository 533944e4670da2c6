"""A fresh loopback Hub a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recipes.loopback.hub.server import Running
from tests.loopback_hub import loopback


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """An empty loopback Hub."""
    with loopback(tmp_path / "hub") as hub:
        yield hub
