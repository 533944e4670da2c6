"""Waits of tests: for what happens, never for a moment that a busy machine may miss."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds; only a test that fails waits as long."""


def eventually(holds: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Whether it holds, now or within so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


async def until(holds: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """The same, while the other tasks of a loop go on."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    return holds()
