"""Boards with a known truth: who is decided to be better, what failures undo, and what is never decided."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas
import pytest
from scipy import stats

from t2i_judge.boards import spread
from t2i_judge.boards.items import BoardItem, items_of_table
from t2i_judge.boards.leaderboard import MINIMUM_PROMPTS, against, agreement, leaderboard, needed, ordered
from t2i_judge.boards.markdown import markdown
from t2i_judge.boards.scores import Scored, Scores, question_type
from t2i_judge.inputs.rows import Columns
from t2i_judge.records import OVERALL, Status


def board_of(values: np.ndarray, names: Sequence[str] | None = None, seeds: int = 1, **options) -> Scores:
    """Scores from (generators, prompts) or (generators, prompts, seeds); nan is a failed image."""
    values = values.reshape(*values.shape[:2], -1)
    names = list(names or "abcdefgh"[: len(values)])
    images = []
    for (g, p, s), value in np.ndenumerate(values):
        item = BoardItem(f"{g}/{p}/{s}", names[g], f"prompt {p}", str(p), "x.png", category=f"c{p % 2}", seed=str(s))
        status = Status.REFUSED if np.isnan(value) else Status.OK
        images.append(Scored(item, status, {OVERALL: None if np.isnan(value) else float(value)}, {}))
    return Scores(images, names, options.get("score_range", (0.0, 10.0)))


def pair_of(board: dict, a: str, b: str) -> dict:
    return next(pair for pair in board["pairs"] if (pair["a"], pair["b"]) == (a, b))


@pytest.fixture
def planted() -> np.ndarray:
    """Three generators on 60 prompts: b and c lie 1 and 1.05 above a, prompts differ in difficulty."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(5, 1.5, 60)
    noise = rng.normal(0, 0.6, (3, 60))
    return np.clip(difficulty + np.array([[0.0], [1.0], [1.05]]) + noise, 0, 10)


def test_a_clear_difference_is_decided_and_a_small_one_is_not(planted: np.ndarray) -> None:
    board = leaderboard(board_of(planted))
    first, second, close = pair_of(board, "a", "b"), pair_of(board, "a", "c"), pair_of(board, "b", "c")
    assert first["decided"] and second["decided"] and not close["decided"] and "could be chance" in close["reason"]
    assert {g["name"]: g["rank"] for g in board["generators"]} == {"a": [3, 3], "b": [1, 2], "c": [1, 2]}
    reference = stats.ttest_rel(planted[0], planted[1])
    assert first["p"] == pytest.approx(reference.pvalue, rel=1e-9)
    assert first["difference"] == pytest.approx((planted[0] - planted[1]).mean())
    assert first["bounds"] == pytest.approx([first["difference"]] * 2)
    assert first["wins"] + first["ties"] + first["losses"] == first["n"] == 60
    assert first["p_holm"] >= first["p"] and not any("permutation" in w for w in board["warnings"])


def test_fewer_than_ten_common_prompts_decide_nothing(planted: np.ndarray) -> None:
    few = planted[:, : MINIMUM_PROMPTS - 1]
    board = leaderboard(board_of(few))
    assert not any(pair["decided"] for pair in board["pairs"])
    assert all(pair["p"] is None and "at least 10" in pair["reason"] for pair in board["pairs"])
    assert {tuple(g["rank"]) for g in board["generators"]} == {(1, 3)}


