"""What a leaderboard promises, on fewer boards than `make coverage` simulates, and on pictures through the command."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from recipes.loopback.http import started
from recipes.performance import boards
from recipes.performance.boards import EQUAL, RENDERERS, Proof
from recipes.scenes.render import render
from recipes.scenes.world import sample_prompt, simulate
from t2i_judge.cli import main
from tests.recipes.photographs import GENERATORS, PHOTOGRAPHS, write_photographs


@pytest.mark.parametrize(("prompts", "count"), [(20, 100), (100, 100), (500, 20)])
def test_equal_generators_are_rarely_told_apart(prompts: int, count: int) -> None:
    assert boards.family_wise_error(prompts, count).holds


def test_a_true_difference_of_four_standard_errors_is_decided() -> None:
    assert boards.power_at_four_errors(100, 100).holds


def test_bradley_terry_intervals_hold_the_population_value() -> None:
    assert boards.bradley_terry_coverage(boards.COMPARED // 10).holds


def test_planted_quality_of_renderers_comes_out_and_equal_ones_stay_together() -> None:
    assert all(proof.holds for proof in boards.renderers(boards.RENDERED))


def test_a_promise_that_is_not_kept_is_seen() -> None:
    assert not Proof("p", 0.3, 0.0, 0.2, 20).holds
    values = np.stack([boards.skewed(np.random.default_rng(0), 1, 100)[0] * 0.5 + shift for shift in (0, 1)])
    assert boards.leaderboard(boards.scores_of(values))["pairs"][0]["decided"]


def board_of(run: Path) -> dict:
    return json.loads((run / "leaderboard.json").read_text())


@pytest.mark.slow
def test_renderers_of_planted_quality_by_the_embedded_judge(tmp_path: Path) -> None:
    rng = random.Random("renderers on pictures")
    prompts = [sample_prompt(rng) for _ in range(24)]
    for name, generator in RENDERERS.items():
        (tmp_path / name).mkdir()
        for number, prompt in enumerate(prompts):
            render(simulate(prompt, generator, rng), rng).save(tmp_path / name / f"{number:02d}.png")
    (tmp_path / "prompts.txt").write_text("".join(f"{prompt.text}\n" for prompt in prompts))
    images = [f"--images={name}={tmp_path / name}" for name in RENDERERS]
    arguments = ["leaderboard", *images, f"--prompts={tmp_path / 'prompts.txt'}", f"--out={tmp_path / 'run'}"]
    assert main([*arguments, "--judge", "tiny", "--ordered"]) == 0
    board = board_of(tmp_path / "run")
    decided = {(pair["a"], pair["b"]): pair for pair in board["pairs"] if pair["decided"]}
    assert ("a", "e") in decided and EQUAL not in decided
    assert all(pair["difference"] > 0 for pair in decided.values())  # planted best first: never the wrong way round
    assert board["ordered"]["best"] == "a"


@pytest.mark.slow
def test_photographs_their_soft_and_their_noisy_renderings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    write_photographs(tmp_path)
    (tmp_path / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in PHOTOGRAPHS))
    images = [f"--images={name}={tmp_path / 'pictures' / name}" for name in GENERATORS]
    arguments = ["leaderboard", *images, f"--prompts={tmp_path / 'prompts.txt'}", f"--out={tmp_path / 'run'}"]
    with started("tests.recipes.photo_teacher") as url:
        assert main([*arguments, "--judge", f"openai:photo-teacher@{url}", "--pairs", "all"]) == 0
    board = board_of(tmp_path / "run")
    assert {generator["name"]: generator["n"] for generator in board["generators"]} == dict.fromkeys(GENERATORS, 12)
    sharp = next(pair for pair in board["pairs"] if (pair["a"], pair["b"]) == ("camera", "soft"))
    assert sharp["decided"] and sharp["difference"] > 0 and sharp["wins"] >= 11
    assert board["comparisons"]["n"] == 36 and board["comparisons"]["failed"] == 0
