"""results.json: the agreed keys, failures counted, coefficients that scipy confirms, and the chain that writes it."""

from __future__ import annotations

import json
import random
import tracemalloc
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from recipes.evaluate_judge import main
from recipes.evaluation.evaluation import evaluate, goals
from recipes.evaluation.judging import held_out
from recipes.evaluation.own_judges import DIRECT, own_judges
from recipes.evaluation.results import (
    HUMANS_MEAN,
    LATENT,
    TEACHER,
    Ratings,
    annotator_rows,
    compare,
    judge_rows,
    read_ratings,
    subtask_scores,
)
from recipes.publish.beforehand import beforehand
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.items import Item
from recipes.training.trainings import train
from t2i_judge.errors import UserError
from t2i_judge.files import append_jsonl, read_jsonl
from t2i_judge.records import OVERALL, Answer, JudgeInfo, Judgement, Question, Status, failed
from t2i_judge.stats.agreement import COEFFICIENTS, bootstrap, percentile_interval
from t2i_judge.stats.coefficients import as_floats
from tests.recipes.evaluation.test_judging import Moody
from tests.recipes.scenes_build import scenes_build, smoke_recipe

JUDGE = JudgeInfo("j", "local", "m")
ROW_KEYS = {"judge", "split", "aspect", "against", "simulated", "n", "n_failed", "spearman", "spearman_ci",
            "kendall_tau_b", "kendall_tau_b_ci"}  # fmt: skip
ITEMS = [
    Item(f"i{n}", f"prompt {n // 2}", "x.png", "g", "new_prompts" if n < 20 else "new_pairs", "s") for n in range(40)
]


def scored(seed: int, noise: float, failures: int = 0) -> dict[str, Judgement]:
    rng = random.Random(seed)
    made = {}
    for number, item in enumerate(ITEMS):
        score = min(10.0, max(0.0, number % 20 / 2 + rng.gauss(0, noise)))
        made[item.id] = Judgement(item.id, item.prompt, JUDGE, scores={"overall": score})
        if number < failures:
            made[item.id] = failed(item.id, item.prompt, JUDGE, Status.UNPARSABLE, "garbage")
    return made


LATENT_SCORES = {"overall": {item.id: n % 20 / 2 for n, item in enumerate(ITEMS)}}


def votes(person: str) -> dict[str, dict[str, float]]:
    rng = random.Random(person)
    return {"overall": {item.id: float(round(n % 20 / 2 + rng.gauss(0, 1))) for n, item in enumerate(ITEMS)}}


PEOPLE = {person: votes(person) for person in ("ann", "bob", "cem")}
RATINGS = Ratings({LATENT: LATENT_SCORES}, PEOPLE, simulated=True)


def test_a_row_holds_scipy_s_figures_and_counts_failures() -> None:
    judged = scored(1, 1.0, failures=4)
    rows = judge_rows("tiny", judged, ITEMS, RATINGS, resamples=200, seed=0)
    assert [row["split"] for row in rows] == ["new_prompts", "new_pairs"]
    for row, failures in zip(rows, (4, 0)):
        assert row.keys() >= ROW_KEYS and row["simulated"] is True
        items = [item for item in ITEMS if item.split == row["split"] and judged[item.id].status is Status.OK]
        pair = [judged[i.id].scores["overall"] for i in items], [LATENT_SCORES["overall"][i.id] for i in items]
        assert (row["n"], row["n_failed"]) == (len(items), failures)
        assert row["spearman"] == pytest.approx(spearmanr(*pair).statistic)
        assert row["kendall_tau_b"] == pytest.approx(kendalltau(*pair).statistic)
        assert row["spearman_ci"][0] < row["spearman"] < row["spearman_ci"][1]


def test_a_judge_that_always_fails_has_rows_without_figures() -> None:
    judged = {item.id: failed(item.id, item.prompt, JUDGE, Status.UNPARSABLE, "garbage") for item in ITEMS}
    rows = judge_rows("base", judged, ITEMS, RATINGS, resamples=50, seed=0)
    assert {row["split"] for row in rows} == {"new_prompts", "new_pairs"}
    assert all(row["n"] == 0 and row["n_failed"] == 20 and row["spearman"] is None for row in rows)
    json.dumps(rows, allow_nan=False)