def test_failures_bound_the_difference_and_undo_a_decision(planted: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    planted[1, rng.random(60) < 0.3] = np.nan
    board = leaderboard(board_of(planted[:2]))
    pair, failed = board["pairs"][0], int(np.isnan(planted[1]).sum())
    low, high = pair["bounds"]
    expected = [(planted[0] - np.nan_to_num(planted[1], nan=fill)).mean() for fill in (10.0, 0.0)]
    assert [low, high] == pytest.approx(expected)
    assert pair["p_holm"] < 0.05 and not pair["decided"] and "failed images could reverse it" in pair["reason"]
    assert any("b fails more often than a" in warning for warning in board["warnings"])
    b = board["generators"][1]
    assert (b["n"], b["n_failed"], b["coverage"]) == (60 - failed, {"refused": failed}, (60 - failed) / 60)


def test_another_score_range_bounds_by_its_own_ends(planted: np.ndarray) -> None:
    scaled = planted[:2] / 10
    scaled[1, 0] = np.nan
    (pair,) = leaderboard(board_of(scaled, score_range=(0.0, 1.0)))["pairs"]
    assert pair["bounds"][1] - pair["bounds"][0] == pytest.approx(1 / 60)


def test_prompts_the_judge_says_nothing_about_count_as_no_failure(planted: np.ndarray) -> None:
    scores = board_of(planted[:2])
    mute = [
        Scored(BoardItem(f"{g}/m", g, "no quoted text", "m", "x.png"), Status.SKIPPED, {OVERALL: None}, {})
        for g in "ab"
    ]
    (pair,) = leaderboard(Scores([*scores.images, *mute], ["a", "b"], (0.0, 10.0)))["pairs"]
    assert pair["bounds"] == pytest.approx([pair["difference"]] * 2) and pair["decided"]


def test_seeds_are_averaged_within_their_prompt() -> None:
    rng = np.random.default_rng(2)
    values = rng.uniform(0, 10, (2, 30, 4))
    values[0, 0, 1] = np.nan
    board = leaderboard(board_of(values))
    means = np.nanmean(values, axis=2)
    assert board["pairs"][0]["n"] == 30
    assert board["pairs"][0]["difference"] == pytest.approx((means[0] - means[1]).mean())
    assert board["generators"][0]["overall"]["mean"] == pytest.approx(means[0].mean())
    assert board["generators"][0]["n"] == 119


def test_one_generator_is_described_and_many_are_compared_all() -> None:
    rng = np.random.default_rng(3)
    alone = leaderboard(board_of(rng.uniform(0, 10, (1, 20))))
    assert alone["pairs"] == [] and alone["detectable"] is None and alone["generators"][0]["rank"] == [1, 1]
    names = [f"g{number}" for number in range(50)]
    many = leaderboard(board_of(rng.uniform(0, 10, (50, 20)), names))
    assert len(many["pairs"]) == 50 * 49 // 2
    assert [(p["a"], p["b"]) for p in many["pairs"]] == list(itertools.combinations(names, 2))


def test_what_could_have_been_seen(planted: np.ndarray) -> None:
    board = leaderboard(board_of(planted), detect=0.3)
    sds = [np.std(planted[i] - planted[j], ddof=1) for i, j in itertools.combinations(range(3), 2)]
    sd = np.median(sds)
    reference = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * sd / np.sqrt(60)
    assert board["detectable"] == pytest.approx(reference, rel=0.03)
    assert board["prompts_needed"] == pytest.approx(
        ((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * sd / 0.3) ** 2, rel=0.05
    )


@pytest.mark.parametrize("wanted", [1e-5, 1e-9, 5e-324])
def test_a_difference_that_nobody_can_find_is_said_so_once_all_is_judged(planted: np.ndarray, wanted: float) -> None:
    board = leaderboard(board_of(planted), detect=wanted)
    assert board["prompts_needed"] is None
    assert "needs more than 1,000,000,000 prompts." in needed(board) and needed({**board, "detectable": None}) == ""
    few = leaderboard(board_of(planted), detect=0.0005)
    assert f"needs {few['prompts_needed']:,} prompts." in needed(few) and few["prompts_needed"] > 1_000_000


def test_checkpoints_name_the_best_with_an_interval_that_counts_the_selection() -> None:
    """Ten equal checkpoints: the best one's interval covers its true mean, which its own t interval does too rarely."""
    covered, naive, boards = 0, 0, 300
    for seed in range(boards):
        rng = np.random.default_rng(seed)
        values = rng.normal(5, 0.2, (1, 40)) + rng.normal(0, 1, (10, 40))
        result = ordered(board_of(values, [f"c{n}" for n in range(10)]), draws=400, seed=seed)
        truth = 5.0
        low, high = result["ci"]
        covered += low <= truth <= high
        best = values[int(values.mean(axis=1).argmax())]
        naive += abs(best.mean() - truth) <= stats.t.ppf(0.975, 39) * best.std(ddof=1) / np.sqrt(40)
    assert covered / boards >= 0.9 > naive / boards


def test_checkpoints_are_held_against_the_first_and_the_one_before(planted: np.ndarray) -> None:
    scores = board_of(planted)
    rows = against(leaderboard(scores)["pairs"], scores.generators)
    assert [row["name"] for row in rows] == ["b", "c"]
    assert rows[0]["first"] == rows[0]["previous"] and rows[0]["first"]["decided"]
    assert rows[1]["first"]["difference"] == pytest.approx((planted[2] - planted[0]).mean())
    assert not rows[1]["previous"]["decided"]


def test_judges_agree_on_an_order_or_not() -> None:
    values = np.array([[1.0, 2.0], [4.0, 5.0], [7.0, 9.0]])
    one, other = leaderboard(board_of(values)), leaderboard(board_of(values[::-1], "abc"))
    assert agreement([one, one])["kendall_tau_b"] == 1.0
    assert agreement([one, other])["kendall_tau_b"] == -1.0
    tied = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [5.0, 5.0, 5.0]])
    assert tied[0].mean() != tied[1].mean(), "by rounding"
    one, other = (leaderboard(board_of(values)) for values in (tied, tied[:, ::-1]))
    assert agreement([one, other])["kendall_tau_b"] == pytest.approx(1.0)


