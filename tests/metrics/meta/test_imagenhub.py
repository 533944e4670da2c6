"""VIEScore's answers about ImagenHub's images: their layout, and the paper's averages step by step."""

from __future__ import annotations

import hashlib
import json
import math
import shutil

import numpy as np
import pytest
from scipy.stats import spearmanr

from t2i_judge.cli import main
from t2i_judge.meta.imagenhub import viescore_answers
from t2i_judge.meta.reproduction import folder_of, reproduce
from tests.shared import shared

TASKS = {"Text-Guided_IE": ["SDEdit", "DiffEdit"], "Mask-Guided_IE": ["Glide"]}


def made(folder, judge="llava_0shot", images=12):
    """Files of three raters, a judge and LPIPS; returns path -> file, and each model's columns as they were drawn."""
    rng, files, drawn = np.random.default_rng(0), {}, {}
    for task, models in TASKS.items():
        for rater in (1, 2, 3):
            cells = {m: rng.integers(0, 3, (images, 2)) / 2 for m in models}
            lines = ["\t".join(["uid", *models])]
            lines += ["\t".join([f"s{n}.jpg", *(json.dumps(list(cells[m][n])) for m in models)]) for n in range(images)]
            files[f"eval/human_ratings/{task}/{task}_rater{rater}.tsv"] = "\n".join(lines) + "\n"
            for model in models:
                drawn.setdefault((task, model), {})[f"r{rater}"] = cells[model]
        for model in models:
            own = drawn[task, model]
            for scale in ("SC", "PQ"):
                answers = rng.integers(0, 11, (images, 2))
                own[scale] = answers.min(axis=1)
                body = {f"s{n}.jpg": {"score": answers[n].tolist(), "reasoning": "..."} for n in range(images)}
                files[f"p/_answers/results_{judge}/ImagenHub_{task}/{model}/{scale}.json"] = json.dumps(body)
            own["LPIPS"] = rng.random(images).round(6)
            body = {f"s{n}.jpg": {"LPIPS": float(own["LPIPS"][n])} for n in range(images)}
            files[f"p/_answers/results_autometrics/ImagenHub_{task}/{model}.json"] = json.dumps(body)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return {path: folder / path for path in files}, drawn


def test_columns_of_raters_judges_and_metrics(tmp_path):
    files, drawn = made(tmp_path)
    broken = next(path for path in files if path.endswith("SDEdit/PQ.json"))
    answers = json.loads(files[broken].read_text()) | {"s0.jpg": {"score": "no idea"}, "s1.jpg": {"reasoning": "?"}}
    files[broken].write_text(json.dumps(answers))
    columns = viescore_answers(files)
    assert len(columns["group"]) == 36 and set(columns["group"]) == {f"{t}/{m}" for t, ms in TASKS.items() for m in ms}
    own = [row for row, group in enumerate(columns["group"]) if group == "Text-Guided_IE/SDEdit"]
    expected = drawn["Text-Guided_IE", "SDEdit"]
    assert [columns["llava_0shot_SC"][row] for row in own] == [None, None, *expected["SC"][2:]], "with a PQ only"
    assert [columns["llava_0shot_PQ"][row] for row in own][:3] == [None, None, expected["PQ"][2]]
    assert columns["llava_0shot_O"][own[0]] is None
    assert columns["llava_0shot_O"][own[2]] == math.sqrt(expected["SC"][2] / 10 * (expected["PQ"][2] / 10))
    assert [columns["minus_LPIPS"][row] for row in own] == list(-expected["LPIPS"])
    assert columns["mean_SC"][own[0]] == pytest.approx(np.mean([expected[f"r{n}"][0][0] for n in (1, 2, 3)]))


@pytest.mark.parametrize(
    ("cell", "score"), [([7, 3.9], 3), (7.5, 7.5), (["8", 9], 8), ([12, 11], 10), ([-3], 0), ([], None), (True, None)]
)
def test_a_score_is_what_the_authors_take_it_for(tmp_path, cell, score):
    files, _ = made(tmp_path, images=3)
    own = files[next(path for path in files if path.endswith("SDEdit/SC.json"))]
    own.write_text(json.dumps(json.loads(own.read_text()) | {"s1.jpg": {"score": cell}}))
    columns = viescore_answers(files)
    row = list(zip(columns["group"], columns["item_id"])).index(("Text-Guided_IE/SDEdit", "s1.jpg"))
    assert columns["llava_0shot_SC"][row] == score


def test_the_papers_averages_are_tanh_of_what_is_printed_at_each_step(tmp_path):
    """`viescore_judges` by its shipped rules, on files of the same shape."""
    files, drawn = made(tmp_path / "files")
    own = tmp_path / "viescore_judges"
    shutil.copytree(folder_of("viescore_judges"), own)
    entries = [
        {
            "repository": "made/up", "commit": "c0ffee" + "0" * 34, "path": path, "license": "none",
            "bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        for path, file in files.items()
    ]  # fmt: skip
    (own / "sources.json").write_text(json.dumps({"images.csv": {"layout": "viescore_answers", "files": entries}}))

    def rho(task, model):
        one = drawn[task, model]
        people = np.mean([one[f"r{n}"][:, 0] for n in (1, 2, 3)], axis=0)
        return round(float(spearmanr(one["SC"], people).statistic), 4)

    steps = [round(math.tanh(np.mean([rho(t, m) for m in ms])), 4) for t, ms in TASKS.items()]
    published = {
        "_source": "made @ here",
        "table1": {"llava_0shot": {"SC": round(math.tanh(np.mean(steps)), 4)}},
        "table2_3": {"Text-Guided_IE": {"llava_0shot": {"SC": steps[0]}}},
        "table6": {"Mask-Guided_IE/Glide": {"llava_0shot": {"SC": rho("Mask-Guided_IE", "Glide")}}},
        "table5_rank": {"Text-Guided_IE": {"footrule": {"llava_0shot": 0.0, "gpt4v_0shot": 1.0}}},
    }
    (own / "published.json").write_text(json.dumps(published))
    outcomes = {o.path: o for o in reproduce(str(own), source_folder=tmp_path / "files").outcomes}
    assert [o.status for o in outcomes.values()][:3] == ["equal"] * 3
    assert outcomes["table5_rank/Text-Guided_IE/footrule/llava_0shot"].computed in (0.0, 2.0)
    assert outcomes["table5_rank/Text-Guided_IE/footrule/gpt4v_0shot"].status == "not computable"


@pytest.mark.slow
def test_viescore_from_the_files_as_published(capsys):
    assert main(["reproduce", "viescore", "--from", str(shared("meta_eval/raw")), "--bootstrap", "0"]) == 0
    printed = capsys.readouterr().out
    for line in (
        "raters of each model: 261 of 261 equal",
        "metrics of each model: 107 of 117 equal, 10 explained",
        "read from TIGER-AI-Lab/VIEScore @ 2cbea4e8 (MIT)",
    ):
        assert line in printed
    assert "DIFFERENT" not in printed
