"""Intervals of single scores: they hold as often as they say, name their target, and travel with the judgement."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from t2i_judge.calibration import Calibration
from t2i_judge.cli import main
from t2i_judge.conformal import Conformal, conformal, read_intervals, resplit_coverage
from t2i_judge.errors import UserError
from t2i_judge.judges.fake import FakeJudge
from t2i_judge.judges.loading import load_judge, own_intervals
from t2i_judge.judges.names import JudgeName
from t2i_judge.local.weights import EMBEDDED, Weights, find_weights
from t2i_judge.records import Judgement, ScoreInterval, judgement_features


def world(rng, prompts, images=1, shared=0.5):
    """A judge in tenths, people's mean in thirds, images of a prompt that are alike."""
    quality = rng.normal(size=(prompts, 1)) * np.sqrt(shared) + rng.normal(size=(prompts, images)) * np.sqrt(1 - shared)
    judged = np.round(5 + 1.4 * (quality + rng.normal(size=quality.shape)), 1)
    people = np.clip(np.round(3 * (3 + quality + rng.normal(size=quality.shape) / 2)) / 3, 1, 5)
    return judged.ravel(), people.ravel(), np.repeat(np.arange(prompts), images).tolist()


@pytest.mark.parametrize(
    ("prompts", "images", "shared", "kind"),
    [(120, 1, 0.5, "isotonic"), (100, 4, 0.5, "linear"), (60, 5, 0.9, "isotonic"), (300, 2, 0.2, "linear")],
)
def test_they_hold_what_they_say_over_resplits_by_prompt(prompts, images, shared, kind):
    rng = np.random.default_rng([prompts, images])
    resplits = 200 if kind == "linear" else 40
    worlds = [world(rng, prompts, images, shared) for _ in range(6)]
    coverage = [resplit_coverage(*each, kind=kind, resplits=resplits) for each in worlds]
    assert 0.89 <= np.mean(coverage) <= 0.92


def test_other_levels_and_a_split_of_other_people():
    rng = np.random.default_rng(5)
    judged, people, prompts = world(rng, 600)
    for level in (0.5, 0.8, 0.95):
        found = conformal(judged[:300], people[:300], prompts[:300], level, "linear")
        assert found.holds(judged[300:], people[300:]).mean() == pytest.approx(level, abs=0.06)
    assert found.holds(judged[300:], people[300:] + 2).mean() < 0.7, "elsewhere it is not promised"


def test_too_little_is_refused_and_gaps_are_left_out():
    rng = np.random.default_rng(6)
    judged, people, _ = world(rng, 60)
    people[:11] = np.nan
    with pytest.raises(UserError, match="49 images have both a score and a rating"):
        conformal(judged, people)
    people[10] = 3.0
    assert conformal(judged, people).n == 50
    with pytest.raises(UserError, match="too few for 99%"):
        conformal(judged, people, level=0.99)
    with pytest.raises(UserError, match="8 prompts are too few"):
        conformal(*world(rng, 8, 20))
    with pytest.raises(UserError, match="The level is 90"):
        conformal(judged, people, level=90)
    assert resplit_coverage(judged, people) is None


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A table with two splits and the file that the command writes."""
    folder = tmp_path_factory.mktemp("intervals")
    judged, people, prompts = world(np.random.default_rng(7), 120, 2)
    rows = [
        {"prompt": p, "split": "train" if p < 80 else "test", "judge": s, "h1": h, "h2": h}
        for s, h, p in zip(judged, people, prompts)
    ]
    with (folder / "t.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    columns = ["--prediction", "judge", "--ratings", "h1,h2", "--split", "split=train", "--group", "prompt"]
    command = ["calibrate", str(folder / "t.csv"), *columns, "--kind", "linear", "--interval", "0.9"]
    assert main([*command, "--scale", "1,5", "--out", str(folder / "i.json")]) == 0
    return folder


def test_the_command_reports_and_saves_them(fitted, tmp_path, capsys):
    record = json.loads((fitted / "i.json").read_text())["intervals"]
    assert record["target"] == "human_mean" and (record["n"], record["groups"]) == (160, 80)
    assert 0.88 <= record["coverage"]["within"] <= 0.93 and 0.8 <= record["coverage"]["evaluation"] <= 1
    found = read_intervals(fitted / "i.json")
    assert Conformal.from_json(found.to_json(), "x") == found
    inside = found.of(5.0)
    assert 1 <= inside.low < inside.high <= 5 and (inside.level, inside.target, inside.n) == (0.9, "human_mean", 160)
    assert found.of(100.0).high == 5.0
    columns = ["--prediction", "judge", "--ratings", "h1", "--target", "latent", "--group", "prompt"]
    command = ["calibrate", str(fitted / "t.csv"), *columns, "--interval", "0.9"]
    assert main(command) == 0 and "90% intervals for the latent" in capsys.readouterr().out
    assert main([*command, "--scale", "5,1"]) == 2
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(UserError, match="has no intervals"):
        read_intervals(tmp_path / "no.json")


@pytest.mark.parametrize(
    "part",
    [
        {"half_width": -3},
        {"half_width": float("nan")},
        {"half_width": float("inf")},
        {"half_width": 10**400},
        {"half_width": "1"},
        {"level": 7},
        {"level": 0},
        {"n": -5},
        {"n": float("inf")},
        {"n": 10**40},
        {"n": True},
        {"groups": 0.5},
        {"scale": [10, 0]},
        {"scale": [0, float("nan")]},
        {"scale": {}},
        {"scale": "15"},
        {"target": ["latent"]},
        {"target": "\x1b[31mlatent"},
        {"map": None},
    ],
)
def test_what_is_no_interval_is_one_line(fitted, tmp_path, part):
    """Negative widths, levels of 700% and a stranger's escapes were taken, and an infinite n was a bug."""
    record = json.loads((fitted / "i.json").read_text())["intervals"] | part
    (tmp_path / "i.json").write_text(json.dumps({"intervals": record}))
    with pytest.raises(UserError, match="has no intervals that can be used") as told:
        read_intervals(tmp_path / "i.json")
    assert "\x1b" not in str(told.value)
    with pytest.raises(UserError, match="has no intervals that can be used"):
        own_intervals(JudgeName.parse("tiny"), replace(find_weights(None), card={"intervals": record}), {})


