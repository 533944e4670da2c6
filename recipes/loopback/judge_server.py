"""`t2i-judge serve` as a process of its own, at a free port."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from t2i_judge.errors import UserError

READY = "t2i-judge serve: "


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """`t2i-judge serve` as a process of its own; yields its address. Raises `UserError` when it does not start."""
    code = "import sys; from t2i_judge.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--port", "0", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line.startswith(READY):
            raise UserError("The command t2i-judge serve does not start", "Its message is above", "Fix that")
        yield line.removeprefix(READY).strip()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
