"""MMRB2's accuracy: every order of a pair counts by itself, one without a verdict not at all."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest

from t2i_judge.meta.mmrb2 import mmrb2_judgements
from t2i_judge.meta.reproduction import folder_of, reproduce


def said(forward, reverse):
    return {"forward": [{"judgement": forward}] if forward else [], "reverse": [{"judgement": reverse}]}


@pytest.fixture
def files(tmp_path):
    """Two tasks of three pairs, one of which nobody judged."""
    made = {
        "benchmark/t2i_response_only.json": {"pairs": [{"id": n, "chosen": c} for n, c in zip("xyz", "ABA")]},
        "benchmark/edit_response_only.json": {"pairs": [{"id": n, "chosen": "B"} for n in "uvw"]},
        "out/sample_task1_image.json": {"x": said("A", "A"), "y": said(None, "A"), "z": said("?", None)},
        "out/sample_task2_edit.json": {"u": said("B", "A"), "v": said("A", "B")},
    }
    for path, content in made.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(json.dumps(content))
    return {path: tmp_path / path for path in made}


def test_verdicts_in_both_orders(files):
    columns = mmrb2_judgements(files)
    rows = dict(zip(zip(columns["pair"], columns["order"]), columns["correct"]))
    assert len(rows) == 12 and set(columns["judge"]) == {"sample"} and set(columns["task"]) == {"image", "edit"}
    assert [rows["x", o] for o in ("forward", "reverse")] == [100, 0]
    assert [rows["y", o] for o in ("forward", "reverse")] == [None, 100]
    assert [rows["z", o] for o in ("forward", "reverse")] == [0, None]
    assert [rows["w", o] for o in ("forward", "reverse")] == [None, None]


def test_by_its_shipped_rules(files, tmp_path):
    own = tmp_path / "mmrb2"
    shutil.copytree(folder_of("mmrb2"), own)
    entries = [
        {
            "repository": "made/up", "commit": "c0ffee" + "0" * 34, "path": path, "license": "none",
            "bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        for path, file in files.items()
    ]  # fmt: skip
    (own / "sources.json").write_text(json.dumps({"judgements.csv": {"layout": "mmrb2_judgements", "files": entries}}))
    figures = {"image": 50.0, "edit": 50.0, "overall": 50.0}
    board = {"GPT-4o": {"image": 60.3}}
    (own / "published.json").write_text(json.dumps({"_source": "a @ b", "sample": figures, "leaderboard": board}))
    statuses = [outcome.status for outcome in reproduce(str(own), source_folder=tmp_path).outcomes]
    assert statuses == ["equal"] * 3 + ["not computable"]