@pytest.mark.parametrize("text", ['{"intervals": [1]}', '{"intervals": "x"}', '{"intervals": ' + "[" * 100_000, "[]"])
def test_what_is_no_file_of_intervals_is_one_line(tmp_path, text):
    (tmp_path / "i.json").write_text(text)
    with pytest.raises(UserError):
        read_intervals(tmp_path / "i.json")


def test_judgements_carry_them_in_json_and_datasets(fitted):
    from datasets import Dataset

    judge = load_judge("fake", intervals=fitted / "i.json")
    (one,) = judge.score([Image.new("RGB", (8, 8))], ["a cat"])
    assert isinstance(one.interval, ScoreInterval) and Judgement.from_json(one.to_json()) == one
    (bare,) = FakeJudge().score([Image.new("RGB", (8, 8))], ["a cat"])
    assert bare.interval is None
    stored = Dataset.from_list([one.to_json(), bare.to_json()], features=judgement_features())
    assert [Judgement.from_json(row).interval for row in stored] == [one.interval, None]
    with pytest.raises(UserError, match="The option calibrated=True cannot be used with intervals"):
        load_judge("tiny", intervals=fitted / "i.json", calibrated=True)


def test_a_run_that_is_done_gets_other_intervals_without_judging_again(fitted, tmp_path):
    (tmp_path / "t.csv").write_text("image,prompt\n" + "x.png,a cat\n" * 5)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    run = ["score", str(tmp_path / "t.csv"), "--judge", "fake", "--out", str(tmp_path / "run"), "--shard-size", "2"]

    def intervals():
        files = sorted((tmp_path / "run" / "shards").glob("*.jsonl"))
        return [json.loads(line)["interval"] for file in files for line in file.read_text().splitlines()]

    assert main(run) == 0 and intervals() == [None] * 5
    assert main([*run, "--intervals", str(fitted / "i.json")]) == 0
    assert all(one["target"] == "human_mean" for one in intervals())
    assert main(run) == 0 and intervals() == [None] * 5
    marker = tmp_path / "run" / "shards" / "000001.json"
    marker.replace(marker.with_suffix(".retry"))  # forgotten, and killed before it was judged again
    assert main([*run, "--intervals", str(fitted / "i.json")]) == 0
    assert all(one["target"] == "human_mean" for one in intervals())
    assert main([*run, "--intervals", str(tmp_path / "t.csv")]) == 2


def test_a_run_without_a_file_of_intervals_has_the_judge_s_own_again(fitted, tmp_path):
    """A judge with intervals in its judge.json lost them when those of a file were left out again."""
    judge, out = shutil.copytree(EMBEDDED, tmp_path / "judge"), tmp_path / "run"
    card = json.loads((judge / "judge.json").read_text())
    del card["domain"]  # it declines plain images
    found = json.loads((fitted / "i.json").read_text())["intervals"]
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    (tmp_path / "t.csv").write_text("image,prompt\nx.png,two red circles\n")
    run = ["score", str(tmp_path / "t.csv"), "--judge", f"hf:{judge}", "--out", str(out)]

    def level(*options):
        assert main([*run, *options]) == 0
        [line] = map(json.loads, (out / "shards" / "000000.jsonl").open())
        return line["interval"] and line["interval"]["level"]

    def says(**changes):
        (judge / "judge.json").write_text(json.dumps(card | changes))

    says(intervals={**found, "level": 0.8})
    assert level() == 0.8
    assert level("--intervals", str(fitted / "i.json")) == 0.9
    assert level() == 0.8
    says(intervals={**found, "level": 0.7})  # measured again
    assert level() == 0.7


@pytest.mark.parametrize(
    ("learnt", "name", "options", "has"),
    [
        ("one_forward", "hf:j", {}, True),
        ("one_forward", "hf:j", {"mode": "greedy"}, True),
        ("one_forward", "hf:j", {"mode": "expected"}, False),
        ("one_forward", "hf:j", {"calibrated": True}, False),
        *[("one_forward", "direct+hf:j", {} if mode is None else {"mode": mode}, False)
          for mode in (None, "greedy", "expected")],
        ("one_forward", "vqa+hf:j", {"mode": "greedy"}, False),
        ("direct", "hf:j", {}, True),
        ("direct", "direct+hf:j", {}, True),
        ("direct", "direct+hf:j", {"mode": "expected"}, True),
        ("direct", "direct+hf:j", {"mode": "greedy"}, False),
    ],
)  # fmt: skip
def test_intervals_are_of_the_scores_that_they_were_calibrated_on(learnt, name, options, has):
    """Scores in another protocol or mode than the judge's own have none, rather than those of others."""
    intervals = Conformal("human_mean", 0.9, 1.0, Calibration("linear", (0, 10), (1, 5), 60), 60, 60)
    card = {"protocol": learnt, "mode": "greedy", "intervals": intervals.to_json()}
    weights = Weights("j", "base", None, None, "1", card, distilled=True)
    assert own_intervals(JudgeName.parse(name), weights, options) == (intervals if has else None)