def test_kinds_of_question() -> None:
    kinds = [question_type(*q) for q in (("How many cats are there?", "intrinsic"), ("What color is it?", "intrinsic"))]
    assert kinds == ["count", "colour"]
    assert question_type("Is the cat on the mat?", "relationship") == "relation"
    assert question_type("Is there a cat?", "intrinsic") == "other"


def test_many_generators_share_what_is_made_of_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each generator's row made every aspect's table anew, of all images: 200 generators took minutes."""
    values = np.random.default_rng(0).random((30, 12))
    scores = board_of(values, [f"g{number}" for number in range(30)])
    for image in scores.images:
        image.scores["appearance"] = 1.0
    made, means = [], Scores._means
    monkeypatch.setattr(Scores, "_means", lambda self, values: made.append(1) or means(self, values))
    board = leaderboard(scores)
    assert len(made) == 4  # overall, appearance, and failures counted as the worst and as the best score
    assert board["generators"][29]["aspects"]["appearance"]["mean"] == 1


def test_a_terminal_shows_the_first_pairs_and_says_where_the_others_are(planted: np.ndarray) -> None:
    result = {**leaderboard(board_of(planted)), "judge": {"name": "j"}, "prompts": {"n": 60, "images": 180}}
    assert "2 more pairs stand in leaderboard.md." in markdown(result, 1)
    assert "more pair" not in markdown(result, 3) and "more pair" not in markdown(result)


def test_names_and_reasons_are_data_in_markdown(planted: np.ndarray) -> None:
    scores = board_of(planted, ["<script>|x", "b`*", "c"])
    result = {**leaderboard(scores), "judge": {"name": "j|<b>"}, "prompts": {"n": 60, "images": 180}}
    text = markdown(result)
    assert "<script>" not in text and "\\<script\\>\\|x" in text and "<b>" not in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = {line.replace("\\|", "").count("|") for line in lines[:5]}
    assert len(cells) == 1


def test_names_of_a_table_are_read_once_and_its_ids_stay_apart(tmp_path: Path) -> None:
    """`A ` was another generator than A, though both stood as A on the board; nan was one; two images had one id."""
    rows = [("A", "x"), ("A ", "x"), ("A", "x#2"), (float("nan"), "y"), (" ", "z"), ("B", "x")]
    pandas.DataFrame(
        [{"image": f"{n}.png", "prompt": "p", "id": own, "generator": name} for n, (name, own) in enumerate(rows)]
    ).to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    items, warnings = items_of_table(str(tmp_path / "t.jsonl"), Columns(id="id"), "generator", tmp_path)
    assert [(item.generator, item.id) for item in items] == [
        ("A", "A/x"), ("A", "A/x#2"), ("A", "A/x#2#2"), ("B", "B/x"),
    ]  # fmt: skip
    assert warnings == ["left out: 2 rows without a generator"]


def test_variety_is_that_of_every_two_images_and_of_a_sample_where_a_prompt_has_very_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """4,000 images of one prompt by each of two generators, in a table of 400 kB, took minutes."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 256, (40, 32, 32, 3))
    made = {str(n): np.clip(kinds[n % 40] + rng.integers(-8, 9, kinds[0].shape), 0, 255) for n in range(60)}
    shown: list[str] = []

    def thumbnail(path: str) -> np.ndarray:
        shown.append(path)
        return made[str(int(path) % 60)].astype(np.float32)

    monkeypatch.setattr(spread, "thumbnail", thumbnail)
    items = [BoardItem(str(n), "A", "p", "p", str(n), None) for n in range(3 * spread.MOST)]
    apart = [[np.sqrt(np.mean((a - b) ** 2.0)) for b in made.values()] for a in made.values()]
    np.fill_diagonal(apart := np.asarray(apart), np.inf)
    alike = np.mean(apart.min(axis=1) < spread.NEARLY)
    assert spread.near_identical(items[:60])["A"] == [alike] and 0 < alike < 1
    shown.clear()
    assert spread.near_identical(items)["A"] == [1.0] and len(shown) == spread.MOST
    few = [BoardItem(f"b{n}", "B", "p", "p", str(n), None) for n in range(spread.MOST)]
    assert spread.drawn(few) == []
    [told] = spread.drawn(items + few)
    assert "variety: 1 generator has more than 2,000 images of a prompt" in told
