"""How many labels: within 10% of what a simulation needs; refused, capped and drawn by chance alone."""

from __future__ import annotations

import csv
import json
import time
from argparse import Namespace

import numpy as np
import pandas
import pytest

from t2i_judge.cli import main
from t2i_judge.cli.label_plan import _of_run
from t2i_judge.errors import UserError
from t2i_judge.stats import label_plan
from t2i_judge.stats.estimates import people_mean
from t2i_judge.stats.label_plan import need, next_units
from tests.metrics.boards.boards_on_disk import answers_of, pictures, questions_of, write_run


def world(rng, labelled, units, r, sd=1.5):
    people = rng.normal(size=units)
    judged = 5 + 2 * (r * people + np.sqrt(1 - r**2) * rng.normal(size=units))
    return np.where(rng.permutation(units) < labelled, 3 + sd * people, np.nan), judged


def simulated(rng, units, r, width):
    """Fewest labels whose mean width over 60 draws is small enough, by bisection."""
    low, high = 30, units
    while low < high:
        middle = (low + high) // 2
        found = [people_mean(*world(rng, middle, units, r)).ci for _ in range(60)]
        low, high = (low, middle) if np.mean([b - a for a, b in found]) <= width else (middle + 1, high)
    return low


@pytest.mark.parametrize(
    ("units", "r", "width"), [(1000, 0.8, 0.3), (2000, 0.5, 0.4), (500, 0.9, 0.35), (600, 0.0, 0.5)]
)
def test_within_ten_percent_of_simulation(units, r, width):
    rng = np.random.default_rng([units, int(10 * r)])
    plans = [need(*world(rng, 300 if units > 500 else 200, units, r), width) for _ in range(40)]
    truth = simulated(rng, units, r, width)
    assert np.mean([plan.needed for plan in plans]) == pytest.approx(truth, rel=0.1)
    inside = [plan.likely[0] <= truth <= plan.likely[1] for plan in plans]
    assert np.mean(inside) > 0.6
    stated = need(*world(rng, 0, units, r), width, known=(1.5, r))
    assert stated.needed == pytest.approx(truth, rel=0.1)


def test_what_is_not_known_or_not_to_be_had_is_said():
    rng = np.random.default_rng(0)
    first = need(*world(rng, 12, 400, 0.8), 0.3)
    assert (first.needed, first.more, first.width_now) == (100, 88, None) and "too few to plan with" in first.note
    never = need(*world(rng, 100, 200, 0.8), 0.05)
    assert never.needed is None and never.more == 0 and "all 200 labelled would give" in never.note
    done = need(*world(rng, 200, 400, 0.9), 2.0)
    assert done.needed == 30 and done.more == 0 and "approximate" in done.note
    for width in (0, float("nan"), -1):
        with pytest.raises(UserError, match="The width is"):
            need(*world(rng, 100, 200, 0.8), width)


@pytest.mark.parametrize("known", [None, (1e200, 0.5)])
def test_numbers_whose_squares_have_no_sum_are_one_line(known):
    labels, judged = world(np.random.default_rng(4), 40, 60, 0.5)
    with pytest.raises(UserError, match=r"larger than 1e\+100|0 to 1e\+100"):
        need(labels if known else labels * 1e200, judged, 0.5, known)


def test_resamples_are_not_planned_one_by_one(monkeypatch):
    """200 generators have 19,900 differences: at 25 ms each, a table of 200 kB took more than eight minutes."""
    labels, judged = world(np.random.default_rng(3), 35, 40, 0.5)

    def seconds(draws):
        monkeypatch.setattr(label_plan, "_DRAWS", draws)
        begun = time.process_time()
        for _ in range(5):
            need(labels, judged, 0.9)
        return time.process_time() - begun

    need(labels, judged, 0.9)
    assert min(seconds(2000) for _ in range(5)) < 5 * min(seconds(20) for _ in range(5))


def test_units_are_drawn_until_every_figure_has_enough():
    rng = np.random.default_rng(1)
    labels, judged = world(rng, 100, 400, 0.5)
    one = need(labels, judged, 0.4)
    names = [str(n) for n in np.flatnonzero(np.isnan(labels))]
    half = np.arange(len(names)) % 2 == 0
    chosen = next_units([(one, half)], names, 3)
    assert set(chosen) <= set(names[::2]) and len(chosen) == one.more > 0
    assert next_units([(one, half)], names, 3) == chosen != next_units([(one, half)], names, 4)


def test_the_command_lists_what_to_label_and_again_after_labelling(tmp_path, capsys):
    rng = np.random.default_rng(2)
    rows = []
    for prompt in range(300):
        for name, level in (("a", 1.0), ("b", 0.5)):
            people = level + rng.normal()
            rows.append((f"{name}{prompt}", name, f"p{prompt}", people + rng.normal() / 2, people))
    frame = pandas.DataFrame(rows, columns=["id", "generator", "prompt", "judge", "truth"])
    frame["h"] = frame.truth.where(frame.prompt.isin([f"p{n}" for n in range(60)]))
    frame.to_csv(tmp_path / "t.csv", index=False)
    plan, figures = tmp_path / "plan.csv", tmp_path / "plan.json"
    command = ["label-plan", str(tmp_path / "t.csv"), "--prediction", "judge", "--labels", "h", "--width", "0.4"]
    assert main([*command, "--out", str(plan), "--json", str(figures)]) == 0
    record = json.loads(figures.read_text())
    listed = list(csv.DictReader(plan.open()))
    assert {f["name"] for f in record["figures"]} == {"a", "b", "a - b"}
    assert len(record["units"]) == max(f["more"] for f in record["figures"]) == len(listed) / 2 > 0
    assert {row["label"] for row in listed} == {""} and not {row["prompt"] for row in listed} & {"p0", "p59"}
    chosen = frame.id.isin([row["id"] for row in listed])
    frame["h"] = frame.h.where(~chosen, frame.truth)
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert main([*command, "--json", str(figures)]) == 0
    again = {f["name"]: f for f in json.loads(figures.read_text())["figures"]}["a - b"]
    assert again["width_now"] == pytest.approx(0.4, rel=0.15) and again["more"] < 60
    assert main([*command[:-1], "0.01"]) == 3 and "cannot be reached" in capsys.readouterr().out
    assert main([*command, "--sd", "1"]) == 2


def test_a_run_s_scores_are_of_the_images_on_its_list(tmp_path, capsys):
    """After a run that was stopped, scores.csv is of an earlier list, whose images may have the same names."""
    prompts = [f"prompt {number}" for number in range(40)]
    write_run(tmp_path / "run", ["a"], prompts, lambda *_: (questions_of(0), answers_of(5, 5)), pictures(tmp_path))
    rows = [f"a/{n:03d},prompt {n},ok,,9" for n in range(40)]
    (tmp_path / "run" / "scores.csv").write_text("\n".join(["id,prompt,status,reason,overall", *rows]))
    plan = ["label-plan", str(tmp_path / "run"), "--width", "1", "--sd", "1", "--correlation", "0.5"]
    images = _of_run(tmp_path / "run", Namespace(prediction=None, labels=None))
    assert set(images.scores) == {5.0}
    assert main(plan) == 0
    assert main([*plan, "--prediction", "overal"]) == 2 and "nearest is 'overall'" in capsys.readouterr().err
    items = (tmp_path / "run" / "items.jsonl").read_text()
    (tmp_path / "run" / "items.jsonl").write_text(items + items.splitlines()[0].replace("a/000", "a/040") + "\n")
    assert main(plan) == 2 and "is not finished" in capsys.readouterr().err
