"""A user's shell: an ordinary PATH, and a virtual environment that is activated as the README says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

USERS_PATH = f"{sys.base_prefix}/bin:/usr/local/bin:/usr/bin:/bin"  # nothing of a virtual environment
ACTIVATE = Path(sys.executable).parent / "activate"
_MAKES = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # a make within `make test` would print which folder it enters
_NOT_A_USERS = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", *_MAKES)


def users_environment(**more: str) -> dict[str, str]:
    """The variables of a new shell."""
    return {name: text for name, text in os.environ.items() if name not in _NOT_A_USERS} | {"PATH": USERS_PATH} | more


def typed(
    script: str, folder: Path, codes: Sequence[int] | None = (0,), activate: Path | None = ACTIVATE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run what a user types in a folder; its exit code has to be one of `codes`. `activate` None: in a bare shell."""
    begin = f"source {shlex.quote(str(activate))}\n" if activate else ""
    done = subprocess.run(
        ["bash", "-e", "-c", begin + script],
        cwd=folder,
        env=users_environment(**environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert codes is None or done.returncode in codes, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def blocks(document: str, language: str) -> list[str]:
    """The code blocks of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", document, re.DOTALL | re.MULTILINE)


def shown(document: str, language: str) -> dict[str, str]:
    """Code block -> the text block right behind it, which shows what it prints."""
    pair = rf"^```{language}\n((?:(?!^```).)*)^```\n\n```text\n(.*?)^```"
    return dict(re.findall(pair, document, re.DOTALL | re.MULTILINE))


def lines_without_figures(text: str) -> set[str]:
    """The lines of a text, without numbers, hashes and widths, which change with code and machine."""
    text = re.sub(r"\b[0-9a-f]{8,}\b", "#", text)
    text = re.sub(r"[-+]?\d[\d,.]*(?:e[-+]\d+)?|-{2,}|- *$", "#", text, flags=re.MULTILINE)
    return {" ".join(line.split()) for line in text.splitlines()}


def assert_shown(expected: str, printed: str) -> None:
    """Every line that a document shows was printed, figures aside; `...` stands for lines left out."""
    missing = lines_without_figures(expected) - lines_without_figures(printed) - {"...", ""}
    assert not missing, f"{sorted(missing)} not among:\n{printed[-6000:]}"
