"""From distillation rows to training rows: nothing lost, weights kept, scores spread, images shared."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import pytest
from datasets import Dataset, Features, Image, List, Value
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pictures

from recipes.distillation.sft_data import (
    TEXT_ONLY,
    Sample,
    direct_samples,
    load_distillation,
    mix,
    pack,
    read_samples,
    rebalance,
    score_bin,
    select,
    select_direct,
    training_dataset,
)
from recipes.recipe.config import load_recipe
from recipes.recipe.sections import AspectWeights, Mixture, Rebalance
from recipes.scenes.rules import decompose
from t2i_judge.decompose import to_lines
from t2i_judge.errors import UserError
from t2i_judge.prompts import SUMMARY_SCORE, level_to_score, score_to_level, student_prompt
from t2i_judge.records import ASPECTS, PERSONALISED_ASPECTS, JudgeInfo, Judgement

PROMPTS = ("a red circle above two blue stars", "three small green squares")


def row_of(prompt: str, level: int) -> dict:
    questions = decompose(prompt)
    samples = [("decompose", student_prompt("decompose", prompt=prompt), to_lines(questions))]
    for question in questions:
        samples += [(task, student_prompt(task, question), answer) for task, answer in
                    (("answer", "yes"), ("explain", "it is there"), ("score", str(level)))]  # fmt: skip
    summary = f"fine{SUMMARY_SCORE}{level}"
    samples.append(("summarise", student_prompt("summarise", prompt=prompt, aspect="intrinsic"), summary))
    samples.append(("summarise_overall", student_prompt("summarise_overall", prompt=prompt), summary))
    return {"prompt": prompt, "samples": [dict(zip(("task", "question", "answer"), s)) for s in samples]}


ROWS = [row_of(PROMPTS[n % 2], n % 10) for n in range(20)]


def test_every_sample_is_read() -> None:
    samples = read_samples(ROWS)
    assert len(samples) == sum(len(row["samples"]) for row in ROWS)
    known = {question.text: question.aspect for prompt in PROMPTS for question in decompose(prompt)}
    asked = [s for s in samples if s.task in ("answer", "explain", "score")]
    assert asked and all(s.aspect == known[s.subject] for s in asked)
    assert {s.aspect for s in samples if s.task.startswith("summarise")} == {"intrinsic", "overall"}


@pytest.mark.parametrize(
    ("task", "answer"), [("score", "10"), ("score", "N/A"), ("summarise", "good"), ("scores", "5")]
)
def test_what_is_no_level_or_no_task_is_refused(task: str, answer: str) -> None:
    with pytest.raises(UserError, match="Row 0"):
        read_samples([{"prompt": "p", "samples": [{"task": task, "question": "q", "answer": answer}]}])


def test_bins_are_the_papers_twelve() -> None:
    assert [score_bin(s) for s in (0, 0.99, 1, 8.89, 9, 9.99, 10, None)] == [0, 0, 1, 8, 9, 9, 10, 11]
    assert [score_bin(level_to_score(level)) for level in range(10)] == [*range(9), 10]


def units(samples: list[Sample]) -> Counter:
    """How often each (row, subject) appears, by task."""
    return Counter((s.row, s.subject, s.task) for s in samples)


@given(sizes=st.lists(st.integers(0, 30), min_size=10, max_size=10), seed=st.integers(0, 99))
def test_rebalancing_brings_every_bin_to_the_target_and_keeps_units_whole(sizes: list[int], seed: int) -> None:
    samples = [
        Sample(row, task, f"q{row}", "intrinsic", "q", str(level), level_to_score(level) if task == "score" else None)
        for row, level in enumerate(level for level, size in enumerate(sizes) for _ in range(size))
        for task in ("answer", "explain", "score")
    ]
    samples += [Sample(999, "explain", "unscored", "intrinsic", "q", "?")]
    if not (target := sorted([*sizes, 0, 1])[8] * 0.75 + sorted([*sizes, 0, 1])[9] * 0.25) >= 1:
        with pytest.raises(UserError, match="percentile"):
            rebalance(samples, Rebalance(seed=seed))
        return
    kept = rebalance(samples, Rebalance(seed=seed))
    assert kept == rebalance(samples, Rebalance(seed=seed))
    per_level = Counter(s.answer for s in kept if s.task == "score")
    assert per_level == {str(level): int(target) for level, size in enumerate(sizes) if size}
    counts = units(kept)
    assert all(counts[row, subject, t] == n for (row, subject, _), n in counts.items() for t in ("answer", "score"))
    assert not any(s.subject == "unscored" for s in kept)


def test_decompositions_pass_through_rebalancing() -> None:
    samples = read_samples(ROWS)
    kept = rebalance(samples, Rebalance(percentile=100))
    assert [s for s in kept if s.task == "decompose"] == [s for s in samples if s.task == "decompose"]


def test_weights_repeat_halve_and_drop() -> None:
    samples = read_samples(ROWS)
    before, weights = Counter(s.task for s in samples), Mixture(decompose=3, answer=0.5, explain=0, score=2)
    after = Counter(s.task for s in mix(samples, weights, seed=1))
    assert after["decompose"] == 3 * len(PROMPTS) and after["score"] == 2 * before["score"]
    assert abs(after["answer"] - before["answer"] / 2) <= 3 and after["explain"] == 0
    by_aspect = Counter(s.aspect for s in mix(samples, Mixture(aspects=AspectWeights(appearance=2)), seed=1))
    plain = Counter(s.aspect for s in samples)
    assert by_aspect["appearance"] == 2 * plain["appearance"] and by_aspect["relationship"] == plain["relationship"]


def test_a_prompt_is_decomposed_once_or_once_an_image() -> None:
    samples = read_samples(ROWS[:1] * 3 + ROWS[1:2])
    once, often = (
        Counter(
            s.subject for s in mix(samples, Mixture(decompose=2, decompose_every_image=every), 0) if s.row == TEXT_ONLY
        )
        for every in (False, True)
    )
    assert once == {PROMPTS[0]: 2, PROMPTS[1]: 2}
    assert often == {PROMPTS[0]: 6, PROMPTS[1]: 2}


def test_every_aspect_has_a_weight() -> None:
    assert {field.name for field in fields(AspectWeights)} == {*ASPECTS, *PERSONALISED_ASPECTS}
    both = [Sample(0, "answer", aspect, aspect, "q", "yes") for aspect in PERSONALISED_ASPECTS]
    mixed = Counter(s.aspect for s in mix(both, Mixture(aspects=AspectWeights(concept_preservation=3)), seed=1))
    assert mixed == {"concept_preservation": 3, "prompt_following": 1}


@given(most=st.integers(1, 40), weight=st.sampled_from([0.5, 1, 2, 3]), seed=st.integers(0, 9))
def test_packing_loses_nothing_and_shows_one_image_a_row(most: int, weight: float, seed: int) -> None:
    samples = mix(read_samples(ROWS), Mixture(score=weight), seed)
    rows = pack(samples, most, seed)
    assert Counter(s for row in rows for s in row) == Counter(samples)
    assert all(len({s.row for s in row}) == 1 and 1 <= len(row) <= most for row in rows)
    by_image: dict[int, list[int]] = {}
    for row in rows:
        by_image.setdefault(row[0].row, []).append(len(row))
    assert all(max(sizes) - min(sizes) <= 1 for image, sizes in by_image.items() if image != TEXT_ONLY)


def test_copies_of_a_sample_go_to_different_rows() -> None:
    samples = mix(read_samples(ROWS), Mixture(answer=2, explain=2, score=2, summarise=2, summarise_overall=2), 0)
    rows = [row for row in pack(samples, 20, seed=0) if row[0].row != TEXT_ONLY]
    assert all(len(set(row)) == len(row) for row in rows)


def test_without_packing_a_row_is_a_sample() -> None:
    recipe = replace(load_recipe("smoke"), packing="none")
    samples = read_samples(ROWS)
    assert all(len(row) == 1 for row in select(samples, recipe))


def test_the_direct_baseline_learns_the_overall_score() -> None:
    judge = JudgeInfo("teacher", "openai", "m")
    judgements = {
        name: Judgement(name, "p", judge, scores={"overall": score}) for name, score in (("a", 10.0), ("b", None))
    }
    (sample,) = direct_samples(["p {x}", "p", "p"], judgements, ["a", "b", "c"])
    assert (sample.row, sample.answer) == (0, "9") and "p {x}" in sample.question


@pytest.mark.parametrize(("packing", "lengths"), [("shared_prefix", [3]), ("none", [1, 1, 1])])
def test_the_direct_baseline_learns_both_axes_of_a_personalised_image(packing: str, lengths: list[int]) -> None:
    scores = {"overall": 5.0, "concept_preservation": 10.0, "prompt_following": 0.0}
    judgement = Judgement("a", "p", JudgeInfo("teacher", "openai", "m"), scores=scores)
    samples = direct_samples(["p"], {"a": judgement}, ["a"])
    assert {sample.aspect: sample.answer for sample in samples} == {
        aspect: str(score_to_level(score)) for aspect, score in scores.items()
    }
    assert len({sample.question for sample in samples}) == 3
    rows = select_direct(samples, replace(load_recipe("smoke"), packing=packing))
    assert sorted(map(len, rows)) == lengths


def data_of(folder: Path) -> Dataset:
    features = Features({
        "id": Value("string"), "prompt": Value("string"), "image": Image(), "reference_image": Image(),
        "samples": List({"task": Value("string"), "question": Value("string"), "answer": Value("string")}),
    })  # fmt: skip
    picture = Pictures.new("RGB", (20, 20), "red")
    rows = [
        {"id": str(n), "image": picture, "reference_image": picture if n % 2 else None, **row}
        for n, row in enumerate(ROWS)
    ]
    (folder / "data").mkdir(parents=True)
    Dataset.from_list(rows, features=features).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    return load_distillation(folder)


@pytest.mark.parametrize("packing", ["shared_prefix", "none"])
def test_rows_carry_images_and_chats(tmp_path: Path, packing: str) -> None:
    data = data_of(tmp_path / "distill")
    recipe = replace(load_recipe("smoke"), packing=packing)
    rows = select(read_samples(data.remove_columns(["image", "reference_image"])), recipe)
    made = pickle.loads(pickle.dumps(training_dataset(data, rows, packing)))  # as a loader's processes get it
    assert len(made) == len(rows)
    for row, samples in zip(made.select(range(12)), rows):
        chats = row["segments"] if packing == "shared_prefix" else [row["messages"]]
        assert len(chats) == len(samples)
        for (user, assistant), sample in zip(chats, samples):
            kinds = [part["type"] for part in user["content"]]
            assert kinds == ["image"] * len(row["images"]) + ["text"]
            assert user["content"][-1]["text"] == sample.question and assistant["content"][0]["text"] == sample.answer
        assert len(row["images"]) == (0 if samples[0].row == TEXT_ONLY else 1 + samples[0].row % 2)


def test_missing_data_and_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to train on"):
        load_distillation(tmp_path)
    (tmp_path / "data").mkdir()
    Dataset.from_list([{"id": "a"}]).to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(UserError, match="no column 'prompt'"):
        load_distillation(tmp_path)
