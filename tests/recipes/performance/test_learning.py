"""Judge and baselines on equal terms: what each learns and from which images, choice, resuming, tables, the plot."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from PIL import Image, ImageColor

from recipes.evaluation import learning
from recipes.evaluation.learning import inputs_of_study, learning_of
from recipes.performance import efficiency, fair, learning_figures
from recipes.performance.learners import DECOMPOSED, DIRECT, RATIONALE, SIDES, labels_in, rows_of
from recipes.performance.trials import Study, Trial
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.markers import Marker, fingerprint
from t2i_judge.errors import UserError
from t2i_judge.files import read_jsonl
from t2i_judge.prompts import LEVELS, SUMMARY_SCORE, student_prompt
from tests.recipes.scenes_build import scenes_build, smoke_recipe
from tests.recipes.synthetic import synthetic_base


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Path:
    return scenes_build(tmp_path_factory.mktemp("learning") / "build", train=24, held_out=6)


@pytest.fixture
def study(build, tmp_path) -> Study:
    return Study(smoke_recipe(), BuildFolder(build), tmp_path)


def test_each_side_learns_what_it_says_from_the_same_images(study):
    shown = {}
    for side in SIDES:
        rows = rows_of(side, study.recipe, study._data, study.teacher)
        shown[side] = {sample.row for row in rows for sample in row if sample.row >= 0}
        answers = [sample.answer for row in rows for sample in row]
        if side == DIRECT:
            assert set(answers) <= set(LEVELS)
        if side == RATIONALE:
            assert all(answer.rpartition(SUMMARY_SCORE)[2] in LEVELS and len(answer) > 12 for answer in answers)
        if side != DECOMPOSED:
            assert labels_in(rows) == study.images, "one label an image"
        else:
            assert labels_in(rows) > 5 * study.images
    assert shown[DECOMPOSED] == shown[DIRECT] == shown[RATIONALE] == set(range(study.images))


def test_validation_prompts_are_kept_from_every_side(study):
    kept = {item.prompt for item in study.validation}
    assert kept
    assert not kept & set(study._data["prompt"])
    assert not {item.id for item in study.validation} & {item.id for item in study.items}


def test_the_best_setting_by_validation_is_trained_with_every_seed(study, monkeypatch):
    asked = []

    def agreement(trial: Trial) -> float:
        asked.append(trial)
        return trial.learning_rate * 100 - trial.batch

    monkeypatch.setattr(study, "agreement", agreement)
    plan = fair.Plan(50)
    found = fair.chosen(study, plan, DIRECT, lambda setting: 100 * setting[1])
    assert {(trial.learning_rate, trial.batch) for trial in found} == {(1e-3, 4)}
    assert [trial.seed for trial in found] == list(plan.seeds)
    assert {trial.steps for trial in found} == {400}, "steps go with the setting"
    assert {trial.seed for trial in asked} == {plan.seeds[0]}
    assert len({len(plan.settings(side)) for side in SIDES}) == 1, "as many settings a side"


def test_failing_at_hard_images_wins_no_difference(study, monkeypatch):
    log = {"images": 8, "labels": 8, "cpu_seconds": 1.0}
    latent = {row["id"]: row["overall"] for row in read_jsonl(study.build.latent)}
    ranks = {item.id: float(number % 3) for number, item in enumerate(study.items)}
    worst = {max(items, key=lambda item: abs(ranks[item.id] - latent[item.id])).id for items in study.splits.values()}

    def scores(trial: Trial, *_: object) -> dict[str, float | None]:
        return {name: None if trial.side == DIRECT and name in worst else rank for name, rank in ranks.items()}

    monkeypatch.setattr(study, "scores", scores)
    monkeypatch.setattr(study, "train", lambda _: log)
    groups = {side: [Trial(side, 8, 1, 1e-3, 1, seed) for seed in (1, 2)] for side in (DECOMPOSED, DIRECT)}
    rows, differences = learning_figures.figures(study, groups)
    assert {row["group"]: row["n_failed"] for row in rows} == {DECOMPOSED: [0, 0], DIRECT: [1, 1]}
    assert [row["n"] for row in differences] == [5, 5]
    assert [row["difference"] for row in differences] == [0.0, 0.0], "the same scores"
    assert "| decomposed - direct | new_prompts | 5 | 0.000" in learning_figures.table(rows, differences)


def test_settings_are_those_of_a_whole_comparison_of_these_data(study):
    own = (study.recipe.training.learning_rate, study.recipe.training.per_device_train_batch_size)
    row = {"side": DIRECT, "steps": 50, "learning_rate": 0.123, "batch": 7}
    for inputs, quick, taken in (("other", False, own), (study.inputs, True, own), (study.inputs, False, (0.123, 7))):
        Marker(study.out / "fair.json").write(inputs, {"quick": quick, fair.STEPS: {"rows": [row]}})
        assert efficiency.settings(study, 50)[DIRECT] == taken


def test_a_card_takes_what_was_run_in_full_on_this_very_build(build, tmp_path):
    copy = BuildFolder(shutil.copytree(build, tmp_path / "copy"))
    recipe = smoke_recipe()
    for inputs, quick, there in (("other", False, {}), (None, True, {}), (None, False, {"fair"})):
        copy.fair.write(inputs or inputs_of_study(recipe, copy), {"quick": quick})
        assert learning_of(recipe, copy).keys() == set(there)
    assert learning_of(smoke_recipe(max_steps=7), copy) == {}


def test_a_study_is_of_one_base_and_of_one_way_to_ask_and_a_training_of_what_no_trial_sets(build, tmp_path):
    folder, copy = synthetic_base(_made(tmp_path / "base")), BuildFolder(build)
    recipe = smoke_recipe()
    recipe = replace(recipe, base=replace(recipe.base, model=str(folder)))
    study, trainings = inputs_of_study(recipe, copy), learning.inputs_of_trainings(recipe, copy)
    for other in (replace(recipe, answers_first=True), replace(recipe, mode="greedy")):
        assert inputs_of_study(other, copy) != study
        assert learning.inputs_of_trainings(other, copy) != trainings
    for training in ({"max_steps": 7}, {"learning_rate": 1e-3}, {"per_device_train_batch_size": 3}):
        other = replace(recipe, training=replace(recipe.training, **training))
        assert inputs_of_study(other, copy) != study, "it is of other settings"
        assert learning.inputs_of_trainings(other, copy) == trainings, "every trial brings its own"
    seeded = replace(recipe, seeds=replace(recipe.seeds, training=7, mixture=7))
    assert inputs_of_study(seeded, copy) == study, "so are the seeds"
    (folder / "model.safetensors").write_bytes(b"other weights")
    assert inputs_of_study(recipe, copy) != study
    assert learning.inputs_of_trainings(recipe, copy) != trainings


def test_studies_beside_a_recipe_count_for_every_build_of_the_same_data(build, tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "RECIPES", tmp_path)
    recipe = smoke_recipe()
    copy = BuildFolder(shutil.copytree(build, tmp_path / "copy"))
    beside = learning.learning_beside(recipe)
    assert beside.is_relative_to(tmp_path)
    Marker(_made(beside) / "efficiency.json").write(inputs_of_study(recipe, copy), {"quick": False, "rows": [1]})
    (beside / "efficiency.png").write_bytes(b"plot")
    Marker(beside / "fair.json").write("other data", {"quick": False})
    took = [json.dumps({**line, "usage": {**line["usage"], "seconds": 77.0}}) for line in read_jsonl(copy.teacher)]
    copy.teacher.write_text("\n".join(took) + "\n")
    learning.take_brought(recipe, copy)
    assert learning_of(recipe, copy)["efficiency"]["rows"] == [1]
    assert copy.efficiency_plot.read_bytes() == b"plot"
    assert not copy.fair.path.exists()
    copy.efficiency.write(inputs_of_study(recipe, copy), {"quick": False, "rows": [2]})
    learning.take_brought(recipe, copy)
    assert copy.efficiency.read()["rows"] == [2], "its own counts"
    copy.teacher.write_text("\n".join(took[1:]) + "\n")
    assert learning_of(recipe, copy) == {}, "another teacher"


def test_trainings_are_kept_beside_the_recipe_also_of_a_run_that_ends_early(build, tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "RECIPES", tmp_path)
    recipe, trial = smoke_recipe(), Trial(DIRECT, 16, 1, 5e-4, 1, 1)
    study = Study(recipe, BuildFolder(build), _made(tmp_path / "here"))
    with pytest.raises(UserError, match="no folder in recipes/"), fair.kept(study, "fair", wanted=True):
        raise AssertionError("hours before it is said")
    _made(tmp_path / recipe.name)
    folder = _made(study.out / "trials" / trial.name)
    inputs = fingerprint({}, learning.inputs_of_trainings(recipe, study.build), trial.name)
    Marker(folder / "trained.json").write(inputs, {"cpu_seconds": 2.5})
    scores = {item.id: None if number == 1 else number / 3 for number, item in enumerate(study.items)}
    judged = fingerprint({}, learning.inputs_of_trainings(recipe, study.build), trial.name, "held_out", *scores)
    Marker(folder / "held_out.json").write(judged, {"scores": scores})
    Marker(_made(study.out / "trials" / "old") / "trained.json").write("other data", {"cpu_seconds": 1})
    probes = study.probes(DIRECT, (5e-4, 1), 1)
    for probe in probes:
        inputs_of_it = fingerprint({}, learning.inputs_of_trainings(recipe, study.build), probe.name)
        Marker(_made(study.out / "trials" / probe.name) / "trained.json").write(inputs_of_it, asdict(probe))
    with pytest.raises(KeyboardInterrupt), fair.kept(study, "fair", wanted=True):
        raise KeyboardInterrupt
    elsewhere = Study(recipe, BuildFolder(build), tmp_path / "elsewhere")
    assert elsewhere.train(trial)["cpu_seconds"] == 2.5
    found = elsewhere.scores(trial, "held_out", elsewhere.items)
    assert list(found) == list(scores)
    assert list(found.values())[:3] == [0.0, None, 0.6667]

    def learns(*_):
        raise AssertionError("it learns")

    with monkeypatch.context() as brought:  # what it brings are scores, and no adapter that could judge
        brought.setattr(Study, "_learn", learns)
        for part, items in (("held_out", elsewhere.items[:-1]), ("validation", elsewhere.validation)):
            with pytest.raises(AssertionError, match="it learns"):
                elsewhere.scores(trial, part, items)
        with pytest.raises(AssertionError, match="it learns"):  # what a step takes is a matter of this machine
            elsewhere.seconds_a_step(DIRECT, (5e-4, 1), 1)
    Marker(_made(elsewhere.out / "trials" / trial.name) / "trained.json").write(inputs, {"cpu_seconds": 9.0})
    assert elsewhere.train(trial)["cpu_seconds"] == 9.0
    assert elsewhere.scores(trial, "held_out", elsewhere.items) == found, "a choice made by them stays made"
    assert len((tmp_path / recipe.name / "learning" / "trials.jsonl").read_text().splitlines()) == 1
    elsewhere.keep("fair")
    [kept] = Study(recipe, BuildFolder(build), tmp_path)._brought.values()
    assert kept["trained"]["cpu_seconds"] == 9.0 and kept["held_out"] == elsewhere._brought[inputs]["held_out"]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_what_cannot_be_compared_is_said(build, tmp_path):
    with pytest.raises(UserError, match="counts epochs"):
        fair.study_of(fair.parser("fair", "").parse_args(["--recipe", "minicpm-v-2.6", "--build", str(build)]))
    with pytest.raises(UserError, match="personalised"):
        fair.study_of(fair.parser("fair", "").parse_args(["--recipe", "tiny-personalised", "--out", str(tmp_path)]))


def test_the_plot_has_a_line_a_side_and_is_the_same_each_time(tmp_path):
    rows = [
        {"side": side, "split": split, "images": n, "labels": n * more, "spearman": 0.2 + n / 4000, "ci": [0.1, 0.9]}
        for side, more in ((DECOMPOSED, 30), (DIRECT, 1))
        for split in ("new_prompts", "new_pairs")
        for n in (100, 300, 1600)
    ]
    for name in ("a", "b"):
        efficiency.plot(rows, tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as drawn:
        assert not drawn.text, "the gate takes no picture with metadata"
        colors = {color for _, color in drawn.convert("RGB").getcolors(1 << 24)}
    assert {ImageColor.getrgb(color) for color in efficiency._COLORS.values()} <= colors


@pytest.mark.slow
def test_a_quick_run_ends_in_tables_and_a_second_one_trains_nothing(build, tmp_path, capsys, monkeypatch):
    arguments = ["--recipe", "smoke", "--build", str(build), "--out", str(tmp_path), "--quick"]
    assert fair.main(arguments) == 0
    found = json.loads((tmp_path / "fair.json").read_text())
    for regime in (fair.STEPS, fair.CPU):
        rows = found[regime]["rows"]
        assert {(row["side"], row["split"]) for row in rows} == {
            (side, split) for side in SIDES for split in ("new_prompts", "new_pairs")
        }
        assert all(row["n"] == 6 and row["cpu_seconds"][0] > 0 for row in rows)
    assert {row["steps"] for row in found[fair.STEPS]["rows"]} == {1}
    direct = next(row for row in found[fair.STEPS]["rows"] if row["side"] == DIRECT)
    assert direct["spearman"] is not None
    assert direct["n_failed"] == [0]
    assert "| decomposed - direct | new_prompts |" in capsys.readouterr().out
    assert efficiency.main(arguments) == 0
    rows = json.loads((tmp_path / "efficiency.json").read_text())["rows"]
    assert {(row["side"], row["images"]) for row in rows} == {(s, n) for s in (DECOMPOSED, DIRECT) for n in (4, 8)}
    assert (tmp_path / "efficiency.png").stat().st_size > 5_000
    kept = {name: (tmp_path / name).read_bytes() for name in ("fair.json", "efficiency.json", "efficiency.png")}

    def trains(*_: object, **__: object) -> None:
        raise AssertionError("it trains again")

    monkeypatch.setattr("recipes.training.fine_tuning.fine_tune", trains)
    assert fair.main(arguments) == efficiency.main(arguments) == 0
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept


def test_a_rationale_is_learnt_as_it_is_asked_for_also_of_students_that_are_told_their_answers(study):
    told = study._data.map(
        lambda row: {"samples": [{**s, "question": f"{s['question']}\nYou answered: yes."} for s in row["samples"]]},
        load_from_cache_file=False,
    )
    rows = rows_of(RATIONALE, study.recipe, told, study.teacher)
    prompts = study._data["prompt"]
    assert rows
    for row in rows:
        for sample in row:
            assert sample.question == student_prompt("summarise_overall", prompt=prompts[sample.row])