def test_people_stand_beside_the_judges() -> None:
    rows = annotator_rows(ITEMS, RATINGS, resamples=100, seed=0)
    assert {row["against"] for row in rows} == {"annotator", "others_mean", "latent"}
    row = next(row for row in rows if row["against"] == "annotator" and row["split"] == "new_pairs")
    columns = [[PEOPLE[name]["overall"][item.id] for item in ITEMS[20:]] for name in PEOPLE]
    pairs = [spearmanr(columns[a], columns[b]).statistic for a, b in ((0, 1), (0, 2), (1, 2))]
    assert row["spearman"] == pytest.approx(sum(pairs) / 3) and row["judge"] == "annotator"
    one = Ratings({LATENT: LATENT_SCORES}, {"ann": PEOPLE["ann"]}, simulated=True)
    assert [r["spearman"] for r in annotator_rows(ITEMS, one, 20, 0) if r["against"] == "annotator"] == [None, None]


def test_who_rated_little_takes_nobody_away() -> None:
    """One rated another aspect only, one a single split, one two images, one always says the same."""
    whole = {row["against"]: row["spearman"] for row in annotator_rows(ITEMS[20:], RATINGS, 20, 0)}
    other, halves, few = {"appearance": votes("dan")["overall"]}, votes("eve")["overall"], votes("fay")["overall"]
    first = {item.id: halves[item.id] for item in ITEMS[:20]}
    more = PEOPLE | {"dan": other, "eve": {"overall": first}}
    rows = annotator_rows(ITEMS, replace(RATINGS, annotators=more), resamples=20, seed=0)
    overall = {row["against"]: row for row in rows if (row["split"], row["aspect"]) == ("new_pairs", "overall")}
    assert {against: row["spearman"] for against, row in overall.items()} == whole
    assert all(row["spearman_ci"] for row in overall.values())
    [alone] = [row for row in rows if row["aspect"] == "appearance" and row["against"] == "others_mean"][:1]
    assert alone["spearman"] is None and alone["undefined"]
    little = {"fay": {"overall": {item.id: few[item.id] for item in ITEMS[20:22]}}}
    constant = {"gus": {"overall": {item.id: 5.0 for item in ITEMS[20:]}}}
    for extra in (little, constant):
        rows = annotator_rows(ITEMS[20:], replace(RATINGS, annotators=PEOPLE | extra), resamples=20, seed=0)
        pairs, latent = (next(r for r in rows if r["against"] == against) for against in ("annotator", "latent"))
        assert pairs["spearman"] == whole["annotator"] and latent["spearman"] == whole["latent"]
    sparse = {}  # each is defined, and in few draws
    for number in range(17):
        three = {item.id: few[item.id] for item in ITEMS[20 + number : 23 + number]}
        sparse[f"hal{number}"] = {"overall": three}
    rows = annotator_rows(ITEMS[20:], replace(RATINGS, annotators=PEOPLE | sparse), resamples=100, seed=0)
    assert all(row["spearman_ci"] for row in rows if row["aspect"] == "overall")


