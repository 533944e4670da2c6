"""Prompts that people contribute: what is plainly no secret passes, and a finding names its row and what to do."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from recipes.safety.gate_files import file_findings

TOKEN = "hf" + "_kTzQwVbXnRjMgYp9sHdCfUeAoIxWqZrEtB"


def found(path: Path, prompts: list[str]) -> list[tuple[str, str, str]]:
    parquet.write_table(pa.table({"prompt": prompts}), path / "a.parquet", row_group_size=300)
    return [finding for finding in file_findings(path / "a.parquet") if "in its bytes" not in finding[1]]


def test_what_is_plainly_none_passes(tmp_path: Path) -> None:
    prompts = [
        "a poster of https://user:pass@example.com",
        "a sign: ftp://me:password@www.example.org/x",
        "sk-8er_boy_on_a_half_pipe_in_1999",
        "an old drive labelled C:\\Windows\\System",
        "a floppy disk with C:\\Windows on it",
    ]
    assert found(tmp_path, prompts) == []


@pytest.mark.parametrize(
    ("prompt", "check"),
    [
        ("https://user:pass@example.company.io", "secrets"),
        ("https://user:pass@example.com.evil.io", "secrets"),
        ("https://user:hunter2secret@example.com", "secrets"),
        ("sk-8er_boy_Xq4Zt9LmPw2RvKcB", "secrets"),
        ("sk-a1b2c3d4e5f6g7h8i9j0k1l2", "secrets"),
        ("C:\\Windows\\Temp\\jane", "local_paths"),
        ("C:\\Windowsill\\jane", "local_paths"),
    ],
)
def test_what_only_looks_like_it_is_found(tmp_path: Path, prompt: str, check: str) -> None:
    assert {name for name, _, _ in found(tmp_path, [prompt])} == {check}


@pytest.mark.parametrize(
    ("prompt", "check"),
    [
        (f"a cat, {TOKEN}", "secrets"),
        ("".join(f"&#{ord(sign)};" for sign in TOKEN), "secrets"),
        ("password: 'hunter2hunter2'", "secrets"),
        ("a letter to the /Users/of/the/world", "local_paths"),
        ("a book titled trust_remote_code = True", "remote_code"),
    ],
)
@pytest.mark.parametrize("row", [1, 256, 257, 700])
def test_a_finding_names_its_row_and_what_to_do(tmp_path: Path, prompt: str, check: str, row: int) -> None:
    prompts = [f"a cat, {number}\nand a dog é" for number in range(1, 800)]
    prompts[row - 1] = prompt
    [(name, wrong, fix)] = found(tmp_path, prompts)
    assert name == check and wrong.startswith(f"row {row}, column 'prompt'") and "reword that row" in fix
