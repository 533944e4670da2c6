"""Calibration: a monotone map, fitted on its own split only, that brings scores to the human scale."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_judge.calibration import Calibration, errors, fit
from t2i_judge.cli import main
from t2i_judge.errors import UserError

PAIRS = st.lists(st.tuples(st.integers(0, 20), st.floats(1, 5)), min_size=5, max_size=40).filter(
    lambda pairs: len({x for x, _ in pairs}) > 1
)


@given(PAIRS)
def test_isotonic_maps_rise_and_are_the_best_rising_ones(pairs):
    scores, humans = (np.array(values, dtype=float) for values in zip(*pairs))
    mapped = np.array([fit(scores, humans).apply(score) for score in scores])
    order = np.argsort(scores)
    assert (np.diff(mapped[order]) >= -1e-9).all()
    assert ((mapped - humans) ** 2).sum() <= ((humans.mean() - humans) ** 2).sum() + 1e-9
    assert mapped.mean() == pytest.approx(humans.mean())


def test_isotonic_against_scipy_without_ties():
    from scipy.optimize import isotonic_regression

    rng = np.random.default_rng(0)
    scores, humans = rng.permutation(50).astype(float), rng.normal(size=50)
    mapped = np.array([fit(scores, humans).apply(score) for score in np.sort(scores)])
    assert mapped == pytest.approx(isotonic_regression(humans[np.argsort(scores)]).x)


def test_linear_is_least_squares_and_goes_on_beyond_its_ends():
    calibration = fit([0, 5, 10, np.nan], [1, 3, 5, 2], "linear")
    assert [calibration.apply(score) for score in (-5, 0, 7.5, 20)] == pytest.approx([-1, 1, 4, 9])
    assert calibration.n == 3
    assert Calibration.from_json(calibration.to_json()) == calibration


@pytest.mark.parametrize(
    ("scores", "humans", "kind", "complaint"),
    [
        ([1, 1, 1], [1, 2, 3], "isotonic", "1 different"),
        ([1, 2], [1, 2], "isotonic", "2 items"),
        ([1, 2, 3], [3, 2, 1], "linear", "negative slope"),
        ([1, 2, 3], [3, 2, 1], "spline", "'spline'"),
        ([1, 2, 1e308], [1, 2, 3], "isotonic", "larger than"),
        ([1, 2, 3], [1, 2, -1.7e308], "linear", "larger than"),
    ],
)
def test_what_cannot_be_fitted_is_refused(scores, humans, kind, complaint):
    with pytest.raises(UserError, match=complaint):
        fit(scores, humans, kind)


def test_errors_leave_gaps_out():
    assert errors([1, 2, np.nan], [2, 4, 1]) == {"n": 2, "mae": 1.5, "bias": -1.5}
    assert errors([], []) == {"n": 0, "mae": None, "bias": None}


def table(path, rows: int = 200, disturb: bool = False):
    """Judge on 0-10, people on 1-5 with a bend; with `disturb`, other ratings on the evaluation rows."""
    rng = np.random.default_rng(1)
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["prompt", "part", "judge", "anna", "ben"])
        for row in range(rows):
            score = rng.uniform(0, 10)
            rating = np.clip(1 + 0.04 * score**2 + rng.normal(0, 0.2), 1, 5)
            part = "fit" if row % 2 else "test"
            if disturb and part == "test":
                rating = 5 - rating
            writer.writerow([row // 4, part, "" if row == 7 else score, rating, "" if row % 5 == 0 else rating + 0.1])
    return path


def saved(tmp_path, *options: str, disturb: bool = False) -> dict:
    path = table(tmp_path / "table.csv", disturb=disturb)
    out = tmp_path / "map.json"
    assert (
        main(["calibrate", str(path), "--prediction", "judge", "--ratings", "anna,ben", "--out", str(out), *options])
        == 0
    )
    return json.loads(out.read_text())


@pytest.mark.parametrize("kind", ["isotonic", "linear"])
def test_the_report_stands_on_the_other_split(kind, tmp_path, capsys):
    result = saved(tmp_path, "--split", "part=fit", "--kind", kind)
    report = result["report"]["evaluation"]
    assert report["before"]["n"] == 100 and result["n"] == 99
    assert report["after"]["mae"] < 0.5 * report["before"]["mae"]
    assert abs(report["after"]["bias"]) < 0.1 < abs(report["before"]["bias"])
    assert "evaluation" in capsys.readouterr().out


def test_the_evaluation_split_never_moves_the_map(tmp_path):
    first, second = (saved(tmp_path, "--split", "part=fit", disturb=disturb) for disturb in (False, True))
    assert first["humans"] == second["humans"]
    assert first["report"]["evaluation"] != second["report"]["evaluation"]


def test_the_map_is_saved_with_the_judge(tmp_path):
    folder = tmp_path / "judge"
    folder.mkdir()
    (folder / "judge.json").write_text('{"name": "toy"}')
    result = saved(tmp_path, "--group", "prompt", "--judge", str(folder))
    card = json.loads((folder / "judge.json").read_text())
    assert card["name"] == "toy" and card["calibration"] == result
    assert Calibration.from_card("toy", card).apply(10) > 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "part=dev"], "0 of 200 rows"),
        (["--split", "part"], "does not name a value"),
        (["--seed", "-1"], "A seed cannot be negative"),
        (["--ratings", ","], "names no column"),
        (["--out", "."], "Cannot write"),
        (["--judge", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, options, message):
    path = table(tmp_path / "table.csv")
    assert main(["calibrate", str(path), "--prediction", "judge", "--ratings", "anna", *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("kind", ["isotonic", "linear"])
def test_mapped_scores_end_where_the_scale_does(kind):
    scores, humans = [2, 4, 6, 8], [10, 40, 60, 95]
    free, bound = fit(scores, humans, kind), fit(scores, humans, kind, (0, 100))
    assert bound.range_of(0, 10) == (0, 100) and free.range_of(0, 10) == (free.apply(0), free.apply(10))
    mapped = [bound.apply(score / 10) for score in range(101)]
    assert mapped == sorted(mapped) and mapped[0] >= 0 and mapped[-1] <= 100
    assert Calibration.from_json(bound.to_json()) == bound
    with pytest.raises(UserError, match="outside the scale from 0 to 90"):
        fit(scores, humans, kind, (0, 90))


def test_the_scale_is_saved_with_the_map(tmp_path):
    assert saved(tmp_path, "--split", "part=fit", "--scale", "0,10")["scale"] == [0, 10]
