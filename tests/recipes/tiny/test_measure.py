"""The figures of a judge of scenes: the teacher has full marks, whatever is changed loses them where it should."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from recipes.scenes import personalised, rules, world
from recipes.scenes.latent import quality
from recipes.scenes.world import GENERATORS, sample_prompt, simulate
from recipes.tiny import figures, measure
from t2i_judge.records import OVERALL, JudgeInfo, Judgement, Status, failed
from t2i_judge.scoring import aspect_scores
from tests.embedded import needs_embedded_judge

TEACHER = JudgeInfo("teacher", "rules", "rules")


def shown(number: int) -> tuple[list[figures.Shown], list[Judgement]]:
    """Scenes, and what the teacher says of them."""
    scenes, judgements = [], []
    for index, name in zip(range(number), [*GENERATORS] * number):
        chance = random.Random(index)
        prompt = sample_prompt(chance, "new_prompts")
        scene = simulate(prompt, name, chance)
        questions = rules.decompose(prompt.text)
        answers = [rules.answer(scene, question) for question in questions]
        summaries = rules.summarise(questions, answers)
        scenes.append(figures.Shown(prompt.text, scene, quality(prompt, scene)))
        judgements.append(
            Judgement(
                str(index),
                prompt.text,
                TEACHER,
                scores=aspect_scores(questions, answers),
                summary_scores={aspect: summary.score for aspect, summary in summaries.items()},
                summary_texts={aspect: summary.explanation for aspect, summary in summaries.items()},
                questions=tuple(questions),
                answers=tuple(answers),
            )
        )
    return scenes, judgements


SHOWN, JUDGED = shown(40)


def shares(judgements: list[Judgement]) -> dict[str, Any]:
    return {name: value for name, value, _ in figures.table(figures.words(SHOWN, judgements))}


def changed(**fields: Any) -> list[Judgement]:
    """The teacher's judgements with these fields of every answer."""
    return [replace(j, answers=tuple(replace(answer, **fields) for answer in j.answers)) for j in JUDGED]


def test_the_teacher_has_full_marks():
    found = shares(JUDGED)
    assert set(found.values()) == {1.0}
    assert {"answers.facts", "answers.relations", "answers.flaw", "explanations.true_looks"} <= found.keys()


def test_other_answers_are_wrong_and_no_longer_what_is_explained():
    found = shares(changed(text="five"))
    assert found["answers.facts"] == found["answers.flaw"] == found["explanations.agree"] == 0
    assert found["explanations.true"] == found["summaries.true"] == 1 and found["summaries.agree"] < 0.05


def test_a_look_may_be_off_by_a_grade_but_not_by_its_kind():
    clean = [
        replace(
            j,
            answers=tuple(
                replace(a, text="clean") if q.expected is None else a for q, a in zip(j.questions, j.answers)
            ),
        )
        for j in JUDGED
    ]
    found = shares(clean)
    assert 0 < found["answers.flaw"] < found["answers.flaw_or_clean_beside"] == found["answers.grade_within_one"] < 1


def test_untrue_and_unreadable_words_are_counted():
    found = shares(changed(explanation="There is a hexagon."))
    assert found["explanations.readable"] == found["explanations.agree"] == found["explanations.true"] == 0
    dumb = [replace(j, summary_texts=dict.fromkeys(j.summary_texts, "Nice.")) for j in JUDGED]
    assert shares(dumb)["summaries.true"] == 0 and shares(dumb)["summaries.level_agrees"] == 1
    apart = [replace(j, summary_scores=dict.fromkeys(j.summary_scores, 0.0)) for j in JUDGED]
    assert shares(apart)["summaries.level_agrees"] < 0.5 and shares(apart)["summaries.true"] == 1
    quoting = [replace(j, summary_scores={}) for j in JUDGED]
    assert "summaries.level_agrees" not in shares(quoting) and shares(quoting)["summaries.true"] == 1


def test_what_failed_is_counted_and_its_words_are_left_out():
    lost = failed("0", SHOWN[0].prompt, TEACHER, Status.UNPARSABLE, "no end")
    found = figures.scores(SHOWN, [lost, *JUDGED[1:]], [OVERALL])
    assert found["failed"] == 1 and found["n"] == 40 and found["spearman"][OVERALL] > 0.8
    assert set(shares([lost, *JUDGED[1:]]).values()) == {1.0}


def test_decompositions_are_counted_by_number_of_groups():
    prompts = list(dict.fromkeys(one.prompt for one in SHOWN))
    written = [rules.decompose(prompt) for prompt in prompts]
    groups = [len(rules.parse(prompt)[0]) for prompt in prompts]
    assert {entry["share"] for entry in figures.decompositions(prompts, written, rules.decompose).values()} == {1.0}
    some = [
        [] if number == 3 else questions[:-1] if number == 2 else questions
        for number, questions in zip(groups, written)
    ]
    found = figures.decompositions(prompts, some, rules.decompose)
    assert (
        found["exact_1_group"]["share"] == 1
        and found["exact_2_groups"]["share"] == found["exact_3_groups"]["share"] == 0
    )
    assert found["readable"] == {"share": round(1 - groups.count(3) / len(groups), 4), "n": len(prompts)}


def test_the_calibration_is_fitted_on_other_images():
    halved = [replace(j, scores={**j.scores, OVERALL: (j.scores[OVERALL] or 0) / 2}) for j in JUDGED]
    half = (SHOWN[:20], halved[:20]), (SHOWN[20:], halved[20:])
    found = figures.calibrated(*half)
    assert found["n"] == 20 and found["after"] < found["before"]


@pytest.mark.parametrize("is_personalised", [False, True])
def test_held_out_prompts_are_held_out_and_all_different(is_personalised):
    plan, other = measure.Plan(prompts=60), measure.Plan(prompts=60, seed=1)
    prompts = measure.held_out_prompts(plan, is_personalised)
    assert len(set(prompts)) == 60 and prompts == measure.held_out_prompts(plan, is_personalised)
    assert prompts != measure.held_out_prompts(other, is_personalised)
    module = personalised if is_personalised else world
    sample = personalised.sample_task if is_personalised else world.sample_prompt
    chance = random.Random("0/prompts")
    made = [sample(chance, measure.SPLITS[number % 2]) for number in range(3)]
    assert [one.text for one in made] == prompts[:3]
    assert [module.split_of(one) for one in made] == ["new_prompts", "new_pairs", "new_prompts"]


@needs_embedded_judge
def test_the_command_measures_the_judge_that_ships(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measure, "_RUNS", 1)
    arguments = ["--images", "16", "--explained", "1", "--prompts", "4", "--output", str(tmp_path / "figures.json")]
    assert measure.main(arguments) == 0
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["new_prompts"]["n"] == found["new_pairs"]["n"] == 16
    assert found["decompositions"]["exact"]["n"] == 4 and 0 < found["megabytes"] < 12
    assert found["new_pairs"]["explanations"]["agree"]["n"] >= 2 and found["milliseconds_an_image"] > 0
    assert "decompositions.exact" in capsys.readouterr().out


def test_only_judges_of_scenes_are_measured(capsys):
    assert measure.main(["--judge", "fake"]) == 2
    assert "is no judge of scenes" in capsys.readouterr().err