def test_pairs_of_people_are_resampled_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the figures of all pairs at once, in memory that does not grow with their number."""
    rng, people = random.Random(0), {f"p{number}": votes(f"p{number}")["overall"] for number in range(60)}
    some = {name: {"overall": {i: v for i, v in given.items() if rng.random() < 0.8}} for name, given in people.items()}
    split, few = ITEMS[20:], dict(list(some.items())[:9])
    [row] = [r for r in annotator_rows(split, Ratings({}, few, simulated=True), 100, 0) if r["against"] == "annotator"]
    columns = [as_floats([given["overall"].get(item.id) for item in split]) for given in few.values()]
    pairs = list(combinations(columns, 2))
    draws = bootstrap(pairs, 100, 0, [item.prompt for item in split])
    for name in ("spearman", "kendall_tau_b"):
        assert row[name] == pytest.approx(np.mean([COEFFICIENTS[name](*pair).value for pair in pairs]), abs=1e-12)
        means = np.nanmean([each[name] for each in draws], axis=0)
        assert row[f"{name}_ci"] == pytest.approx(percentile_interval(means), abs=1e-12)
    monkeypatch.setattr("recipes.evaluation.results._PAIRS", 5)
    assert row in annotator_rows(split, Ratings({}, few, simulated=True), 100, 0)  # to the last bit
    monkeypatch.undo()
    tracemalloc.start()
    annotator_rows(split, Ratings({}, some, simulated=True), resamples=1000, seed=0)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8_000_000  # all 1770 pairs' draws take 42 MB


def test_a_better_judge_is_told_from_a_worse_one() -> None:
    judged = {"tiny": scored(1, 0.3), "direct": scored(2, 6.0)}
    for row in compare("tiny", "direct", judged, ITEMS, RATINGS, resamples=300, seed=0):
        assert row["difference"] > 0 and row["ci"][0] > 0 and row["n"] == 20
        assert {"a", "b", "split", "aspect", "difference", "ci"} <= row.keys()
    (same, _) = compare("tiny", "tiny", {"tiny": judged["tiny"]}, ITEMS, RATINGS, resamples=50, seed=0)
    assert same["difference"] == 0


def test_one_prompt_gives_figures_without_certainty() -> None:
    """Three images of one prompt are one observation: no interval, no p, and the release gate has nothing to pass."""
    one = [replace(item, prompt="prompt") for item in ITEMS]
    judged = {"tiny": scored(1, 0.3), "direct": scored(2, 6.0)}
    for row in compare("tiny", "direct", judged, one, RATINGS, resamples=300, seed=0):
        assert row["difference"] > 0 and row["ci"] is None and row["p"] is None and "one cluster" in row["undefined"]
    rows = judge_rows("tiny", judged["tiny"], one, RATINGS, resamples=50, seed=0) + annotator_rows(one, RATINGS, 50, 0)
    assert all(row["spearman"] is not None for row in rows)
    assert all(row["spearman_ci"] is None and row["kendall_tau_b_ci"] is None for row in rows)


def test_references_are_latent_people_or_else_the_teacher(tmp_path: Path) -> None:
    teacher = scored(3, 0)
    assert list(read_ratings(BuildFolder(tmp_path), teacher, False).references) == [TEACHER]
    append_jsonl(tmp_path / "humans.jsonl", [
        {"id": "i0", "annotator": a, "aspect": "overall", "question_id": q, "score": s, "explanation": ""}
        for a, q, s in (("ann", None, 4.0), ("bob", None, 8.0), ("bob", "q1", 0.0), ("cem", None, None))
    ])  # fmt: skip
    found = read_ratings(BuildFolder(tmp_path), teacher, False)
    assert found.references[HUMANS_MEAN]["overall"] == {"i0": 6.0} and set(found.annotators) == {"ann", "bob"}
    append_jsonl(tmp_path / "latent.jsonl", [{"id": "i0", "overall": 5.0, "relationship": None}])
    assert next(iter(read_ratings(BuildFolder(tmp_path), teacher, False).references)) == LATENT


def test_subtasks_are_held_against_the_teacher() -> None:
    questions = (Question("q1", "intrinsic", ("cat",), "Is there a cat?", "yes"),)
    wanted = Judgement("i", "a cat", JUDGE, scores={"overall": 10.0}, questions=questions,
                       answers=(Answer("q1", "yes", score=10.0, explanation="There is a cat."),),
                       summary_scores={"overall": 10.0}, summary_texts={"overall": "Fine."})  # fmt: skip
    student = replace(
        wanted, answers=(Answer("q1", "yes", score=7.5, explanation="There is.", probabilities={"9": 0.6, "3": 0.4}),)
    )
    scores = subtask_scores([student], [student], {"i": wanted})
    assert scores["decompose_exact"] == scores["answer_exact"] == scores["summarise_overall_exact"] == 1
    assert scores["explain_exact"] == 0 and scores["score_exact"] == 1 and scores["score_mean_absolute_error"] == 2.5
    quoting = subtask_scores([student], [student], {"i": wanted}, sums_up=False)
    assert quoting == {name: value for name, value in scores.items() if not name.startswith("summarise")}
    silent = failed("i", "a cat", JUDGE, Status.UNPARSABLE, "no end")
    assert subtask_scores([silent], [], {"i": wanted})["decompose_exact"] == 0
    both = subtask_scores(
        [], [student, replace(silent, image_id="j")], {"i": wanted, "j": replace(wanted, image_id="j")}
    )
    assert both["answer_exact"] == both["score_exact"] == both["summarise_overall_exact"] == 0.5, "what failed is wrong"
    unsaid = replace(wanted, answers=(Answer("q1", status=Status.UNPARSABLE, reason="no end"),))
    assert "answer_exact" not in subtask_scores([], [silent], {"i": unsaid}), "the teacher said nothing to hold against"


def test_goals_that_were_missed_say_so() -> None:
    recipe = smoke_recipe()
    promised = replace(
        recipe, evaluation=replace(recipe.evaluation, goals=replace(recipe.evaluation.goals, new_pairs=0.9))
    )
    rows = judge_rows(recipe.judge_name, scored(1, 8.0), ITEMS, RATINGS, resamples=20, seed=0)
    (goal,) = goals(promised, rows)
    assert goal["split"] == "new_pairs" and goal["met"] is False and goal["reached"] < 0.9


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> Path:
    folder = scenes_build(tmp_path_factory.mktemp("build"), train=24, held_out=6)
    recipe = smoke_recipe(max_steps=2)
    train(recipe, folder)
    beforehand(recipe, folder)
    assert "found" in BuildFolder(folder).overlaps.read()
    said = [folder / "judgements" / f"{name}.jsonl" for name in ("base", "direct")]
    stamps = [path.stat().st_mtime_ns for path in said]
    assert {path.name for path in folder.glob("selftests/*")} == {path.name for path in said}
    evaluate(recipe, folder, progress=False)
    assert stamps == [path.stat().st_mtime_ns for path in said]  # nobody was asked again
    return folder


@pytest.mark.slow
def test_the_step_leaves_judgements_judge_card_and_results(evaluated: Path) -> None:
    results = json.loads((evaluated / "results.json").read_text())
    assert {row["judge"] for row in results["rows"]} == {"smoke", "base", "direct", "teacher", "annotator"}
    assert all(row.keys() >= ROW_KEYS for row in results["rows"])
    teacher = [
        r for r in results["rows"] if r["judge"] == "teacher" and r["against"] == "latent" and r["aspect"] == "overall"
    ]
    assert all(row["spearman"] > 0.7 for row in teacher)
    assert {(row["a"], row["b"]) for row in results["comparisons"]} == {("smoke", "base"), ("smoke", "direct")}
    assert results["subtasks"]["n_images"] == 8
    for name in ("smoke", "base", "direct", "teacher"):
        rows = list(read_jsonl(evaluated / "judgements" / f"{name}.jsonl"))
        assert len(rows) == 12 and str(evaluated) not in json.dumps(rows)
    card = json.loads((evaluated / "adapter" / "judge.json").read_text())
    assert card["protocol"] == "one_forward" and card["revision"].startswith("sha256:") and card["domain"]["n"] == 24


@pytest.mark.slow
def test_nothing_is_judged_twice(evaluated: Path) -> None:
    recipe = smoke_recipe(max_steps=2)
    stamps = {path.name: path.stat().st_mtime_ns for path in evaluated.glob("judgements/*")}
    first = (evaluated / "results.json").read_text()
    cards = [evaluated / side / "judge.json" for side in ("adapter", "direct")]
    said = [card.read_text() for card in cards]
    for card in cards:
        card.unlink()  # as a training that is made again leaves its folder, with weights that are the same to the bit
    evaluate(recipe, evaluated, progress=False)
    assert (evaluated / "results.json").read_text() == first and [card.read_text() for card in cards] == said
    path = evaluated / "judgements" / "direct.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]) + lines[-2][:30])
    (evaluated / "results.json").unlink()
    again = evaluate(recipe, evaluated, progress=False)
    volatile = {"seconds"}
    assert {k: v for k, v in again.items() if k not in volatile} == {
        k: v for k, v in json.loads(first).items() if k not in volatile
    }
    assert len(list(read_jsonl(path))) == 12
    assert stamps["base.jsonl"] == (evaluated / "judgements" / "base.jsonl").stat().st_mtime_ns


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_only_a_retry_asks_again_what_a_further_judge_refused(evaluated: Path, monkeypatch) -> None:
    recipe = smoke_recipe(max_steps=2)
    recipe = replace(recipe, teacher=replace(recipe.teacher, server=None, base_url="http://localhost:9/v1"))
    recipe = replace(recipe, evaluation=replace(recipe.evaluation, judges=("openai:m",)))
    refused = next(read_jsonl(evaluated / "judgements" / "direct.jsonl"))["image_id"]
    judge = Moody({refused: Status.REFUSED}, "openai:m")
    monkeypatch.setattr("recipes.evaluation.judging.load_judge", lambda *_, **options: judge)

    def failed_of(**options) -> int:
        judge.shown.clear()
        rows = evaluate(recipe, evaluated, progress=False, **options)["rows"]
        return sum(
            r["n_failed"] for r in rows if (r["judge"], r["against"], r["aspect"]) == ("openai:m", LATENT, OVERALL)
        )

    assert failed_of() == 1 and len(judge.shown) == 12
    assert failed_of() == 1 and judge.shown == []
    judge.statuses.clear()
    assert failed_of() == 1 and judge.shown == []
    with monkeypatch.context() as cut:
        cut.setattr(judge, "_score", interrupted)
        with pytest.raises(KeyboardInterrupt):
            failed_of(retry_failed=True)
    assert failed_of() == 0 and judge.shown == [refused], "a retry that was cut off is not done"
    assert failed_of(retry_failed=True) == 0 and judge.shown == []


def test_the_direct_judge_goes_by_its_short_name(evaluated: Path) -> None:
    judge = own_judges(smoke_recipe(), BuildFolder(evaluated))[DIRECT].open()
    assert judge.info.name == "direct" and "direct" in judge.info.backend


def test_without_held_out_images_or_recipe_it_is_one_line(capsys) -> None:
    with pytest.raises(UserError, match="smoke has no held-out images"):
        held_out(smoke_recipe(), [])
    assert main(["--recipe", "tinny"]) == 2 and "nearest" in capsys.readouterr().err
