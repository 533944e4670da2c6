"""A tokenizer.json whose patterns make its engine give up ends no command: a panic in Rust is no `Exception`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from t2i_judge import load_judge
from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.records import Status
from tests.embedding_checkpoints import make_clip
from tests.judge_folders import make_judge
from tests.vlm_families import write_family

SOME, ALL = "(q+)+#", r"(?:\w|[a-z]|\s)*(?<=#)"  # what it gives up over: a run of one letter; thirty letters
PROMPTS = ["a red cat", "q" * 60, "a dog"]
KINDS = ["distilled", "zero-shot", "clip"]


def name_of(kind: str, folder: Path) -> str:
    """A judge's name, its files in that folder."""
    if kind == "clip":
        return f"clip:{make_clip(folder)}"
    return f"hf:{make_judge(folder) if kind == 'distilled' else write_family('qwen2_5_vl', folder)}"


def spoil(folder: Path, pattern: str) -> None:
    """Split texts by a pattern before anything else does."""
    for path in folder.rglob("tokenizer.json"):
        record = json.loads(path.read_text())
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        record["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, record["pre_tokenizer"]]}
        path.write_text(json.dumps(record))


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_over_which_a_tokenizer_gives_up_is_its_own_failure(kind: str, tmp_path: Path) -> None:
    name = name_of(kind, tmp_path / "model")
    spoil(tmp_path / "model", SOME)
    images = [Image.effect_noise((64, 64), 60).convert("RGB")] * 3
    first, second, third = load_judge(name).score(images, PROMPTS)
    assert second.status is Status.SKIPPED
    assert "retry-limit-in-match" in second.reason
    assert {first.status, third.status} & {Status.SKIPPED, Status.TRANSPORT} == set(), "whatever a random model says"


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_that_gives_up_over_every_text_is_one_line(kind: str, tmp_path: Path, capsys) -> None:
    name = name_of(kind, tmp_path / "model")
    spoil(tmp_path / "model", ALL)
    table = tmp_path / "t.csv"
    table.write_text("image,prompt\na.png,a cat that sits on a mat beside another one\n")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    if kind == "clip":  # which reads no text as it is loaded
        assert "retry-limit-in-match" in load_judge(name).score([tmp_path / "a.png"], ["a cat " * 9])[0].reason
    else:
        with pytest.raises(UserError, match="retry-limit-in-match") as error:
            load_judge(name)
        assert "\n" not in str(error.value)
    code = main(["score", str(table), "--judge", name, "--out", str(tmp_path / "run")])
    assert code == (1 if kind == "clip" else 2), "failed items, or one line: never a traceback, and no defect of ours"
