"""Prediction-powered means: equal to ppi-python where it is installed, covering, refused where there is too little."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas
import pytest

from t2i_judge.boards.items import BoardItem, check_generators
from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.stats.estimates import people_mean


def world(rng, n, m, r=0.8):
    people = rng.normal(size=n + m)
    judged = 3 + 2 * (r * people + np.sqrt(1 - r**2) * rng.normal(size=n + m))
    return np.where(np.arange(n + m) < n, people, np.nan), judged


VECTORS = json.loads((Path(__file__).parents[2] / "data/ppi/means.json").read_text())  # made by the script beside it


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: f"{case['n']}-{case['m']}-{case['r']}")
def test_equal_to_ppi_python(case):
    labels, judged = world(np.random.default_rng([case["n"], case["m"]]), case["n"], case["m"], case["r"])
    found = people_mean(labels, judged)
    assert found.value == pytest.approx(case["value"], abs=1e-6)
    assert found.ci == pytest.approx(case["ci"], abs=1e-6)


def test_it_covers_and_is_narrower_than_the_labels_alone():
    rng = np.random.default_rng(0)
    covered, narrower = 0, []
    for _ in range(4000):
        found = people_mean(*world(rng, 100, 900))
        covered += found.ci[0] <= 0 <= found.ci[1]
        narrower.append((found.ci[1] - found.ci[0]) / (found.people_only_ci[1] - found.people_only_ci[0]))
    assert 0.93 <= covered / 4000 <= 0.97
    assert np.mean(narrower) < 0.75


def test_few_labels_are_approximate_or_refused_and_a_useless_judge_is_not_believed():
    rng = np.random.default_rng(1)
    assert "approximate" in people_mean(*world(rng, 50, 500)).note
    refused = people_mean(*world(rng, 29, 500))
    assert refused.value is refused.ci is None and "at least 30" in refused.note
    labels, _ = world(rng, 200, 500)
    assert people_mean(labels, np.ones(700)).weight == 0 and people_mean(labels, -labels).n_unlabelled == 0


def test_the_command_takes_units_and_differences_of_both_labelled(tmp_path, capsys):
    rng = np.random.default_rng(2)
    rows = []
    for prompt in range(400):
        for name, level in (("a", 1.0), ("b", 0.5)):
            for _ in range(2):
                people = level + rng.normal()
                labelled = prompt < 120 and not (name == "b" and prompt < 10)
                rows.append((name, prompt, people + rng.normal() / 2, people if labelled else None))
    frame = pandas.DataFrame(rows, columns=["generator", "prompt", "judge", "h"])
    frame.to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "o.json"
    options = [str(tmp_path / "t.csv"), "--prediction", "judge", "--labels", "h", "--json", str(out)]
    assert main(["estimate", *options, "--by-hand"]) == 0
    assert "chosen by hand" in capsys.readouterr().out
    report = json.loads(out.read_text())
    a, _ = report["means"]
    assert (a["system"], a["n_labelled"], a["n_unlabelled"]) == ("a", 120, 280) and a["ci"][0] < 1 < a["ci"][1]
    (difference,) = report["differences"]
    assert difference["n_labelled"] == 110 and difference["ci"][0] < 0.5 < difference["ci"][1]
    assert main(["estimate", *options[:3], "--labels", "no"]) == 2
    assert "no column 'no'" in capsys.readouterr().err


def test_more_generators_than_can_be_compared_are_refused(tmp_path, capsys):
    """Every two are compared: 800 generators in a table of 9 kB took half a minute and 1.3 GB."""
    table = tmp_path / "t.csv"
    rows = [(f"g{n}", "p", 1, None) for n in range(201)]
    pandas.DataFrame(rows, columns=["generator", "prompt", "j", "h"]).to_csv(table)
    for command in (["estimate"], ["label-plan", "--width", "1"]):
        assert main([command[0], str(table), "--prediction", "j", "--labels", "h", *command[1:]]) == 2
        assert "There are 201 generators; at most 200 can be compared. Every two" in capsys.readouterr().err
    images = [BoardItem(str(n), f"g{n}", "p", "p", f"{n}.png") for n in range(201)]
    with pytest.raises(UserError, match="201 generators; at most 200"):
        check_generators(images, [])
    assert len(check_generators(images[:200], [])) == 200


def test_values_without_a_square_and_odd_names_of_generators(tmp_path, capsys):
    table = tmp_path / "t.jsonl"
    rows = [{"generator": 1.5, "prompt": str(n), "j": n % 7, "h": n % 5 if n < 70 else None} for n in range(140)]
    for change, code in (({"j": 1e308}, 2), ({"h": -1e308}, 2), ({"generator": float("inf")}, 0)):
        table.write_text("".join(json.dumps(row) + "\n" for row in [rows[0] | change, *rows[1:]]))
        assert main(["estimate", str(table), "--prediction", "j", "--labels", "h", "--json"]) == code
        shown = capsys.readouterr()
        assert ("is larger than 1e+100" in shown.err) == bool(code) and "bug" not in shown.err


@pytest.mark.parametrize("rest", [0, 50])
def test_labels_that_are_all_alike_give_an_interval_that_is_too_narrow_and_says_so(rest):
    """Of 120 thumbs up the interval was [1, 1], without a word: as many as 3% may be down."""
    labels = np.append(np.ones(120), np.full(rest, np.nan))
    found = people_mean(labels, np.arange(len(labels)) % 7)
    assert found.ci == (1.0, 1.0) and found.note is not None and "all labels are alike" in found.note
    labels[0] = 0
    assert "alike" not in (people_mean(labels, np.arange(len(labels)) % 7).note or "")
