"""T2I-Eval's result files under its own (legacy) arithmetic."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.meta.t2i_eval import t2i_eval_columns
from t2i_judge.stats.agreement import t2i_eval_legacy


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    manual = rng.integers(0, 11, (40, 3)).astype(float)
    samples = [
        {"id": str(i), "overall": {"overall": {"score": 5.0, "manual_score": [*row, "N/A" if i == 3 else row.mean()]}}}
        for i, row in enumerate(manual)
    ]
    (tmp_path / "scores.json").write_text(json.dumps(samples))
    judged = [{"id": i, "overall_score": "N/A" if i % 7 == 0 else float(manual[i].mean().round())} for i in range(39)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, judged)))
    return tmp_path, manual


def test_mean_filled_table_from_result_files(files):
    folder, manual = files
    columns = t2i_eval_columns(folder / "scores.json", {"mine": folder / "m.jsonl"})
    assert list(columns) == ["manual_1", "manual_2", "manual_3", "manual_avg", "openai", "mine"]
    assert {len(column) for column in columns.values()} == {39}  # the sample without a result is dropped
    found = t2i_eval_legacy(columns)["mine", "manual_1"]
    mine = [v if isinstance(v, float) else np.nan for v in columns["mine"]]
    filled = np.where(np.isnan(mine), np.nanmean(mine), mine)
    assert found["kendall_tau_b"].value == stats.kendalltau(filled, manual[:39, 0])[0]
    assert found["spearman"].value == stats.spearmanr(filled, manual[:39, 0])[0]
    assert t2i_eval_legacy(columns)["openai", "manual_avg"]["spearman"].undefined == "predictions are constant (5)"


def test_files_that_do_not_fit(files):
    folder, _ = files
    with pytest.raises(UserError, match="no category"):
        t2i_eval_columns(folder / "scores.json", {}, "style")
    with pytest.raises(UserError, match=r"overall\.intrinsic"):
        t2i_eval_columns(folder / "scores.json", {}, "intrinsic")
    (folder / "m.jsonl").write_text('{"id": 99, "overall_score": 1}')
    with pytest.raises(UserError, match="sample 99"):
        t2i_eval_columns(folder / "scores.json", {"mine": folder / "m.jsonl"})


def test_the_command_gives_the_published_way_and_the_one_without_filling(files, capsys):
    folder, manual = files
    out = folder / "o.json"
    command = ["t2i-eval", str(folder / "scores.json"), "--result", f"mine={folder / 'm.jsonl'}"]
    assert main([*command, "--category", "overall", "--against", "manual_1", "--json", str(out)]) == 0
    assert "overall, against manual_1, 39 samples" in capsys.readouterr().out
    columns = t2i_eval_columns(folder / "scores.json", {"mine": folder / "m.jsonl"})
    mine = json.loads(out.read_text())["overall"]["mine"]["spearman"]
    assert mine["published_way"] == t2i_eval_legacy(columns)["mine", "manual_1"]["spearman"].value
    kept = [i for i in range(39) if i % 7]
    left_out = stats.spearmanr([columns["mine"][i] for i in kept], manual[kept, 0])[0]
    assert mine["n"] == len(kept) and mine["value"] == pytest.approx(left_out)
    assert main([*command[:2], "--result", "nothing"]) == 2 and "METHOD=FILE" in capsys.readouterr().err


@pytest.mark.parametrize("lines", [['{"id": 1, "overall_score": 2}', '{"id": "1", "overall_score": 9}'], ["{}"]])
def test_a_sample_twice_or_without_a_name_is_one_line(tmp_path, lines):
    """The last line of an id counted; samples without one were all the same sample."""
    people = [{"id": 1, "overall": {"overall": {"manual_score": [1, 2, 3, 2], "score": 5}}}]
    (tmp_path / "scores.json").write_text(json.dumps(people))
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"sample 1 twice|row 1 has no id"):
        t2i_eval_columns(tmp_path / "scores.json", {"mine": tmp_path / "m.jsonl"})
    (tmp_path / "m.jsonl").write_text("\n".join([lines[0].replace("{}", '{"id": 1, "overall_score": 2}')] * 2))
    assert t2i_eval_columns(tmp_path / "scores.json", {"mine": tmp_path / "m.jsonl"})["mine"] == [2]
