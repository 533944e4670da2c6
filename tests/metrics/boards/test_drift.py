"""Drift: matched by id and prompt, decided by a one-sided bound, and right about as often as it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t2i_judge.boards.drift import drift
from t2i_judge.boards.items import BoardItem
from t2i_judge.boards.leaderboard import leaderboard
from t2i_judge.boards.scores import Scores, scored
from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.records import OVERALL


def lines(scores: dict[str, float | None], generator: Any = None) -> dict[tuple[str, str], dict]:
    return {
        (name, f"prompt of {name}"): {
            "image_id": name,
            "prompt": f"prompt of {name}",
            "status": "ok" if score is not None else "refused",
            "scores": {OVERALL: score},
            "row": {"generator": generator} if generator else {},
        }
        for name, score in scores.items()
    }


def write_run(folder: Path, scores: dict[str, float | None], generator: Any = None) -> Path:
    (folder / "shards").mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    text = "".join(json.dumps(line) + "\n" for line in lines(scores, generator).values())
    (folder / "shards" / "000000.jsonl").write_text(text)
    (folder / "shards" / "000000.json").write_text("{}")
    return folder


def test_what_changed_is_counted_and_what_was_not_scored_stands_apart() -> None:
    first = lines({"a": 5.0, "b": 6.0, "c": None, "d": 7.0, "x": 1.0})
    second = lines({"a": 5.0, "b": 6.5, "c": 4.0, "d": None, "y": 1.0})
    figures = drift(first, second)
    assert (figures["items"], figures["changed"], figures["n"]) == (4, 3, 2)
    assert figures["unscored"] == {"first": 1, "second": 1}
    assert (figures["only_first"], figures["only_second"]) == (1, 1)
    assert figures["difference"] == pytest.approx(0.25)


def test_an_item_that_stands_twice_in_a_run_is_one_line(tmp_path: Path, capsys) -> None:
    """By a column of ids that several rows share, the last of them was compared, and the others left out."""
    run = write_run(tmp_path / "run", {"a": 5.0, "b": 6.0})
    shard = run / "shards" / "000000.jsonl"
    shard.write_text(shard.read_text() + shard.read_text().splitlines()[0].replace("5.0", "9.0") + "\n")
    assert main(["drift", str(run), str(run)]) == 2
    assert "has the item 'a' twice" in capsys.readouterr().err


def test_another_image_under_the_old_name_says_nothing_about_the_judge(tmp_path: Path, capsys) -> None:
    """The scores of another generator's pictures were compared with those of the first, as if the judge had changed."""
    first, second = lines({"a": 5.0, "b": 6.0, "c": 7.0, "d": 4.0}), lines({"a": 5.5, "b": 6.5, "c": 1.0, "d": 4.5})
    for name, before, after in (("a", ["1"], ["1"]), ("b", [None], ["2"]), ("c", ["3"], ["9"]), ("d", None, ["4"])):
        key = (name, f"prompt of {name}")
        first[key] |= {"images": before} if before else {}
        second[key] |= {"images": after}
    figures = drift(first, second)
    assert (figures["items"], figures["other_images"], figures["only_first"], figures["only_second"]) == (3, 1, 0, 0)
    assert figures["difference"] == pytest.approx(0.5)
    with pytest.raises(UserError, match=r"no item in common\. Their images are others"):
        drift({key: first[key] for key in list(first)[2:3]}, second)
    for folder, run in (("one", first), ("two", second)):
        shards = write_run(tmp_path / folder, {}) / "shards"
        (shards / "000000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in run.values()))
    assert main(["drift", str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    assert "Left out: 1 item has another image in RUN_B." in capsys.readouterr().out


def test_scores_of_different_ranges_are_not_subtracted() -> None:
    first = lines({"a": 5.0, "b": 6.0})
    second = {key: line | {"score_range": [0, 1]} for key, line in lines({"a": 0.5, "b": 0.6}).items()}
    with pytest.raises(UserError, match="scores of different ranges"):
        drift(first, second)
    drift(first, {key: line | {"score_range": [0, 10]} for key, line in first.items()})


def test_the_order_of_generators_is_kept_or_not() -> None:
    first = lines({"a": 5.0, "b": 6.0}, "one") | lines({"c": 7.0, "d": 7.0}, "two")
    second = lines({"a": 9.0, "b": 9.0}, "one") | lines({"c": 7.0, "d": 7.0}, "two")
    assert drift(first, first)["order"]["kept"] and not drift(first, second)["order"]["kept"]
    assert drift(first, second)["order"]["second"] == [["one"], ["two"]]


def images(of: dict[str, list[list[float]]]) -> dict[tuple[str, str], dict]:
    """The lines of generators: for each, its scores for each prompt."""
    return {
        (f"{name}/{prompt}/{seed}", f"prompt {prompt}"): {
            "image_id": f"{name}/{prompt}/{seed}", "prompt": f"prompt {prompt}", "status": "ok",
            "scores": {OVERALL: score}, "row": {"generator": name},
        }
        for name, prompts in of.items() for prompt, scores in enumerate(prompts) for seed, score in enumerate(scores)
    }  # fmt: skip


def test_the_order_is_that_of_a_board() -> None:
    """Images were averaged, not prompts: one with more seeds counted more, and the order was another than a board's."""
    uneven = images({"A": [[9.0, 9.0, 9.0], [1.0]], "B": [[6.0], [6.0]]})
    items = [BoardItem(id, line["row"]["generator"], prompt, prompt, "") for (id, prompt), line in uneven.items()]
    board = leaderboard(Scores([*map(scored, items, uneven.values())], ["A", "B"], (0.0, 10.0)))
    assert [generator["overall"]["mean"] for generator in board["generators"]] == [5.0, 6.0]
    assert drift(uneven, uneven)["order"]["first"] == [["B"], ["A"]]


def test_equal_means_that_differ_by_rounding_are_tied(tmp_path: Path, capsys) -> None:
    first = images({"A": [[0.1], [0.2], [0.3]], "B": [[0.3], [0.2], [0.1]], "C": [[5.0], [5.0], [5.0]]})
    second = {key: {**line, "scores": {OVERALL: line["scores"][OVERALL] * (1 - 1e-10)}} for key, line in first.items()}
    for noisy in (second, images({"A": [[0.3], [0.2], [0.1]], "B": [[0.1], [0.2], [0.3]], "C": [[5.0]] * 3})):
        order = drift(first, noisy)["order"]
        assert order["kept"] and order["kendall_tau_b"] == pytest.approx(1)
        assert order["first"] == order["second"] == [["C"], ["A", "B"]]
    apart = images({"A": [[0.5], [0.5], [0.3]], "B": [[0.3], [0.2], [0.1]], "C": [[5.0], [5.0], [5.0]]})
    for folder, run in (("one", first), ("two", apart)):
        shards = write_run(tmp_path / folder, {}) / "shards"
        (shards / "000000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in run.values()))
    assert main(["drift", str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    assert "The order of the generators was C > A = B, is C > A > B." in capsys.readouterr().out


@pytest.mark.parametrize(("one", "two"), [(1, 2), (0, 1), (1.5, 2.5), (" a ", "b"), ("1", 2)])
def test_generators_that_are_numbers_have_names(tmp_path: Path, capsys, one, two) -> None:
    """`score --keep generator` keeps cells as they are: the names of two were numbers, and the text a TypeError."""
    for folder, change in (("one", 0.0), ("two", 4.0)):
        of = lines({"a": 5.0 + change}, one) | lines({"b": 7.0}, two) | lines({"c": 1.0}) | lines({"d": 1.0}, " ")
        of |= lines({"e": 1.0}, [one]) | lines({"f": 1.0}, {"x": 1}) | lines({"g": 1.0}, float("nan"))
        for number, line in enumerate(of.values()):
            line["row"] = {"generator": line["row"].get("generator", one if number == 0 else None)}
        shards = write_run(tmp_path / folder, {}) / "shards"
        (shards / "000000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in of.values()))
    assert main(["drift", str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    names = str(one).strip(), str(two).strip()
    assert f"was {names[1]} > {names[0]}, is {names[0]} > {names[1]}." in capsys.readouterr().out


@pytest.mark.parametrize(("change", "tolerance", "code"), [(0.0, 0.0, 0), (0.3, 0.2, 1), (0.3, 0.4, 0), (-0.3, 0.2, 1)])
def test_exit_codes(tmp_path: Path, change: float, tolerance: float, code: int, capsys) -> None:
    rng = np.random.default_rng(0)
    before = {str(n): float(s) for n, s in enumerate(rng.uniform(2, 8, 50))}
    noise = rng.normal(0, 0.05, 50) if change else np.zeros(50)
    after = {name: score + change + noise[int(name)] for name, score in before.items()}
    runs = [str(write_run(tmp_path / "a", before)), str(write_run(tmp_path / "b", after))]
    assert main(["drift", *runs, "--tolerance", str(tolerance), "--json", str(tmp_path / "d.json")]) == code
    text = capsys.readouterr().out
    assert ("50 of 50 items changed (0, 1, 2, 3, 4 and 45 more)" if change else "0 of 50 items changed") in text
    assert json.loads((tmp_path / "d.json").read_text())["within"] is (code == 0)


def test_undecided_is_3_and_a_mistake_2(tmp_path: Path, capsys) -> None:
    one, other = write_run(tmp_path / "a", {"a": 5.0}), write_run(tmp_path / "b", {"a": 6.0})
    assert main(["drift", str(one), str(other), "--tolerance", "0.1"]) == 3
    assert main(["drift", str(one), str(tmp_path)]) == 2
    assert main(["drift", str(one), str(other), "--tolerance", "-1"]) == 2
    assert main(["drift", str(one), str(write_run(tmp_path / "c", {"z": 6.0}))]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_what_was_asked_otherwise_is_said(tmp_path: Path, capsys) -> None:
    """With another --max-image-side, a change of the scores was one of the judge."""
    runs = [str(write_run(tmp_path / name, {"a": score, "b": score})) for name, score in (("one", 5.0), ("two", 6.0))]
    assert main(["drift", *runs]) == 0
    assert "asked its judge otherwise" not in capsys.readouterr().out
    (tmp_path / "one" / "run.json").write_text(json.dumps({"max_image_side": None, "size": 5}))
    (tmp_path / "two" / "run.json").write_text(json.dumps({"max_image_side": 512, "size": 6}))
    assert main(["drift", *runs, "--json", str(tmp_path / "drift.json")]) == 0
    assert "max_image_side was None and is 512." in " ".join(capsys.readouterr().out.split())
    assert json.loads((tmp_path / "drift.json").read_text())["asked_otherwise"] == {"max_image_side": [None, 512]}


def test_a_change_of_the_tolerance_rarely_fails_and_one_three_errors_beyond_is_caught() -> None:
    prompts, tolerance, runs = 60, 0.3, 1000
    beyond = {"at": 0, "past": 0}
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        noise = np.round(rng.gamma(2, 0.4, prompts) - 0.8, 1)  # skewed, in steps
        for name, extra in (("at", 0.0), ("past", 3 * 0.4 * np.sqrt(2) / np.sqrt(prompts))):
            before = {str(n): 5.0 for n in range(prompts)}
            after = {str(n): 5.0 + tolerance + extra + noise[n] for n in range(prompts)}
            beyond[name] += not drift(lines(before), lines(after), tolerance)["within"]
    assert beyond["at"] / runs <= 0.07 and beyond["past"] / runs >= 0.8
