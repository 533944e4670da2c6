"""Explore's figures are those of the dataset: means, disagreements, coefficients, intervals, failures."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from markupsafe import Markup
from scipy import stats

from benchmark import BenchItem, Benchmark, read_benchmark
from benchmark_tables import PEOPLE, judge_table, leaderboard, score_of
from explore_views import ALL, View, axis_of, item_choices, item_view, judge_view
from t2i_judge.errors import UserError


def view(**changes) -> View:
    return View(
        **{"split": ALL, "generators": (), "judge": "direct", "aspect": "overall", "disagreement": 0.0, **changes}
    )


def test_all_splits_and_references_are_read(benchmark):
    assert benchmark.splits == ["new_prompts", "new_pairs"]
    assert len(benchmark.items) == 48
    assert sum(item.has_reference for item in benchmark.items) == 6
    assert benchmark.aspects[0] == "overall"
    assert benchmark.picture(benchmark.items[0]).size == (112, 112)
    assert benchmark.picture(benchmark.items[0], "reference_image") is None
    assert benchmark.picture(benchmark.items[-1], "reference_image").size == (112, 112)


def test_a_missing_benchmark_is_one_line(tmp_path):
    with pytest.raises(UserError, match="Set BENCHMARK") as told:
        read_benchmark(str(tmp_path / "nowhere"))
    assert "\n" not in str(told.value)


def test_judge_table_agrees_with_scipy_and_counts_failures(benchmark):
    items = [item for item in benchmark.items if not item.has_reference]
    [row] = [row for row in judge_table(items, benchmark.judges, "overall") if row.judge == "direct"]
    pairs = [(item.judge_score("direct", "overall"), item.human_mean("overall")) for item in items]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    assert row.n == len(both)
    assert row.n_failed == sum(a is None for a, _ in pairs) > 0
    assert row.spearman.value == pytest.approx(stats.spearmanr(*zip(*both)).statistic)
    assert row.kendall_tau_b.value == pytest.approx(stats.kendalltau(*zip(*both)).statistic)
    assert row.spearman.low < row.spearman.value < row.spearman.high


def test_leaderboard_is_the_mean_of_each_generator_best_first(benchmark):
    rows = leaderboard(benchmark.items, PEOPLE, "overall")
    assert [row.value for row in rows] == sorted((row.value for row in rows), reverse=True)
    own = [score for item in benchmark.items if item.generator == rows[0].label
           and (score := score_of(item, PEOPLE, "overall")) is not None]  # fmt: skip
    assert rows[0].value == pytest.approx(fmean(own))
    assert rows[0].note == f"n={len(own)}"
    assert rows[0].low <= rows[0].value <= rows[0].high


def test_one_prompt_gives_no_interval(benchmark):
    one = [replace(item, prompt="a prompt") for item in benchmark.items if not item.has_reference]
    [row] = [row for row in judge_table(one, benchmark.judges, "overall") if row.judge == "direct"]
    for cell in (row.spearman, row.kendall_tau_b, *leaderboard(one, PEOPLE, "overall")):
        assert cell.value is not None and (cell.low, cell.high) == (None, None)
    [first] = [item for item in one if item.human_mean("overall") is not None][:1]
    [alone] = leaderboard([first], PEOPLE, "overall")
    assert alone.value is not None and (alone.low, alone.high) == (None, None)


def test_a_generator_without_scores_has_no_mean(benchmark):
    personalised = [item for item in benchmark.items if item.has_reference]
    assert all(row.value is None for row in leaderboard(personalised, "direct", "overall"))


def test_filters_narrow_and_disagreement_orders(benchmark):
    every = view().items(benchmark)
    chosen = view(generators=("hazy",), split="new_prompts", disagreement=10.0).items(benchmark)
    apart = benchmark.disagreements("direct", "overall")
    assert 0 < len(chosen) < len(every)
    assert all(item.generator == "hazy" and abs(apart[item.key]) >= 10 for item in chosen)
    keys = [key for _, key in item_choices(benchmark, every, view())]
    sizes = [apart.get(key) for key in keys]
    known = [abs(size) for size in sizes if size is not None]
    assert known == sorted(known, reverse=True)
    assert sizes[len(known) :] == [None] * (len(sizes) - len(known))


def rated(aspect: str, judge: dict[str, float | None], people: list[float]) -> Benchmark:
    """Items a, b, ... with one judge's and one annotator's score of an aspect."""
    items = [
        BenchItem(
            *(key, "test", row, key, "a cat", "g", ()),
            human_scores=[{"annotator": "ann", "aspect": aspect, "question_id": None, "score": score}],
            baselines=[
                {"judge": "j", "aspect": aspect, "score": judge[key], "status": "ok" if judge[key] else "refused"}
            ],
        )
        for row, (key, score) in enumerate(zip(judge, people))
    ]
    return Benchmark("test", items, {"test": items})


@pytest.mark.parametrize("times", [1.0, 2.5, 0.02])
def test_disagreement_does_not_depend_on_anybodys_scale(times):
    """People on 0-4, the judge on 0-4, on 0-10 and as a cosine: who ranks alike agrees, whatever the figures are."""
    alike = rated(
        "concept_preservation", {key: times * score for key, score in zip("abcd", (1, 2, 3, 4))}, [0, 1, 2, 4]
    )
    assert alike.disagreements("j", "concept_preservation") == dict.fromkeys("abcd", 0.0)
    scores = {"a": 4 * times, "b": 2 * times, "c": 3 * times, "d": 1 * times, "e": None}
    turned = rated("concept_preservation", scores, [0, 2, 2, 4, 4])
    found = turned.disagreements("j", "concept_preservation")
    assert found == pytest.approx({"a": 100.0, "b": 100 / 3 - 50, "c": 200 / 3 - 50, "d": -100.0}), "ties share a place"
    wanted = view(judge="j", aspect="concept_preservation", disagreement=50.0)
    assert [item.key for item in wanted.items(turned)] == ["a", "d"]
    labels = [label[:4] for label, _ in item_choices(turned, turned.items, wanted)]
    assert (labels[:2], labels[-1]) == (["+100", "-100"], "– · ")


def test_what_is_no_benchmark_is_said_in_one_line(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a cat"}\n')
    with pytest.raises(UserError, match="Its split train has no column baselines, generator, human_scores, id, image"):
        read_benchmark(str(tmp_path))
    with pytest.raises(UserError, match="cannot be loaded"):
        read_benchmark(str(tmp_path / "nowhere"))


def test_aspects_that_people_scored_come_first():
    found = rated("prompt_following", {"a": 3.0}, [4.0])
    found.items[0].baselines.append({"judge": "j", "aspect": "overall", "score": 7.0, "status": "ok"})
    assert found.aspects == ["prompt_following", "overall"]


def test_an_item_shows_people_judges_and_questions(benchmark):
    item = benchmark.items[0]
    shown = str(item_view(benchmark, item.key, view()))
    for text in (item.prompt, item.questions[0].text, "careful", "direct ranks it", item.generator):
        assert text in shown
    assert "No item passes" in item_view(benchmark, None, view())


def test_judges_that_were_not_asked_are_not_listed(benchmark):
    assert "direct" not in judge_view(benchmark.items, benchmark.judges, "concept_preservation")


def test_a_judge_that_gave_no_score_at_all_failed_every_aspect_that_it_is_asked_for():
    """The release records such a failure once, under overall."""
    scores = {key: float(place) for place, key in enumerate("abcdef", 1)}
    found = rated("concept_preservation", scores, [1, 2, 3, 4, 3, 2])
    for item in found.items[3:]:
        item.baselines[:] = [{"judge": "j", "aspect": "overall", "score": None, "status": "refused"}]
    for item in found.items:
        item.baselines.append({"judge": "other", "aspect": "overall", "score": None, "status": "refused"})
    [row] = judge_table(found.items, found.judges, "concept_preservation")
    assert (row.judge, row.n, row.n_failed) == ("j", 3, 3)
    shown = str(item_view(found_without_pictures(found), "e", view(judge="j", aspect="concept_preservation")))
    assert "refused" in shown


def found_without_pictures(found: Benchmark) -> Benchmark:
    return replace(found, datasets={"test": [{"image": None}] * len(found.items)})


def test_tables_are_not_of_items_that_were_chosen_by_disagreement(benchmark):
    from explore_tab import _look

    def tables(places: float) -> tuple[str, int]:
        look = _look(benchmark, view(disagreement=places), Markup(""))
        return look.ranking, len(look.choices)

    (every, many), (chosen, few) = tables(0.0), tables(20.0)
    assert every == chosen and 0 < few < many


@pytest.mark.parametrize(
    ("scores", "ends"), [([1.0, 9.0], (0, 10)), ([0.21, 0.34], (0.2, 0.4)), ([-0.1, 0.3], (-0.1, 0.3)), ([], (0, 10))]
)
def test_axes_hold_scores_of_any_scale(scores, ends):
    axis = axis_of("judge", "overall", scores)
    assert (axis.low, axis.high) == pytest.approx(ends)
    assert all(0 <= axis.share(score) <= 1 for score in scores)
    assert np.all(np.diff(axis.ticks()) > 0)


def test_no_path_in_it_shows_a_picture_of_this_machine(benchmark, tmp_path):
    benchmark.picture(benchmark.items[0]).save(private := tmp_path / "private.png")
    item = replace(benchmark.items[0], row=0)
    rows = {item.split: [{"image": {"bytes": None, "path": str(private)}}]}
    assert Benchmark("them/pictures", [item], rows, {}).picture(item) is None
